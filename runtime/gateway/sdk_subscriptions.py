"""What one SDK connection is subscribed to, and which of its lists it has.

Each (service, clusters) is a list of its own, as SDKs keep them; the node knows one subscription for each service, and
is told that a view has arrived when every list of it has. One push of a list is in flight; what changes meanwhile is
overtaken. A push that is not acknowledged is repeated, as the list is then; the connection stays.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
from loguru import logger

from rollbook.errors import Code, Refused, RollbookError
from rollbook.model import Service, View
from rollbook.orders import CallBody
from rollbook.wire import Subscribe, Unsubscribe
from runtime.gateway.resumption import Resumption
from runtime.gateway.sdk_stream import OnAnswer
from runtime.gateway.service_lists import LIST_BYTES_MAX, EncodedList, ServiceLists
from runtime.gateway.settings import GatewaySettings

_LOG = logger.bind(actor="grpc")


class ListReader(Protocol):
    """Who is told of lists, and may answer."""

    def ask(self, name: object, kind: str, fields: bytes, timeout_ms: int, on_answer: OnAnswer) -> None: ...


class Watcher(Protocol):
    """The session at the node."""

    async def ask(self, body: CallBody, timeout_ms: int) -> Any: ...

    def acknowledge(self, service: Service, version: int) -> None: ...


class _Subscription:
    """``has``: the view that the SDK has, or that shows the same to it. None: nothing yet."""

    def __init__(self, service: Service, clusters: str) -> None:
        self.service = service
        self.clusters = clusters
        self.has: EncodedList | None = None
        self.asking = 0  # requests that are yet to be answered, each with the list
        self.is_in_flight = False
        self.is_over = False
        self.failures = 0
        self.timer: asyncio.TimerHandle | None = None

    def end(self) -> None:
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()


class _Watched(msgspec.Struct):
    """One service."""

    lists: dict[str, _Subscription]
    newest: View | None = None
    acknowledged: View | None = None  # to the node
    is_stale: bool = False  # a newer one is asked for


class SdkSubscriptions:
    """Every method is called on the loop. ``reads_answers``: what an answer tells the SDK need not be pushed too."""

    def __init__(
        self,
        listener: ListReader,
        session: Watcher,
        lists: ServiceLists,
        resumption: Resumption,
        settings: GatewaySettings,
        *,
        reads_answers: bool,
    ) -> None:
        self._listener = listener
        self._session = session
        self._lists = lists
        self._resumption = resumption
        self._settings = settings
        self._reads_answers = reads_answers
        self._watched: dict[Service, _Watched] = {}
        self._forgetting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return sum(len(watched.lists) for watched in self._watched.values())

    async def subscribe(self, service: Service, clusters: str) -> EncodedList:
        """The list as it is now; pushes follow. Raises what the node says."""
        watched = self._watched.setdefault(service, _Watched({}))
        subscription = watched.lists.get(clusters)
        is_new = subscription is None
        if subscription is None:
            self._check_room(watched)
            subscription = watched.lists[clusters] = _Subscription(service, clusters)
        subscription.asking += 1
        try:
            view: View = await self._session.ask(Subscribe(service), self._settings.request_timeout_ms)
        except RollbookError:
            if is_new:
                self._remove(service, clusters, subscription)
                self._forget_later(service)
            raise
        finally:
            subscription.asking -= 1
        shown = self._lists.encode(view, clusters)
        if watched.newest is None or view.version >= watched.newest.version:
            watched.newest = view
            if self._reads_answers and not subscription.is_in_flight:
                subscription.has = shown
        self._offer_all(watched)
        return shown

    async def unsubscribe(self, service: Service, clusters: str) -> None:
        watched = self._watched.get(service)
        subscription = watched.lists.get(clusters) if watched is not None else None
        if subscription is None:
            return
        self._remove(service, clusters, subscription)
        if service not in self._watched:
            await self._session.ask(Unsubscribe(service), self._settings.request_timeout_ms)

    def _forget_later(self, service: Service) -> None:
        """The session goes on wanting what was not answered in time; nobody would take its pushes."""
        task = self._loop.create_task(self._forget(service))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, service: Service) -> None:
        if service in self._watched:
            return
        try:
            await self._session.ask(Unsubscribe(service), self._settings.request_timeout_ms)
        except RollbookError as error:
            fields = {"service": service.grouped_name, "reason": error.message}
            _LOG.bind(**fields).debug("a service may still be subscribed")

    def pushed(self, view: View) -> None:
        """By the node."""
        watched = self._watched.get(view.service)
        if watched is not None:
            watched.newest = view
            self._offer_all(watched)

    def repeated(self, view: View) -> None:
        """The node pushes what an answer told already, or what was acknowledged too late."""
        watched = self._watched.get(view.service)
        known = watched.acknowledged if watched is not None else None
        if known is not None and known.version >= view.version:
            self._session.acknowledge(view.service, view.version)

    async def resume(self) -> None:
        """Lists are whole again. One that differs from what the SDK has may have been made before that."""
        for service, watched in list(self._watched.items()):
            if not self._is_behind(watched):
                continue
            watched.is_stale = True
            try:
                watched.newest = await self._session.ask(Subscribe(service), self._settings.request_timeout_ms)
            except RollbookError as error:
                fields = {"service": service.grouped_name, "reason": error.message}
                _LOG.bind(**fields).debug("a list is pushed as it is known")
            finally:
                watched.is_stale = False
            if self._watched.get(service) is watched:
                self._offer_all(watched)

    def close(self) -> None:
        for watched in self._watched.values():
            for subscription in watched.lists.values():
                subscription.end()
        self._watched.clear()

    # -- one list

    def _check_room(self, watched: _Watched) -> None:
        limit = self._settings.cluster_lists_max
        if len(watched.lists) >= limit:
            sentence = f"one connection subscribes to a service with at most {limit} cluster filters"
            raise Refused(sentence, code=Code.OVER_LIMIT, field="clusters")

    def _is_behind(self, watched: _Watched) -> bool:
        view = watched.newest
        if view is None:
            return False
        lists = ((one.has, self._lists.encode(view, one.clusters)) for one in watched.lists.values())
        return any(has is None or has.content != shown.content for has, shown in lists)

    def _remove(self, service: Service, clusters: str, subscription: _Subscription) -> None:
        subscription.end()
        watched = self._watched.get(service)
        if watched is None or watched.lists.get(clusters) is not subscription:
            return
        del watched.lists[clusters]
        if watched.lists:
            self._offer_all(watched)  # it may have been the last one that the node waited for
        else:
            del self._watched[service]

    def _offer_all(self, watched: _Watched) -> None:
        for subscription in watched.lists.values():
            self._offer(watched, subscription)
        self._acknowledge(watched)

    def _offer(self, watched: _Watched, subscription: _Subscription) -> None:
        """Send the newest view, unless the SDK has what it shows, or a push is in flight or to be repeated."""
        view, has = watched.newest, subscription.has
        if watched.is_stale or not self._resumption.is_done:
            return
        if view is None or subscription.asking or subscription.is_in_flight or subscription.timer is not None:
            return
        if has is not None and has.view is view:
            return
        shown = self._lists.encode(view, subscription.clusters)
        if has is not None and has.content == shown.content:
            subscription.has = shown
            return
        if len(shown.json) > LIST_BYTES_MAX:
            log = _LOG.bind(service=view.service.grouped_name, bytes=len(shown.json))
            log.warning("a list is not pushed: it is longer than SDKs take")
            subscription.has = shown
            return
        subscription.is_in_flight = True
        name = ("list", subscription.service, subscription.clusters)
        fields = b'"module":"naming","serviceInfo":' + shown.json
        self._listener.ask(
            name,
            "NotifySubscriberRequest",
            fields,
            self._settings.push_ack_ms,
            lambda is_read: self._on_answer(subscription, shown, is_read=is_read),
        )

    def _on_answer(self, subscription: _Subscription, shown: EncodedList, *, is_read: bool) -> None:
        subscription.is_in_flight = False
        watched = self._watched.get(subscription.service)
        if subscription.is_over or watched is None:
            return
        if not is_read:
            self._repeat_later(subscription)
            return
        subscription.failures = 0
        subscription.has = shown
        self._offer(watched, subscription)
        self._acknowledge(watched)

    def _repeat_later(self, subscription: _Subscription) -> None:
        settings = self._settings
        pause_ms = min(settings.push_retry_ms << min(subscription.failures, 16), settings.push_retry_ms_max)
        subscription.failures += 1
        subscription.timer = self._loop.call_later(pause_ms / 1000, self._repeat, subscription)

    def _repeat(self, subscription: _Subscription) -> None:
        subscription.timer = None
        watched = self._watched.get(subscription.service)
        if watched is not None and not subscription.is_over:
            self._offer(watched, subscription)

    def _acknowledge(self, watched: _Watched) -> None:
        view = watched.newest
        if view is None or view is watched.acknowledged or not watched.lists:
            return
        if all(one.has is not None and one.has.view is view for one in watched.lists.values()):
            watched.acknowledged = view
            self._session.acknowledge(view.service, view.version)
