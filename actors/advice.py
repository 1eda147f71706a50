"""What sessions are told, in steps: a burst of moves would only shift the load. Three tables of ConnectionManager."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from typing import Literal

import msgspec

from actors.messages.io import ClientFrame
from actors.messages.values import Route
from rollbook.codec import pack
from rollbook.wire import MoveAdvised, ServersListed, Tag, encode

Reason = Literal["leaving", "isolated", "rebalance"]
Target = tuple[Route, tuple[str, ...]]  # whither a session is to move; no server: to any that the node knows


class AdviceUnderWay:
    """One piece of advice at a time; a new one takes the place of what is left of the last."""

    def __init__(self, step_max: int) -> None:
        self.number = 0  # reminders of earlier ones are void
        self.reason: Reason = "isolated"
        self._step_max = step_max
        self._waiting: deque[Target] = deque()

    @property
    def is_under_way(self) -> bool:
        return bool(self._waiting)

    def begin(self, reason: Reason, targets: Iterable[Target]) -> None:
        self.number += 1
        self.reason = reason
        self._waiting = deque(targets)

    def call_off(self) -> None:
        self.number += 1
        self._waiting.clear()

    def step(self, sessions: Container[Route], servers: tuple[str, ...]) -> tuple[ClientFrame, ...]:
        """The next frames. Who has gone meanwhile is passed over."""
        bodies: dict[tuple[str, ...], msgspec.Raw] = {}
        frames: list[ClientFrame] = []
        while self._waiting and len(frames) < self._step_max:
            route, target = self._waiting.popleft()
            if route not in sessions:
                continue
            body = bodies.get(target)
            if body is None:
                body = bodies[target] = msgspec.Raw(pack(MoveAdvised(self.reason, target or servers)))
            frames.append(ClientFrame(route, encode(Tag.MOVE_ADVISED, 0, route.session, body)))
        return tuple(frames)


class ServerNews:
    """Which sessions have yet to hear that members have addresses that they were not told when they were opened.

    That one is gone is no news: to try it costs a client a moment, and a member that moves is away before it is met.
    """

    def __init__(self, own: str, step_max: int) -> None:
        self._step_max = step_max
        self._own = own
        self._servers = frozenset((own,))
        self._waiting: deque[Route] = deque()

    @property
    def is_under_way(self) -> bool:
        return bool(self._waiting)

    def list(self, servers: tuple[str, ...], sessions: Iterable[Route]) -> None:
        """If one is new, whoever has a session is to be told. Their order, by how they fare, is no news either."""
        before, self._servers = self._servers, frozenset((self._own, *servers))
        if not self._servers <= before:
            self._waiting = deque(sessions)

    def step(self, sessions: Container[Route], servers: tuple[str, ...]) -> tuple[ClientFrame, ...]:
        """The next frames, with the newest list. Who has gone meanwhile is passed over."""
        body = msgspec.Raw(pack(ServersListed((self._own, *servers))))
        frames: list[ClientFrame] = []
        while self._waiting and len(frames) < self._step_max:
            route = self._waiting.popleft()
            if route in sessions:
                frames.append(ClientFrame(route, encode(Tag.SERVERS, 0, route.session, body)))
        return tuple(frames)


class AdvicesGiven:
    """Which sessions were advised within ``memory_ms``. Of open sessions only, so there are never more of them."""

    def __init__(self, memory_ms: int) -> None:
        self._memory_ms = memory_ms
        self._given_ms: dict[Route, int] = {}  # in order of time

    def __contains__(self, route: Route) -> bool:
        return route in self._given_ms

    def note(self, routes: Iterable[Route], now_ms: int) -> None:
        self._given_ms.update((route, now_ms) for route in routes)

    def forget(self, route: Route) -> None:
        self._given_ms.pop(route, None)

    def forget_old(self, now_ms: int) -> None:
        while self._given_ms:
            route, given_ms = next(iter(self._given_ms.items()))
            if now_ms - given_ms < self._memory_ms:
                return
            del self._given_ms[route]

    def check_invariants(self, sessions: Container[Route]) -> None:
        assert all(route in sessions for route in self._given_ms), "advice to a session that has gone is remembered"
        given_ms = list(self._given_ms.values())
        assert given_ms == sorted(given_ms), "the oldest advice comes first"
