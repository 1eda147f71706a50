"""Registering and deregistering over HTTP, and beats.

An ephemeral instance belongs to the client ``ip:port``, and beats keep it; a persistent one belongs to the registry.
Any gateway takes any of these calls, in any version of the API.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.errors import Code, InvalidField, Refused
from rollbook.http_clients import HttpBeat, HttpPublish, HttpWithdraw
from rollbook.model import DEFAULT_CLUSTER, Instance, InstanceKey, Service
from runtime.gateway.http_beats import BeatAnswer, BeatGatherer
from runtime.gateway.http_calls import HttpCall, grouped_service, plain_value
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, RefusedResult
from runtime.gateway.http_views import AsksNode, ServiceViews
from runtime.gateway.parameters import instance_of
from runtime.gateway.switches import Switchboard

OK = "ok"
BEAT_TAKEN = 10_200
BEAT_UNKNOWN = 20_404  # the client is to register again
FORBIDDEN, UNAVAILABLE = 403, 503


class BeatSaid(msgspec.Struct, frozen=True, rename="camel"):
    """``beat``: what SDKs say of themselves; whatever else is in it is for nobody here."""

    ip: str = ""
    port: int = 0
    service_name: str = ""
    cluster: str = ""
    weight: float = 1.0
    metadata: dict[str, Any] | None = None


class BeatShape(msgspec.Struct, frozen=True, rename="camel"):
    """``light_beat_enabled``: the next one need not say more than an address."""

    client_beat_interval: int
    code: int
    light_beat_enabled: bool


class HttpInstances:
    def __init__(self, node: AsksNode, views: ServiceViews, beats: BeatGatherer, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._node = node
        self._views = views
        self._beats = beats

    def routes(self) -> list[HttpRoute]:
        words, bare, result = AnswerStyle.WORDS, AnswerStyle.BARE, AnswerStyle.RESULT
        return [
            HttpRoute("PUT", "/v1/ns/instance/beat", words, self._beat),
            HttpRoute("POST", "/v1/ns/instance", words, self._register),
            HttpRoute("DELETE", "/v1/ns/instance", words, self._deregister),
            HttpRoute("PUT", "/v2/ns/instance/beat", bare, self._beat),
            HttpRoute("POST", "/v2/ns/instance", result, self._register),
            HttpRoute("DELETE", "/v2/ns/instance", result, self._deregister),
            HttpRoute("POST", "/v3/client/ns/instance", result, self._register_or_beat),
            HttpRoute("DELETE", "/v3/client/ns/instance", result, self._deregister),
            HttpRoute("POST", "/v3/admin/ns/instance", result, self._register),
            HttpRoute("DELETE", "/v3/admin/ns/instance", result, self._deregister),
        ]

    async def _register(self, call: HttpCall) -> object:
        service, instance = call.service(), call.instance()
        if self._switchboard.stands.disable_add_ip:
            raise HttpRefused(FORBIDDEN, "adding instances is forbidden now, by a switch", ResultCode.ACCESS_DENIED)
        if instance.ephemeral:
            await self._node.ask(HttpPublish(service, instance))
        else:
            await self._node.ask(PublishPersistent(service, (instance,)))
        self._views.written(service)
        return OK

    async def _deregister(self, call: HttpCall) -> object:
        """Done too where there is nothing. The cluster does not matter: a client has one instance for a service. What
        is not listed here may be kept by now, for it may have been registered at another server."""
        service, (ip, port) = call.service(), call.address()
        if call.is_ephemeral():
            await self._node.ask(HttpWithdraw(service, ip, port))
        else:
            view = await self._views.view(service)
            named = InstanceKey(ip, port, call.cluster() or DEFAULT_CLUSTER)
            listed = {one.key for one in view.instances if (one.ip, one.port, one.ephemeral) == (ip, port, False)}
            await self._node.ask(WithdrawPersistent(service, tuple(sorted({named, *listed}))))
        self._views.written(service)
        return OK

    async def _register_or_beat(self, call: HttpCall) -> object:
        if not call.flag("heartBeat", default=False):
            return await self._register(call)
        service, (ip, port) = call.service(), call.address()
        answer = await self._beaten(HttpBeat(service, ip, port))
        if answer.outcome.word == "unknown":
            return RefusedResult(Code.INSTANCE_NOT_FOUND, "instance not found")
        return OK

    async def _beat(self, call: HttpCall) -> object:
        said = beat_said(call.text("beat"))
        service = call.service() if said is None else _service_of_beat(call, said)
        if said is None:
            beat = HttpBeat(service, *call.address())
        else:
            instance = _instance_of_beat(call, said)
            beat = HttpBeat(service, instance.ip, instance.port, instance)
        answer = await self._beaten(beat)
        code = BEAT_UNKNOWN if answer.outcome.word == "unknown" else BEAT_TAKEN
        return BeatShape(answer.outcome.interval_ms, code, self._switchboard.stands.light_beat_enabled)

    async def _beaten(self, beat: HttpBeat) -> BeatAnswer:
        answer = await self._beats.beat(beat)
        outcome = answer.outcome
        if outcome.word == "refused":
            raise Refused(outcome.message, code=outcome.code, field=outcome.field)
        if outcome.word == "registered":
            self._views.written(beat.service)
        if answer.is_isolated:
            raise HttpRefused(
                UNAVAILABLE, "the beat counts, but this server hears no majority: beat at another one too"
            )
        return answer


def beat_said(text: str) -> BeatSaid | None:
    """InvalidField if it is no JSON of a beat."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=BeatSaid, strict=False)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidField(f"beat is not what a client says of itself: {text[:128]}", field="beat") from None


def _service_of_beat(call: HttpCall, said: BeatSaid) -> Service:
    """The call's own name counts, as the group in it does."""
    name = call.text("serviceName", default=said.service_name)
    return call.service() if not name else grouped_service(call.text("namespaceId"), call.text("groupName"), name)


def _instance_of_beat(call: HttpCall, said: BeatSaid) -> Instance:
    """What is not in the beat is in the parameters."""
    metadata = {key: plain_value(value) for key, value in (said.metadata or {}).items()}
    return instance_of(
        said.ip or call.required("ip"),
        said.port or call.whole_number("port"),
        cluster=said.cluster or call.cluster(),
        weight=said.weight,
        healthy=True,
        enabled=True,
        ephemeral=True,
        metadata=metadata,
    )
