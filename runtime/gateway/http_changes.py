"""Changing instances that there are: PUT, PATCH, and metadata of many at once.

What the SDKs' own APIs (1 and 2) change of an instance that beats keep is what its client publishes: it needs no store,
and the next registration says something else. Everything else is an operator's intent (rollbook/durable.py), which
stands above what is published: what the admin API changes, and what is not kept by beats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from rollbook.durable import Intent
from rollbook.durable_bodies import ClearIntent, GetService, ServiceShown, SetIntent
from rollbook.errors import Code, InvalidField, Refused, RollbookError
from rollbook.http_clients import HttpPatch, InstanceChanges
from rollbook.model import DEFAULT_CLUSTER, Instance, InstanceKey, Service, View
from rollbook.wire import Query
from runtime.gateway.http_calls import HttpCall, metadata_of
from runtime.gateway.http_errors import HttpRefused
from runtime.gateway.http_instances import OK
from runtime.gateway.http_routes import AnswerStyle, HttpRoute
from runtime.gateway.http_views import AsksNode, ServiceViews
from runtime.gateway.parameters import instance_of

INSTANCES_MAX = 1_000  # that one call names
ORDERS_AT_ONCE = 32
_UNKNOWN_ID = "unknown"  # where the original shows an id that nobody sets any more


_Edit = Callable[[dict[str, str]], dict[str, str]]  # of the metadata of an intent


class _Named(msgspec.Struct, frozen=True, rename="camel"):
    ip: str
    port: int
    cluster_name: str = DEFAULT_CLUSTER
    ephemeral: bool = True


class _Target(NamedTuple):
    service: Service
    key: InstanceKey


class HttpChanges:
    def __init__(self, node: AsksNode, views: ServiceViews) -> None:
        self._node = node
        self._views = views

    def routes(self) -> list[HttpRoute]:
        words, bare, result = AnswerStyle.WORDS, AnswerStyle.BARE, AnswerStyle.RESULT
        batch = "/ns/instance/metadata/batch"
        return [
            HttpRoute("PUT", "/v1/ns/instance", words, self._put_of_v1),
            HttpRoute("PATCH", "/v1/ns/instance", words, self._patch),
            HttpRoute("PUT", f"/v1{batch}", words, self._put_metadata),
            HttpRoute("DELETE", f"/v1{batch}", words, self._delete_metadata),
            HttpRoute("PUT", "/v2/ns/instance", result, self._put),
            HttpRoute("PATCH", "/v2/ns/instance", bare, self._patch),
            HttpRoute("PUT", f"/v2{batch}", result, self._put_metadata),
            HttpRoute("DELETE", f"/v2{batch}", result, self._delete_metadata),
            HttpRoute("PUT", "/v3/admin/ns/instance", result, self._put_intent),
            HttpRoute("PUT", "/v3/admin/ns/instance/partial", result, self._patch_intent),
            HttpRoute("PUT", f"/v3/admin{batch}", result, self._put_metadata),
            HttpRoute("DELETE", f"/v3/admin{batch}", result, self._delete_metadata),
        ]

    # -- one instance

    async def _put_of_v1(self, call: HttpCall) -> object:
        """The first API has no 404 here."""
        try:
            return await self._put(call)
        except RollbookError as error:
            if error.code != Code.INSTANCE_NOT_FOUND:
                raise
            service = call.service()
            text = f"service not found, namespace: {service.namespace}, service: {service.grouped_name}"
            has_any = (await self._views.view(service)).instances
            raise HttpRefused(400, "instance not found" if has_any else text, error.code) from None

    async def _put(self, call: HttpCall) -> object:
        instance = call.instance()
        changes = InstanceChanges(instance.weight, instance.enabled, _metadata_or_none(call))
        if not await self._changed_what_is_published(call, changes):
            await self._decide_all(_target(call), instance)
        return OK

    async def _patch(self, call: HttpCall) -> object:
        changes = _changes(call)
        if not await self._changed_what_is_published(call, changes):
            await self._decide_some(_target(call), changes)
        return OK

    async def _put_intent(self, call: HttpCall) -> object:
        await self._decide_all(_target(call), call.instance())
        return OK

    async def _patch_intent(self, call: HttpCall) -> object:
        await self._decide_some(_target(call), _changes(call))
        return OK

    async def _changed_what_is_published(self, call: HttpCall, changes: InstanceChanges) -> bool:
        """False if beats do not keep it."""
        if not call.is_ephemeral():
            return False
        service, (ip, port) = call.service(), call.address()
        try:
            await self._node.ask(HttpPatch(service, ip, port, changes))
        except RollbookError as error:
            if error.code != Code.INSTANCE_NOT_FOUND:
                raise
            return False
        self._views.written(service)
        return True

    # -- metadata of many

    async def _put_metadata(self, call: HttpCall) -> object:
        metadata = metadata_of(call.required("metadata"))
        return await self._each_intent(call, lambda intent: {**intent, **_texts(metadata)})

    async def _delete_metadata(self, call: HttpCall) -> object:
        """What was added goes; what an application publishes can be put over, not taken away."""
        metadata = metadata_of(call.required("metadata"))
        return await self._each_intent(
            call, lambda intent: {key: value for key, value in intent.items() if key not in metadata}
        )

    async def _each_intent(self, call: HttpCall, edited: _Edit) -> object:
        service = call.service()
        chosen = _chosen(call, (await self._views.view(service)).instances)
        decided = await self._decided_metadata(service)
        for some in (chosen[first : first + ORDERS_AT_ONCE] for first in range(0, len(chosen), ORDERS_AT_ONCE)):
            await asyncio.gather(*(self._edit(_Target(service, one.key), decided, edited) for one in some))
        return {"updated": [_name(one) for one in chosen]}

    async def _edit(self, target: _Target, decided: Mapping[InstanceKey, dict[str, str]], edited: _Edit) -> None:
        before = decided.get(target.key, {})
        after = edited(before)
        if after != before:
            await self._decide(target, Intent(metadata=after), clears_metadata=not after)

    # -- intents

    async def _decide(self, target: _Target, intent: Intent, *, clears_metadata: bool) -> None:
        """Of what the intent does not say, what was decided before stays, but for metadata that are to go."""
        if intent != Intent():
            await self._node.ask(SetIntent(target.service, target.key, intent))
        if clears_metadata:
            await self._node.ask(ClearIntent(target.service, target.key, ("metadata",)))
        self._views.written(target.service)

    async def _decide_all(self, target: _Target, instance: Instance) -> None:
        intent = Intent(instance.enabled, instance.weight, instance.metadata)
        await self._decide(target, intent, clears_metadata=not instance.metadata)

    async def _decide_some(self, target: _Target, changes: InstanceChanges) -> None:
        if changes == InstanceChanges():
            await self._find(target)
            return
        intent = Intent(changes.enabled, changes.weight, changes.metadata or {})
        await self._decide(target, intent, clears_metadata=changes.metadata == {})

    async def _find(self, target: _Target) -> None:
        """Nothing is to be changed, but of what is not there this would be untrue."""
        view: View = await self._node.ask(Query(target.service))
        if all(one.key != target.key for one in view.instances):
            raise Refused("no such instance", code=Code.INSTANCE_NOT_FOUND)

    async def _decided_metadata(self, service: Service) -> dict[InstanceKey, dict[str, str]]:
        """Of the instances that are listed now: of an earlier incarnation's nothing is in force."""
        shown: ServiceShown = await self._node.ask(GetService(service))
        return {each.key: each.intent.metadata for each in shown.intents if each.listed and each.intent.metadata}


def _target(call: HttpCall) -> _Target:
    ip, port = call.address()
    return _Target(call.service(), InstanceKey(ip, port, call.cluster() or DEFAULT_CLUSTER))


def _changes(call: HttpCall) -> InstanceChanges:
    """Checked like an instance, but nothing that was not said is said."""
    checked = call.instance()
    weight = None if call.number_or_none("weight") is None else checked.weight
    return InstanceChanges(weight, call.flag_or_none("enabled", "enable"), _metadata_or_none(call))


def _metadata_or_none(call: HttpCall) -> dict[str, str] | None:
    return call.instance().metadata if call.text("metadata") else None


def _texts(metadata: Mapping[str, object]) -> dict[str, str]:
    anywhere = instance_of(
        "127.0.0.1", 0, cluster="", weight=1, healthy=True, enabled=True, ephemeral=True, metadata=metadata
    )
    return anywhere.metadata


def _chosen(call: HttpCall, instances: tuple[Instance, ...]) -> list[Instance]:
    """Of those that are listed: the named ones, or all; of one kind, or of both."""
    kind = call.text("consistencyType")
    if kind not in ("", "ephemeral", "persist"):
        raise InvalidField(f"consistencyType is ephemeral or persist, not {kind[:64]}", field="consistencyType")
    of_kind = [one for one in instances if not kind or one.ephemeral is (kind == "ephemeral")]
    named = _named(call.text("instances"))
    if not named:
        return of_kind[:INSTANCES_MAX]
    return [one for one in of_kind if one.key in named]


def _named(text: str) -> set[InstanceKey]:
    if not text:
        return set()
    try:
        named = msgspec.json.decode(text, type=list[_Named], strict=False)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidField(f"instances is no list of instances: {text[:128]}", field="instances") from None
    if len(named) > INSTANCES_MAX:
        raise InvalidField(f"at most {INSTANCES_MAX} instances in one call", field="instances")
    return {InstanceKey(one.ip, one.port, one.cluster_name or DEFAULT_CLUSTER) for one in named}


def _name(one: Instance) -> str:
    return f"{one.ip}:{one.port}:{_UNKNOWN_ID}:{one.cluster}:{str(one.ephemeral).lower()}"
