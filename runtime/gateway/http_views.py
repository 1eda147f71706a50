"""Lists of services as HTTP shows them: the gateway's own session subscribes to what is asked for, so most answers cost
the node nothing.

Owns: the newest view of each service that somebody has asked for lately, up to a number. What was written through this
gateway is asked for anew, so that whoever writes finds it in its next list.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from loguru import logger

from rollbook.errors import ClusterUnreachable, RollbookError
from rollbook.model import Service, View
from rollbook.orders import CallBody
from rollbook.wire import Query, Subscribe, Unsubscribe

_LOG = logger.bind(actor="http")


class AsksNode(Protocol):
    """The part of NodeLink that HTTP needs."""

    @property
    def has_given_up(self) -> bool: ...

    async def ask(self, body: CallBody, timeout_ms: int = 0) -> Any: ...


class _Kept:
    def __init__(self, now_ms: int) -> None:
        self.view: View | None = None  # None: the node has been asked
        self.asked_ms = now_ms
        self.writes = 0  # through this gateway
        self.writes_seen = 0  # that the view is known to show
        self.question: asyncio.Task[View] | None = None  # for all who wait
        self.writes_asked = 0  # that had been done when the question was asked


class ServiceViews:
    """``changed`` is to be called with every push of the gateway's session, ``look`` now and then."""

    def __init__(self, node: AsksNode, kept_max: int, idle_ms: int, now_ms: Callable[[], int]) -> None:
        self._node = node
        self._kept_max = kept_max
        self._idle_ms = idle_ms
        self._now_ms = now_ms
        self._kept: OrderedDict[Service, _Kept] = OrderedDict()  # the one not asked for the longest time first
        self._tasks: set[asyncio.Task[Any]] = set()
        self.on_change: Callable[[View], None] = lambda _: None

    def __len__(self) -> int:
        return len(self._kept)

    async def view(self, service: Service) -> View:
        """The list of now. Refused, or ClusterUnreachable if the node is away."""
        if self._node.has_given_up:
            raise ClusterUnreachable("the node is away")
        kept = self._kept.get(service)
        if kept is None:
            kept = self._kept[service] = _Kept(self._now_ms())
            self._forget_above_limit()
        kept.asked_ms = self._now_ms()
        self._kept.move_to_end(service)
        if kept.view is not None and kept.writes_seen == kept.writes:
            return kept.view
        return await self._ask(service, kept)

    def written(self, service: Service) -> None:
        """The node has carried out an order about it."""
        kept = self._kept.get(service)
        if kept is not None:
            kept.writes += 1

    def changed(self, view: View) -> None:
        kept = self._kept.get(view.service)
        if kept is not None:
            kept.view = view
            self.on_change(view)

    def look(self) -> None:
        """Forget what nobody has asked for lately."""
        before_ms = self._now_ms() - self._idle_ms
        while self._kept and next(iter(self._kept.values())).asked_ms < before_ms:
            self._forget()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, service: Service, kept: _Kept) -> View:
        """A question that was asked before the last write does not count."""
        if kept.question is None or kept.writes_asked != kept.writes:
            body: CallBody = Subscribe(service) if kept.view is None else Query(service)
            kept.question = self._task(self._answer(service, kept, body, kept.writes))
            kept.writes_asked = kept.writes
        return await asyncio.shield(kept.question)

    async def _answer(self, service: Service, kept: _Kept, body: CallBody, writes: int) -> View:
        try:
            view: View = await self._node.ask(body)
        except RollbookError:
            if kept.view is None and self._kept.get(service) is kept:
                self._forget(service)
            raise
        finally:
            if kept.writes_asked == writes:
                kept.question = None
        if kept.view is None or kept.view.version < view.version:
            kept.view = view
        kept.writes_seen = max(kept.writes_seen, writes)
        return kept.view

    def _forget_above_limit(self) -> None:
        while len(self._kept) > self._kept_max:
            self._forget()

    def _forget(self, service: Service | None = None) -> None:
        if service is None:
            service, _ = self._kept.popitem(last=False)
        else:
            del self._kept[service]
        self._task(self._unsubscribe(service))

    async def _unsubscribe(self, service: Service) -> None:
        try:
            await self._node.ask(Unsubscribe(service))
        except RollbookError as error:
            fields = {"service": service.grouped_name, "reason": error.message}
            _LOG.bind(**fields).debug("a service may still be subscribed")

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits is told; if nobody does any more, nobody misses it
