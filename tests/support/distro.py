"""A DistroSyncActor under test: its node, what it is told, and what it tells."""

from __future__ import annotations

import random
from typing import Any, TypeVar

from actors.base import Effect, Effects, NodeIdentity, Now, Remind, Role, Tell
from actors.distro_sync_actor import DistroSettings, DistroSyncActor
from actors.messages.clients import GetRecordRange
from actors.messages.distro import (
    DeltaAcknowledged,
    DeltaReceived,
    DigestAccepted,
    DigestRound,
    NativeAdvanced,
    OwnersApplied,
    PeersChanged,
    RecordRange,
)
from actors.messages.io import AnswerClients, SendToPeers
from actors.messages.peers import Delta, DeltaAck, Digest
from actors.messages.values import DigestEntry, Origin, Peer, Route, Watermark
from actors.peer_frames import decode_peer
from rollbook.wire import answer_body, open_envelope
from tests.support.settings import settings_of

T = TypeVar("T")
ME = Origin("n1", 5)
TWO, THREE = Origin("n2", 8), Origin("n3", 9)
DEAD = Origin("n4", 3)  # nobody reaches it
PEERS = (Peer("n2", 8, "to-n2"), Peer("n3", 9, "to-n3"))


class Node:
    """A DistroSyncActor with a clock and the reminders it asked for; every turn ends with its invariants."""

    def __init__(self, peers: tuple[Peer, ...] = PEERS, chance: int = 1, **overrides: Any) -> None:
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:8851", "127.0.0.1:8850", 256)
        settings = settings_of("distro", DistroSettings, **overrides)
        self.actor = DistroSyncActor(identity, settings, random.Random(chance))
        self.ms = 10_000
        self.reminders: list[tuple[int, Any]] = []
        self.known: dict[Origin, int] = {}
        self.peers(*peers)

    def handle(self, message: Any) -> Effects:
        effects = self.actor.handle(message, Now(self.ms, 0))
        self.reminders += [(self.ms + item.delay_ms, item.message) for item in effects if isinstance(item, Remind)]
        self.actor.check_invariants()
        return effects

    def pass_time(self, ms: int) -> Effects:
        until = self.ms + ms
        effects: list[Effect] = []
        while self.reminders and min(self.reminders, key=lambda due: due[0])[0] <= until:
            due = min(self.reminders, key=lambda due: due[0])
            self.reminders.remove(due)
            self.ms = due[0]
            effects += self.handle(due[1])
        self.ms = until
        return effects

    def peers(self, *peers: Peer, living: tuple[str, ...] | None = None) -> Effects:
        names = tuple(peer.node_id for peer in peers) if living is None else living
        return self.handle(PeersChanged(peers, ("n1", *names)))

    def meet(self, *applied: int) -> None:
        """Each peer in turn tells by digest how far it has come with this node's records."""
        for peer, seq in zip(PEERS, applied, strict=False):
            self.handle(DigestAccepted(peer.link, peer.node_id, True, (entry(ME, seq),)))

    def advance(self, seq: int) -> Effects:
        return self.handle(NativeAdvanced(seq))

    def freeze(self, wanted: GetRecordRange, upper: int, chunks: int = 1, **fields: Any) -> Effects:
        """Answer as ClientManager does."""
        bodies = tuple((b"body%d" % index,) for index in range(chunks))
        values = {"after": wanted.after, "full": wanted.full, "resume": wanted.resume, "gc_floor": 0, **fields}
        return self.handle(RecordRange(wanted.origin, upper=upper, chunks=bodies, links=wanted.links, **values))

    def push(self, seq: int, chunks: int = 1) -> Effects:
        """A change of this node's own, up to its frames."""
        effects: list[Effect] = []
        for wanted in told(self.advance(seq), GetRecordRange):
            effects += self.freeze(wanted, seq, chunks)
        return effects

    def acknowledge(self, link: str, applied: int, upper: int = 0, chunk: int = 0, origin: Origin = ME) -> Effects:
        return self.handle(DeltaAcknowledged(link, DeltaAck(*origin, applied, 0, upper, chunk)))

    def round(self, *entries: DigestEntry) -> Effects:
        return self.handle(DigestRound(Digest("n1", 5, True, False, (), (entry(ME, 0, heartbeat=70), *entries))))

    def digest(self, node_id: str, *entries: DigestEntry, ready: bool = True) -> Effects:
        return self.handle(DigestAccepted(f"to-{node_id}", node_id, ready, entries))

    def receive(self, link: str, delta: Delta) -> Effects:
        return self.handle(DeltaReceived(link, delta))

    def applied(self, origin: Origin, seq: int, link: str = "") -> Effects:
        return self.handle(OwnersApplied((Watermark(origin, seq, link),)))

    def counter(self, name: str) -> int:
        return self.actor.counters[name]


def entry(origin: Origin, applied: int, **fields: Any) -> DigestEntry:
    values = {"heartbeat": 1, "age_ms": 0, "records": applied, "digest": applied, **fields}
    return DigestEntry(origin.owner, origin.epoch, applied, **values)


def delta(origin: Origin, after: int, upper: int, **fields: Any) -> Delta:
    values = {"full": False, "resume": 0, "gc_floor": 0, "index": 0, "last": True, "heartbeat": 0, "bodies": (b"r",)}
    return Delta(*origin, after, upper, **{**values, **fields})


def told(effects: Effects, kind: type[T], to: Role | None = None) -> list[T]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Tell) and isinstance(effect.message, kind) and to in (None, effect.to)
    ]


def sent(effects: Effects, kind: type[T]) -> list[tuple[str, T]]:
    """(link, body) of every frame of this kind."""
    frames = [frame for batch in told(effects, SendToPeers, Role.IO) for frame in batch.frames]
    bodies = [(frame.link, decode_peer(frame.payload)) for frame in frames]
    return [(link, body) for link, body in bodies if isinstance(body, kind)]


def answered(effects: Effects) -> list[tuple[Route, int, Any]]:
    frames = [frame for batch in told(effects, AnswerClients, Role.IO) for frame in batch.frames]
    envelopes = [(frame.route, open_envelope(frame.payload)) for frame in frames]
    return [(route, envelope.correlation, answer_body(envelope)) for route, envelope in envelopes]


def ranges(effects: Effects) -> list[tuple[int, tuple[str, ...]]]:
    return [(wanted.after, wanted.links) for wanted in told(effects, GetRecordRange, Role.CLIENTS)]
