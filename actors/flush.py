"""A node that leaves waits until its peers have what its clients changed last, and not longer than it was told to."""

from __future__ import annotations

from actors.base import Effect, Role, Tell
from actors.messages.members import Flushed


class Flush:
    """Whether MemberManager waits for that, and until when; it is answered once."""

    def __init__(self) -> None:
        self._deadline_ms: int | None = None

    def order(self, deadline_ms: int) -> None:
        self._deadline_ms = deadline_ms

    def deadlines(self) -> list[int]:
        """Empty if nobody waits."""
        return [] if self._deadline_ms is None else [self._deadline_ms]

    def expire(self, now_ms: int) -> list[Effect]:
        return self.end() if self._deadline_ms is not None and self._deadline_ms <= now_ms else []

    def end(self) -> list[Effect]:
        self._deadline_ms = None
        return [Tell(Role.MEMBERS, Flushed())]
