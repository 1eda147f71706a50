"""Clients as the checks see them: whether they live, which session serves them, which nodes they reach since when."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.support.history import ViewSeen
from tests.support.reach import Reach

SESSIONS_KEPT = 4  # an owner may still hold what an earlier session published; and one that is out of reach does


class Serving(NamedTuple):
    """One session, and the life of the node that opened it."""

    node: str
    session: int
    life: int
    since_ms: int


class Party:
    def __init__(self, client: str) -> None:
        self.client = client
        self.alive = True
        self.still = False
        self.blocked = False
        self.blocked_ms = 0  # since when, if it is
        self.went_on_ms = 0  # when it last did, after it stood still or was blocked
        self.resumed_ms = 0  # when it last did after it stood still
        self.serving: Serving | None = None
        self.sessions: list[Serving] = []
        self.reached_since_ms: dict[str, int] = {}  # per node, without a break
        self.subscribed: dict[str, int] = {}  # since when
        self.told: dict[str, ViewSeen] = {}  # the newest list of each service that it was told
        self.asked: dict[int, int] = {}  # queries without an answer: when they were sent
        self._reached = 0

    def serve(self, serving: Serving | None, knows: Callable[[Serving], bool]) -> None:
        """``knows``: whether who opened an older session can have heard of this one, or is no more."""
        self.serving = serving
        if serving is not None:
            sessions = [*self.sessions, serving]
            old, new = sessions[:-SESSIONS_KEPT], sessions[-SESSIONS_KEPT:]
            self.sessions = [each for each in old if not knows(each)] + new

    def lives_of(self, session: int) -> list[int]:
        """Of the node that opened this session, if that is still known: what it said may be read in its next life."""
        return [serving.life for serving in self.sessions if serving.session == session]

    def note_reach(self, reach: Reach, lives: dict[str, int], at_ms: int) -> None:
        """Something changed that matters to whom it reaches: its session, its process, or the paths of nodes."""
        reached = self._reaches(reach, lives)
        if reached == self._reached:
            return
        for node in reach.named(self._reached & ~reached):
            del self.reached_since_ms[node]
        for node in reach.named(reached & ~self._reached):
            self.reached_since_ms[node] = at_ms
        self._reached = reached

    def _reaches(self, reach: Reach, lives: dict[str, int]) -> int:
        """Every node in the group of the node that serves it."""
        serving = self.serving
        if serving is None or not self.alive or self.still or lives[serving.node] != serving.life:
            return 0
        broken_ms = max(self.resumed_ms, reach.stands_since_ms(self.client, serving.node))
        if self.blocked and broken_ms > serving.since_ms:
            return 0  # its connection may have broken meanwhile, and it cannot say so
        if self.blocked and reach.went_on_ms[serving.node] > self.blocked_ms:
            return 0  # the node stood still meanwhile, and the connection was given up by either side
        return reach.groups[serving.node] if reach.is_open(self.client, serving.node) else 0
