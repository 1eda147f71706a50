"""What a session that has moved leaves behind, and a stall of its node meanwhile."""

from __future__ import annotations

from actors.base import Effects, Remind
from actors.client_manager import ClientManager
from actors.messages.clients import BeatPassed, ReleaseSession
from actors.messages.connections import StandingChanged
from actors.messages.index import RecordsChanged
from actors.messages.members import DigestsTaken
from actors.messages.values import Standing
from rollbook.wire import Withdraw
from tests.support.client_manager_bench import ONE, SERVICE, TWO, copied, manager, now, opened, ordered, publish, told


def moved(here: ClientManager) -> Remind:
    """c1 has published here and gone elsewhere; then this node stands still for 40 s."""
    route = opened(here, "c1", 10)
    ordered(here, route, publish(ONE))
    (reminder,) = [e for e in here.handle(ReleaseSession(route, "moved"), now()) if isinstance(e, Remind)]
    here.handle(BeatPassed(1), now(1_000))
    return reminder


def preserves(here: ClientManager, preserved: bool, ms: int) -> Effects:
    """From now on; it has not stood still."""
    here.handle(BeatPassed(2), now(ms))
    return here.handle(StandingChanged(Standing(preserved=preserved)), now(ms))


def graced(here: ClientManager, reminder: Remind) -> Effects:
    """It goes on beating, until the grace has ended."""
    for ms in range(3_000, 16_000, 1_000):
        here.handle(BeatPassed(3), now(ms))
    return here.handle(reminder.message, now(16_000))


def beaten(here: ClientManager, ms: int) -> DigestsTaken:
    (taken,) = told(here.handle(BeatPassed(3), now(ms)), DigestsTaken)
    here.check_invariants()
    return taken


def settled(here: ClientManager) -> list[DigestsTaken]:
    beats = [told(here.handle(BeatPassed(2), now(ms)), DigestsTaken)[0] for ms in (41_100, 42_500, 44_000, 45_000)]
    here.check_invariants()
    return beats


def test_it_stays_a_while_longer_if_its_grace_ends_in_the_stall_and_the_newer_session_has_it() -> None:
    here, there = manager("n1"), manager("n2", 6)
    reminder = moved(here)
    (again,) = here.handle(reminder.message, now(41_000))
    assert again == Remind(here.settings.stall_settle_ms, reminder.message)
    ordered(there, opened(there, "c1", 11, ms=20_000), publish(ONE), ms=20_000)
    copied(there, here, ms=41_050)
    settled(here)
    assert here.native.live == 1
    effects = here.handle(reminder.message, now(45_200))
    assert [record.is_tombstone for record in told(effects, RecordsChanged)[0].records] == [True]


def test_it_goes_before_the_node_is_heard_again_if_the_newer_session_has_it_no_more() -> None:
    here = manager("n1")
    moved(here)
    assert [(taken.proves_life, taken.entries[0].records) for taken in settled(here)] == [
        (False, 1),
        (False, 1),
        (False, 1),
        (False, 0),
    ], "it would be shown again, though it was withdrawn and the removal is forgotten elsewhere"


def test_it_goes_too_if_the_newer_session_has_withdrawn_it() -> None:
    here, there = manager("n1"), manager("n2", 6)
    moved(here)
    route = opened(there, "c1", 11, ms=20_000)
    ordered(there, route, publish(ONE), ms=20_000)
    ordered(there, route, Withdraw(SERVICE), ms=20_100)
    copied(there, here, ms=41_050)
    settled(here)
    assert here.native.live == 0


def test_a_node_that_preserves_keeps_it_beyond_its_grace_and_removes_it_when_that_ends() -> None:
    here = manager("n1")
    reminder = moved(here)
    preserves(here, True, 2_000)
    assert graced(here, reminder) == []
    assert here.native.live == 1
    assert beaten(here, 16_500).is_uncertain, "it may have been withdrawn where nobody is heard"
    effects = preserves(here, False, 16_600)
    assert [record.is_tombstone for record in told(effects, RecordsChanged)[0].records] == [True], "not a beat later"
    taken = beaten(here, 17_500)
    assert (taken.entries[0].records, taken.proves_life, taken.is_uncertain) == (0, True, False)


def test_if_it_stands_still_as_preserving_ends_it_goes_when_the_node_has_settled() -> None:
    here = manager("n1")
    reminder = moved(here)
    preserves(here, True, 2_000)
    graced(here, reminder)
    assert here.handle(StandingChanged(Standing(preserved=False)), now(41_000)) == []
    assert [taken.entries[0].records for taken in settled(here)] == [1, 1, 1, 0]


def test_it_goes_at_the_end_of_its_grace_though_the_node_preserves_if_a_newer_session_has_said_something() -> None:
    for said in ((), (Withdraw(SERVICE),)):
        here, there = manager("n1"), manager("n2", 6)
        reminder = moved(here)
        preserves(here, True, 2_000)
        ordered(there, opened(there, "c1", 11, ms=3_000), publish(ONE), *said, ms=3_000)
        copied(there, here, ms=3_100)
        effects = graced(here, reminder)
        assert [record.is_tombstone for record in told(effects, RecordsChanged)[0].records] == [True]


def test_what_is_open_or_has_its_grace_yet_is_not_overdue() -> None:
    here = manager("n1")
    reminder = moved(here)
    preserves(here, True, 2_000)
    graced(here, reminder)
    routes = [opened(here, client, 20, link, ms=16_100) for client, link in (("c2", b"l2"), ("c3", b"l3"))]
    for route in routes:
        ordered(here, route, publish(TWO), ms=16_100)
    here.handle(ReleaseSession(routes[0], "moved"), now(16_200))
    preserves(here, False, 16_600)
    assert beaten(here, 17_000).entries[0].records == 2


def test_a_stall_of_a_node_that_preserves_removes_nothing_of_it() -> None:
    here = manager("n1")
    moved(here)
    preserves(here, True, 2_000)
    assert [taken.entries[0].records for taken in settled(here)] == [1, 1, 1, 1]
