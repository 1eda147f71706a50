"""All actors of one node in one loop, without sockets: what strangers send goes in at its edges, and nothing breaks.

The node "a" has two peers, "b" and "c", and one client with an open session. Either it keeps the durable data of the
three, or it follows "b". What an actor tells another is handled at once, in order; what it sends is decoded
as the receiver would; time passes when an input says so.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from itertools import count
from typing import Any

from actors.base import (
    Behaviour,
    Effect,
    NodeIdentity,
    Now,
    Remind,
    Role,
    StatusRequested,
    StoreKind,
    Tell,
    Terminate,
)
from actors.beat_keeper import BeatKeeper
from actors.client_manager import ClientManager
from actors.connection_manager import ConnectionManager
from actors.distro_sync_actor import DistroSyncActor
from actors.durable_rows import fence_row_key
from actors.health_checker import HealthChecker
from actors.home_follower import HomeFollower
from actors.home_server import HomeServer
from actors.index_manager import IndexManager
from actors.member_manager import MemberManager
from actors.messages.clients import BeatPassed
from actors.messages.health import ProbeResult, ProbesDone, ProbesOrdered
from actors.messages.io import AnswerClients, Beat, PushToClients, SendToPeers, WatchLinks
from actors.messages.members import LinkOpened, MembersListed
from actors.messages.peers import (
    Digest,
    Hello,
    LinkPing,
    LinkPong,
    PeerTag,
    SettledProposal,
    StoreCut,
    StoreNews,
    StoreOffered,
    StoreSettled,
    Welcome,
)
from actors.messages.store import Operation, StoredChange
from actors.messages.values import DigestEntry
from actors.peer_frames import decode_peer, encode_peer
from actors.persistent_store import PersistentStore
from actors.push_actor import PushActor
from actors.verify_timer import VerifyTimer
from rollbook.wire import ANSWER_LIMITS, OpenSession, Tag, answer_body, encode, open_envelope
from runtime.edge import ClientEdge, PeerEdge
from runtime.settings import load_settings
from tests.fuzz.store_in_the_loop import StoreInTheLoop

SETTINGS = load_settings(None, {}, {})
SESSION = 1_700_000_000_000  # that of the golden frames
EPOCH = 7  # of every node
PEERS = ("b", "c")
CLIENT_LINK = b"client"
START_MS = 1_000_000
MEETING_MS = 2_500
STREAM = SESSION + START_MS  # what the node calls the stream of its home
STREAM_NUMBER = 2  # of the last frame that it has been sent
STORE_INDEX = 42
STORE = "5f0c"
TURNS_MAX = 10_000  # for one input; more would be a loop
TIME_MS_MAX = 120_000


def peer_address(name: str) -> str:
    return f"{name}:8851"


class WholeNode:
    def __init__(self, store: StoreKind) -> None:
        identity = NodeIdentity("a", EPOCH, "test", peer_address("a"), "a:8850", 256, store=store)
        self.store = StoreInTheLoop()
        self.behaviours: dict[Role, Behaviour] = {made.role: made for made in _behaviours(identity, self.store)}
        self.ended = False
        self.answers: list[Any] = []
        self._ms = START_MS
        self._client_edge = ClientEdge(SETTINGS.io)
        self._peer_edge = PeerEdge(SETTINGS.io, store)
        self._mail: deque[Tell] = deque()
        self._reminders: list[tuple[int, int, Role, Any]] = []
        self._numbers = count()
        for behaviour in self.behaviours.values():
            self._perform(behaviour.role, behaviour.start(self._now))
        self._tell(Role.MEMBERS, MembersListed(tuple(map(peer_address, ("a", *PEERS)))))
        for name in PEERS:
            self._meet(name)
        if store == "away":
            self._follow_home("b")
        self.pass_time(MEETING_MS)
        self.receive_from_client(encode(Tag.OPEN_SESSION, 1, SESSION, OpenSession("c1", SESSION)))

    def receive_from_client(self, payload: bytes) -> None:
        self._client_edge.receive(CLIENT_LINK, [payload], "10.0.0.9")
        self._deliver(self._client_edge.drain())

    def receive_from_peer(self, name: str, payload: bytes, dialled_here: bool = True) -> None:
        self._deliver(self._peer_edge.receive(f"{'to' if dialled_here else 'from'}-{name}", [payload], dialled_here))

    def pass_time(self, ms: int) -> None:
        until = self._ms + ms
        while self._reminders and self._reminders[0][0] <= until and not self.ended:
            self._ms, _, role, message = heapq.heappop(self._reminders)
            self._tell(role, message)
        self._ms = until

    def check_invariants(self) -> None:
        for behaviour in self.behaviours.values():
            behaviour.check_invariants()

    def counter(self, role: Role, name: str) -> int:
        behaviour: Any = self.behaviours[role]
        return int(behaviour.counters[name])

    @property
    def _now(self) -> Now:
        return Now(self._ms, SESSION + self._ms)

    def _meet(self, name: str) -> None:
        """A link that was dialled here and one that was dialled there, and the first digest: nobody is ready yet."""
        self._tell(Role.MEMBERS, LinkOpened(f"to-{name}", peer_address(name)))
        welcome = Welcome(name, EPOCH, peer_address(name), f"{name}:8850")
        self.receive_from_peer(name, encode_peer(PeerTag.WELCOME, welcome))
        hello = Hello("test", name, EPOCH, peer_address(name), f"{name}:8850", peer_address("a"))
        self.receive_from_peer(name, encode_peer(PeerTag.HELLO, hello), dialled_here=False)
        own = DigestEntry(name, EPOCH, 0, 1, 0, 0, 0)
        self.receive_from_peer(name, encode_peer(PeerTag.DIGEST, Digest(name, EPOCH, False, False, (), (own,))))

    def _follow_home(self, name: str) -> None:
        """It has read the empty store, and its fence is in there."""
        fence = StoredChange(STORE_INDEX, (Operation(fence_row_key("a"), b"1"),))
        settled = SettledProposal(1, True, STORE_INDEX)
        for tag, body in (
            (PeerTag.STORE_OFFERED, StoreOffered(STORE, STORE_INDEX - 1)),
            (PeerTag.STORE_CUT, StoreCut(STREAM, 1, STORE, STORE_INDEX - 1, True, ())),
            (PeerTag.STORE_SETTLED, StoreSettled((settled,))),
            (PeerTag.STORE_NEWS, StoreNews(STREAM, STREAM_NUMBER, STORE_INDEX, (fence,))),
        ):
            self.receive_from_peer(name, encode_peer(tag, body))

    def _tell(self, role: Role, message: Any) -> None:
        self._deliver([Tell(role, message)])

    def _deliver(self, tells: list[Tell]) -> None:
        self._mail.extend(tells)
        turns = 0
        while self._mail and not self.ended:
            turns += 1
            assert turns <= TURNS_MAX, "one input keeps the node busy for ever"
            to, message = self._mail.popleft()
            if to is Role.IO:
                self._perform_io(message)
            elif to is Role.STORE and to not in self.behaviours:
                self._mail.extend(self.store.told(message))
            elif to is Role.PROBER:
                self._mail.append(Tell(Role.HEALTH, _all_refused(message)))
            else:
                self._perform(to, self.behaviours[to].handle(message, self._now))

    def _perform(self, role: Role, effects: Any) -> None:
        effect: Effect
        for effect in effects:
            match effect:
                case Tell():
                    self._mail.append(effect)
                case Remind(delay_ms, message):
                    heapq.heappush(self._reminders, (self._ms + delay_ms, next(self._numbers), role, message))
                case Terminate():
                    self.ended = True

    def _perform_io(self, message: Any) -> None:
        match message:
            case AnswerClients(frames):
                self._client_edge.answered(frames)
                self._read_answers(frames)
            case PushToClients(frames):
                self._read_answers(frames)
            case WatchLinks(links):
                self._client_edge.watch(links)
            case SendToPeers(frames):
                for link, payload in frames:
                    self._sent_to_peer(link, decode_peer(payload))
            case Beat(number):
                self._mail.append(Tell(Role.CLIENTS, BeatPassed(number)))
            case StatusRequested():
                self._perform_io(self._client_edge.answer_status(message, {}))

    def _read_answers(self, frames: Any) -> None:
        self.answers += [answer_body(open_envelope(frame.payload, ANSWER_LIMITS)) for frame in frames]

    def _sent_to_peer(self, link: str, body: Any) -> None:
        """Peers answer pings, so that their links stay usable; everything else they send stands in the input."""
        if isinstance(body, LinkPing):
            pong = encode_peer(PeerTag.PONG, LinkPong(body.number))
            self._mail.extend(self._peer_edge.receive(link, [pong], link.startswith("to-")))


def _all_refused(order: ProbesOrdered) -> ProbesDone:
    """No instance listens."""
    return ProbesDone(tuple(ProbeResult(probe.number, "refused", 1) for probe in order.probes))


def _behaviours(identity: NodeIdentity, store: StoreInTheLoop) -> list[Behaviour]:
    chance = random.Random(1)
    is_home = identity.store == "home"
    return [
        HomeServer(identity, SETTINGS.home, store.store_id, chance)
        if is_home
        else HomeFollower(identity, SETTINGS.home, chance),
        PersistentStore(identity, SETTINGS.persistent, chance),
        HealthChecker(identity, SETTINGS.health, chance),
        VerifyTimer(identity, SETTINGS.verify, chance),
        PushActor(identity, SETTINGS.push, chance),
        DistroSyncActor(identity, SETTINGS.distro, chance),
        IndexManager(identity, SETTINGS.index, chance),
        BeatKeeper(identity, SETTINGS.beats, chance),
        ClientManager(identity, SETTINGS.clients, chance),
        ConnectionManager(identity, SETTINGS.connections, chance),
        MemberManager(identity, SETTINGS.members, chance),
    ]
