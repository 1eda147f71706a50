"""What people, dashboards and SDKs ask of a server itself: is it up, how much does it keep, how is it set.

What is said is what is so. Switches of the original that are settings here can be read, and a change of one is refused
with the reason: an answer of ``ok`` to something that does not happen would be worse.
"""

from __future__ import annotations

import os

import msgspec

from rollbook.catalog import CountServices, ServicesCounted
from rollbook.model import DELETE_TIMEOUT_KEY, HEARTBEAT_INTERVAL_KEY, HEARTBEAT_TIMEOUT_KEY, PRESERVED_DEFAULTS_MS
from rollbook.status import NodeStatus
from rollbook.wire import GetStatus
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_instances import OK
from runtime.gateway.http_push import UdpPush
from runtime.gateway.http_routes import ANY_METHOD, AnswerStyle, HttpRoute
from runtime.gateway.http_views import AsksNode
from runtime.gateway.shapes import CACHE_MS

UP, STARTING, DOWN = "UP", "STARTING", "DOWN"
_REFUSED = 400


class Switches(msgspec.Struct, frozen=True, rename="camel"):
    """As they stand; the names are the original's."""

    name: str = "00-00---000-NACOS_SWITCH_DOMAIN-000---00-00"
    default_push_cache_millis: int = CACHE_MS
    default_cache_millis: int = CACHE_MS
    client_beat_interval: int = PRESERVED_DEFAULTS_MS[HEARTBEAT_INTERVAL_KEY]
    client_beat_timeout: int = PRESERVED_DEFAULTS_MS[HEARTBEAT_TIMEOUT_KEY]
    ip_delete_timeout: int = PRESERVED_DEFAULTS_MS[DELETE_TIMEOUT_KEY]
    health_check_enabled: bool = True
    auto_change_health_check_enabled: bool = True
    distro_enabled: bool = True
    push_enabled: bool = True
    light_beat_enabled: bool = True
    send_beat_only: bool = False
    disable_add_ip: bool = msgspec.field(default=False, name="disableAddIP")
    enable_standalone: bool = True
    enable_authentication: bool = False
    default_instance_ephemeral: bool = True
    push_java_version: str = "0.1.0"
    push_go_version: str = "0.1.0"
    push_c_version: str = msgspec.field(default="1.0.12", name="pushCVersion")
    push_c_sharp_version: str = msgspec.field(default="0.9.0", name="pushCSharpVersion")


_SWITCH_OF_ENTRY = {  # where a change has another name than what it changes
    "pushCacheMillis": "defaultPushCacheMillis",
    "check": "healthCheckEnabled",
    "distro": "distroEnabled",
}


class HttpOperator:
    def __init__(self, node: AsksNode, push: UdpPush) -> None:
        self._node = node
        self._push = push
        self._switches = msgspec.to_builtins(Switches())

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        places = (("/v1/ns", words), ("/v2/ns", result), ("/v3/admin/ns", result))
        table = []
        for place, style in places:
            for word in ("ops",) if place.startswith("/v3") else ("operator", "ops"):
                stem = f"{place}/{word}"
                table += [
                    HttpRoute("GET", f"{stem}/metrics", style, self._metrics),
                    HttpRoute("GET", f"{stem}/switches", style, self._read_switches),
                    HttpRoute("PUT", f"{stem}/switches", style, self._put_switch),
                    HttpRoute("PUT", f"{stem}/log", style, self._put_log_level),
                ]
                if style is words:
                    table.append(HttpRoute(ANY_METHOD, f"{stem}/push/state", style, self._push_state))
        return table

    async def _metrics(self, call: HttpCall) -> object:
        if self._node.has_given_up:
            return {"status": DOWN}
        status: NodeStatus = await self._node.ask(GetStatus())
        word = {"status": UP if status.ready else STARTING}
        if call.flag("onlyStatus", default=True):
            return word
        counted: ServicesCounted = await self._node.ask(CountServices())
        kept = status.counters.get("http_publications_kept", 0)
        return {
            **word,
            "serviceCount": counted.services,
            "instanceCount": counted.instances,
            "subscribeCount": status.counters.get("index_subscriptions", 0),
            "clientCount": status.sessions + kept,
            "connectionBasedClientCount": status.sessions,
            "ephemeralIpPortClientCount": kept,
            "persistentIpPortClientCount": status.counters.get("persistent_instances", 0),
            "responsibleClientCount": status.sessions + kept,
            "load": round(os.getloadavg()[0], 2),
        }

    async def _read_switches(self, _: HttpCall) -> object:
        return self._switches

    async def _put_switch(self, call: HttpCall) -> object:
        """What the original does not know it ignores too."""
        entry = call.required("entry", is_declared=True)
        value = call.required("value", is_declared=True)
        name = _SWITCH_OF_ENTRY.get(entry, entry)
        if name not in self._switches:
            return OK
        stands = self._switches[name]
        if value.lower() == str(stands).lower():
            return OK
        sentence = f"{entry} is {str(stands).lower()} here and is no switch: see the settings of the node"
        raise HttpRefused(_REFUSED, sentence, ResultCode.DISABLED)

    async def _put_log_level(self, call: HttpCall) -> object:
        call.required("logName", is_declared=True)
        call.required("logLevel", is_declared=True)
        raise HttpRefused(_REFUSED, "levels of logs are a setting here: log.level", ResultCode.DISABLED)

    async def _push_state(self, call: HttpCall) -> object:
        """Of this gateway's pushes over UDP."""
        total, succeed = self._push.pushes, self._push.answers
        if call.flag("reset", default=False):
            self._push.pushes = self._push.answers = 0
        state: dict[str, object] = {
            "succeed": succeed,
            "total": total,
            "ratio": round(succeed / total, 2) if total else 0.0,
        }
        return {**state, "detail": {}} if call.flag("detail", default=False) else state
