"""The ROUTER that clients connect to, between the sockets and the edge.

Tells what the edge made of their frames, and ConnectionManager which connections are gone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import zmq

from actors.base import Role, StatusRequested, Tell
from actors.messages.connections import TransportClosed
from actors.messages.io import ClientFrame
from rollbook.wire import Probe, Tag, encode
from runtime.edge import ClientEdge, IoSettings
from runtime.router_port import RouterPort
from runtime.sockets import ACCEPT_EVENTS, bind_client_router, bind_locally, monitor_of
from runtime.version import installed_version

VERSION = installed_version()
_PROBE = encode(Tag.PROBE, 0, 0, Probe())


class ClientPort:
    """Every method but the constructor is called by the I/O thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        settings: IoSettings,
        connections_max: int,
        local_endpoint: str = "",
    ) -> None:
        """``local_endpoint``: where gateways of this machine connect, if there are any."""
        router = bind_client_router(context, address, settings)
        if local_endpoint:
            bind_locally(router, local_endpoint, settings)
        self.edge = ClientEdge(settings)
        monitor = monitor_of(context, router, ACCEPT_EVENTS)
        self.router = RouterPort("client", router, monitor, _PROBE, settings, connections_max)

    def read(self, now_ms: int, messages_max: int) -> list[Tell]:
        """One batch of what waits."""
        receive, take = self.router.receive, self.edge.receive
        for _ in range(messages_max):
            arrival = receive(now_ms)
            if arrival is None:
                break
            take(arrival.link, arrival.parts, arrival.ip)
        return self.edge.drain()

    def answer(self, frames: tuple[ClientFrame, ...]) -> None:
        """Frames that leave their windows."""
        self.edge.answered(frames)
        self.push(frames)

    def answer_status(self, asked: StatusRequested, more_counters: dict[str, int]) -> None:
        """The end of the chain of a status question."""
        counters = {**self.router.counters, **more_counters}
        self.answer(self.edge.answer_status(asked.with_parts(version=VERSION), counters).frames)

    def push(self, frames: tuple[ClientFrame, ...]) -> None:
        """Frames that nobody asked for. What cannot be sent at once is lost, and counted."""
        send, parts_of = self.router.send, self.edge.parts_of
        for frame in frames:
            send(parts_of(frame))

    def read_monitor(self, ready: Container[object], now_ms: int, has_stalled: bool) -> Iterator[Tell]:
        """Connections that are gone."""
        if self.router.monitor in ready:
            self.router.read_monitor(now_ms)
        self.router.cut_deaf(now_ms)
        if not self.edge.saturated:
            self.router.watch_memory(now_ms)
            if self.router.socket not in ready and not has_stalled:
                self.router.cut_silent(now_ms)
        for link in self.router.probe_suspects(now_ms):
            self.edge.close(link)
            yield Tell(Role.CONNECTIONS, TransportClosed(link))
