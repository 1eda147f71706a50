"""SDKs that come back as other clients: what their last connection left yields to the next, and nothing else does."""

from __future__ import annotations

import itertools

import pytest

from actors.messages.values import Origin, Record, RecordKey, Trail
from actors.records import make_record, read_record
from actors.succession import WITHDRAWN_MAX, going_on, trail_of
from actors.views import Filter, OwnerVerdict, live_winners, merge_instances
from rollbook.model import Instance, InstanceKey
from rollbook.wire import OpenSession
from tests.support.registry import HERE, ORDERS, THERE, WALL_MS, instance

KIN = 7
LOST_MS = 100_000
SDK_MS = 45_000
ONE, TWO = instance(1), instance(2)


def made(
    client: str,
    *instances: Instance,
    connected: int,
    orphaned: int = 0,
    withdrawn: tuple[Instance, ...] = (),
    kin: int = KIN,
    origin: Origin = HERE,
    stamp: int = 1,
) -> Record:
    trail = Trail(kin, connected, orphaned, tuple(each.key for each in withdrawn))
    return make_record(origin, RecordKey(client, ORDERS), connected, 1, stamp, SDK_MS, instances, trail)


def listed(*records: Record, hidden: Filter | None = None) -> list[str]:
    """The clients that count, in whatever order the records have come."""
    found = {
        tuple(sorted(winner.key.client for winner in live_winners([(each,) for each in order], hidden or {})))
        for order in itertools.permutations(records)
    }
    (clients,) = found
    return list(clients)


LEFT = made("old", ONE, connected=10_000, orphaned=LOST_MS)


def test_an_orphan_yields_to_the_next_connection_of_its_application() -> None:
    assert listed(LEFT) == ["old"]
    assert listed(LEFT, made("new", ONE, connected=LOST_MS + 900)) == ["new"]


def test_what_the_successor_has_withdrawn_is_not_listed_for_its_predecessor_either() -> None:
    assert listed(LEFT, made("new", connected=LOST_MS + 900, withdrawn=(ONE,))) == []
    assert listed(LEFT, made("new", TWO, connected=LOST_MS + 900, withdrawn=(ONE,))) == ["new"]


def test_of_a_successor_that_is_lost_in_its_turn_the_whole_chain_is_gone() -> None:
    second = made("second", ONE, connected=LOST_MS + 900, orphaned=LOST_MS + 3_000)
    assert listed(LEFT, second, made("third", connected=LOST_MS + 3_500, withdrawn=(ONE,))) == []


@pytest.mark.parametrize(
    "other",
    [
        made("other", connected=LOST_MS + 900, withdrawn=(ONE,), kin=8),
        made("other", connected=LOST_MS + 900, withdrawn=(TWO,)),
        made("other", connected=LOST_MS + 900),
        made("other", connected=LOST_MS - 2_001, withdrawn=(ONE,)),
        made("other", connected=9_000, withdrawn=(ONE,)),
    ],
    ids=["other application", "other address", "published nothing", "was there before", "is older"],
)
def test_nobody_else_takes_an_orphan_along(other: Record) -> None:
    assert listed(LEFT, other) == ["old"]


def test_who_is_told_to_move_connects_before_it_leaves() -> None:
    assert listed(LEFT, made("new", connected=LOST_MS - 2_000, withdrawn=(ONE,))) == []


def test_what_is_connected_is_never_succeeded_however_dead_its_stream_is() -> None:
    standing = made("old", ONE, connected=10_000)
    assert listed(standing, made("new", connected=LOST_MS, withdrawn=(ONE,))) == ["old"]


def test_of_two_processes_at_one_address_each_orphan_needs_a_successor() -> None:
    other = made("other", ONE, connected=20_000, orphaned=LOST_MS)
    first = made("first", connected=LOST_MS + 900, withdrawn=(ONE,))
    assert listed(LEFT, other, first) == ["other"], "the other one has yet to come back"
    assert listed(LEFT, other, first, made("second", ONE, connected=LOST_MS + 1_000)) == ["second"]


def test_a_batch_is_succeeded_as_a_whole() -> None:
    both = made("old", ONE, TWO, connected=10_000, orphaned=LOST_MS)
    assert listed(both, made("new", ONE, connected=LOST_MS)) == ["new", "old"]
    assert listed(both, made("new", ONE, connected=LOST_MS, withdrawn=(TWO,))) == ["new"]


def test_what_a_silent_owner_has_is_an_orphan_since_it_was_heard_last() -> None:
    there = made("old", ONE, connected=10_000, origin=THERE)
    gone = made("new", connected=LOST_MS, withdrawn=(ONE,))
    assert listed(there, gone) == ["old"]
    assert listed(there, gone, hidden={THERE: OwnerVerdict(15_000, 9)}) == ["old"], "nobody knows since when"
    assert listed(there, gone, hidden={THERE: OwnerVerdict(15_000, 9, LOST_MS - 100)}) == []
    assert listed(there, gone, hidden={THERE: OwnerVerdict(15_000, 9, LOST_MS + 3_000)}) == ["old"]


def test_an_application_that_moves_is_no_conflict_and_two_applications_are() -> None:
    standing = made("old", ONE, connected=10_000)
    assert merge_instances([standing, made("new", ONE, connected=20_000)]).conflicts == ()
    assert merge_instances([standing, made("new", ONE, connected=20_000, kin=8)]).conflicts != ()


def test_a_crowd_at_one_address_costs_no_more_than_its_number() -> None:
    """Quadratic, this would take minutes."""
    lost = [(made(f"a{number:05}", ONE, connected=number, orphaned=LOST_MS),) for number in range(1, 10_001)]
    back = [(made(f"b{number:05}", ONE, connected=LOST_MS + number),) for number in range(1, 10_001)]
    winners = live_winners([*lost, *back], {})
    assert {winner.key.client[0] for winner in winners} == {"b"}


def test_a_trail_says_what_was_published_before_and_no_more_than_so_many() -> None:
    first = Trail(KIN, 5)
    assert going_on(first, None, (ONE,)) == first
    known = made("c", ONE, TWO, connected=5)
    again = going_on(first, known, (ONE,))
    assert again == Trail(KIN, 5, 0, (TWO.key,))
    ended = going_on(again, made("c", ONE, connected=5, withdrawn=(TWO,)), ())
    assert ended.withdrawn == (ONE.key, TWO.key)
    assert going_on(ended, made("c", connected=5, withdrawn=(ONE, TWO)), (TWO,)).withdrawn == (ONE.key,)
    crowd = made("c", *(instance(number) for number in range(1, 200)), connected=5)
    assert len(going_on(first, crowd, ()).withdrawn) == WITHDRAWN_MAX


def test_a_session_that_goes_on_is_no_orphan_any_more() -> None:
    assert going_on(Trail(KIN, 5), made("c", ONE, connected=5, orphaned=9), (ONE,)).orphaned_ms == 0


def test_a_trail_begins_with_who_the_sdk_is_and_when_it_has_connected() -> None:
    order = OpenSession("c", 9, "app", "java", "sdk", "10.0.0.7", WALL_MS - 5)
    first = trail_of(order, "10.0.0.7", WALL_MS)
    assert first is not None
    assert first.connected_ms == WALL_MS - 5
    others = [trail_of(order, "10.0.0.8", WALL_MS)]
    others += [
        trail_of(OpenSession("c", 9, app, agent, "sdk", "", WALL_MS), "10.0.0.7", WALL_MS)
        for app, agent in [("app", "go"), ("", "java"), ("ap", "pjava")]
    ]
    kins = [first.kin, *(other.kin for other in others if other is not None)]
    assert len(set(kins)) == 5


def test_a_gateway_whose_clock_is_ahead_says_nothing_of_the_future() -> None:
    ahead = trail_of(OpenSession("c", 9, kind="sdk", connected_ms=WALL_MS + 60_000), "10.0.0.7", WALL_MS)
    assert ahead is not None
    assert ahead.connected_ms == WALL_MS


def test_only_sessions_of_sdks_have_trails() -> None:
    assert trail_of(OpenSession("c", 9, connected_ms=WALL_MS), "10.0.0.7", WALL_MS) is None
    assert trail_of(OpenSession("c", 9, kind="sdk"), "10.0.0.7", WALL_MS) is None


def test_a_record_of_the_greatest_size_can_still_be_marked() -> None:
    """Nobody could refuse the mark: it is made when the session has ended."""
    full = tuple(Instance("10.0.0.1", number, metadata={"k": "v" * 400}) for number in range(1, 300))
    content = make_record(HERE, RecordKey("c", ORDERS), 1, 1, 1, SDK_MS, full)
    assert len(content.body) > 127 * 1024
    longest = tuple(InstanceKey(f"{number:0128}", number, "c" * 64) for number in range(WITHDRAWN_MAX))
    marked = make_record(HERE, RecordKey("c", ORDERS), 1, 2, 1, SDK_MS, full, Trail(1 << 47, WALL_MS, WALL_MS, longest))
    assert read_record(HERE, marked.body) == marked
