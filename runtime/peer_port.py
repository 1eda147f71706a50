"""Links to other nodes: those this node dialled (a DEALER each) and those the others did (one ROUTER).

Tells MemberManager when a dialled link stands and how a link ended; hands frames to the edge. Decides nothing about
members. How a link ended is evidence about its owner, so in doubt it is ``silent``, which proves least: after a stall
of this process nothing can be said about how long the other side took.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import zmq

from actors.base import Role, StoreKind, Tell
from actors.messages.io import PeerFrame
from actors.messages.members import LinkClosed, LinkOpened
from actors.messages.peers import LinkPong, PeerTag
from actors.peer_frames import encode_peer
from runtime.edge import IoSettings, PeerEdge
from runtime.endpoints import endpoint_of
from runtime.monitor import read_events
from runtime.router_port import RouterPort
from runtime.sockets import ACCEPT_EVENTS, DIAL_EVENTS, bind_peer_router, monitor_of, peer_dealer

ACCEPTED_PREFIX = "accept:"
DIALLED_PREFIX = "dial:"
NEARLY = 0.8  # of a time limit: below it something else than the limit ended the connection
_NOBLOCK = int(zmq.NOBLOCK)
# Nothing asked for it, so it changes nothing there; a frame that had to be deliverable.
_PROBE = encode_peer(PeerTag.PONG, LinkPong(0))


class DialledPeer:
    """One address that is kept dialled; each connection to it is a new link."""

    def __init__(self, address: str, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
        self.address = address
        self.socket = socket
        self.monitor = monitor
        self.link = ""  # empty while there is no connection
        self.heard_ms = 0
        self._links = 0
        self._attempt_ms = 0

    def begin_attempt(self, now_ms: int) -> None:
        self._attempt_ms = now_ms

    def open_link(self, now_ms: int) -> str:
        self._links += 1
        self.heard_ms = now_ms
        self.link = f"{DIALLED_PREFIX}{self.address}#{self._links}"
        return self.link

    def attempt_took_ms(self, now_ms: int) -> int:
        return now_ms - self._attempt_ms

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()


class PeerPort:
    """Every socket to other nodes. Every method but the constructor is called by the I/O thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        settings: IoSettings,
        connections_max: int,
        store: StoreKind,
    ) -> None:
        self._context = context
        self._settings = settings
        self._dialled: dict[str, DialledPeer] = {}
        self._edge = PeerEdge(settings, store)
        router = bind_peer_router(context, address, settings)
        monitor = monitor_of(context, router, ACCEPT_EVENTS)
        self._accepted = RouterPort("peer", router, monitor, _PROBE, settings, connections_max)
        self._heard_ms: dict[bytes, int] = {}  # accepted links
        self._dropped: dict[str, int] = {}

    @property
    def counters(self) -> dict[str, int]:
        return {**self._edge.counters, **self._accepted.counters, **self._dropped}

    @property
    def connections_cut(self) -> int:
        return self._accepted.connections_cut

    def sockets(self) -> Iterator[zmq.Socket[bytes]]:
        """What to poll; changes only with ``dial``."""
        yield from (self._accepted.socket, self._accepted.monitor)
        for peer in self._dialled.values():
            yield from (peer.socket, peer.monitor)

    def dial(self, addresses: tuple[str, ...]) -> list[Tell]:
        """Keep exactly these addresses dialled."""
        tells = []
        for address in sorted(self._dialled.keys() - set(addresses)):
            peer = self._dialled.pop(address)
            peer.close()
            if peer.link:
                tells.append(self._closed(peer.link, address, "reset"))
        for address in addresses:
            if address not in self._dialled and (dialled := self._connect(address)) is not None:
                self._dialled[address] = dialled
        return tells

    def send(self, frames: tuple[PeerFrame, ...]) -> None:
        """Send each frame on its link; what cannot be sent at once is lost, and counted."""
        for link, payload in frames:
            if link.startswith(ACCEPTED_PREFIX):
                self._accepted.send([bytes.fromhex(link[len(ACCEPTED_PREFIX) :]), payload])
            else:
                self._send_dialled(link, payload)

    def read(self, ready: Container[object], now_ms: int, messages_max: int) -> list[Tell]:
        """What waits, up to a batch per socket. Before ``read_monitors``: a frame belongs to the link it came on."""
        tells: list[Tell] = []
        if self._accepted.socket in ready:
            tells += self._read_accepted(now_ms, messages_max)
        for peer in self._dialled.values():
            if peer.socket in ready:
                tells += self._read_dialled(peer, now_ms, messages_max)
        return tells

    def read_monitors(self, ready: Container[object], now_ms: int, has_stalled: bool) -> list[Tell]:
        """Opened, closed and failed connections."""
        tells: list[Tell] = []
        if self._accepted.monitor in ready:
            self._accepted.read_monitor(now_ms)
        self._accepted.watch_memory(now_ms)
        if self._accepted.socket not in ready and not has_stalled:
            self._accepted.cut_silent(now_ms)
        for link in self._accepted.probe_suspects(now_ms):
            is_silent = has_stalled or self._is_timed_out(now_ms - self._heard_ms.pop(link, now_ms))
            tells.append(self._closed(_accepted_name(link), "", "silent" if is_silent else "reset"))
        for peer in self._dialled.values():
            events_max = self._settings.monitor_events_per_round_max
            for event in read_events(peer.monitor, events_max) if peer.monitor in ready else ():
                tells += self._dial_event(peer, event.kind, now_ms, has_stalled)
        return tells

    def next_probe_ms(self) -> int | None:
        return self._accepted.next_probe_ms()

    def _connect(self, address: str) -> DialledPeer | None:
        """None for an address that cannot be dialled at all: that member stays unreachable."""
        socket = peer_dealer(self._context, address, self._settings)
        monitor = monitor_of(self._context, socket, DIAL_EVENTS)
        peer = DialledPeer(address, socket, monitor)
        try:
            socket.connect(endpoint_of(address))
        except zmq.ZMQError:
            self._count("peer_addresses_unusable")
            peer.close()
            return None
        return peer

    def _send_dialled(self, link: str, payload: bytes) -> None:
        address = link[len(DIALLED_PREFIX) :].rpartition("#")[0]
        peer = self._dialled.get(address)
        if peer is None or peer.link != link:
            self._count("peer_frames_dropped_for_closed_links")
            return
        try:
            peer.socket.send(payload, _NOBLOCK)
        except zmq.Again:
            self._count("peer_frames_dropped_unread_by_receiver")

    def _read_accepted(self, now_ms: int, messages_max: int) -> Iterator[Tell]:
        for _ in range(messages_max):
            arrival = self._accepted.receive(now_ms)
            if arrival is None:
                return
            self._heard_ms[arrival.link] = now_ms
            yield from self._edge.receive(_accepted_name(arrival.link), arrival.parts, False)

    def _read_dialled(self, peer: DialledPeer, now_ms: int, messages_max: int) -> Iterator[Tell]:
        for _ in range(messages_max):
            try:
                parts = peer.socket.recv_multipart(_NOBLOCK)
            except zmq.Again:
                return
            if peer.link:
                peer.heard_ms = now_ms
                yield from self._edge.receive(peer.link, parts, True)
            else:
                self._count("peer_frames_of_closed_links")

    def _dial_event(self, peer: DialledPeer, kind: int, now_ms: int, has_stalled: bool) -> Iterator[Tell]:
        settings = self._settings
        if kind in (zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CONNECTED):
            peer.begin_attempt(now_ms)
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            yield Tell(Role.MEMBERS, LinkOpened(peer.open_link(now_ms), peer.address))
        elif kind == zmq.EVENT_CLOSED:  # a connect that failed
            is_silent = peer.attempt_took_ms(now_ms) >= NEARLY * settings.peer_connect_timeout_ms
            yield self._closed("", peer.address, "silent" if is_silent or has_stalled else "refused")
        elif peer.link:
            link, peer.link = peer.link, ""
            is_silent = self._is_timed_out(now_ms - peer.heard_ms)
            yield self._closed(link, peer.address, "silent" if is_silent or has_stalled else "reset")
        else:  # connected, but the handshake failed: a stopped process is connected to by its system
            is_silent = peer.attempt_took_ms(now_ms) >= NEARLY * settings.handshake_timeout_ms
            yield self._closed("", peer.address, "silent" if is_silent or has_stalled else "reset")

    def _is_timed_out(self, silence_ms: int) -> bool:
        return silence_ms >= NEARLY * self._settings.peer_heartbeat_timeout_ms

    def _closed(self, link: str, address: str, how: str) -> Tell:
        self._edge.close(link)
        return Tell(Role.MEMBERS, LinkClosed(link, address, how))  # type: ignore[arg-type]

    def _count(self, name: str) -> None:
        self._dropped[name] = self._dropped.get(name, 0) + 1


def _accepted_name(link: bytes) -> str:
    return f"{ACCEPTED_PREFIX}{link.hex()}"
