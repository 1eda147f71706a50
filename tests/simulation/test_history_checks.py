"""The checks that read a history: each rule, broken by a hand-made history, is named; and what is excused is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from actors.messages.index import RecordsChanged
from actors.messages.values import Origin, Record, RecordKey, Watermark
from rollbook.model import Service
from tests.support.history import (
    ClientEnded,
    ClientStood,
    Event,
    FaultBegan,
    NodeSeen,
    OrderAnswered,
    OrderKind,
    OrderSent,
    PathSeen,
    SessionSeen,
    ViewSeen,
    read_history,
    write_history,
)
from tests.support.history_checks import HistoryChecks, ViolationFound
from tests.support.zombies import Bounds

NODES = ("n0", "n1", "n2")
BOUNDS = Bounds()
LATER_MS = 100_000  # long after everything that happens first in these histories


def started() -> list[Event]:
    """Three nodes, all ready."""
    return [NodeSeen(0, node, what) for node in NODES for what in ("started", "ready")]


def order(at_ms: int, number: int, kind: OrderKind, payload: str = "", wait: str = "node") -> list[Event]:
    """An order of ``c1``, done at once."""
    instances = {"a:1": payload} if kind in ("publish", "withdraw") else {}
    return [OrderSent(at_ms, "c1", number, kind, "orders", instances, wait), OrderAnswered(at_ms, "c1", number)]


def listed(at_ms: int, payload: str | None, *nodes: str, flags: tuple[str, ...] = ()) -> list[Event]:
    instances = {} if payload is None else {"a:1": payload}
    return [ViewSeen(at_ms, node, "table", node, 0, "orders", 0, instances, flags) for node in nodes or NODES]


def told(at_ms: int, version: int, payload: str | None, session: int = 1, number: int = 0) -> Event:
    instances = {} if payload is None else {"a:1": payload}
    how = "query" if number else "push"
    return ViewSeen(
        at_ms, "c1", "query" if how == "query" else "push", "n0", session, "orders", version, instances, number=number
    )


def published() -> list[Event]:
    """``c1`` has a session at n0, and all nodes list what it published."""
    return [*started(), SessionSeen(10, "c1", "n0", 1), *order(20, 1, "publish", "x"), *listed(30, "x")]


def judge(*events: Event, until_ms: int = 0) -> HistoryChecks:
    checks = HistoryChecks(NODES, BOUNDS)
    for event in events:
        checks.see(event)
    if until_ms:
        checks.sweep(until_ms)
    return checks


def broken(*events: Event, until_ms: int = 0) -> str:
    """Which invariant this history breaks."""
    with pytest.raises(ViolationFound) as found:
        judge(*events, until_ms=until_ms)
    return found.value.invariant


def test_a_history_in_which_all_is_well_passes() -> None:
    checks = judge(*published(), until_ms=LATER_MS)
    assert checks.unsettled() == []
    assert checks.counts["A2"] == len(NODES)


def test_a_live_instance_that_a_node_drops_is_named() -> None:
    assert broken(*published(), *listed(LATER_MS, None, "n1")) == "A9"


@pytest.mark.parametrize(
    "excuse",
    [
        lambda at_ms: [SessionSeen(at_ms, "c1"), SessionSeen(at_ms, "c1", "n2", 2)],
        lambda at_ms: [PathSeen(at_ms, "n1", other, False) for other in ("n0", "n2")],
        lambda at_ms: [PathSeen(at_ms, "c1", "n0", False)],
        lambda at_ms: [ClientStood(at_ms, "c1", True)],
        lambda at_ms: [NodeSeen(at_ms, "n0", "crashed")],
        lambda at_ms: [NodeSeen(at_ms, "n1", "paused"), NodeSeen(at_ms + 1, "n1", "resumed")],
    ],
    ids=[
        "lost its session",
        "the node is cut off",
        "cut from its node",
        "stands still",
        "its node died",
        "node paused",
    ],
)
def test_a_removal_within_the_chain_time_of_a_break_is_excused_and_counted(
    excuse: Callable[[int], list[Event]],
) -> None:
    checks = judge(*published(), *excuse(LATER_MS), *listed(LATER_MS + BOUNDS.chain_ms - 10, None, "n1"))
    assert checks.removals_excused == 1


def test_a_removal_is_not_excused_by_a_cut_that_a_third_node_bridges() -> None:
    cut = [PathSeen(LATER_MS, "n0", "n1", False), PathSeen(LATER_MS, "n1", "n0", False)]
    assert broken(*published(), *cut, *listed(LATER_MS + 10, None, "n1")) == "A9"


def test_who_is_blocked_while_its_node_stands_still_cannot_say_that_its_session_is_lost() -> None:
    pause = [NodeSeen(LATER_MS, "n0", "paused"), NodeSeen(LATER_MS + 5_000, "n0", "resumed")]
    blocked = ClientStood(LATER_MS - 1, "c1", True, blocked=True)
    gone = listed(LATER_MS + 10_000, None)
    back = ClientStood(LATER_MS + 30_000, "c1", False, blocked=True)
    judge(*published(), blocked, *pause, *gone, until_ms=LATER_MS + 30_000)
    assert broken(*published(), blocked, *pause, *gone, back, until_ms=LATER_MS + 40_000) == "A2"


def test_who_is_blocked_after_its_node_stood_still_has_a_session_that_survived() -> None:
    pause = [NodeSeen(LATER_MS, "n0", "paused"), NodeSeen(LATER_MS + 5_000, "n0", "resumed")]
    blocked = ClientStood(LATER_MS + 6_000, "c1", True, blocked=True)
    assert broken(*published(), *pause, blocked, *listed(LATER_MS + 20_000, None, "n1")) == "A9"


def test_a_move_without_a_gap_excuses_nothing() -> None:
    move = [SessionSeen(LATER_MS, "c1", "n1", 2)]
    assert broken(*published(), *move, *listed(LATER_MS + 10, None, "n2")) == "A9"


def test_an_instance_that_never_comes_to_a_node_is_named() -> None:
    events = [*started(), SessionSeen(10, "c1", "n0", 1), *order(20, 1, "publish", "x"), *listed(30, "x", "n0", "n1")]
    assert judge(*events, until_ms=20 + BOUNDS.chain_ms).counts["A2"] > 0
    assert broken(*events, until_ms=30 + BOUNDS.chain_ms) == "A2"


def test_a_payload_that_stays_old_is_named() -> None:
    events = [*published(), *order(LATER_MS, 2, "publish", "y"), *listed(LATER_MS, "y", "n0", "n1")]
    assert broken(*events, until_ms=LATER_MS + BOUNDS.chain_ms + 1) == "A2"


def test_an_order_without_an_answer_may_have_happened_or_not() -> None:
    sent = OrderSent(LATER_MS, "c1", 2, "publish", "orders", {"a:1": "y"})
    for payload in ("x", "y"):
        checks = judge(*published(), sent, *listed(LATER_MS, payload), until_ms=2 * LATER_MS)
        assert checks.counts["A2"] == len(NODES)


@pytest.mark.parametrize("later_ms", [0, 6_000])
def test_what_a_client_reads_when_it_has_stood_still_may_have_been_said_long_before(later_ms: int) -> None:
    sent, _ = order(LATER_MS, 2, "publish", "x", wait="cluster")
    stood = [ClientStood(LATER_MS + 10, "c1", still=True), *listed(LATER_MS + 7_000, None)]
    stood.append(ClientStood(LATER_MS + 8_000, "c1", still=False))
    events = [*published(), sent, *stood, OrderAnswered(LATER_MS + 8_000 + later_ms, "c1", 2)]
    assert (broken(*events) == "A2") if later_ms else judge(*events).counts["A2"] == 0


def test_a_cluster_that_is_said_to_have_what_one_node_lacks_is_named() -> None:
    events = [*started(), SessionSeen(10, "c1", "n0", 1), *listed(LATER_MS, "x", "n0", "n2")]
    judge(*events, *order(LATER_MS, 1, "publish", "x"))
    assert broken(*events, *order(LATER_MS, 1, "publish", "x", wait="cluster")) == "A2"


@pytest.mark.parametrize(
    ("how", "bound_ms"), [("killed", BOUNDS.gone_ms), ("closed", BOUNDS.gone_ms), ("vanished", BOUNDS.vanished_ms)]
)
def test_a_zombie_is_named_once_its_time_is_over(how: str, bound_ms: int) -> None:
    ended = ClientEnded(LATER_MS, "c1", how)  # type: ignore[arg-type]
    judge(*published(), ended, until_ms=LATER_MS + bound_ms)
    assert broken(*published(), ended, until_ms=LATER_MS + bound_ms + 1) == "A3"


def test_a_node_that_stood_still_has_the_time_to_settle_before_it_lets_go_of_the_dead() -> None:
    stood: list[Event] = [NodeSeen(LATER_MS, "n0", "paused"), NodeSeen(LATER_MS + 500, "n0", "resumed")]
    events = [*published(), *stood, ClientEnded(LATER_MS + 600, "c1", "killed")]
    until_ms = LATER_MS + 500 + BOUNDS.settle_ms + BOUNDS.gone_ms
    judge(*events, until_ms=until_ms)
    assert broken(*events, until_ms=until_ms + 1) == "A3"


@pytest.mark.parametrize("moves", [1, 5])
def test_what_was_withdrawn_where_nobody_remembers_it_may_stay_for_the_grace_of_an_older_owner_that_stood_still(
    moves: int,
) -> None:
    moved: list[Event] = [NodeSeen(LATER_MS, "n0", "paused")]
    moved += [SessionSeen(LATER_MS + 10, "c1", f"n{1 + number % 2}", 2 + number) for number in range(moves)]
    withdrawn = [*order(LATER_MS + 20, 2, "withdraw"), *listed(LATER_MS + 30, None, "n1", "n2")]
    again: list[Event] = [
        *(NodeSeen(LATER_MS + 40, node, "crashed") for node in ("n1", "n2")),
        *(NodeSeen(LATER_MS + 50, node, "started") for node in ("n1", "n2")),
        *(NodeSeen(LATER_MS + 60, node, "ready") for node in ("n1", "n2")),
    ]
    events = [*published(), *moved, *withdrawn, *again, NodeSeen(2 * LATER_MS, "n0", "resumed")]
    returned = listed(2 * LATER_MS + 10, "x", "n1", "n2")
    until_ms = 2 * LATER_MS + BOUNDS.settle_ms + BOUNDS.owner_ms
    judge(*events, *returned, until_ms=until_ms)
    assert broken(*events, *returned, until_ms=until_ms + 1) == "A3"


def test_a_node_that_is_back_and_can_hear_of_newer_sessions_is_no_reason_to_list_what_was_withdrawn() -> None:
    stood: list[Event] = [NodeSeen(LATER_MS, "n0", "paused"), NodeSeen(LATER_MS + 5, "n0", "resumed")]
    moved: list[Event] = [SessionSeen(LATER_MS + 10, "c1", f"n{1 + number % 2}", 2 + number) for number in range(5)]
    withdrawn = [*order(LATER_MS + 20, 2, "withdraw"), NodeSeen(LATER_MS + 30, "n1", "crashed")]
    withdrawn += [NodeSeen(LATER_MS + 40, "n1", "started")]
    until_ms = LATER_MS + 30 + BOUNDS.owner_ms
    again: list[Event] = [NodeSeen(until_ms - 20, "n0", "paused"), NodeSeen(until_ms - 10, "n0", "resumed")]
    events = [*published(), *stood, *moved, *withdrawn, *again]
    judge(*events, until_ms=until_ms)
    assert broken(*events, until_ms=until_ms + 1) == "A3"


@pytest.mark.parametrize(
    ("seqs", "is_slow", "is_late"),
    [
        ([1], True, True),
        ([1, 2, 3], True, False),
        ([1, 2, 2], True, True),
        ([1, 2, 3], False, True),
        ([1, 2, 3, 5], True, True),
    ],
    ids=["nothing follows", "step by step", "the same again", "on quick paths", "all of it is there"],
)
def test_what_was_withdrawn_may_be_listed_on_slow_paths_while_what_stands_before_it_comes_step_by_step(
    seqs: list[int], is_slow: bool, is_late: bool
) -> None:
    checks = judge(*published(), *[FaultBegan(LATER_MS - 10, 1, "slow processing", "slow processing n2")] * is_slow)
    for node in NODES:
        checks.copies.start(node, Origin(node, 1))
    for event in order(LATER_MS, 2, "withdraw"):
        checks.see(event)
    checks.copies.note("n0", came(5), LATER_MS)
    for event in listed(LATER_MS + 10, None, "n0", "n1"):
        checks.see(event)
    for step, seq in enumerate(seqs, start=1):
        checks.copies.note("n2", came(seq, is_last=seq == 5), LATER_MS + step * BOUNDS.sync_ms // 2)
    last_ms = LATER_MS + 3 * BOUNDS.sync_ms // 2
    with pytest.raises(ViolationFound, match="A3: n2 still lists a:1") if is_late else nullcontext():
        checks.sweep(last_ms + BOUNDS.sync_ms)
    with pytest.raises(ViolationFound, match="A3: n2 still lists a:1"):
        checks.sweep(last_ms + BOUNDS.sync_ms + 1)


def came(seq: int, is_last: bool = False) -> RecordsChanged:
    """One chunk of what n0 did."""
    record = Record(Origin("n0", 1), RecordKey("c2", Service("public", "g", "orders")), 1, seq, 1, 15_000, (), b"", 0)
    return RecordsChanged(records=(record,), watermarks=(Watermark(record.origin, seq, ""),) * is_last)


@pytest.mark.parametrize(
    ("steps", "late_ms"),
    [
        ([], 0),
        ([("n1", 5, False), ("n1", 2, False), ("n1", 5, True)], 2 * BOUNDS.sync_ms),
        ([("n1", 5, True), ("n2", 5, False), ("n2", 2, False)], 2 * BOUNDS.sync_ms),
        ([("n1", 5, True), ("n1", 9, True), ("n1", 12, True)], BOUNDS.sync_ms),
        ([("n2", 5, True)], 0),
    ],
    ids=["nothing comes", "to who passes it on", "and from there in any order", "more than that", "all of it is there"],
)
def test_an_instance_on_its_way_by_slow_paths_and_a_node_between_has_the_time_of_an_exchange_for_each_step(
    steps: list[tuple[str, int, bool]], late_ms: int
) -> None:
    cut: list[Event] = [PathSeen(5, *pair, False) for pair in (("n0", "n2"), ("n2", "n0"))]
    slow = FaultBegan(6, 1, "slow processing", "slow processing n1")
    events = [*started(), *cut, slow, SessionSeen(10, "c1", "n0", 1), *order(20, 1, "publish", "x")]
    checks = judge(*events, *listed(30, "x", "n0", "n1"))
    for node in NODES:
        checks.copies.start(node, Origin(node, 1))
    checks.copies.note("n0", came(5), 20)
    for step, (node, seq, is_last) in enumerate(steps, start=1):
        checks.copies.note(node, came(seq, is_last), 20 + BOUNDS.chain_ms + (step - 1) * BOUNDS.sync_ms // 2)
    until_ms = 20 + BOUNDS.chain_ms + late_ms
    checks.sweep(until_ms)
    with pytest.raises(ViolationFound, match="A2: n2 lists a:1 of orders as None"):
        checks.sweep(until_ms + 1)


def test_what_was_withdrawn_and_is_still_listed_is_named() -> None:
    withdrawn = order(LATER_MS, 2, "withdraw")
    assert broken(*published(), *withdrawn, until_ms=LATER_MS + BOUNDS.gone_ms + 1) == "A3"


def test_a_client_that_dies_with_its_node_has_the_time_of_an_owner() -> None:
    died: list[Event] = [NodeSeen(LATER_MS, "n0", "crashed"), ClientEnded(LATER_MS, "c1", "killed")]
    judge(*published(), *died, until_ms=LATER_MS + BOUNDS.owner_ms)
    assert broken(*published(), *died, until_ms=LATER_MS + BOUNDS.owner_ms + 1) == "A3"


def test_self_preservation_and_the_shrink_guard_take_their_time() -> None:
    died: list[Event] = [NodeSeen(LATER_MS, "n0", "crashed"), ClientEnded(LATER_MS, "c1", "killed")]
    preserved = listed(LATER_MS, "x", "n1", "n2", flags=("preserved",))
    judge(*published(), *died, *preserved, until_ms=10 * LATER_MS)
    guarded = listed(LATER_MS, "x", "n1", "n2", flags=("guarded",))
    judge(*published(), *died, *guarded, until_ms=LATER_MS + BOUNDS.owner_ms + BOUNDS.guard_ms)
    assert broken(*published(), *died, *guarded, until_ms=LATER_MS + BOUNDS.owner_ms + BOUNDS.guard_ms + 1) == "A3"


def test_what_comes_back_from_the_dead_is_named() -> None:
    ended = [ClientEnded(LATER_MS, "c1", "killed"), *listed(LATER_MS + 300, None)]
    assert broken(*published(), *ended, *listed(2 * LATER_MS, "x", "n2")) == "A3"


@pytest.mark.parametrize(
    ("noticed_ms", "returned_ms", "is_excused"),
    [
        (0, LATER_MS - 1, True),
        (0, LATER_MS + BOUNDS.settle_ms + BOUNDS.gone_ms, True),
        (0, LATER_MS + BOUNDS.settle_ms + BOUNDS.gone_ms + 1, False),
        (BOUNDS.gone_ms + 1, LATER_MS - 1, False),
    ],
    ids=["while it stands still", "until it has settled", "once it has settled", "as it had heard of it before"],
)
def test_who_was_killed_while_its_node_stood_still_may_come_back_with_an_older_owner_until_that_node_has_settled(
    noticed_ms: int, returned_ms: int, is_excused: bool
) -> None:
    killed_ms = LATER_MS // 2
    moved: list[Event] = [NodeSeen(killed_ms - 20_000, "n0", "paused"), SessionSeen(killed_ms - 15_000, "c1", "n1", 2)]
    ended: list[Event] = [
        ClientEnded(killed_ms, "c1", "killed"),
        NodeSeen(killed_ms + noticed_ms, "n1", "paused"),
        *listed(killed_ms + 8_000, None),
        NodeSeen(killed_ms + 20_000, "n0", "resumed"),
    ]
    resumed: list[Event] = [NodeSeen(LATER_MS, "n1", "resumed")] if returned_ms > LATER_MS else []
    events = [*published(), *moved, *ended, *resumed, *listed(returned_ms, "x", "n2")]
    if is_excused:
        assert judge(*events).counts["A3"] == 1
    else:
        assert broken(*events) == "A3"


def test_who_was_killed_while_its_only_node_stood_still_does_not_come_back_with_that_one() -> None:
    ended: list[Event] = [NodeSeen(LATER_MS, "n0", "paused"), ClientEnded(LATER_MS + 100, "c1", "killed")]
    resumed = [*listed(LATER_MS + 8_000, None), NodeSeen(LATER_MS + 20_000, "n0", "resumed")]
    assert broken(*published(), *ended, *resumed, *listed(LATER_MS + 20_100, "x", "n2")) == "A3"


def test_what_nobody_ever_published_is_named() -> None:
    assert broken(*started(), *listed(10, "x", "n0"), until_ms=1_000) == "A3"


def test_a_subscriber_that_sees_time_go_back_is_named() -> None:
    subscribed = [*published(), *order(40, 2, "subscribe")]
    assert broken(*subscribed, told(50, 7, "x"), told(60, 6, "x")) == "A7"
    judge(*subscribed, told(50, 7, "x"), SessionSeen(55, "c1", "n0", 2), told(60, 6, "x", session=2))


def test_a_query_without_what_was_acknowledged_before_is_named() -> None:
    assert broken(*published(), OrderSent(40, "c1", 2, "query", "orders"), told(50, 7, None, number=2)) == "A7"


def test_a_subscriber_that_is_not_told_of_a_change_is_named() -> None:
    events = [*published(), *order(40, 2, "subscribe"), told(50, 1, None)]
    assert broken(*events, until_ms=50 + LATER_MS) == "A8"
    assert judge(*events, told(60, 2, "x"), until_ms=LATER_MS).unsettled() == []


def test_a_node_that_is_ready_without_what_all_others_list_is_named() -> None:
    again = [NodeSeen(LATER_MS, "n2", "crashed"), NodeSeen(LATER_MS + 100, "n2", "started")]
    ready = NodeSeen(LATER_MS + 200, "n2", "ready")
    assert broken(*published(), *again, ready) == "A10"
    judge(*published(), *again, *listed(LATER_MS + 150, "x", "n2"), ready)


def test_a_node_that_was_cut_off_until_it_was_ready_could_not_load_everything() -> None:
    cut, healed = (
        [PathSeen(at_ms, *path, carries) for path in (("n2", "n0"), ("n2", "n1"))]
        for at_ms, carries in ((LATER_MS + 100, False), (LATER_MS + 180, True))
    )
    crashed, again = NodeSeen(LATER_MS, "n2", "crashed"), NodeSeen(LATER_MS + 100, "n2", "started")
    events = [*published(), crashed, *cut, again, *healed]
    judge(*events, NodeSeen(LATER_MS + 200, "n2", "ready"))
    late = NodeSeen(LATER_MS + 181 + BOUNDS.sync_ms, "n2", "ready")
    assert broken(*events, late) == "A10"


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    events = [*published(), told(50, 7, "x"), ClientEnded(60, "c1", "vanished")]
    write_history(tmp_path / "history", events)
    assert list(read_history(tmp_path / "history")) == events
