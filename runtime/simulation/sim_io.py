"""What the I/O thread of a node is in the simulation: the same edge, the same messages, other sockets.

Frames from the network wait here until the I/O's turn comes, are decoded by runtime/edge.py and told to the actors in
batches; what the actors tell ``Role.IO`` is performed in the same turns. What there is to decide, the edge decides.

On a path that duplicates, frames to a peer are sent a second time, a moment later: what names no link in its meaning
(digests, deltas, their acknowledgements, pulls) on any link of the pair, the rest on its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from actors.base import NodeIdentity, Role, StatusRequested, StoreKind, Tell
from actors.messages.clients import BeatPassed
from actors.messages.connections import TransportClosed
from actors.messages.io import (
    AnswerClients,
    Beat,
    ClientFrame,
    DialPeers,
    LogLevelOrdered,
    PeerFrame,
    PushToClients,
    SendToPeers,
    WatchLinks,
)
from actors.messages.members import LinkClosed, LinkOpened
from actors.messages.peers import PeerTag
from runtime.edge import ClientEdge, IoSettings, PeerEdge
from runtime.simulation.hosts import Heartbeats, How, SimEnd, SimHost
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import Scheduler, SimStage

_TAGS_OF_ANY_LINK = frozenset(map(int, (PeerTag.DIGEST, PeerTag.DELTA, PeerTag.DELTA_ACK, PeerTag.PULL)))
REPEATED_WITHIN_US = 400_000


class SimIo:
    """All sockets of one process life."""

    def __init__(
        self,
        scheduler: Scheduler,
        stage: SimStage,
        network: SimNetwork,
        host: SimHost,
        settings: IoSettings,
        store: StoreKind = "none",
    ) -> None:
        self.clients = _ClientSide(self, settings)
        self.peers = _PeerSide(self, settings, store)
        self.stage = stage
        self.network = network
        self.host = host
        self.scheduler = scheduler
        self.has_stalled = False  # the process was stopped: how a link ended proves nothing
        self.slow_us = 0  # so long everything that arrives lies before it is looked at
        self._commands: deque[Any] = deque()
        self._beats: list[Beat] = []
        self.is_due = False  # its turn is in the scheduler's queue
        self._performed = stage.failpoints.turns[Role.IO]

    def open(self, identity: NodeIdentity) -> None:
        self.network.listen(self.host, identity.client_address, self.clients, self.clients.heartbeats)
        self.network.listen(self.host, identity.peer_address, self.peers)

    def tell(self, message: Any) -> None:
        """An actor wants something done."""
        self._commands.append(message)
        self.wake()

    def wake(self) -> None:
        if not self.is_due:
            self.is_due = True
            self.stage.later(self.stage.turn_cost_us(), self._turn)

    def flush(self) -> bool:
        """Perform what the actors have told so far: also the last act of a process that ends by itself.

        False: a failpoint has struck.
        """
        watched = self.stage.failpoints.armed
        while self._commands:
            if watched and self.stage.strikes(Role.IO, self._commands[0], "before"):
                return False
            command = self._commands.popleft()
            self._performed[type(command)] += 1
            self._perform(command)
            if watched and self.stage.strikes(Role.IO, command, "after"):
                return False
        return True

    def tell_all(self, tells: Iterable[Tell]) -> None:
        for to, message in tells:
            if to is Role.IO:
                self._perform(message)
            else:
                self.stage.tell(to, message)

    def _turn(self) -> None:
        """One round, in the order of runtime/io_thread.py: what was told, peers, beats, clients."""
        self.is_due = False
        if self._commands and not self.flush():
            self.wake()
            return
        if self.peers.waiting:
            self.peers.drain()
        if self._beats:
            for beat in self._beats:
                self.stage.tell(Role.CLIENTS, BeatPassed(beat.number))
            self._beats.clear()
        if self.clients.waiting:
            self.clients.drain()
        self.has_stalled = self.has_stalled and bool(self.peers.waiting)
        if self.peers.waiting or (self.clients.waiting and not self.clients.edge.saturated):
            self.wake()

    def _perform(self, message: Any) -> None:
        match message:
            case SendToPeers():  # most of all orders
                self.peers.send(message.frames)
            case AnswerClients(frames):
                self.clients.edge.answered(frames)
                self.clients.send(frames)
            case PushToClients(frames):
                self.clients.send(frames)
            case WatchLinks(links):
                self.clients.edge.watch(links)
            case DialPeers(addresses):
                self.peers.dial(addresses)
            case Beat():
                self._beats.append(message)
            case LogLevelOrdered():
                pass  # facts for the log are kept whatever their level
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
        self._due_us = 0
        self._lying = 0  # arrivals that a slow node has not looked at: nothing may overtake them

    def _arrived(self, handle: Callable[[], None]) -> None:
        if self._io.slow_us or self._lying:
            self._lying += 1
            self._due_us = max(self._due_us, self._io.scheduler.now_us + self._io.slow_us)
            self._io.stage.later(self._due_us - self._io.scheduler.now_us, partial(self._look_at, handle))
        else:
            self._wait(handle)

    def _look_at(self, handle: Callable[[], None]) -> None:
        self._lying -= 1
        self._wait(handle)

    def _wait(self, handle: Callable[[], None]) -> None:
        self.waiting.append(handle)
        if not self._io.is_due:
            self._io.wake()


def silence_of(settings: IoSettings) -> Heartbeats:
    """How long a client's connection may be silent. Clients of all kinds ping, or are asked, eight times meanwhile."""
    silence_us = settings.client_silence_ms * 1_000
    return Heartbeats(silence_us // 8, silence_us)


class _ClientSide(_Side):
    """The ROUTER that clients dial."""

    def __init__(self, io: SimIo, settings: IoSettings) -> None:
        super().__init__(io, settings)
        self.edge = ClientEdge(settings)
        self._ends: dict[bytes, SimEnd] = {}
        self.heartbeats = silence_of(settings)
        self._probe_us = settings.probe_interval_ms * 1_000

    def end_opened(self, end: SimEnd) -> None:
        self._ends[_routing_id(end)] = end

    def dial_failed(self, address: str, how: How) -> None:
        raise TypeError("a node dials no client")

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self._arrived(partial(self.edge.receive, _routing_id(end), (payload,), end.other.host.name))

    def end_closed(self, end: SimEnd, how: How) -> None:
        """The monitor says so at once; a probe confirms it a moment later."""
        delay_us = int(self._io.scheduler.chance.random() * self._probe_us)
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

    def __init__(self, io: SimIo, settings: IoSettings, store: StoreKind) -> None:
        super().__init__(io, settings)
        self.edge = PeerEdge(settings, store)
        self._ends: dict[str, SimEnd] = {}  # by link
        self._links: dict[int, str] = {}  # by number of the end
        self._dialled: dict[str, int] = {}  # address → dials since it last stood
        self._standing: dict[str, SimEnd] = {}  # by address, of those dialled here

    def end_opened(self, end: SimEnd) -> None:
        self._arrived(partial(self._opened, end))

    def dial_failed(self, address: str, how: How) -> None:
        self._arrived(partial(self._failed, address, how))

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self._arrived(partial(self._frame, end, payload))

    def end_closed(self, end: SimEnd, how: How) -> None:
        self._arrived(partial(self._closed, end, how))

    def drain(self) -> None:
        waiting = self.waiting
        for _ in range(min(self._drain_max, len(waiting))):
            waiting.popleft()()

    def send(self, frames: Iterable[PeerFrame]) -> None:
        network = self._io.network
        for link, payload in frames:
            end = self._ends.get(link)
            if end is not None:
                network.send(end, payload)
                if network.is_troubled and self._is_repeated(end):
                    self._repeat(end, payload)

    def dial(self, addresses: Iterable[str]) -> None:
        wanted = dict.fromkeys(addresses, 0)
        for address in [address for address in self._dialled if address not in wanted]:
            del self._dialled[address]
            self._hang_up(address)
        for address in wanted:
            if address not in self._dialled:
                self._dialled[address] = 0
                self._io.network.dial(self._io.host, address, self)

    def _is_repeated(self, end: SimEnd) -> bool:
        share = self._io.network.fault(end.host, end.other.host).duplicate
        return share > 0 and self._io.scheduler.chance.random() < share

    def _repeat(self, end: SimEnd, payload: bytes) -> None:
        """Only the links of this pair of nodes will do."""
        chance, ends = self._io.scheduler.chance, [end]
        if payload[2] in _TAGS_OF_ANY_LINK:  # [version, tag, body]: small numbers are one byte each
            ends = [other for other in self._ends.values() if other.other.host is end.other.host]
        link = self._links[chance.choice(ends).number]
        again = partial(self._send_again, link, payload)
        self._io.stage.later(int(chance.random() * REPEATED_WITHIN_US), again)

    def _send_again(self, link: str, payload: bytes) -> None:
        if link in self._ends:
            self._io.network.send(self._ends[link], payload)

    def _hang_up(self, address: str) -> None:
        end = self._standing.get(address)
        if end is not None:
            self._io.network.close(end)
            self._closed(end, "reset")

    def _opened(self, end: SimEnd) -> None:
        if end.address and (end.address not in self._dialled or end.address in self._standing):
            self._io.network.close(end)  # hung up on while the dial was under way
            return
        link = f"{end.address or 'in'}#{end.number}"
        self._ends[link], self._links[end.number] = end, link
        if end.address:
            self._dialled[end.address] = 0
            self._standing[end.address] = end
            self._io.stage.tell(Role.MEMBERS, LinkOpened(link, end.address))

    def _frame(self, end: SimEnd, payload: bytes) -> None:
        link = self._links.get(end.number)
        if link is not None:
            self._io.tell_all(self.edge.receive(link, (payload,), bool(end.address)))

    def _closed(self, end: SimEnd, how: How) -> None:
        link = self._links.pop(end.number, None)
        if link is None:
            return
        del self._ends[link]
        self._standing.pop(end.address, None)
        self.edge.close(link)
        self._io.stage.tell(Role.MEMBERS, LinkClosed(link, end.address, self._judged(how)))
        self._redial(end.address)

    def _failed(self, address: str, how: How) -> None:
        if address in self._dialled and address not in self._standing:
            self._io.stage.tell(Role.MEMBERS, LinkClosed("", address, self._judged(how)))
            self._redial(address)

    def _redial(self, address: str) -> None:
        if address not in self._dialled:
            return
        wait_us = self._io.network.reconnect_us(self._dialled[address])
        self._dialled[address] += 1
        self._io.stage.later(wait_us, partial(self._dial_again, address))

    def _dial_again(self, address: str) -> None:
        if address in self._dialled and address not in self._standing:
            self._io.network.dial(self._io.host, address, self)

    def _judged(self, how: How) -> How:
        return "silent" if self._io.has_stalled else how


def _routing_id(end: SimEnd) -> bytes:
    return end.number.to_bytes(5, "big")
