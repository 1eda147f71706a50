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
from runtime.router_port import RouterPort, Sending
from runtime.sockets import ACCEPT_EVENTS, bind_client_router, bind_locally, monitor_of
from runtime.unsent_frames import UnsentFrames
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
        self.unsent = UnsentFrames(self.router.offer, settings.gateway_bytes_unsent_max)

    def read(self, now_ms: int, messages_max: int) -> list[Tell]:
        """One batch of what waits."""
        receive, take = self.router.receive, self.edge.receive
        for _ in range(messages_max):
            arrival = receive(now_ms)
            if arrival is None:
                break
            take(arrival.link, arrival.parts, arrival.ip)
        return self.edge.drain()

    def answer(self, frames: tuple[ClientFrame, ...], now_ms: int) -> None:
        """Frames that leave their windows."""
        self.edge.answered(frames)
        self.push(frames, now_ms)

    def answer_status(self, asked: StatusRequested, more_counters: dict[str, int], now_ms: int) -> None:
        """The end of the chain of a status question."""
        counters = {**self.router.counters, **more_counters}
        self.answer(self.edge.answer_status(asked.with_parts(version=VERSION), counters).frames, now_ms)

    def push(self, frames: tuple[ClientFrame, ...], now_ms: int) -> None:
        """Frames that nobody asked for. What cannot be sent at once waits, if it is for a gateway and has room; else
        it is lost, and counted."""
        offer, parts_of, unsent = self.router.offer, self.edge.parts_of, self.unsent
        for frame in frames:
            parts = parts_of(frame)
            is_behind = frame.route.link in unsent
            if is_behind or offer(parts) is Sending.UNREAD:
                may_wait = is_behind or self.edge.is_gateway(frame.route.link)
                if not (may_wait and unsent.keep(parts, now_ms)):
                    self.router.count_unread()

    def send_unsent(self, now_ms: int) -> None:
        """What waits, as far as there is room by now."""
        due_ms = self.unsent.due_ms()
        if due_ms is not None and due_ms <= now_ms:
            self.unsent.send_some(now_ms)

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
            self.unsent.forget(link)
            yield Tell(Role.CONNECTIONS, TransportClosed(link))
