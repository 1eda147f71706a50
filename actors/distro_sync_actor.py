"""DistroSyncActor: replication between nodes. It holds no records: ClientManager freezes ranges and applies chunks.

Owns: a cursor per peer and the deltas under way (actors/cursors.py); what is known to be applied here, arriving deltas,
open pulls and the goals of a loading node (actors/pulls.py); callers that wait for the cluster
(actors/cluster_waits.py); the links of peers (actors/peer_table.py). Accepts: messages/distro.py. Tells: ClientManager
(ranges, chunks), I/O (peer frames, late answers), MemberManager (heartbeats, catching up, flushed).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.cluster_waits import ClusterWaits
from actors.cursors import Outgoing
from actors.messages.clients import ApplyDelta, GetRecordRange, OwnersPurged
from actors.messages.distro import (
    CatchUpOrdered,
    ChunkApplied,
    ClusterWaitsAdded,
    DeltaAcknowledged,
    DeltaReceived,
    DeltaRejected,
    DigestAccepted,
    DigestRound,
    FlushOrdered,
    NativeAdvanced,
    OwnersApplied,
    PeersChanged,
    PullReceived,
    RecordRange,
)
from actors.messages.io import AnswerClients, ClientFrame, PeerFrame, SendToPeers
from actors.messages.members import CaughtUp, Flushed, HeartbeatRaised
from actors.messages.peers import Delta, PeerTag
from actors.messages.values import ClusterWait, Origin
from actors.peer_frames import encode_peer
from actors.peer_table import PeerTable
from actors.pulls import Incoming
from rollbook.errors import Code
from rollbook.wire import Failed, Tag, encode


class DistroSettings(msgspec.Struct, frozen=True):
    delta_timeout_ms: int
    pull_interval_ms: int
    chunks_in_flight_max: int
    cluster_wait_ms_max: int
    cluster_wait_ms_default: int
    cluster_waits_max: int
    digest_peers_max: int
    digest_peers_sampled: int


class _DeadlineDue(msgspec.Struct, frozen=True):
    at_ms: int


DistroInput = (
    NativeAdvanced
    | RecordRange
    | DeltaAcknowledged
    | DeltaReceived
    | ChunkApplied
    | OwnersApplied
    | DeltaRejected
    | PullReceived
    | DigestRound
    | DigestAccepted
    | PeersChanged
    | OwnersPurged
    | CatchUpOrdered
    | ClusterWaitsAdded
    | FlushOrdered
    | StatusRequested
    | _DeadlineDue
)

_COUNTERS = (
    "deltas_sent",
    "delta_chunks_sent",
    "delta_bytes_sent",
    "deltas_acknowledged",
    "deltas_refused_by_peers",
    "deltas_timed_out",
    "deltas_received",
    "deltas_purged",  # of origins that were given up and have not been heard since
    "deltas_unexpected",  # from a link that is no current peer's, or a chunk without its beginning
    "pulls_sent",
    "pulls_timed_out",
    "pulls_served",
    "pulls_unserved",  # a stranger's, a foreign claim, or one that came while its range was being frozen
    "ranges_unknown",
    "digests_sent",
    "digest_mismatches",
    "foreign_claims",
    "cluster_waits_confirmed",
    "cluster_waits_timed_out",
    "cluster_waits_refused",
)


class DistroSyncActor:
    role = Role.DISTRO

    def __init__(self, identity: NodeIdentity, settings: DistroSettings, chance: random.Random) -> None:
        self.settings = settings
        self.origin = Origin(identity.node_id, identity.epoch)
        self.counters = dict.fromkeys(_COUNTERS, 0)
        self._chance = chance
        self._peers = PeerTable()
        self._living: tuple[str, ...] = ()  # less this node
        self._outgoing = Outgoing(
            self.origin,
            self._peers,
            self.counters,
            window=settings.chunks_in_flight_max,
            timeout_ms=settings.delta_timeout_ms,
            retry_ms=settings.pull_interval_ms,
        )
        self._incoming = Incoming(
            self.origin,
            self._peers,
            self.counters,
            timeout_ms=settings.delta_timeout_ms,
            interval_ms=settings.pull_interval_ms,
        )
        self._waits = ClusterWaits()
        self._heartbeat = 0  # this node's own counter, of its last digest
        self._heartbeats: dict[Origin, int] = {}  # the highest that came with a delta of the owner itself
        self._flush_deadline_ms: int | None = None
        self._reminded_ms: int | None = None  # the earliest deadline for which a reminder is out

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: DistroInput, now: Now) -> Effects:
        effects = self._route(message, now)
        return [*effects, *self._remind(now)]

    def _route(self, message: DistroInput, now: Now) -> list[Effect]:  # noqa: C901 - one case per message
        match message:
            case NativeAdvanced():
                return _asking(self._outgoing.advance(message.seq))
            case RecordRange():
                return self._on_record_range(message, now)
            case DeltaAcknowledged():
                return self._on_delta_acknowledged(message, now)
            case DeltaReceived():
                return self._on_delta_received(message, now)
            case ChunkApplied():
                return _sending(self._incoming.chunk_applied(message))
            case OwnersApplied():
                return [*_sending(self._incoming.owners_applied(message.watermarks)), *self._caught_up()]
            case DeltaRejected():
                return _sending(self._incoming.rejected(message))
            case PullReceived():
                return self._on_pull_received(message)
            case DigestRound():
                return self._on_digest_round(message)
            case DigestAccepted():
                return self._on_digest_accepted(message, now)
            case PeersChanged():
                return self._on_peers_changed(message)
            case OwnersPurged():
                return self._on_owners_purged(message)
            case CatchUpOrdered():
                self._incoming.order_loading(message.loading)
                return []
            case ClusterWaitsAdded():
                return self._on_cluster_waits_added(message, now)
            case FlushOrdered():
                self._flush_deadline_ms = now.monotonic_ms + message.deadline_ms
                return self._settled()
            case StatusRequested():
                return self._on_status_requested(message)
            case _DeadlineDue():
                return self._on_deadline_due(message, now)
            case _:
                assert_never(message)

    # -- sync: what this node's own clients changed goes to every peer; what a peer asks for goes to that one

    def _on_record_range(self, message: RecordRange, now: Now) -> list[Effect]:
        if not message.known:
            self.counters["ranges_unknown"] += 1
            self._outgoing.drop(message)
            return []
        return _sending(self._outgoing.send(message, self._heartbeat, now.monotonic_ms))

    def _on_delta_acknowledged(self, message: DeltaAcknowledged, now: Now) -> list[Effect]:
        node_id = self._peers.node_of(message.link)
        if node_id is None:
            return []  # the link was lost meanwhile; the next digest says the same
        frames = self._outgoing.acknowledge(node_id, message.ack, self._heartbeat, now.monotonic_ms)
        return [*_sending(frames), *self._settled()]

    def _on_pull_received(self, message: PullReceived) -> list[Effect]:
        node_id = self._peers.node_of(message.link)
        wanted = self._outgoing.pull(node_id, message.link, message.pull) if node_id is not None else None
        if wanted is None:
            self.counters["pulls_unserved"] += 1
            return []
        self.counters["pulls_served"] += 1
        return [*_asking([wanted]), *self._settled()]

    # -- receive: chunks go to ClientManager; what is in the index is acknowledged

    def _on_delta_received(self, message: DeltaReceived, now: Now) -> list[Effect]:
        link, delta = message.link, message.delta
        if delta.origin == self.origin:
            self.counters["foreign_claims"] += 1
            return []
        if link in self._peers and self._incoming.is_purged(delta.origin):
            self.counters["deltas_purged"] += 1
            return [*self._heartbeat_raised(link, delta), *_sending(self._incoming.turned_away(link, delta))]
        if link not in self._peers or not self._incoming.take(link, delta, now.monotonic_ms):
            self.counters["deltas_unexpected"] += 1
            return []
        self.counters["deltas_received"] += delta.last
        chunk = ApplyDelta(
            link=link,
            origin=delta.origin,
            after=delta.after,
            upper=delta.upper,
            full=delta.full,
            resume=delta.resume,
            gc_floor=delta.gc_floor,
            index=delta.index,
            last=delta.last,
            bodies=delta.bodies,
        )
        return [*self._heartbeat_raised(link, delta), Tell(Role.CLIENTS, chunk)]

    def _heartbeat_raised(self, link: str, delta: Delta) -> list[Effect]:
        """The owner's counter rides on its deltas; a relay has no say in it."""
        origin = delta.origin
        if delta.heartbeat <= self._heartbeats.get(origin, 0):
            return []
        if self._peers.node_of(link) != origin.owner or not self._peers.has_owner(origin):
            return []
        self._heartbeats[origin] = delta.heartbeat
        return [Tell(Role.MEMBERS, HeartbeatRaised(origin, delta.heartbeat))]

    # -- verify: digests once a second

    def _on_digest_round(self, message: DigestRound) -> list[Effect]:
        entries = message.digest.entries
        self._heartbeat = max(
            (entry.heartbeat for entry in entries if entry.origin == self.origin), default=self._heartbeat
        )
        self._incoming.note_round(entry for entry in entries if entry.origin != self.origin)
        targets = sorted(self._peers.peers)
        if len(targets) > self.settings.digest_peers_max:
            targets = sorted(self._chance.sample(targets, self.settings.digest_peers_sampled))
        self.counters["digests_sent"] += len(targets)
        payload = encode_peer(PeerTag.DIGEST, message.digest)
        frames = [PeerFrame(self._peers.peers[node_id].link, payload) for node_id in targets]
        return [*_sending(frames), *self._caught_up()]

    def _on_digest_accepted(self, message: DigestAccepted, now: Now) -> list[Effect]:
        if message.node_id not in self._peers.peers:
            return []  # it is no peer any more
        confirmed = next((entry.applied for entry in message.entries if entry.origin == self.origin), 0)
        self._outgoing.learn(message.node_id, confirmed)
        frames, differences = self._incoming.compare(message.node_id, message.ready, message.entries, now.monotonic_ms)
        self.counters["digest_mismatches"] += len(differences)
        logs = [Log("WARNING", "equal watermarks, other records: pulling in full", facts) for facts in differences]
        return [*logs, *_sending(frames), *self._settled(), *self._caught_up()]

    # -- members

    def _on_peers_changed(self, message: PeersChanged) -> list[Effect]:
        self._peers.replace(message.peers, self.origin.owner)
        self._living = tuple(sorted(set(message.living) - {self.origin.owner}))
        self._outgoing.change_peers(self._living)
        self._incoming.change_peers()
        return self._settled()

    def _on_owners_purged(self, message: OwnersPurged) -> list[Effect]:
        for origin in message.origins:
            self._heartbeats.pop(origin, None)
        self._outgoing.purge(message.origins)
        self._incoming.purge(message.origins)
        return self._caught_up()

    def _caught_up(self) -> list[Effect]:
        return [Tell(Role.MEMBERS, CaughtUp(node_id)) for node_id in self._incoming.take_caught_up()]

    # -- callers that wait for the cluster

    def _on_cluster_waits_added(self, message: ClusterWaitsAdded, now: Now) -> list[Effect]:
        refused: list[ClientFrame] = []
        for wait in message.waits:
            if len(self._waits) >= self.settings.cluster_waits_max:
                refused.append(self._wait_refused(wait))
                continue
            wait_ms = min(wait.wait_ms or self.settings.cluster_wait_ms_default, self.settings.cluster_wait_ms_max)
            self._waits.add(wait, now.monotonic_ms + wait_ms)
        self.counters["cluster_waits_refused"] += len(refused)
        return [*_answering(refused), *self._confirmed()]

    def _wait_refused(self, wait: ClusterWait) -> ClientFrame:
        sentence = f"done here, but {self.settings.cluster_waits_max} callers already wait for the cluster"
        return _failed(wait, Failed(Code.OVER_LIMIT, sentence, field="wait", retryable=True))

    def _wait_timed_out(self, wait: ClusterWait) -> ClientFrame:
        missing = tuple(node for node in self._living if self._outgoing.acknowledged_by(node) < wait.seq)
        sentence = f"done here, but not confirmed in time by {', '.join(missing)}"
        return _failed(wait, Failed(Code.NOT_CONFIRMED, sentence, retryable=True, nodes=missing))

    def _confirmed(self) -> list[Effect]:
        """Answer those whose change every living node has; without any, nobody is left to ask."""
        confirmed = self._waits.confirm(min(map(self._outgoing.acknowledged_by, self._living), default=None))
        self.counters["cluster_waits_confirmed"] += len(confirmed)
        return _answering(
            ClientFrame(wait.route, encode(Tag(wait.tag), wait.correlation, wait.route.session, wait.body))
            for wait in confirmed
        )

    # -- leaving, status, time

    def _on_status_requested(self, message: StatusRequested) -> list[Effect]:
        counters = {**message.parts.get("counters", {}), **self.counters}
        return [Tell(Role.MEMBERS, message.with_parts(lags=self._outgoing.lags(), counters=counters))]

    def _on_deadline_due(self, message: _DeadlineDue, now: Now) -> list[Effect]:
        if message.at_ms == self._reminded_ms:
            self._reminded_ms = None
        self._outgoing.expire(now.monotonic_ms)
        self._incoming.expire(now.monotonic_ms)
        expired = self._waits.expire(now.monotonic_ms)
        self.counters["cluster_waits_timed_out"] += len(expired)
        effects = _answering(self._wait_timed_out(wait) for wait in expired)
        if self._flush_deadline_ms is not None and self._flush_deadline_ms <= now.monotonic_ms:
            self._flush_deadline_ms = None
            effects.append(Tell(Role.MEMBERS, Flushed()))
        return [*effects, *self._settled()]

    def _settled(self) -> list[Effect]:
        """After any news of what peers have: who lacks something is served, who waited for it is told."""
        effects = [*_asking(self._outgoing.serve()), *self._confirmed()]
        if self._flush_deadline_ms is not None and self._outgoing.everyone_has_everything:
            self._flush_deadline_ms = None
            effects.append(Tell(Role.MEMBERS, Flushed()))
        return effects

    def _remind(self, now: Now) -> list[Effect]:
        """One reminder, for the earliest deadline; a later one follows when that is due."""
        deadlines = [*self._outgoing.deadlines(), *self._incoming.deadlines()]
        deadlines += [at_ms for at_ms in (self._waits.deadline(), self._flush_deadline_ms) if at_ms is not None]
        if not deadlines:
            return []
        earliest_ms = min(deadlines)
        if self._reminded_ms is not None and self._reminded_ms <= earliest_ms:
            return []
        self._reminded_ms = earliest_ms
        return [Remind(max(0, earliest_ms - now.monotonic_ms), _DeadlineDue(earliest_ms))]

    def check_invariants(self) -> None:
        self._peers.check_invariants()
        self._outgoing.check_invariants()
        self._incoming.check_invariants()
        self._waits.check_invariants()
        assert len(self._waits) <= self.settings.cluster_waits_max, "cluster waits have a limit"
        assert self.origin.owner not in self._peers.peers, "a node is not its own peer"


def _asking(ranges: Sequence[GetRecordRange]) -> list[Effect]:
    return [Tell(Role.CLIENTS, wanted) for wanted in ranges]


def _sending(frames: Sequence[PeerFrame]) -> list[Effect]:
    return [Tell(Role.IO, SendToPeers(tuple(frames)))] if frames else []


def _answering(frames: Iterable[ClientFrame]) -> list[Effect]:
    batch = tuple(frames)
    return [Tell(Role.IO, AnswerClients(batch))] if batch else []


def _failed(wait: ClusterWait, failed: Failed) -> ClientFrame:
    return ClientFrame(wait.route, encode(Tag.FAILED, wait.correlation, wait.route.session, failed))
