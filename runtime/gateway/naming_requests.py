"""What SDKs ask of naming over gRPC: each request becomes an order of the connection's session, and is answered in the
type that belongs to it, also where it is refused.

One connection has one entry for each service: whoever registers again, or a batch, puts it in the place of what was
there, and to deregister removes it, whatever address the request names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.errors import Code, InvalidField, RollbookError
from rollbook.model import Service, View
from rollbook.orders import CallBody
from rollbook.wire import (
    Publish,
    Query,
    Withdraw,
)
from runtime.gateway.fuzzy_watch import FuzzyWatches
from runtime.gateway.parameters import cluster_filter, listed_group
from runtime.gateway.resumption import Resumption
from runtime.gateway.sdk_connection import SdkConnection
from runtime.gateway.sdk_messages import (
    FAILURE,
    OVER_THRESHOLD,
    PARAMETER_ILLEGAL,
    STARTING,
    BatchInstanceRequest,
    InstanceRequest,
    SdkAnswer,
    ServiceListRequest,
    ServiceQueryRequest,
    SubscribeServiceRequest,
    doubtful,
    failed,
    read_body,
    succeeded,
)
from runtime.gateway.service_lists import LIST_BYTES_MAX, EncodedList, ServiceLists
from runtime.gateway.service_names import NAMES_MAX, names_of, places_of
from runtime.gateway.settings import GatewaySettings

STARTING_TEXT = "Server is starting,please try later."
_REGISTER, _DEREGISTER, _BATCH = "registerInstance", "deregisterInstance", "batchRegisterInstance"
# Not the request is wrong: another server may take it, or this one soon.
_NOT_NOW = frozenset({Code.NOT_READY, Code.NODE_LEAVING, Code.UNREACHABLE, Code.SESSION_REQUIRED, Code.CLIENT_CLOSED})


class _Kind(NamedTuple):
    response: str
    answer: Callable[[NamingRequests, SdkConnection, bytes], Awaitable[SdkAnswer]]
    always: Mapping[str, Any] = MappingProxyType({})  # what an SDK wants to find in a refusal too


class NamingRequests:
    """One for each gateway."""

    def __init__(
        self, lists: ServiceLists, watches: FuzzyWatches, resumption: Resumption, settings: GatewaySettings
    ) -> None:
        self._lists = lists
        self._resumption = resumption
        self._watches = watches
        self._timeout_ms = settings.request_timeout_ms

    def knows(self, kind: str) -> bool:
        return kind in _KINDS

    async def answer(self, connection: SdkConnection, kind: str, body: bytes) -> SdkAnswer:
        """msgspec.MsgspecError if the body is not what such a request has."""
        response, answer, always = _KINDS[kind]
        if kind in _THAT_READ:
            await self._resumption.wait(self._timeout_ms)
        try:
            return await answer(self, connection, body)
        except RollbookError as error:
            return _refusal(response, error, always)

    async def _instance(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        request = read_body(body, InstanceRequest)
        service, kind = request.service, request.type
        if kind == _REGISTER:
            if request.instance is None:
                raise InvalidField("Param 'instance' is illegal, instance is blank", field="instance")
            instance = request.instance.instance(ephemeral=True)
            await self._order(connection, service, Publish(service, (instance,), "replace"), is_ephemeral=True)
        elif kind == _DEREGISTER:
            await connection.session.ask(Withdraw(service), self._timeout_ms)
        else:
            raise _unsupported(kind)
        return succeeded("InstanceResponse", type=kind)

    async def _batch(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        request = read_body(body, BatchInstanceRequest)
        service = request.service
        if request.type != _BATCH:
            raise _unsupported(request.type)
        by_key = {one.key: one for one in (entry.instance(ephemeral=True) for entry in request.instances or ())}
        if by_key:
            publish = Publish(service, tuple(by_key.values()), "replace")
            await self._order(connection, service, publish, is_ephemeral=True)
        else:
            await connection.session.ask(Withdraw(service), self._timeout_ms)
        return succeeded("BatchInstanceResponse", type=_BATCH)

    async def _persistent(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        request = read_body(body, InstanceRequest)
        service, kind = request.service, request.type
        if kind not in (_REGISTER, _DEREGISTER):
            raise _unsupported(kind)
        if request.instance is None:
            raise InvalidField("Param 'instance' is illegal, instance is blank", field="instance")
        instance = request.instance.instance(ephemeral=False)
        if kind == _REGISTER:
            await self._order(connection, service, PublishPersistent(service, (instance,)), is_ephemeral=False)
        else:
            await connection.session.ask(WithdrawPersistent(service, (instance.key,)), self._timeout_ms)
        return succeeded("InstanceResponse", type=kind)

    async def _subscribe(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        request = read_body(body, SubscribeServiceRequest)
        service, clusters = request.service, cluster_filter(request.clusters)
        if request.subscribe is False:
            await connection.subscriptions.unsubscribe(service, clusters)
            return _listed("SubscribeServiceResponse", self._lists.encode(View(service, 0), clusters))
        return _listed("SubscribeServiceResponse", await connection.subscriptions.subscribe(service, clusters))

    async def _query(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        request = read_body(body, ServiceQueryRequest)
        service, clusters = request.service, cluster_filter(request.cluster)
        view: View = await connection.session.ask(Query(service), self._timeout_ms)
        healthy_only = bool(request.healthy_only or request.health_only)
        return _listed("QueryServiceResponse", self._lists.encode(view, clusters, healthy_only=healthy_only))

    async def _list(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        request = read_body(body, ServiceListRequest)
        namespace, group = listed_group(request.namespace, request.group_name)
        page = max(1, request.page_no or 1)
        size = min(NAMES_MAX, max(0, 10 if request.page_size is None else request.page_size))

        async def ask(order: CallBody) -> Any:
            return await connection.session.ask(order, self._timeout_ms)

        found = await names_of(ask, namespace, group, places_of(page, size))
        return succeeded("ServiceListResponse", count=found.total, serviceNames=found.names)

    async def _watch(self, connection: SdkConnection, body: bytes) -> SdkAnswer:
        return await self._watches.answer(connection.stream, body)

    async def _order(
        self, connection: SdkConnection, service: Service, order: Publish | PublishPersistent, *, is_ephemeral: bool
    ) -> None:
        try:
            await connection.session.ask(order, self._timeout_ms)
        except RollbookError as error:
            if error.code != Code.KIND_MISMATCH:
                raise
            there, here = ("persistent", "ephemeral") if is_ephemeral else ("ephemeral", "persistent")
            sentence = f"Current service {service.grouped_name} is {there} service, can't register {here} instance."
            raise RollbookError(sentence, code=PARAMETER_ILLEGAL, retryable=False) from None


_KINDS = {
    "InstanceRequest": _Kind("InstanceResponse", NamingRequests._instance),
    "PersistentInstanceRequest": _Kind("InstanceResponse", NamingRequests._persistent),
    "BatchInstanceRequest": _Kind("BatchInstanceResponse", NamingRequests._batch),
    "SubscribeServiceRequest": _Kind("SubscribeServiceResponse", NamingRequests._subscribe),
    "ServiceQueryRequest": _Kind("QueryServiceResponse", NamingRequests._query),
    "NamingFuzzyWatchRequest": _Kind("NamingFuzzyWatchResponse", NamingRequests._watch),
    "ServiceListRequest": _Kind("ServiceListResponse", NamingRequests._list, {"count": 0, "serviceNames": []}),
}


_THAT_READ = frozenset(_KINDS) - {"InstanceRequest", "PersistentInstanceRequest", "BatchInstanceRequest"}


def _listed(response: str, shown: EncodedList) -> SdkAnswer:
    if len(shown.json) > LIST_BYTES_MAX:
        name = shown.view.service.grouped_name
        return failed(response, FAILURE, f"the list of {name} is longer than SDKs take: ask for fewer clusters")
    return succeeded(response, message="success", serviceInfo=msgspec.Raw(shown.json))


def _unsupported(kind: str | None) -> InvalidField:
    return InvalidField(f"Unsupported request type {kind}", field="type")


def _refusal(response: str, error: RollbookError, always: Mapping[str, Any]) -> SdkAnswer:
    """In the type that the SDK expects, unless it had better look for another server."""
    if error.code in _NOT_NOW:
        return doubtful(STARTING, STARTING_TEXT)
    if error.code == Code.OVER_LIMIT:
        return failed(response, OVER_THRESHOLD, f"Tps Flow restricted:{error.message}", **always)
    is_illegal = isinstance(error, InvalidField)
    if is_illegal and error.message.startswith("Param "):
        return failed(response, PARAMETER_ILLEGAL, f"Param check invalid:{error.message}", **always)
    says_which = is_illegal or error.code == PARAMETER_ILLEGAL or 20_000 <= error.code < 30_000
    return failed(response, PARAMETER_ILLEGAL if says_which else FAILURE, error.message, **always)
