"""VerifyTimer: one beat at once, then one per interval, whatever happens to the reminders."""

from __future__ import annotations

import random

from actors.base import Effect, NodeIdentity, Now, Remind, Role, Tell
from actors.messages.io import Beat
from actors.messages.verify import VerifyDue
from actors.verify_timer import VerifySettings, VerifyTimer
from tests.support.settings import settings_of


def timer() -> VerifyTimer:
    identity = NodeIdentity("a", 1, "test", "a:8851", "a:8850", 256)
    return VerifyTimer(identity, settings_of("verify", VerifySettings), random.Random(1))


def beat(number: int, next_in_ms: int) -> list[Effect]:
    return [Tell(Role.IO, Beat(number)), Remind(next_in_ms, VerifyDue(number + 1))]


def test_the_first_beat_leaves_at_once_through_the_io_thread() -> None:
    assert timer().start(Now(500, 0)) == beat(1, 1_000)


def test_every_reminder_is_the_next_beat() -> None:
    actor = timer()
    actor.start(Now(0, 0))
    assert actor.handle(VerifyDue(2), Now(1_000, 0)) == beat(2, 1_000)
    assert actor.handle(VerifyDue(3), Now(2_000, 0)) == beat(3, 1_000)


def test_late_reminders_do_not_add_up() -> None:
    actor = timer()
    actor.start(Now(0, 0))
    assert actor.handle(VerifyDue(2), Now(1_030, 0)) == beat(2, 970)


def test_beats_that_a_pause_swallowed_are_not_made_up_for() -> None:
    actor = timer()
    actor.start(Now(0, 0))
    assert actor.handle(VerifyDue(2), Now(41_000, 0)) == beat(2, 1_000)


def test_an_old_reminder_starts_no_second_rhythm() -> None:
    actor = timer()
    actor.start(Now(0, 0))
    actor.handle(VerifyDue(2), Now(1_000, 0))
    assert actor.handle(VerifyDue(2), Now(1_001, 0)) == []
    actor.check_invariants()
