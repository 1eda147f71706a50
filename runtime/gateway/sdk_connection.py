"""One connection of an SDK: who it is, its stream, its session at the node, what it watches.

A connection is its transport: SDKs name it in no request, but use one for the stream and for all else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rollbook.model import APP_LENGTH_MAX
from runtime.gateway.node_session import NodeSession
from runtime.gateway.resumption import Resumption
from runtime.gateway.sdk_messages import SetupRequest
from runtime.gateway.sdk_stream import SdkStream
from runtime.gateway.sdk_subscriptions import SdkSubscriptions
from runtime.gateway.service_lists import ServiceLists
from runtime.gateway.session_desk import SessionSpec
from runtime.gateway.settings import GatewaySettings

_AGENT_LENGTH_MAX = 128
# Those that go elsewhere when they are asked to; others do not know the message.
_MOVES_WHEN_ASKED = re.compile(r"Nacos-(Java|Go)-Client:v?[2-9]")
# Those that take what the answer to a subscription lists. Java leaves it unread where it subscribes again at another
# server, and SDKs that were made after it may.
_READS_ANSWERS = re.compile(r"Nacos-(Python|Go)-Client:")


class SdkTransport(NamedTuple):
    """``name``: as gRPC calls it, the same for all calls of one HTTP/2 connection."""

    name: str
    ip: str
    port: str


def peer_of(transport: str) -> SdkTransport:
    """Of ``ipv4:10.0.0.1:40448`` or ``ipv6:%5B::1%5D:40448``."""
    kind, _, address = transport.partition(":")
    ip, _, port = address.rpartition(":")
    if kind not in ("ipv4", "ipv6"):
        return SdkTransport(transport, kind, address)
    return SdkTransport(transport, ip.replace("%5B", "").replace("%5D", "").strip("[]"), port)


def connection_id(peer: SdkTransport, wall_ms: int) -> str:
    return f"{wall_ms}_{peer.ip}_{peer.port}"


def session_spec(peer: SdkTransport, wall_ms: int, setup: SetupRequest) -> SessionSpec:
    """Of a connection that is set up now. Limits count against the address that the transport has, for it cannot be
    made up."""
    app = setup.label("AppName")[:APP_LENGTH_MAX]
    agent = (setup.client_version or "")[:_AGENT_LENGTH_MAX]
    name = connection_id(peer, wall_ms)
    return SessionSpec(name, "" if app == "unknown" else app, agent, peer.ip, "sdk", wall_ms)


class SdkConnection:
    """``heard``: when it last said anything, by the loop's clock; ``opened``: likewise."""

    def __init__(
        self,
        peer: SdkTransport,
        setup: SetupRequest,
        stream: SdkStream,
        session: NodeSession,
        lists: ServiceLists,
        resumption: Resumption,
        settings: GatewaySettings,
        now: float,
    ) -> None:
        self.peer = peer
        self.stream = stream
        self.session = session
        reads_answers = _READS_ANSWERS.match(setup.client_version or "") is not None
        self.subscriptions = SdkSubscriptions(stream, session, lists, resumption, settings, reads_answers=reads_answers)
        self.opened = now
        self.heard = now
        self.is_probed = False
        self.moves_until = 0.0  # if it ends before, it is on its way to another server
        self.moves_when_asked = _MOVES_WHEN_ASKED.match(setup.client_version or "") is not None

    @property
    def id(self) -> str:
        return self.session.spec.client_id

    def close(self) -> None:
        """Its session goes on until somebody closes that."""
        self.subscriptions.close()
