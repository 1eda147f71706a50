"""Namespaces over HTTP, in three versions: what is kept of them is the node's (rollbook/durable.py).

A namespace need not exist for a service to be in it. The one that is built in has no id in the first two versions.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from rollbook.durable import Namespace, check_namespace
from rollbook.durable_bodies import DeleteNamespace, ListNamespaces, Namespaces, PutMode, PutNamespace
from rollbook.errors import Code, InvalidField, RollbookError
from rollbook.model import DEFAULT_NAMESPACE
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, rest_result
from runtime.gateway.http_views import AsksNode

QUOTA = 200  # of configurations, which are not kept here; consoles show it
_BUILT_IN, _CUSTOM = 0, 2
_DEFAULT_DESCRIPTION = "Default Namespace"


class NamespaceShape(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    namespace_show_name: str
    namespace_desc: str | None
    quota: int = QUOTA
    config_count: int = 0
    type: int = _CUSTOM


class _Names(NamedTuple):
    """What a version calls the parameters of a namespace, and the one that is built in."""

    id: str = "namespaceId"
    name: str = "namespaceName"
    new_id: str = "namespaceId"
    built_in_id: str = DEFAULT_NAMESPACE
    built_in_description: str | None = _DEFAULT_DESCRIPTION


_V1 = _Names("namespace", "namespaceShowName", "customNamespaceId", "", None)
_V2 = _Names(built_in_id="", built_in_description=None)
_V3 = _Names()
_CONSOLE = _Names(new_id="customNamespaceId")


class HttpNamespaces:
    def __init__(self, node: AsksNode) -> None:
        self._node = node

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        oldest = "/v1/console/namespaces"
        table = [
            HttpRoute("GET", oldest, words, self._read_of_v1),
            HttpRoute("POST", oldest, words, self._create_of_v1),
            HttpRoute("PUT", oldest, words, self._update_of_v1),
            HttpRoute("DELETE", oldest, words, self._delete),
            HttpRoute("GET", "/v3/admin/core/namespace/check", result, self._count),
            HttpRoute("GET", "/v3/console/core/namespace/exist", result, self._exists),
        ]
        for place, names in (
            ("/v2/console/namespace", _V2),
            ("/v3/admin/core/namespace", _V3),
            ("/v3/console/core/namespace", _CONSOLE),
        ):
            by_version = _NamespacesOfVersion(self, names)
            table += [
                HttpRoute("GET", f"{place}/list", result, by_version.read_all),
                HttpRoute("GET", place, result, by_version.read),
                HttpRoute("POST", place, result, by_version.create),
                HttpRoute("PUT", place, result, by_version.update),
                HttpRoute("DELETE", place, result, self._delete),
            ]
        return table

    # -- the first version

    async def _read_of_v1(self, call: HttpCall) -> object:
        if call.flag("checkNamespaceIdExist", default=False):
            return bool(call.text("customNamespaceId")) and await self.knows(call.text("customNamespaceId"))
        if call.text("show") == "all":
            return _shape(await self.found(call.text("namespaceId")), _V1)
        return rest_result([_shape(one, _V1) for one in await self.all()])

    async def _create_of_v1(self, call: HttpCall) -> object:
        """What is no namespace, or is one already, is just false."""
        return await _was_done(_NamespacesOfVersion(self, _V1).create(call))

    async def _update_of_v1(self, call: HttpCall) -> object:
        return await _was_done(_NamespacesOfVersion(self, _V1).update(call))

    # -- every version

    async def _delete(self, call: HttpCall) -> object:
        """Done too where there is none."""
        namespace_id = call.required("namespaceId")
        if namespace_id == DEFAULT_NAMESPACE:  # also where it has services, which the node would say first
            raise HttpRefused(HTTPStatus.BAD_REQUEST, f"{namespace_id} is built in", ResultCode.NAMESPACE_ILLEGAL)
        try:
            await self._node.ask(DeleteNamespace(namespace_id))
        except RollbookError as error:
            if error.code == Code.SERVICE_IN_USE:
                raise HttpRefused(HTTPStatus.CONFLICT, error.message, ResultCode.CONFLICT) from None
            if error.code != Code.SERVICE_NOT_FOUND:
                raise _illegal(error) from None
        return True

    async def _count(self, call: HttpCall) -> object:
        return int(await self.knows(call.required("namespaceId", "customNamespaceId")))

    async def _exists(self, call: HttpCall) -> object:
        return await self.knows(call.required("customNamespaceId", "namespaceId"))

    # -- what the node keeps

    async def all(self) -> list[Namespace]:
        """The one that is built in first."""
        listed: Namespaces = await self._node.ask(ListNamespaces())
        return sorted(listed.namespaces, key=lambda one: (one.id != DEFAULT_NAMESPACE, one.id))

    async def knows(self, namespace_id: str) -> bool:
        return any(one.id == namespace_id for one in await self.all())

    async def found(self, namespace_id: str) -> Namespace:
        wanted = namespace_id or DEFAULT_NAMESPACE
        for one in await self.all():
            if one.id == wanted:
                return one
        raise _absent(namespace_id)

    async def put(self, namespace: Namespace, mode: PutMode) -> None:
        try:
            await self._node.ask(PutNamespace(check_namespace(namespace), mode))
        except RollbookError as error:
            if error.code == Code.SERVICE_EXISTS:
                sentence = f"namespaceId [{namespace.id}] already exist"
                raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, ResultCode.NAMESPACE_EXISTS) from None
            if error.code == Code.SERVICE_NOT_FOUND:
                raise _absent(namespace.id) from None
            raise _illegal(error) from None


class _NamespacesOfVersion:
    """What differs only in the names of things."""

    def __init__(self, namespaces: HttpNamespaces, names: _Names) -> None:
        self._namespaces = namespaces
        self._names = names

    async def read_all(self, _: HttpCall) -> object:
        return [_shape(one, self._names) for one in await self._namespaces.all()]

    async def read(self, call: HttpCall) -> object:
        return _shape(await self._namespaces.found(call.text("namespaceId")), self._names)

    async def create(self, call: HttpCall) -> object:
        """Without an id it gets one that nobody has."""
        namespace_id = call.text(self._names.new_id) or str(uuid.uuid4())
        await self._put(call, namespace_id, call.required("namespaceName"), "create")
        return True

    async def update(self, call: HttpCall) -> object:
        await self._put(call, call.required(self._names.id), call.required(self._names.name), "update")
        return True

    async def _put(self, call: HttpCall, namespace_id: str, name: str, mode: PutMode) -> None:
        await self._namespaces.put(Namespace(namespace_id, name, call.text("namespaceDesc")), mode)


async def _was_done(work: Awaitable[object]) -> bool:
    try:
        await work
    except HttpRefused:
        return False
    return True


def _shape(namespace: Namespace, names: _Names) -> NamespaceShape:
    if namespace.id == DEFAULT_NAMESPACE:
        built_in = (names.built_in_id, DEFAULT_NAMESPACE, names.built_in_description)
        return NamespaceShape(*built_in, type=_BUILT_IN)
    return NamespaceShape(namespace.id, namespace.name, namespace.description or None)


def _absent(namespace_id: str) -> HttpRefused:
    sentence = f"namespaceId [ {namespace_id[:128]} ] not exist"
    return HttpRefused(HTTPStatus.NOT_FOUND, sentence, ResultCode.NAMESPACE_NOT_FOUND)


def _illegal(error: RollbookError) -> RollbookError:
    """What is no namespace has a code of its own; everything else stays what it is."""
    is_field = isinstance(error, InvalidField) or error.code == Code.PARAMETER_INVALID
    return HttpRefused(HTTPStatus.BAD_REQUEST, error.message, ResultCode.NAMESPACE_ILLEGAL) if is_field else error
