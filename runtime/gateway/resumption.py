"""Whether the node has everything again that sessions published before the connection to it was lost.

Until then a list that is shorter than the last one may only be early: a node that restarts alone knows nothing but what
sessions redo, one after the other. It is waited for only so long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable


class Resumption:
    """``on_done`` is called whenever a loss has been made good."""

    def __init__(self, limit_ms: int, on_done: Callable[[], None]) -> None:
        self._limit_seconds = limit_ms / 1000
        self._on_done = on_done
        self._loop = asyncio.get_running_loop()
        self._missing: dict[object, None] = {}
        self._done = asyncio.Event()
        self._done.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    async def wait(self, timeout_ms: int) -> None:
        """Whoever has waited for so long goes on all the same."""
        if self.is_done:
            return
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._done.wait()
        except TimeoutError:
            return

    def begin(self, sessions: Iterable[object]) -> None:
        """The connection is lost, and these were open."""
        self._missing |= dict.fromkeys(sessions)
        self._done.clear()
        self._stop_timer()

    def met(self) -> None:
        """The node is there again."""
        if self.is_done:
            return
        self._stop_timer()
        self._timer = self._loop.call_later(self._limit_seconds, self._end)
        self._look()

    def redone(self, session: object) -> None:
        """The node has what this one wants; or it is over."""
        self._missing.pop(session, None)
        self._look()

    def stop(self) -> None:
        self._stop_timer()

    def _look(self) -> None:
        if self._timer is not None and not self._missing:
            self._end()

    def _end(self) -> None:
        self._stop_timer()
        self._missing.clear()
        self._done.set()
        self._on_done()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
