"""Advice of a node to move elsewhere: whether to follow it, and which servers are left to try.

At most three pieces of advice in a row are followed, so that nodes of different opinion cannot keep a client on the
road; and for the sake of balance a client moves once in five minutes, for the node that it came to does not know that
it has just moved.
"""

from __future__ import annotations

from collections.abc import Iterable

from rollbook.orders import Chance
from rollbook.patience import SessionSettings
from rollbook.servers import is_server
from rollbook.wire import MoveAdvised


class Moves:
    """At most one move is under way."""

    def __init__(self, chance: Chance, settings: SessionSettings) -> None:
        self.reason = ""  # empty: no move is under way
        self._chance = chance
        self._settings = settings
        self._redirects = 0
        self._redirected_ms = 0
        self._rebalance_from_ms = 0
        self._servers: list[str] = []

    def follow(self, advice: MoveAdvised, leaving: str, known: Iterable[str], now_ms: int) -> bool:
        """Start a move away from the server ``leaving``; False if there was too much advice lately."""
        if now_ms - self._redirected_ms > self._settings.redirect_memory_ms:
            self._redirects = 0
        is_rebalance = advice.reason == "rebalance"
        if self._redirects >= self._settings.redirects_max or (is_rebalance and now_ms < self._rebalance_from_ms):
            return False
        self._redirects += 1
        self._redirected_ms = now_ms
        if is_rebalance:
            self._rebalance_from_ms = now_ms + self._settings.rebalance_memory_ms
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
        """Away from a node that goes on serving, only a node of the majority is a step forward."""
        return self.reason not in ("isolated", "rebalance") or majority

    def end(self) -> None:
        self.reason = ""
        self._servers = []
