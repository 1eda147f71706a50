"""Session numbers of one client: each higher than all before it, also those of its earlier processes."""

from __future__ import annotations

from collections import deque

from rollbook.errors import Code
from rollbook.wire import Failed, SessionEnded

OWN_MAX = 64  # remembered; a node that still speaks of an older one is behind by hours

SUPERSEDED = frozenset({Code.SESSION_SUPERSEDED, Code.CLIENT_ID_IN_USE, Code.SESSION_STALE})


class SessionNumbers:
    """Takes numbers, and tells this client's newer session from a stranger's."""

    def __init__(self) -> None:
        self._last = 0
        self._own: deque[int] = deque(maxlen=OWN_MAX)

    def take(self, wall_ms: int) -> int:
        self._last = max(self._last + 1, wall_ms)
        self._own.append(self._last)
        return self._last

    def learn(self, highest: int) -> None:
        """A node knows of this number: the next one lies above."""
        self._last = max(self._last, highest)

    def is_stranger(self, ended: SessionEnded | Failed) -> bool:
        """Whether the session was ended in favour of one that this client did not open."""
        if ended.code not in SUPERSEDED:
            return False
        if ended.session == 0:
            return ended.code == Code.CLIENT_ID_IN_USE
        return ended.session not in self._own
