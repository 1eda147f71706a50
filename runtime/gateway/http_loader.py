"""Who is connected where, and moving SDKs to other servers by hand.

Nodes balance themselves (docs/protocol.md, 2.6): every ten seconds, by the same numbers that are shown here. So what
the original calls a smart reload is under way at any time. What is said to one connection is advice: an SDK that does
not know the message stays where it is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec

from rollbook.errors import InvalidField
from rollbook.status import NodeStatus
from rollbook.wire import GetStatus
from runtime.clock import system_now
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_cluster import http_address
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import AnswerStyle, HttpRoute
from runtime.gateway.member_links import MemberAnswer, MemberLinks
from runtime.gateway.sdk_connection import SdkConnection
from runtime.members_file import CLIENT_PORT_OFFSET

SUCCESS = "success"
PORT_MAX = 65_535
_PORT = re.compile(r"[1-9][0-9]{0,4}")
THRESHOLD = 1.1  # of the mean, at which the original calls a server loaded


class MovesSdks(Protocol):
    """The part of SdkConnections that is needed here."""

    def all(self) -> list[SdkConnection]: ...

    def advise(self, connection: SdkConnection, servers: tuple[str, ...]) -> bool: ...


class ConnectionFacts(msgspec.Struct, frozen=True, rename="camel"):
    connect_type: str
    client_ip: str
    remote_ip: str
    remote_port: int
    version: str
    connection_id: str
    create_time: int
    last_active_time: int
    app_name: str


class ConnectionShape(msgspec.Struct, frozen=True, rename="camel"):
    meta_info: ConnectionFacts
    connected: bool = True


class MetricShape(msgspec.Struct, frozen=True, rename="camel"):
    """Texts, as in the original. ``con_count``: all sessions of the node, ``sdk_con_count``: those of callers."""

    con_count: str
    sdk_con_count: str


class MemberLoadShape(msgspec.Struct, frozen=True):
    address: str
    metric: MetricShape


class ClusterLoadShape(msgspec.Struct, frozen=True, rename="camel"):
    """``threshold``: above that many a server is loaded, as the original counts."""

    total: int
    min: int
    avg: int
    max: int
    member_count: int
    metrics_count: int
    threshold: float
    detail: Sequence[MemberLoadShape]
    completed: bool


class HttpLoader:
    def __init__(self, connections: MovesSdks, members: MemberLinks) -> None:
        self._connections = connections
        self._members = members

    def routes(self) -> list[HttpRoute]:
        result = AnswerStyle.RESULT
        table = []
        for place, method in (("/v2/core/loader", "GET"), ("/v3/admin/core/loader", "POST")):
            table += [
                HttpRoute("GET", f"{place}/current", result, self._current),
                HttpRoute("GET", f"{place}/cluster", result, self._cluster),
                HttpRoute(method, f"{place}/reloadCurrent", result, self._reload_current),
                HttpRoute(method, f"{place}/smartReloadCluster", result, self._reload_cluster),
                HttpRoute(method, f"{place}/reloadClient", result, self._reload_client),
            ]
        return table

    async def _current(self, _: HttpCall) -> object:
        """The SDKs that are connected to this gateway."""
        return {each.id: _connection_shape(each) for each in self._connections.all()}

    async def _cluster(self, _: HttpCall) -> object:
        asked = await self._members.own_status()
        return cluster_load(await self._members.ask_all(GetStatus()), len(asked.members))

    async def _reload_current(self, call: HttpCall) -> object:
        """``count`` connections may stay; of the others, those that know how to move are told to."""
        stay, servers = call.whole_number("count"), _servers(call)
        if stay < 0:
            raise InvalidField("count is how many may stay: 0 or more", field="count")
        connections = self._connections.all()
        for connection in connections[: max(0, len(connections) - stay)]:
            self._connections.advise(connection, servers)
        return SUCCESS

    async def _reload_client(self, call: HttpCall) -> object:
        connection_id, servers = call.required("connectionId"), _servers(call)
        for connection in self._connections.all():
            if connection.id == connection_id:
                if self._connections.advise(connection, servers):
                    return SUCCESS
                sentence = f"{connection_id[:128]} is of an SDK that does not know how to move"
                raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, ResultCode.DISABLED)
        sentence = f"connectionId [ {connection_id[:128]} ] not exist"
        raise HttpRefused(HTTPStatus.NOT_FOUND, sentence, ResultCode.NOT_FOUND)

    async def _reload_cluster(self, call: HttpCall) -> object:
        """The nodes do it already, by a rule of theirs; ``loaderFactor`` makes no difference."""
        call.number("loaderFactor", default=THRESHOLD)
        return SUCCESS


def cluster_load(answers: Sequence[MemberAnswer], members: int) -> ClusterLoadShape:
    """Of those who have answered."""
    detail, counts = [], []
    for member, body in answers:
        status: NodeStatus = body
        host, port = http_address(member)
        gateways = status.counters.get("sessions_of_gateways", 0)
        counts.append(status.sessions - gateways)
        shape = MetricShape(str(status.sessions), str(status.sessions - gateways))
        detail.append(MemberLoadShape(f"{host}:{port}", shape))
    mean = sum(counts) / len(counts)
    return ClusterLoadShape(
        total=sum(counts),
        min=min(counts),
        avg=int(mean),
        max=max(counts),
        member_count=members,
        metrics_count=len(counts),
        threshold=mean * THRESHOLD,
        detail=detail,
        completed=len(counts) == members,
    )


def _servers(call: HttpCall) -> tuple[str, ...]:
    """``redirectAddress`` as a client address of a node; none if it was not said: the SDK chooses."""
    said = call.text("redirectAddress")
    if not said:
        return ()
    host, colon, port = said.rpartition(":")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > PORT_MAX:
        raise InvalidField(f"redirectAddress is ip:port, not {said[:64]}", field="redirectAddress")
    return (f"{host}:{int(port) + CLIENT_PORT_OFFSET}",)


def _connection_shape(connection: SdkConnection) -> ConnectionShape:
    spec, peer, now = connection.session.spec, connection.peer, asyncio.get_running_loop().time()
    wall_ms = system_now().wall_ms
    return ConnectionShape(
        ConnectionFacts(
            connect_type="GRPC",
            client_ip=peer.ip,
            remote_ip=peer.ip,
            remote_port=int(peer.port) if peer.port.isdigit() else 0,
            version=spec.agent,
            connection_id=connection.id,
            create_time=wall_ms - round((now - connection.opened) * 1000),
            last_active_time=wall_ms - round((now - connection.heard) * 1000),
            app_name=spec.app or "unknown",
        )
    )
