"""Frames to gateways for which ZeroMQ's queue had no room: kept in order, and sent when there is room again.

That queue is short (sockets.py), for every stranger may have one and read nothing. One connection of a gateway carries
thousands of sessions, and a push to all of them leaves at once. Here all connections share one room; what finds no
place in it is lost, as it would be without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from runtime.router_port import Sending

RETRY_MS, RETRY_MS_MAX = 1, 100  # doubled while nobody reads; a queue of ZeroMQ is sent in a few milliseconds


class UnsentFrames:
    """``send`` hands one message to the socket and says what became of it."""

    def __init__(self, send: Callable[[list[bytes]], Sending], bytes_max: int) -> None:
        self._send = send
        self._bytes_max = bytes_max
        self._bytes = 0
        self._waiting: dict[bytes, deque[list[bytes]]] = {}  # by link
        self._retry_ms = RETRY_MS
        self._due_ms = 0

    def __contains__(self, link: object) -> bool:
        return link in self._waiting

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def keep(self, parts: list[bytes], now_ms: int) -> bool:
        """False if there is no room."""
        size = sum(map(len, parts))
        if self._bytes + size > self._bytes_max:
            return False
        if not self._waiting:
            self._retry_ms, self._due_ms = RETRY_MS, now_ms + RETRY_MS
        self._bytes += size
        self._waiting.setdefault(parts[0], deque()).append(parts)
        return True

    def forget(self, link: bytes) -> None:
        """It is gone."""
        for parts in self._waiting.pop(link, ()):
            self._bytes -= sum(map(len, parts))

    def send_some(self, now_ms: int) -> None:
        """As many as there is room for. Call it when ``due_ms`` has come."""
        has_sent = False
        for link, waiting in list(self._waiting.items()):
            while waiting:
                sending = self._send(waiting[0])
                if sending is Sending.UNREAD:
                    break
                self._bytes -= sum(map(len, waiting.popleft()))
                has_sent = True
            if not waiting:
                del self._waiting[link]
        self._retry_ms = RETRY_MS if has_sent else min(RETRY_MS_MAX, 2 * self._retry_ms)
        self._due_ms = now_ms + self._retry_ms

    def due_ms(self) -> int | None:
        """When to try again; None if nothing waits."""
        return self._due_ms if self._waiting else None
