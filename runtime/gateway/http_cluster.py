"""Who is in the cluster, as the node that is asked sees it, and what a server says of itself.

Members tell each other nothing over HTTP, and the list of members is a setting: what the original lets peers or
operators write here is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

from rollbook.errors import InvalidField
from rollbook.status import MemberStatus, NodeStatus
from runtime.clock import system_now
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, rest_result
from runtime.gateway.http_views import AsksNode
from runtime.gateway.member_links import MemberLinks
from runtime.members_file import CLIENT_PORT_OFFSET, PEER_PORT_OFFSET
from runtime.version import installed_version

UP, STARTING, DOWN, SUSPICIOUS, ISOLATION = "UP", "STARTING", "DOWN", "SUSPICIOUS", "ISOLATION"
_STATES = (STARTING, UP, SUSPICIOUS, DOWN, ISOLATION)
_STATE_OF = {"alive": UP, "suspect": SUSPICIOUS}  # every other one is down
_DISABLED = ResultCode.DISABLED
_LIST_IS_A_SETTING = "the list of members is a setting of the nodes: node.members, or a file that they watch"


_ABILITIES = {
    "remoteAbility": {"supportRemoteConnection": True, "grpcReportEnabled": True},
    "configAbility": {"supportRemoteMetrics": False},
    "namingAbility": {"supportJraft": False},
}


class MemberShape(msgspec.Struct, frozen=True, rename="camel"):
    ip: str
    port: int
    state: str
    address: str
    extend_info: dict[str, object]
    abilities: Mapping[str, Mapping[str, bool]]
    fail_access_cnt: int = 0
    grpc_report_enabled: bool = True


class HttpCluster:
    def __init__(self, node: AsksNode, members: MemberLinks) -> None:
        self._node = node
        self._members = members

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        table = [
            HttpRoute("GET", "/v1/ns/operator/servers", words, self._servers_of_v1),
            HttpRoute("GET", "/v1/console/server/state", words, self._state),
            HttpRoute("GET", "/v3/console/server/state", result, self._state),
            HttpRoute("GET", "/v3/admin/core/state", result, self._state),
        ]
        oldest = "/v1/core/cluster"
        table += [
            HttpRoute("GET", f"{oldest}/self", words, self._self_of_v1),
            HttpRoute("GET", f"{oldest}/nodes", words, self._nodes_of_v1),
            HttpRoute("GET", f"{oldest}/simple/nodes", words, self._addresses_of_v1),
            HttpRoute("GET", f"{oldest}/health", words, self._health_of_v1),
            HttpRoute("POST", f"{oldest}/report", words, self._refuse_report),
            HttpRoute("POST", f"{oldest}/switch/lookup", words, self._refuse_list),
            HttpRoute("POST", f"{oldest}/server/leave", words, self._refuse_leaving),
        ]
        for place in ("/v2/core/cluster", "/v3/admin/core/cluster"):
            table += [
                HttpRoute("GET", f"{place}/node/self", result, self._self),
                HttpRoute("GET", f"{place}/node/list", result, self._list),
                HttpRoute("PUT", f"{place}/node/list", result, self._refuse_list),
                HttpRoute("GET", f"{place}/node/self/health", result, self._health),
                HttpRoute("PUT", f"{place}/lookup", result, self._refuse_list),
                HttpRoute("DELETE", f"{place}/nodes", result, self._refuse_leaving),
            ]
        return table

    # -- members

    async def _self(self, _: HttpCall) -> object:
        status = await self._members.own_status()
        return next(_shape(one, status) for one in status.members if one.state == "self")

    async def _self_of_v1(self, call: HttpCall) -> object:
        return rest_result(await self._self(call))

    async def _list(self, call: HttpCall) -> object:
        """``address``: what it begins with; ``state``: only of this one."""
        address, state = call.text("address"), call.text("state").upper()
        if state and state not in _STATES:
            raise InvalidField(f"Illegal state: {state[:64]}", field="state")
        shown = await self._shown()
        return [one for one in shown if one.address.startswith(address) and state in ("", one.state)]

    async def _nodes_of_v1(self, call: HttpCall) -> object:
        keyword = call.text("keyword", "ip")
        return rest_result([one for one in await self._shown() if keyword in one.address])

    async def _addresses_of_v1(self, _: HttpCall) -> object:
        return rest_result([one.address for one in await self._shown()])

    async def _servers_of_v1(self, call: HttpCall) -> object:
        is_healthy = call.flag("healthy", default=False)
        return {"servers": [one for one in await self._shown() if one.state == UP or not is_healthy]}

    async def _shown(self) -> Sequence[MemberShape]:
        status = await self._members.own_status()
        return [_shape(one, status) for one in status.members]

    async def _health(self, _: HttpCall) -> object:
        if self._node.has_given_up:
            return DOWN
        return _own_state(await self._members.own_status())

    async def _health_of_v1(self, call: HttpCall) -> object:
        return rest_result(await self._health(call))

    # -- what is no caller's to write

    async def _refuse_report(self, _: HttpCall) -> object:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "members report to each other in a protocol of their own", _DISABLED)

    async def _refuse_list(self, _: HttpCall) -> object:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, _LIST_IS_A_SETTING, _DISABLED)

    async def _refuse_leaving(self, _: HttpCall) -> object:
        sentence = "a node leaves when its process is told to end"
        raise HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, sentence, _DISABLED)

    # -- the server

    async def _state(self, _: HttpCall) -> object:
        """Every value is a text; there is no console and no login here."""
        status = await self._members.own_status()
        own = next(_shape(one, status) for one in status.members if one.state == "self")
        return {
            "startup_mode": "cluster" if len(status.members) > 1 else "standalone",
            "function_mode": "naming",
            "version": status.version or installed_version(),
            "server_port": str(own.port),
            "auth_enabled": "false",
            "auth_system_type": "",
            "auth_admin_request": "false",
            "login_page_enabled": "false",
            "console_ui_enabled": "false",
        }


def http_address(member: MemberStatus) -> tuple[str, int]:
    """Where its gateways are. A member that was never met is known by its address for peers only."""
    host, _, port = (member.client_address or member.peer_address).rpartition(":")
    return host, int(port) - (CLIENT_PORT_OFFSET if member.client_address else PEER_PORT_OFFSET)


def _shape(member: MemberStatus, status: NodeStatus) -> MemberShape:
    host, port = http_address(member)
    is_self = member.state == "self"
    heard_ms = system_now().wall_ms - max(0, member.heartbeat_age_ms)
    extended: dict[str, object] = {"lastRefreshTime": heard_ms, "readyToUpgrade": True, "nodeId": member.node_id}
    if is_self:
        extended["version"] = status.version
    state = _own_state(status) if is_self else _STATE_OF.get(member.state, DOWN)
    if state == UP and not member.ready:
        state = STARTING
    return MemberShape(host.strip("[]"), port, state, f"{host}:{port}", extended, _ABILITIES)


def _own_state(status: NodeStatus) -> str:
    if status.standing == "isolated":
        return ISOLATION
    return UP if status.ready else STARTING
