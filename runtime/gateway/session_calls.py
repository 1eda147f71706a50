"""Who waits for answers in one session of a gateway, and until when. What becomes of a call is the agenda's to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rollbook.errors import RollbookError


class SessionCalls:
    """Every method is called on the loop. One timer for all calls: most are answered long before."""

    def __init__(self, now_ms: Callable[[], int], on_expiry: Callable[[], None]) -> None:
        self._now_ms = now_ms
        self._on_expiry = on_expiry
        self._loop = asyncio.get_running_loop()
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._taken = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0

    def take(self) -> tuple[int, asyncio.Future[Any]]:
        """The number of a new call, and what its caller is to wait for."""
        self._taken += 1
        future = self._futures[self._taken] = self._loop.create_future()
        return self._taken, future

    def resolve(self, call: int, value: Any) -> None:
        future = self._futures.pop(call)
        if not future.done():  # its caller may have given up
            future.set_result(value)

    def reject(self, call: int, error: RollbookError) -> None:
        future = self._futures.pop(call)
        if not future.done():
            future.set_exception(error)

    def expire_by(self, deadline_ms: int) -> None:
        """``on_expiry`` is called then, or before for an earlier one."""
        if self._timer is not None:
            if self._timer_ms <= deadline_ms:
                return
            self._timer.cancel()
        self._timer_ms = deadline_ms
        self._timer = self._loop.call_later((deadline_ms + 1 - self._now_ms()) / 1000, self._expire)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._timer = None
        self._on_expiry()
