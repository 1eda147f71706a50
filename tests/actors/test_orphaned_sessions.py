"""What a session behind a gateway leaves behind when the gateway is lost: its client may live, and redoes when it
pleases."""

from __future__ import annotations

from typing import Literal

import pytest

from actors.base import Effects, Remind
from actors.client_manager import ClientManager
from actors.messages.clients import BeatPassed, OpenSessionOrdered, OrdersReceived, ReleaseSession
from actors.messages.connections import SessionDiscarded
from actors.messages.index import RecordsChanged, SubscribersReleased
from actors.messages.values import Order, Record, Route, Standing, Trail
from actors.views import live_winners
from rollbook.wire import Withdraw
from tests.support.client_manager_bench import ONE, SERVICE, TWO, copied, manager, now, opened, ordered, publish, told

GRACE_MS = 45_000
TRAIL = Trail(7, 500)


def lost(here: ClientManager, how: Literal["leave", "lost", "moved"] = "lost") -> Effects:
    """An SDK has published here; then its gateway is gone."""
    route = opened(here, "sdk-1", 10, kind="sdk")
    ordered(here, route, publish(ONE))
    effects = here.handle(ReleaseSession(route, how), now())
    here.check_invariants()
    return effects


def grace_of(effects: Effects) -> Remind:
    (reminder,) = [effect for effect in effects if isinstance(effect, Remind)]
    return reminder


def beaten(here: ClientManager, *times_ms: int) -> None:
    for ms in times_ms:
        here.handle(BeatPassed(1), now(ms))
        here.check_invariants()


def removed(effects: Effects) -> list[bool]:
    return [record.is_tombstone for changed in told(effects, RecordsChanged) for record in changed.records]


def marks(effects: Effects) -> list[tuple[str, int, int]]:
    """Of new versions: client, stamp, and since when it is an orphan."""
    records = [record for changed in told(effects, RecordsChanged) for record in changed.records]
    return [(record.key.client, record.stamp, record.trail.orphaned_ms) for record in records if record.trail]


def test_its_record_carries_the_grace_of_its_kind() -> None:
    here = manager()
    changed, _ = ordered(here, opened(here, "sdk-1", 10, kind="sdk"), publish(ONE))
    assert [record.grace_ms for record in changed.records] == [GRACE_MS]


def test_it_stays_for_its_grace_when_the_gateway_is_lost_and_then_goes() -> None:
    here = manager()
    effects = lost(here)
    assert told(effects, SubscribersReleased), "nobody reads there any more"
    assert removed(effects) == []
    reminder = grace_of(effects)
    assert reminder.delay_ms == GRACE_MS
    assert removed(here.handle(reminder.message, now(1_000 + GRACE_MS))) == [True]


def test_it_goes_at_once_when_its_client_says_goodbye() -> None:
    assert removed(lost(manager(), "leave")) == [True]


def test_a_newer_session_takes_over_without_a_gap_and_the_end_of_the_grace_takes_nothing_from_it() -> None:
    here = manager()
    reminder = grace_of(lost(here))
    changed, _ = ordered(here, opened(here, "sdk-1", 11, b"l2", 20_000, "sdk"), publish(ONE), ms=20_000)
    assert [(record.session, record.is_tombstone) for record in changed.records] == [(11, False)]
    assert removed(here.handle(reminder.message, now(1_000 + GRACE_MS))) == []


def test_a_newer_session_elsewhere_takes_over_too() -> None:
    here, there = manager("n1"), manager("n2", 6)
    reminder = grace_of(lost(here))
    ordered(there, opened(there, "sdk-1", 11, kind="sdk", ms=20_000), publish(ONE), ms=20_000)
    copied(there, here, ms=20_100)
    assert removed(here.handle(reminder.message, now(1_000 + GRACE_MS))) == [True], "the older one, which is hidden"
    assert there.native.live == 1


def test_a_stall_of_the_node_in_which_the_gateway_goes_removes_nothing() -> None:
    here = manager()
    route = opened(here, "sdk-1", 10, kind="sdk")
    ordered(here, route, publish(ONE))
    beaten(here, 1_000)
    here.handle(ReleaseSession(route, "lost"), now(20_000))
    beaten(here, 20_100, 21_500, 23_000, 24_000)
    assert here.native.live == 1, "its client redoes up to 30 s later"


@pytest.mark.parametrize(("stalled_until_ms", "live"), [(30_000, 1), (60_000, 0)])
def test_what_a_stall_finds_is_removed_only_if_its_grace_is_over(stalled_until_ms: int, live: int) -> None:
    here = manager()
    beaten(here, 900)
    lost(here)
    beaten(here, *(stalled_until_ms + ms for ms in (0, 1_500, 3_000, 4_000)))
    assert here.native.live == live


def test_an_order_that_fails_costs_the_session_and_not_what_its_client_publishes() -> None:
    here = manager()
    route = opened(here, "sdk-1", 10, kind="sdk")
    ordered(here, route, publish(ONE))
    effects = here.handle(OrdersReceived((Order(route, 2, object()),)), now())
    assert told(effects, SessionDiscarded) == [SessionDiscarded(Route(b"l1", 10))]
    assert here.sessions.published("sdk-1") == [SERVICE]


@pytest.mark.parametrize("how", ["lost", "moved"])
def test_every_node_is_told_that_it_is_an_orphan_and_nothing_else_of_it_changes(how: Literal["lost", "moved"]) -> None:
    here = manager()
    route = opened(here, "sdk-1", 10, kind="sdk", trail=TRAIL)
    changed, _ = ordered(here, route, publish(ONE))
    (before,) = changed.records
    (after,) = told(here.handle(ReleaseSession(route, how), now(2_000)), RecordsChanged)[0].records
    assert (after.session, after.stamp, after.instances, after.seq) == (10, before.stamp, before.instances, 2)
    assert after.trail == Trail(7, 500, now(2_000).wall_ms)
    here.check_invariants()


def test_a_goodbye_says_what_it_has_taken_away() -> None:
    here = manager()
    route = opened(here, "sdk-1", 10, kind="sdk", trail=TRAIL)
    ordered(here, route, publish(ONE), Withdraw(SERVICE), publish(TWO))
    (ended,) = told(here.handle(ReleaseSession(route, "leave"), now(2_000)), RecordsChanged)[0].records
    assert ended.is_tombstone
    assert ended.trail == Trail(7, 500, 0, (TWO.key, ONE.key))


def test_a_session_that_a_newer_one_of_its_client_has_ended_is_no_orphan() -> None:
    here = manager()
    ordered(here, opened(here, "sdk-1", 10, kind="sdk", trail=TRAIL), publish(ONE))
    route = Route(b"l2", 11)
    order = OpenSessionOrdered(route, 1, "sdk-1", GRACE_MS, Standing(ready=True), "sdk", trail=TRAIL)
    assert marks(here.handle(order, now(2_000))) == []
    changed, _ = ordered(here, route, publish(ONE))
    assert [record.trail for record in changed.records] == [TRAIL]


def test_native_sessions_are_never_marked() -> None:
    here = manager()
    route = opened(here, "c1", 10)
    ordered(here, route, publish(ONE))
    assert told(here.handle(ReleaseSession(route, "moved"), now(2_000)), RecordsChanged) == []


def listed(*nodes: ClientManager) -> list[str]:
    """By what all these hold: whose publications count."""
    held: dict[str, list[Record]] = {}
    for node in nodes:
        for table in node.tables.values():
            for record in table.records.values():
                held.setdefault(record.key.client, []).append(record)
    return [winner.key.client for winner in live_winners([tuple(records) for records in held.values()], {})]


def test_who_comes_back_elsewhere_and_withdraws_before_anybody_knows_of_the_loss_takes_both_away() -> None:
    here, there = manager("n1"), manager("n2", 6)
    route = opened(here, "old", 10, kind="sdk", trail=TRAIL)
    ordered(here, route, publish(ONE))
    copied(here, there)
    connected_ms = now(5_000).wall_ms
    again = opened(there, "new", 11, kind="sdk", ms=5_000, trail=Trail(7, connected_ms))
    ordered(there, again, publish(ONE), ms=5_000)
    assert sorted(listed(there)) == ["new", "old"]
    ordered(there, again, Withdraw(SERVICE), ms=5_010)
    assert listed(there) == ["old"], "for all that is known here it is connected"
    here.handle(ReleaseSession(route, "lost"), now(5_300))
    copied(here, there, ms=5_310)
    assert listed(there) == []
    copied(there, here, ms=5_320)
    assert listed(here) == []
