"""Advice of a node to move elsewhere: whether to follow it, and which servers are left to try.

At most three pieces of advice in a row are followed, so that nodes of different opinion cannot keep a client on the
road.
"""

from __future__ import annotations

from collections.abc import Iterable

from rollbook.orders import Chance
from rollbook.servers import is_server
from rollbook.wire import MoveAdvised


class Moves:
    """At most one move is under way."""

    def __init__(self, chance: Chance, redirects_max: int, redirect_memory_ms: int) -> None:
        self.reason = ""  # empty: no move is under way
        self._chance = chance
        self._redirects_max = redirects_max
        self._redirect_memory_ms = redirect_memory_ms
        self._redirects = 0
        self._redirected_ms = 0
        self._servers: list[str] = []

    def follow(self, advice: MoveAdvised, leaving: str, known: Iterable[str], now_ms: int) -> bool:
        """Start a move away from the server ``leaving``; False if there was too much advice lately."""
        if now_ms - self._redirected_ms > self._redirect_memory_ms:
            self._redirects = 0
        if self._redirects >= self._redirects_max:
            return False
        self._redirects += 1
        self._redirected_ms = now_ms
        self.reason = advice.reason
        self._servers = [server for server in advice.servers or known if is_server(server) and server != leaving]
        self._chance.shuffle(self._servers)  # A node advises many at once: they must not all go to the first.
        return True

    def next(self) -> str | None:
        """Where to try; None ends the move, and the client stays."""
        if self._servers:
            return self._servers.pop()
        self.end()
        return None

    def accepts(self, *, majority: bool) -> bool:
        """From an isolated node only a node of the majority is a step forward."""
        return self.reason != "isolated" or majority

    def end(self) -> None:
        self.reason = ""
        self._servers = []
