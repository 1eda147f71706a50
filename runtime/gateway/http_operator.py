"""What people, dashboards and SDKs ask of a server itself: is it up, how much does it keep, how is it set.

What is said is what is so. Most switches of the original are settings here (switches.py): a change of one is refused
with the reason, for an answer of ``ok`` to something that does not happen would be worse.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rollbook.catalog import CountServices, ServicesCounted
from rollbook.status import NodeStatus
from rollbook.wire import GetStatus, LogLevel, SetLogLevel
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_cluster import DOWN, STARTING, UP
from runtime.gateway.http_errors import HttpRefused, ParameterMissing, ResultCode
from runtime.gateway.http_instances import OK
from runtime.gateway.http_push import UdpPush
from runtime.gateway.http_routes import ANY_METHOD, AnswerStyle, HttpRoute, rest_result
from runtime.gateway.http_views import AsksNode
from runtime.gateway.switches import Switchboard
from runtime.logs import level_named

_REFUSED = 400


class HttpOperator:
    def __init__(
        self, node: AsksNode, push: UdpPush, switchboard: Switchboard, change_log_level: Callable[[LogLevel], None]
    ) -> None:
        self._node = node
        self._push = push
        self._switchboard = switchboard
        self._change_log_level = change_log_level

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        places = (("/v1/ns", words), ("/v2/ns", result), ("/v3/admin/ns", result))
        table = [
            HttpRoute("PUT", "/v1/core/ops/log", words, self._put_log_level_of_v1),
            HttpRoute("GET", "/v1/core/ops/idInfo", words, self._ids_of_v1),
            HttpRoute("POST", "/v1/core/ops/raft", words, self._refuse_raft),
        ]
        for stem in ("/v2/core/ops", "/v3/admin/core/ops"):
            table += [
                HttpRoute("PUT", f"{stem}/log", result, self._put_log_level),
                HttpRoute("GET", f"{stem}/ids", result, self._ids),
                HttpRoute("POST", f"{stem}/raft", result, self._refuse_raft),
            ]
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
        overridden = self._switchboard.stands.overridden_server_status
        if self._node.has_given_up:
            return {"status": overridden or DOWN}
        status: NodeStatus = await self._node.ask(GetStatus())
        word = {"status": overridden or (UP if status.ready else STARTING)}
        if call.flag("onlyStatus", default=True):
            return word
        counted: ServicesCounted = await self._node.ask(CountServices())
        kept = status.counters.get("http_publications_kept", 0)
        persistent = status.counters.get("persistent_instances", 0)
        connected = status.sessions - status.counters.get("sessions_of_gateways", 0)
        return {
            **word,
            "serviceCount": counted.services,
            "instanceCount": counted.instances,
            "responsibleInstanceCount": status.counters.get("native_instances", 0),
            "subscribeCount": status.counters.get("index_subscriptions", 0),
            "clientCount": connected + kept + persistent,
            "connectionBasedClientCount": connected,
            "ephemeralIpPortClientCount": kept,
            "persistentIpPortClientCount": persistent,
            "responsibleClientCount": connected + kept,
            "load": round(os.getloadavg()[0], 2),
        }

    async def _read_switches(self, _: HttpCall) -> object:
        return self._switchboard.stands

    async def _put_switch(self, call: HttpCall) -> object:
        """A value may be empty, but not left out. ``debug``: at this server only."""
        entry = call.required("entry", is_declared=True)
        if "value" not in call.parameters:
            raise ParameterMissing("value", is_declared=True)
        self._switchboard.turn(entry, call.text("value"), is_here_only=call.flag("debug", default=False))
        return OK

    async def _put_log_level(self, call: HttpCall) -> object:
        """Of this gateway and its node as wholes, whichever of the original's logs is named; until they end."""
        call.required("logName", is_declared=True)
        level = level_named(call.required("logLevel", is_declared=True))
        await self._node.ask(SetLogLevel(level))
        self._change_log_level(level)
        return OK

    async def _put_log_level_of_v1(self, call: HttpCall) -> object:
        await self._put_log_level(call)
        return rest_result(None)

    async def _ids(self, _: HttpCall) -> object:
        """Nothing here has a generator of ids."""
        return {}

    async def _ids_of_v1(self, call: HttpCall) -> object:
        return rest_result(await self._ids(call))

    async def _refuse_raft(self, _: HttpCall) -> object:
        sentence = "there is no Raft of the nodes themselves: durable data is in a store of their own, or in an etcd"
        raise HttpRefused(_REFUSED, sentence, ResultCode.DISABLED)

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
