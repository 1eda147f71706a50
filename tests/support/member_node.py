"""One MemberManager under test, node "a", with peers that are letters: what arrives from them, what it sends them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

from actors.base import Effect, NodeIdentity, Now, Role, Tell, Terminate
from actors.member_manager import MemberManager, MembersSettings
from actors.messages.connections import StandingChanged
from actors.messages.distro import DigestRound, PeersChanged
from actors.messages.io import SendToPeers
from actors.messages.members import DigestsTaken, LinkClosed, LinkOpened, MembersListed, PeerFrameReceived
from actors.messages.peers import Digest, Hello, LinkPing, LinkPong, Welcome
from actors.messages.values import DigestEntry, Origin, Standing
from actors.peer_frames import decode_peer
from tests.support.settings import settings_of

T = TypeVar("T")
EPOCH = 100  # of every node, unless a test says otherwise


def peer(name: str) -> str:
    return f"{name}:8851"


def client(name: str) -> str:
    return f"{name}:8850"


def entry(owner: str, heartbeat: int = 1, *, epoch: int = EPOCH, age_ms: int = 0, **more: Any) -> DigestEntry:
    fields = {"applied": 0, "records": 0, "digest": 0, **more}
    return DigestEntry(owner, epoch, heartbeat=heartbeat, age_ms=age_ms, **fields)


def messages(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    """What actors are told of this kind; BeatKeeper hears of peers what DistroSyncActor does."""
    told = [e for e in effects if isinstance(e, Tell) and isinstance(e.message, kind)]
    return [e.message for e in told if not (e.to is Role.BEATS and isinstance(e.message, PeersChanged))]


def frames(effects: Iterable[Effect], kind: type[T]) -> list[tuple[str, T]]:
    """What peers are sent of this kind, with the link it leaves by."""
    sent = [frame for batch in messages(effects, SendToPeers) for frame in batch.frames]
    decoded = [(frame.link, decode_peer(frame.payload)) for frame in sent]
    return [(link, body) for link, body in decoded if isinstance(body, kind)]


def ends(effects: Iterable[Effect]) -> list[tuple[int, int]]:
    """Exit codes and epoch floors."""
    return [(e.exit_code, e.epoch_floor) for e in effects if isinstance(e, Terminate)]


class MemberNode:
    """Every turn ends with the invariants; ``effects`` collects what came of all turns since it was last cleared."""

    def __init__(self, members: str = "abc", *, standalone: bool = False, **overrides: Any) -> None:
        identity = NodeIdentity("a", EPOCH, "test", peer("a"), client("a"), 256, standalone)
        self.settings = settings_of("members", MembersSettings, **overrides)
        self.manager = MemberManager(identity, self.settings, random.Random(1))
        self.ms = 1_000_000
        self.heartbeats: dict[str, int] = {}
        self.effects: list[Effect] = []
        self._standing = Standing()
        self._keep(self.manager.start(self.now))
        if members:
            self.list_members(members)

    @property
    def now(self) -> Now:
        return Now(self.ms, 1_700_000_000_000 + self.ms)

    def tell(self, message: Any) -> list[Effect]:
        effects = self.manager.handle(message, self.now)
        self.manager.check_invariants()
        return self._keep(effects)

    def _keep(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        for told in messages(effects, StandingChanged):
            self._standing = told.standing
        return effects

    def standing(self) -> Standing:
        """As it was told last."""
        return self._standing

    def take(self, kind: type[T]) -> list[T]:
        """What was told of this kind since the last clear, oldest first."""
        return messages(self.effects, kind)

    def list_members(self, members: Iterable[str]) -> list[Effect]:
        return self.tell(MembersListed(tuple(peer(name) for name in members)))

    def receive(self, link: str, body: Any) -> list[Effect]:
        return self.tell(PeerFrameReceived(link, link.startswith("to-"), body))

    # What peers do.

    def hello(self, name: str, link: str = "", **changes: Any) -> list[Effect]:
        fields = {
            "cluster": "test",
            "node_id": name,
            "epoch": EPOCH,
            "peer_address": peer(name),
            "client_address": client(name),
            "dialled": peer("a"),
        }
        return self.receive(link or f"from-{name}", Hello(**{**fields, **changes}))

    def welcome(self, name: str, *, epoch: int = EPOCH, seen_epoch: int = 0) -> list[Effect]:
        return self.receive(f"to-{name}", Welcome(name, epoch, peer(name), client(name), seen_epoch))

    def open(self, name: str) -> list[Effect]:
        return self.tell(LinkOpened(f"to-{name}", peer(name)))

    def pong(self, link: str) -> list[Effect]:
        """The answer to a ping that left just now."""
        return self.receive(link, LinkPong(self.ms))

    def connect(self, *names: str, epoch: int = EPOCH) -> list[Effect]:
        """A usable link to each, dialled here."""
        effects: list[Effect] = []
        for name in names:
            effects += self.open(name) + self.welcome(name, epoch=epoch) + self.pong(f"to-{name}")
        return effects

    def digest(
        self, name: str, *entries: DigestEntry, epoch: int = EPOCH, owner_seq: int = 0, **more: Any
    ) -> list[Effect]:
        """A digest of this peer; its own heart has beaten once more."""
        self.heartbeats[name] = self.heartbeats.get(name, 0) + 1
        own = entry(name, self.heartbeats[name], epoch=epoch, owner_seq=owner_seq)
        fields = {"ready": True, "leaving": False, "links": (), **more}
        return self.receive(f"to-{name}", Digest(name, epoch, entries=(*entries, own), **fields))

    def kill(self, name: str, how: Literal["refused", "reset", "silent"] = "refused") -> list[Effect]:
        """The process is gone (or silent): its links close, and dialling it again fails."""
        closed: list[Effect] = []
        for message in (LinkClosed(f"to-{name}", peer(name), how), LinkClosed("", peer(name), how)):
            closed += self.tell(message)
        return closed

    # Time.

    def beat(self, *entries: DigestEntry) -> list[Effect]:
        return self.tell(DigestsTaken(1, entries, self.ms))

    def run(self, seconds: int, alive: str = "", *, links: dict[str, str] | None = None) -> list[Effect]:
        """Seconds with a beat each, in which these peers answer pings and send digests with this evidence."""
        effects: list[Effect] = []
        evidence = tuple(sorted((peer(name), how) for name, how in (links or {}).items()))
        for _ in range(seconds):
            self.ms += 1_000
            for name in alive:
                effects += self.pong(f"to-{name}")
                effects += self.digest(name, links=evidence)
            effects += self.beat()
        return effects

    def running(self, alive: str = "bc") -> MemberNode:
        """After a start with these peers, all hearts beating; ready (cold) if they are all there are."""
        self.connect(*alive)
        for name in alive:
            self.digest(name, ready=False)
        self.run(1, alive)
        self.effects.clear()
        return self

    def round(self) -> Digest:
        """The digest of one more beat."""
        return messages(self.beat(), DigestRound)[0].digest

    def age_ms(self, owner: str, epoch: int = EPOCH) -> int:
        """The age that the next digest gives this origin."""
        ages = {each.origin: each.age_ms for each in self.round().entries}
        return ages[Origin(owner, epoch)]


def pinged(effects: Iterable[Effect]) -> list[str]:
    return [link for link, _ in frames(effects, LinkPing)]
