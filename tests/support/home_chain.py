"""A home and its followers over links that lose, delay and end; the store and its ports are in memory."""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import Any

from actors.base import NodeIdentity, Now, Remind, Role, StoreKind, Tell
from actors.home_follower import HomeFollower, HomeSettings
from actors.home_server import HomeServer
from actors.messages.distro import PeersChanged
from actors.messages.index import RecordsChanged
from actors.messages.io import SendToPeers
from actors.messages.store import (
    NOTHING,
    ChangesSeen,
    CutTaken,
    FollowEnded,
    FollowOrdered,
    Outcome,
    PersistentOrders,
    Proposal,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    StoreFollowed,
    StoreFrameReceived,
    StoreSilent,
)
from actors.messages.values import Order, Peer, Route
from actors.peer_frames import decode_peer
from actors.persistent_store import PersistentSettings, PersistentStore
from tests.support.model_store import ModelStore
from tests.support.settings import settings_of

HOME = "home"
WALL_MS = 1_700_000_000_000


class MemoryStorePort:
    """What runtime/store_port.py does, at once, or when the chain says that the store is slow."""

    def __init__(self, store: ModelStore, store_id: str) -> None:
        self.store = store
        self.store_id = store_id
        self.follows: dict[str, int] = {}  # how far each follower has come; NOTHING: it waits for a cut
        self.unanswered: list[tuple[str, Proposal]] = []
        self.is_readable = True

    def put(self, message: ProposalsMade | FollowOrdered | FollowEnded) -> None:
        match message:
            case ProposalsMade():
                self.unanswered += [(message.asker, proposal) for proposal in message.proposals]
            case FollowOrdered():
                self.follows[message.follower] = message.after
            case FollowEnded():
                self.follows.pop(message.follower, None)

    def news(self, count_max: int) -> list[CutTaken | ChangesSeen | StoreSilent]:
        told: list[CutTaken | ChangesSeen | StoreSilent] = []
        for follower, after in sorted(self.follows.items()):
            changes = self.store.changes_after(after, count_max) if NOTHING < after <= self.store.index else None
            if not self.is_readable:
                told.append(StoreSilent("the disk is gone", follower))
            elif changes is None:
                told.append(CutTaken(self.store.cut(), follower, self.store_id))
                self.follows[follower] = self.store.index
            else:
                told.append(ChangesSeen(changes, changes[-1].index if changes else self.store.index, follower))
                self.follows[follower] = changes[-1].index if changes else self.store.index
        return told

    def settle(self, chance: random.Random) -> list[ProposalsSettled]:
        """All that waits, in any order; some of it is refused or not known."""
        chance.shuffle(self.unanswered)
        told: list[ProposalsSettled] = []
        for asker, proposal in self.unanswered:
            fate = chance.random()
            outcome: Outcome | None = self.store.apply(proposal) if fate < 0.9 else None
            if fate < 0.8:
                settled = ProposalSettled(proposal.number, outcome)
            else:
                fault = "unavailable" if fate >= 0.95 else "unknown"
                settled = ProposalSettled(proposal.number, None, fault, "so it is")  # type: ignore[arg-type]
            told.append(ProposalsSettled((settled,), asker))
        self.unanswered = []
        return told


class HomeChain:
    """Who reaches whom over which link is said here, without members; each pair has up to two links."""

    def __init__(self, followers: str, seed: int, loss: float = 0.0, **overrides: Any) -> None:
        self.chance = random.Random(seed)
        self.loss = loss
        self.settings = settings_of("home", HomeSettings, **overrides)
        self.ms = 0
        self.store = ModelStore()
        self.nodes: dict[str, dict[Role, Any]] = {}
        self.epochs: dict[str, int] = {}
        self.links: dict[str, str] = {}  # to which follower
        self.ports: dict[str, MemoryStorePort] = {}
        self.answers: dict[int, Any] = {}
        self.followed: dict[str, StoreFollowed] = {}
        self._events: list[tuple[int, int, str, int, Role, Any]] = []
        self._arrives_ms: dict[tuple[str, str], int] = {}  # a link keeps its order
        self._numbers = count(1)
        for name in (HOME, *followers):
            self.start(name)

    def start(self, name: str) -> None:
        """A new life of the node; what was on its way to the earlier one is gone."""
        self.epochs[name] = self.epochs.get(name, 0) + 1_000_000
        kind: StoreKind = "home" if name == HOME else "away"
        identity = NodeIdentity(name, self.epochs[name], "test", f"{name}:1", f"{name}:2", 256, store=kind)
        actors: dict[Role, Any] = {
            Role.PERSISTENT: PersistentStore(identity, settings_of("persistent", PersistentSettings), self.chance)
        }
        if name == HOME:
            actors[Role.HOME] = HomeServer(identity, self.settings, "the-store", self.chance)
            self.ports[name] = MemoryStorePort(self.store, "the-store")
        else:
            actors[Role.STORE] = HomeFollower(identity, self.settings, self.chance)
        self.nodes[name] = actors
        for role, actor in actors.items():
            self._perform_all(name, role, actor.start(self._now))
        self.cut_links(name)

    def cut_links(self, name: str) -> None:
        self.links = {link: other for link, other in self.links.items() if HOME != name != other}
        self.say_peers()

    def connect(self, name: str, link: str = "") -> None:
        """A link of this name may have been another one before."""
        self.links[link or f"{name}-{next(self._numbers)}"] = name
        self.say_peers()

    def disconnect(self, link: str) -> None:
        del self.links[link]
        self.say_peers()

    def say_peers(self) -> None:
        """Nobody hears of it at the same time."""
        for name in self.nodes:
            if name == HOME:
                peers = tuple(Peer(other, self.epochs[other], link) for link, other in self._shuffled(self.links))
                self._later(name, Role.HOME, PeersChanged(peers, ()))
            else:
                own = {link: other for link, other in self.links.items() if other == name}
                peers = tuple(Peer(HOME, self.epochs[HOME], link) for link, _ in self._shuffled(own))
                self._later(name, Role.STORE, PeersChanged(peers, ()))

    def order(self, name: str, body: Any) -> int:
        number = next(self._numbers)
        self._later(name, Role.PERSISTENT, PersistentOrders((Order(Route(b"c", 1), number, body, name),)))
        return number

    def run(self, ms: int, news_max: int = 1_000) -> None:
        until = self.ms + ms
        while self.ms < until:
            self.ms += 10
            while self._events and self._events[0][0] <= self.ms:
                _, _, name, epoch, role, message = heapq.heappop(self._events)
                if epoch == self.epochs[name]:
                    self._handle(name, role, message)
            port = self.ports[HOME]
            for settled in port.settle(self.chance):
                self._later(HOME, Role.HOME if settled.asker else Role.PERSISTENT, settled)
            for news in port.news(news_max):
                self._later(HOME, Role.HOME if news.follower else Role.PERSISTENT, news)

    def check_equal(self) -> None:
        expected = {key: row.index for key, row in self.store.rows.items()}
        for name in self.nodes:
            assert self.rows_of(name) == expected, f"{name} differs from the store"

    def check_no_image_is_wrong(self) -> None:
        """Each is what the store was at the index that it claims; the log is whole in these tests."""
        for name, actors in self.nodes.items():
            image = actors[Role.PERSISTENT].image
            rows = {}
            for change in self.store.log:
                if change.index <= image.index:
                    rows.update({each.key: (each.value, change.index) for each in change.operations})
            expected = {key: index for key, (value, index) in rows.items() if value is not None}
            assert self.rows_of(name) == expected, f"{name} is wrong about index {image.index}"

    def rows_of(self, name: str) -> dict[str, int]:
        image = self.nodes[name][Role.PERSISTENT].image
        return {**{key: kept.index for key, kept in image.rows.items()}, **image.unreadable}

    def follower(self, name: str) -> HomeFollower:
        actor = self.nodes[name][Role.STORE]
        assert isinstance(actor, HomeFollower)
        return actor

    @property
    def _now(self) -> Now:
        return Now(self.ms, WALL_MS + self.ms)

    def _later(self, name: str, role: Role, message: Any, delay_ms: int = 0) -> None:
        event = (self.ms + delay_ms, next(self._numbers), name, self.epochs[name], role, message)
        heapq.heappush(self._events, event)

    def _handle(self, name: str, role: Role, message: Any) -> None:
        actor = self.nodes[name][role]
        self._perform_all(name, role, actor.handle(message, self._now))
        actor.check_invariants()

    def _perform_all(self, name: str, role: Role, effects: Any) -> None:
        for effect in effects:
            match effect:
                case Remind():
                    self._later(name, role, effect.message, effect.delay_ms)
                case Tell(Role.IO, SendToPeers(frames)):
                    for frame in frames:
                        self._carry(name, frame.link, decode_peer(frame.payload))
                case Tell(Role.INDEX, RecordsChanged() as changed):
                    for reply in changed.replies:
                        assert reply.correlation not in self.answers, "an order was answered twice"
                        self.answers[reply.correlation] = reply.body
                case Tell(Role.INDEX, StoreFollowed() as followed):
                    self.followed[name] = followed
                case Tell(Role.STORE, told) if name == HOME:
                    self.ports[name].put(told)
                case Tell(Role.STORE | Role.PERSISTENT as to, told):
                    self._later(name, to, told)

    def _carry(self, sender: str, link: str, body: Any) -> None:
        follower = self.links.get(link)
        if follower is None or self.chance.random() < self.loss:
            return
        to, role = (follower, Role.STORE) if sender == HOME else (HOME, Role.HOME)
        at_ms = max(self.ms + self.chance.choice([1, 5, 40]), self._arrives_ms.get((link, to), 0))
        self._arrives_ms[link, to] = at_ms
        self._later(to, role, StoreFrameReceived(link, body), at_ms - self.ms)

    def _shuffled(self, links: dict[str, str]) -> list[tuple[str, str]]:
        return self.chance.sample(sorted(links.items()), len(links))
