"""The checks of the swarm that no scenario shows: who knew enough of a node to be asked what it did after its end."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.history import (
    ClientEnded,
    ClientStood,
    Event,
    NodeSeen,
    OrderAnswered,
    OrderSent,
    PathSeen,
    SessionSeen,
    ViewSeen,
)
from tests.support.history_checks import ViolationFound
from tests.support.zombies import Bounds
from tests.swarm.checks import SwarmChecks

NODES = ("n0", "n1", "n2")
FIVE = (*NODES, "n3", "n4")
ENDED_MS = 60_000
SPARED_MS, WARMING_MS = 6_000, 15_000


def lists(at_ms: int, node: str, *keys: str) -> Event:
    return ViewSeen(at_ms, node, "table", node, 0, "orders", 0, dict.fromkeys(keys, "x"), ())


def check_history(*events: Event, nodes: tuple[str, ...] = NODES, swept_ms: int = 0) -> None:
    """``c1`` is served by n0, and all list what it published; then this, and perhaps a look at everything."""
    checks = SwarmChecks(nodes, Bounds(), SPARED_MS, WARMING_MS)
    before: list[Event] = [NodeSeen(0, node, what) for node in nodes for what in ("started", "ready")]
    before += [SessionSeen(10, "c1", "n0", 1), OrderSent(20, "c1", 1, "publish", "orders", {"a:1": "x"}, "node")]
    before += [OrderAnswered(20, "c1", 1), *(lists(30, node, "a:1") for node in nodes)]
    for event in (*before, *events):
        checks.see(event)
    if swept_ms:
        checks.sweep(swept_ms)


def test_a_node_that_was_well_keeps_what_one_that_has_just_ended_served() -> None:
    with pytest.raises(ViolationFound, match="n2 dropped a:1 of orders 300 ms after the end"):
        check_history(NodeSeen(ENDED_MS, "n0", "crashed"), lists(ENDED_MS + 300, "n2"))


def test_a_node_that_stood_still_when_another_ended_did_not_know_it_well() -> None:
    check_history(
        NodeSeen(ENDED_MS - 8_000, "n2", "paused"),
        NodeSeen(ENDED_MS, "n0", "crashed"),
        NodeSeen(ENDED_MS + 200, "n2", "resumed"),
        lists(ENDED_MS + 300, "n2"),
    )


def test_nobody_has_to_spare_a_node_that_stood_still_before_it_ended() -> None:
    check_history(
        NodeSeen(ENDED_MS - 30_000, "n0", "paused"),
        NodeSeen(ENDED_MS, "n0", "crashed"),
        lists(ENDED_MS + 300, "n2"),
    )


def test_a_node_that_ended_with_the_other_one_loads_what_it_knew_and_may_list_it_in_between() -> None:
    check_history(
        NodeSeen(ENDED_MS, "n0", "crashed"),
        NodeSeen(ENDED_MS, "n2", "crashed"),
        NodeSeen(ENDED_MS + 100, "n2", "started"),
        lists(ENDED_MS + 200, "n2", "a:1"),
        lists(ENDED_MS + 300, "n2"),
    )


def parted(*near: str) -> list[Event]:
    """These of five nodes hear none of the others from now on."""
    far = [node for node in FIVE if node not in near]
    pairs = [(one, two) for one in near for two in far]
    return [PathSeen(ENDED_MS, *path, carries=False) for pair in pairs for path in (pair, pair[::-1])]


def stood_still() -> list[Event]:
    return [ClientStood(ENDED_MS - 2_000, "c1", still=True), ClientStood(ENDED_MS - 500, "c1", still=False)]


@pytest.mark.parametrize("near", [("n2",), ("n1", "n2")])
def test_a_minority_drops_nobody_of_whom_it_cannot_hear(near: tuple[str, ...]) -> None:
    with pytest.raises(ViolationFound, match="n2 dropped a:1 of orders, of c1, which lives, though it hears less"):
        check_history(*parted(*near), lists(ENDED_MS + 20_000, "n2"), nodes=FIVE)


def test_what_a_client_missed_while_it_stood_still_may_be_known_to_one_in_the_minority_and_come_from_there() -> None:
    check_history(*stood_still(), *parted("n1", "n2"), lists(ENDED_MS + 20_000, "n2"), nodes=FIVE)


def test_a_node_that_is_alone_can_have_it_from_nobody() -> None:
    with pytest.raises(ViolationFound, match="though it hears less"):
        check_history(*stood_still(), *parted("n2"), lists(ENDED_MS + 20_000, "n2"), nodes=FIVE)


def check_restarted_cold(*events: Event) -> None:
    """``c2`` has been told by n0 what is listed, and stands still; then all nodes end, and start with nothing."""
    before: list[Event] = [OrderSent(100, "c2", 1, "subscribe", "orders"), SessionSeen(100, "c2", "n0", 7)]
    before += [told(110, 7, "a:1"), ClientStood(ENDED_MS - 20, "c2", still=True)]
    before += [NodeSeen(ENDED_MS, node, "crashed") for node in NODES]
    before += [NodeSeen(ENDED_MS + 100, node, "started") for node in NODES]
    before += [NodeSeen(ENDED_MS + 200, node, "ready", ("warming",)) for node in NODES]
    check_history(*before, ClientStood(ENDED_MS + 300, "c2", still=False), *events)


def told(at_ms: int, session: int, *keys: str) -> Event:
    return ViewSeen(at_ms, "c2", "push", "n0", session, "orders", 1, dict.fromkeys(keys, "x"), ())


def test_a_node_that_has_started_with_the_whole_cluster_takes_nothing_out_of_what_was_known() -> None:
    with pytest.raises(ViolationFound, match="A10: c2 was told that a:1 of orders is gone, by n0"):
        check_restarted_cold(SessionSeen(ENDED_MS + 400, "c2", "n0", 8), told(ENDED_MS + 500, 8))


def test_what_a_node_said_before_its_end_may_be_read_after_its_start() -> None:
    check_restarted_cold(told(ENDED_MS + 300, 7), SessionSeen(ENDED_MS + 400, "c2", "n0", 8))


def check_loaded_from_one_that_ended(*paths: Event) -> None:
    """n0 starts while only n2 is ready, and n2 ends before n0 is."""
    events: list[Event] = [OrderSent(100, "c2", 1, "subscribe", "orders"), SessionSeen(100, "c2", "n0", 7)]
    events += [told(110, 7, "a:1"), *(NodeSeen(ENDED_MS, node, "crashed") for node in ("n0", "n1")), *paths]
    events += [NodeSeen(ENDED_MS + 100, "n0", "started"), NodeSeen(ENDED_MS + 3_000, "n2", "crashed")]
    events += [NodeSeen(ENDED_MS + 5_100, "n0", "ready"), SessionSeen(ENDED_MS + 5_200, "c2", "n0", 8)]
    check_history(*events, told(ENDED_MS + 11_000, 8))


def test_a_node_that_has_loaded_from_one_that_ended_before_it_was_ready_knows_who_is_gone() -> None:
    check_loaded_from_one_that_ended()


def test_but_it_knows_nothing_from_one_that_it_never_met() -> None:
    with pytest.raises(ViolationFound, match="A10: c2 was told that a:1 of orders is gone, by n0"):
        check_loaded_from_one_that_ended(
            *(PathSeen(ENDED_MS, *pair, carries=False) for pair in (("n0", "n2"), ("n2", "n0")))
        )


def check_ended_together(stall_ms: int, listed_until_ms: int) -> None:
    """n0 and its client are gone; n1 restarts, and n2 stood still all the while. Both list the client for so long."""
    gone: list[Event] = [NodeSeen(ENDED_MS - 500, "n2", "paused"), ClientEnded(ENDED_MS - 10, "c1", "killed")]
    gone += [NodeSeen(ENDED_MS, "n0", "crashed"), NodeSeen(ENDED_MS, "n1", "crashed")]
    gone += [NodeSeen(ENDED_MS + 300, "n1", "started"), NodeSeen(ENDED_MS + stall_ms - 500, "n2", "resumed")]
    loaded_ms = ENDED_MS + stall_ms
    gone += [NodeSeen(loaded_ms, "n1", "ready"), lists(loaded_ms, "n1", "a:1")]
    gone += [lists(ENDED_MS + 15_000, node) for node in ("n3", "n4")]
    check_history(*sorted(gone, key=lambda event: event.at_ms), nodes=FIVE, swept_ms=ENDED_MS + listed_until_ms)


def test_who_starts_may_have_the_age_of_a_dead_owner_from_one_that_stood_still_at_its_end() -> None:
    check_ended_together(stall_ms=4_500, listed_until_ms=20_500)


@pytest.mark.parametrize(("stall_ms", "listed_until_ms"), [(4_500, 22_000), (5_500, 20_500), (400, 20_500)])
def test_but_it_takes_no_longer_than_that_one_and_a_long_stall_is_known_to_who_stood_still(
    stall_ms: int, listed_until_ms: int
) -> None:
    with pytest.raises(ViolationFound, match="A3: n1 still lists a:1"):
        check_ended_together(stall_ms, listed_until_ms)


def check_listed_again(dropped_ms: int, *flags: str) -> None:
    """n0 and its client are gone, n2 hears of it after a cut, and lists the client again; until it drops it."""
    joined_ms = ENDED_MS + 20_000
    events: list[Event] = [ClientEnded(ENDED_MS, "c1", "killed"), NodeSeen(ENDED_MS, "n0", "crashed"), *parted("n2")]
    events += [NodeSeen(ENDED_MS + 2_000, "n0", what) for what in ("started", "ready")]
    events += [lists(ENDED_MS + 15_000, node) for node in FIVE]
    events += [msgspec.structs.replace(path, at_ms=joined_ms, carries=True) for path in parted("n2")]
    again = lists(joined_ms + 500, "n2", "a:1")
    events += [again, msgspec.structs.replace(again, at_ms=joined_ms + 1_000, flags=flags)]
    check_history(*events, lists(joined_ms + dropped_ms, "n2"), nodes=FIVE)


def test_what_is_listed_again_after_a_cut_goes_when_its_owner_is_given_up_or_its_guard_ends() -> None:
    check_listed_again(Bounds().owner_ms)
    check_listed_again(Bounds().owner_ms + Bounds().guard_ms, "guarded")


@pytest.mark.parametrize(("dropped_ms", "flags"), [(17_001, ()), (32_001, ("guarded",))])
def test_but_neither_later_nor_for_a_guard_that_the_list_does_not_tell_of(
    dropped_ms: int, flags: tuple[str, ...]
) -> None:
    with pytest.raises(ViolationFound, match=f"A3: n2 listed a:1 of orders again for {dropped_ms - 500} ms"):
        check_listed_again(dropped_ms, *flags)


def lists_of_one_address(stood_still: bool, left: str) -> SwarmChecks:
    """``c2`` published where ``c1`` does, and died with n1; n0 lists ``c1`` there, n2 what is ``left``."""
    checks = SwarmChecks(NODES, Bounds(), SPARED_MS, WARMING_MS)
    events: list[Event] = [NodeSeen(0, node, what) for node in NODES for what in ("started", "ready")]
    for number, client in enumerate(("c1", "c2")):
        events += [SessionSeen(10, client, f"n{number}", 1), published(client), OrderAnswered(20, client, 1)]
    events += [one_address(30, node, "c2") for node in NODES]
    events += [NodeSeen(ENDED_MS, "n1", "crashed"), ClientEnded(ENDED_MS, "c2", "killed")]
    events += [NodeSeen(ENDED_MS + 10, "n2", "paused")] * stood_still
    events += [NodeSeen(ENDED_MS + 14_000, "n1", "started"), one_address(ENDED_MS + 15_000, "n0", "c1")]
    events += [NodeSeen(ENDED_MS + 40_000, "n2", "resumed")] * stood_still
    for event in (*events, one_address(ENDED_MS + 40_000, "n2", left)):
        checks.see(event)
    return checks


def published(client: str) -> Event:
    return OrderSent(20, client, 1, "publish", "orders", {"a:1": client}, "node")


def one_address(at_ms: int, node: str, client: str) -> Event:
    return ViewSeen(at_ms, node, "table", node, 0, "orders", 0, {"a:1": client} if client else {}, ())


def test_a_node_that_stood_still_lists_whom_it_has_yet_to_give_up_where_the_others_list_who_lives_there() -> None:
    until_ms = ENDED_MS + 40_000 + Bounds().owner_ms
    checks = lists_of_one_address(True, "c2")
    assert list(checks.differences(["n0", "n2"], until_ms)) == []
    assert list(checks.differences(["n0", "n2"], until_ms + 1)) == [
        "a:1 of orders is listed as {'n0': 'c1', 'n2': 'c2'}"
    ]


@pytest.mark.parametrize(("stood_still", "left"), [(False, "c2"), (True, "")])
def test_but_a_node_that_was_well_does_not_nor_does_any_list_nobody(stood_still: bool, left: str) -> None:
    assert list(lists_of_one_address(stood_still, left).differences(["n0", "n2"], ENDED_MS + 40_000))
