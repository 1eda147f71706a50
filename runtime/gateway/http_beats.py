"""Beats of HTTP clients, gathered for a few milliseconds and sent to the node in one order.

A beat costs the node a third in a crowd of what it costs alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec

from rollbook.errors import ClusterUnreachable, Refused, RollbookError
from rollbook.http_clients import BEATS_PER_ORDER_MAX, Beaten, BeatOutcome, Beats, HttpBeat
from runtime.gateway.http_views import AsksNode

BATCH_BYTES_MAX = 192 * 1024  # three quarters of a frame


class BeatAnswer(NamedTuple):
    """``is_isolated``: it counts, but this client should beat at another server too."""

    outcome: BeatOutcome
    is_isolated: bool


class _Waiting(NamedTuple):
    beat: HttpBeat
    future: asyncio.Future[BeatAnswer]


class BeatGatherer:
    """Every method is called on the loop."""

    def __init__(self, node: AsksNode, gather_ms: int, waiting_max: int) -> None:
        self._node = node
        self._gather_ms = gather_ms
        self._waiting_max = waiting_max
        self._gathered: list[_Waiting] = []
        self._gathered_bytes = 0
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._orders: set[asyncio.Task[None]] = set()

    async def beat(self, beat: HttpBeat) -> BeatAnswer:
        """Refused if the node takes no beats just now, or there are too many."""
        if self._node.has_given_up:
            raise ClusterUnreachable("the node is away")
        if self._waiting >= self._waiting_max:
            raise Refused("too many beats wait for the node", code=ClusterUnreachable.code)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(beat, loop.create_future())
        size = len(msgspec.msgpack.encode(beat))
        if self._gathered_bytes + size > BATCH_BYTES_MAX:
            self._send()
        self._gathered.append(waiting)
        self._gathered_bytes += size
        self._waiting += 1
        if len(self._gathered) == BEATS_PER_ORDER_MAX:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(self._gather_ms / 1000, self._send)
        try:
            return await waiting.future
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for order in self._orders:
            order.cancel()
        await asyncio.gather(*self._orders, return_exceptions=True)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if batch:
            order = asyncio.get_running_loop().create_task(self._carry_out(batch))
            self._orders.add(order)
            order.add_done_callback(self._orders.discard)

    async def _carry_out(self, batch: list[_Waiting]) -> None:
        body = Beats(tuple(waiting.beat for waiting in batch))
        try:
            beaten: Beaten = await self._node.ask(body)
        except RollbookError as error:
            for waiting in batch:
                _reject(waiting.future, type(error)(error.message, code=error.code, retryable=error.retryable))
            return
        if len(beaten.outcomes) != len(batch):
            for waiting in batch:
                _reject(waiting.future, RollbookError("the node answered other beats than it was sent"))
            return
        for waiting, outcome in zip(batch, beaten.outcomes, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(BeatAnswer(outcome, beaten.isolated))


def _reject(future: asyncio.Future[Any], error: RollbookError) -> None:
    if not future.done():
        future.set_exception(error)
