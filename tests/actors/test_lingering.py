"""What a session that has moved leaves behind, and a stall of its node meanwhile."""

from __future__ import annotations

from actors.base import Remind
from actors.client_manager import ClientManager
from actors.messages.clients import BeatPassed, ReleaseSession
from actors.messages.index import RecordsChanged
from actors.messages.members import DigestsTaken
from rollbook.wire import Withdraw
from tests.support.client_manager_bench import ONE, SERVICE, copied, manager, now, opened, ordered, publish, told


def moved(here: ClientManager) -> Remind:
    """c1 has published here and gone elsewhere; then this node stands still for 40 s."""
    route = opened(here, "c1", 10)
    ordered(here, route, publish(ONE))
    (reminder,) = [e for e in here.handle(ReleaseSession(route, "moved"), now()) if isinstance(e, Remind)]
    here.handle(BeatPassed(1), now(1_000))
    return reminder


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
