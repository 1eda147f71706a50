"""What the I/O thread of a node is in the simulation: the same edge, the same messages, other sockets.

Frames from the network wait here until the I/O's turn comes, are decoded by runtime/edge.py and told to the actors in
batches; what the actors tell ``Role.IO`` is performed in the same turns. What there is to decide, the edge decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from actors.base import NodeIdentity, Role, StatusRequested, Tell
from actors.messages.clients import BeatPassed
from actors.messages.connections import TransportClosed
from actors.messages.io import (
    AnswerClients,
    Beat,
    ClientFrame,
    DialPeers,
    PeerFrame,
    PushToClients,
    SendToPeers,
    WatchLinks,
)
from actors.messages.members import LinkClosed, LinkOpened
from runtime.edge import ClientEdge, IoSettings, PeerEdge
from runtime.simulation.network import How, SimEnd, SimHost, SimNetwork
from runtime.simulation.scheduler import Scheduler, SimStage


class SimIo:
    """All sockets of one process life."""

    def __init__(
        self, scheduler: Scheduler, stage: SimStage, network: SimNetwork, host: SimHost, settings: IoSettings
    ) -> None:
        self.clients = _ClientSide(self, settings)
        self.peers = _PeerSide(self, settings)
        self.stage = stage
        self.network = network
        self.host = host
        self.scheduler = scheduler
        self.has_stalled = False  # the process was stopped: how a link ended proves nothing
        self._commands: deque[Any] = deque()
        self._beats: list[Beat] = []
        self._due = False

    def open(self, identity: NodeIdentity) -> None:
        patience_us = self.clients.heartbeat_timeout_us
        self.network.listen(self.host, identity.client_address, self.clients, patience_us)
        self.network.listen(self.host, identity.peer_address, self.peers)

    def tell(self, message: Any) -> None:
        """An actor wants something done."""
        self._commands.append(message)
        self.wake()

    def wake(self) -> None:
        if not self._due:
            self._due = True
            self.stage.later(self.stage.turn_cost_us(), self._turn)

    def flush(self) -> None:
        """Perform what the actors have told so far: the last act of a process that ends by itself."""
        while self._commands:
            self._perform(self._commands.popleft())

    def tell_all(self, tells: Iterable[Tell]) -> None:
        for to, message in tells:
            if to is Role.IO:
                self._perform(message)
            else:
                self.stage.tell(to, message)

    def _turn(self) -> None:
        """One round, in the order of runtime/io_thread.py: what was told, peers, beats, clients."""
        self._due = False
        self.flush()
        self.peers.drain()
        for beat in self._beats:
            self.stage.tell(Role.CLIENTS, BeatPassed(beat.number))
        self._beats.clear()
        self.clients.drain()
        self.has_stalled = self.has_stalled and bool(self.peers.waiting)
        if self.peers.waiting or (self.clients.waiting and not self.clients.edge.saturated):
            self.wake()

    def _perform(self, message: Any) -> None:
        match message:
            case AnswerClients(frames):
                self.clients.edge.answered(frames)
                self.clients.send(frames)
            case PushToClients(frames):
                self.clients.send(frames)
            case WatchLinks(links):
                self.clients.edge.watch(links)
            case SendToPeers(frames):
                self.peers.send(frames)
            case DialPeers(addresses):
                self.peers.dial(addresses)
            case Beat():
                self._beats.append(message)
            case StatusRequested():
                self._perform(self.clients.edge.answer_status(message, {}))
            case _:
                raise TypeError(f"nobody performs {type(message).__name__} at the I/O")


class _Side:
    """What client and peer sockets have in common: arrivals wait for the I/O's turn, in their order."""

    def __init__(self, io: SimIo, settings: IoSettings) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self._io = io
        self._drain_max = settings.drain_frames_max

    def _arrived(self, handle: Callable[[], None]) -> None:
        self.waiting.append(handle)
        self._io.wake()


class _ClientSide(_Side):
    """The ROUTER that clients dial."""

    def __init__(self, io: SimIo, settings: IoSettings) -> None:
        super().__init__(io, settings)
        self.edge = ClientEdge(settings)
        self._ends: dict[bytes, SimEnd] = {}
        self.heartbeat_timeout_us = settings.client_heartbeat_timeout_ms * 1_000
        self._probe_us = settings.probe_interval_ms * 1_000

    def end_opened(self, end: SimEnd) -> None:
        self._ends[_routing_id(end)] = end

    def dial_failed(self, address: str, how: How) -> None:
        raise TypeError("a node dials no client")

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self._arrived(partial(self.edge.receive, _routing_id(end), (payload,), end.other.host.name))

    def end_closed(self, end: SimEnd, how: How) -> None:
        """The monitor says so at once; a probe confirms it a moment later."""
        delay_us = self._io.scheduler.chance.randrange(self._probe_us)
        self._io.stage.later(delay_us, lambda: self._arrived(partial(self._closed, _routing_id(end))))

    def drain(self) -> None:
        for _ in range(self._drain_max):
            if not self.waiting or self.edge.saturated:
                break
            self.waiting.popleft()()
        self._io.tell_all(self.edge.drain())

    def send(self, frames: Iterable[ClientFrame]) -> None:
        for frame in frames:
            end = self._ends.get(frame.route.link)
            if end is not None:  # what the network does not take is lost, as with sockets
                self._io.network.send(end, frame.payload)

    def _closed(self, link: bytes) -> None:
        self._io.tell_all(self.edge.drain())
        self.edge.close(link)
        self._ends.pop(link, None)
        self._io.stage.tell(Role.CONNECTIONS, TransportClosed(link))


class _PeerSide(_Side):
    """The ROUTER that peers dial, and one DEALER per peer dialled."""

    def __init__(self, io: SimIo, settings: IoSettings) -> None:
        super().__init__(io, settings)
        self.edge = PeerEdge(settings)
        self._ends: dict[str, SimEnd] = {}
        self._dialled: dict[str, int] = {}  # address → dials since it last stood

    def end_opened(self, end: SimEnd) -> None:
        self._arrived(partial(self._opened, end))

    def dial_failed(self, address: str, how: How) -> None:
        self._arrived(partial(self._failed, address, how))

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self._arrived(partial(self._frame, end, payload))

    def end_closed(self, end: SimEnd, how: How) -> None:
        self._arrived(partial(self._closed, end, how))

    def drain(self) -> None:
        for _ in range(min(self._drain_max, len(self.waiting))):
            self.waiting.popleft()()

    def send(self, frames: Iterable[PeerFrame]) -> None:
        for link, payload in frames:
            end = self._ends.get(link)
            if end is not None:
                self._io.network.send(end, payload)

    def dial(self, addresses: Iterable[str]) -> None:
        wanted = dict.fromkeys(addresses, 0)
        for address in [address for address in self._dialled if address not in wanted]:
            del self._dialled[address]
            self._hang_up(address)
        for address in wanted:
            if address not in self._dialled:
                self._dialled[address] = 0
                self._io.network.dial(self._io.host, address, self)

    def _hang_up(self, address: str) -> None:
        for end in list(self._ends.values()):
            if end.address == address:
                self._io.network.close(end)
                self._closed(end, "reset")

    def _opened(self, end: SimEnd) -> None:
        link = _link_of(end)
        if end.address and (end.address not in self._dialled or self._stands(end.address)):
            self._io.network.close(end)  # hung up on while the dial was under way
            return
        self._ends[link] = end
        if end.address:
            self._dialled[end.address] = 0
            self._io.stage.tell(Role.MEMBERS, LinkOpened(link, end.address))

    def _frame(self, end: SimEnd, payload: bytes) -> None:
        if _link_of(end) in self._ends:
            self._io.tell_all(self.edge.receive(_link_of(end), (payload,), bool(end.address)))

    def _closed(self, end: SimEnd, how: How) -> None:
        link = _link_of(end)
        if self._ends.pop(link, None) is None:
            return
        self.edge.close(link)
        self._io.stage.tell(Role.MEMBERS, LinkClosed(link, end.address, self._judged(how)))
        self._redial(end.address)

    def _failed(self, address: str, how: How) -> None:
        if address in self._dialled and not self._stands(address):
            self._io.stage.tell(Role.MEMBERS, LinkClosed("", address, self._judged(how)))
            self._redial(address)

    def _redial(self, address: str) -> None:
        if address not in self._dialled:
            return
        wait_us = self._io.network.reconnect_us(self._dialled[address])
        self._dialled[address] += 1
        self._io.stage.later(wait_us, lambda: self._dial_again(address))

    def _dial_again(self, address: str) -> None:
        if address in self._dialled and not self._stands(address):
            self._io.network.dial(self._io.host, address, self)

    def _judged(self, how: How) -> How:
        return "silent" if self._io.has_stalled else how

    def _stands(self, address: str) -> bool:
        return any(end.address == address for end in self._ends.values())


def _routing_id(end: SimEnd) -> bytes:
    return end.number.to_bytes(5, "big")


def _link_of(end: SimEnd) -> str:
    return f"{end.address or 'in'}#{end.number}"
