"""What does not wait for the next beat of MemberManager. Each thing is put off once, however often it is asked for.

What has just changed is worth more than the rhythm, but news comes in bursts. So what it calls for is done once for all
that comes meanwhile: a beat out of rhythm, a look whether this node has caught up, a review of a large cluster.
"""

from __future__ import annotations

import msgspec

from actors.base import Effect, Remind, Role, Tell
from actors.messages.io import Beat

REVIEW_DELAY_MS = 50
GREET_DELAY_MS = 150
CATCH_UP_LOOK_MS = 200  # a pull takes less; the next beat in rhythm may be a second away


class CatchUpDue(msgspec.Struct, frozen=True):
    """By now this node may have caught up with one that was hidden."""


class GreetDue(msgspec.Struct, frozen=True):
    """By now the other side of this link has found it usable too, and reviewed whom it can reach."""

    link: str


class ReviewDue(msgspec.Struct, frozen=True):
    """In a large cluster: what has come since may have changed whom this node can reach."""


HasteDue = CatchUpDue | GreetDue | ReviewDue


class Haste:
    def __init__(self) -> None:
        self._is_beat_asked = False  # a beat out of rhythm is on its way
        self._is_look_due = False
        self._is_review_due = False

    def beat_now(self) -> list[Effect]:
        """A fresh cluster waits for digests. It is a whole beat, because a digest of the last one could be a second
        old, and who loads must not take it for the present."""
        if self._is_beat_asked:
            return []
        self._is_beat_asked = True
        return [Tell(Role.IO, Beat(0))]

    def beat_came(self) -> None:
        """In rhythm or not: it says all that there was to say."""
        self._is_beat_asked = False

    def look_soon(self) -> list[Effect]:
        """What is held here is only known at a beat, and a live owner should not stay hidden until the next."""
        if self._is_look_due:
            return []
        self._is_look_due = True
        return [Remind(CATCH_UP_LOOK_MS, CatchUpDue())]

    def look_came(self) -> None:
        self._is_look_due = False

    def review_soon(self) -> list[Effect]:
        """In a large cluster a review looks at every member."""
        if self._is_review_due:
            return []
        self._is_review_due = True
        return [Remind(REVIEW_DELAY_MS, ReviewDue())]

    def review_came(self) -> None:
        self._is_review_due = False

    def greet_soon(self, link: str) -> list[Effect]:
        """Who was out of hearing is told what it missed, as soon as it listens."""
        return [Remind(GREET_DELAY_MS, GreetDue(link))]
