"""DistroSyncActor: replication between nodes. It holds no records: ClientManager freezes ranges and applies chunks.

Owns: a cursor per peer and the deltas under way (actors/cursors.py); what is known to be applied here, arriving deltas,
open pulls and the goals of a loading node (actors/pulls.py); the heartbeats that ride on deltas (actors/reception.py);
up to where subscribers have been told (actors/pushed.py); callers that wait for others (actors/confirmations.py,
actors/flush.py); the links of peers (actors/peer_table.py).
Accepts: messages/distro.py. Tells: ClientManager (ranges, chunks), I/O (peer frames, late answers), MemberManager
(heartbeats, catching up, flushed), IndexManager (what it times).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.confirmations import Confirmations
from actors.convergence import Convergence
from actors.cursors import Outgoing
from actors.flush import Flush
from actors.messages.clients import ExpectParts, GetRecordRange, GiveUpParts, OwnersPurged
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
    OwnersPushed,
    PartsExpected,
    PeersChanged,
    PullReceived,
    RecordRange,
)
from actors.messages.index import EchoWatermark
from actors.messages.io import AnswerClients, ClientFrame, PeerFrame
from actors.messages.members import CaughtUp
from actors.messages.peers import PeerTag
from actors.messages.values import Origin, Watermark
from actors.parted_pulls import PartedPulls
from actors.peer_frames import encode_peer, sending
from actors.peer_table import PeerTable
from actors.pulls import Incoming
from actors.pushed import PushedNews, PushedWatermarks
from actors.reception import Reception


class DistroSettings(msgspec.Struct, frozen=True):
    delta_timeout_ms: int
    pull_interval_ms: int
    chunks_in_flight_max: int
    chunks_backlog_ms: int
    part_records_max: int
    part_sources_max: int
    parts_per_source_max: int
    parts_patience_ms: int
    cluster_wait_ms_max: int
    cluster_wait_ms_default: int
    cluster_waits_max: int
    digest_peers_max: int
    digest_peers_sampled: int
    convergence_interval_ms: int
    convergence_samples_max: int
    pull_timeout_ms: int


class _DeadlineDue(msgspec.Struct, frozen=True):
    at_ms: int


DistroInput = (
    NativeAdvanced
    | RecordRange
    | DeltaAcknowledged
    | DeltaReceived
    | ChunkApplied
    | PartsExpected
    | OwnersApplied
    | OwnersPushed
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
    "parted_pulls",
    "parts_pulled",
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
        self._pushed = PushedWatermarks()
        self._pushed_news = PushedNews(self._peers, self._pushed)
        self._outgoing = Outgoing(
            self.origin,
            self._peers,
            self.counters,
            window=settings.chunks_in_flight_max,
            timeout_ms=settings.delta_timeout_ms,
            retry_ms=settings.pull_interval_ms,
            backlog_ms=settings.chunks_backlog_ms,
            part_records_max=settings.part_records_max,
        )
        self._parts = PartedPulls(
            self._peers,
            self.counters,
            part_records_max=settings.part_records_max,
            sources_max=settings.part_sources_max,
            parts_per_source_max=settings.parts_per_source_max,
            timeout_ms=settings.pull_timeout_ms,
            patience_ms=settings.parts_patience_ms,
        )
        self._incoming = Incoming(
            self.origin,
            self._peers,
            self._pushed,
            self._parts,
            self.counters,
            arrival_ms=settings.delta_timeout_ms,
            timeout_ms=settings.pull_timeout_ms,
            interval_ms=settings.pull_interval_ms,
            part_records_max=settings.part_records_max,
        )
        self._reception = Reception(self._peers, self._incoming, self.counters)
        self._waits = Confirmations(
            self.origin,
            self._outgoing,
            self._pushed,
            Convergence(settings.convergence_interval_ms, settings.convergence_samples_max),
            self.counters,
            wait_ms_default=settings.cluster_wait_ms_default,
            wait_ms_max=settings.cluster_wait_ms_max,
            waits_max=settings.cluster_waits_max,
        )
        self._heartbeat = 0  # this node's own counter, of its last digest
        self._flush = Flush()
        self._reminded_ms: int | None = None  # the earliest deadline for which a reminder is out

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: DistroInput, now: Now) -> Effects:
        effects = self._route(message, now)
        effects += [*_asking(self._parts.take_asks()), *sending(self._parts.take_frames())]
        return [*effects, *self._remind(now)]

    def _route(self, message: DistroInput, now: Now) -> list[Effect]:  # noqa: C901 - one case per message
        match message:
            case NativeAdvanced():
                return self._on_native_advanced(message, now)
            case RecordRange():
                return self._on_record_range(message, now)
            case DeltaAcknowledged():
                return self._on_delta_acknowledged(message, now)
            case DeltaReceived():
                return self._on_delta_received(message, now)
            case ChunkApplied():
                return sending(self._incoming.chunk_applied(message, now.monotonic_ms))
            case PartsExpected():
                self._incoming.parts_expected(message, now.monotonic_ms)
                return []
            case OwnersApplied():
                return self._on_owners_applied(message, now)
            case OwnersPushed():
                self._pushed.told(message)
                return [*sending(self._pushed_news.risen()), *self._settled(now)]
            case DeltaRejected():
                return sending(self._incoming.rejected(message))
            case PullReceived():
                return self._on_pull_received(message, now)
            case DigestRound():
                return self._on_digest_round(message)
            case DigestAccepted():
                return self._on_digest_accepted(message, now)
            case PeersChanged():
                return self._on_peers_changed(message, now)
            case OwnersPurged():
                return self._on_owners_purged(message)
            case CatchUpOrdered():
                self._incoming.order_loading(message.loading)
                return []
            case ClusterWaitsAdded():
                return self._on_cluster_waits_added(message, now)
            case FlushOrdered():
                self._flush.order(now.monotonic_ms + message.deadline_ms)
                return self._settled(now)
            case StatusRequested():
                return self._on_status_requested(message)
            case _DeadlineDue():
                return self._on_deadline_due(message, now)
            case _:
                assert_never(message)

    # -- sync: what this node's own clients changed goes to every peer; what a peer asks for goes to that one

    def _on_native_advanced(self, message: NativeAdvanced, now: Now) -> list[Effect]:
        effects = _asking(self._outgoing.advance(message.seq))
        if self._waits.convergence.sample(message.seq, now.monotonic_ms):
            effects.append(Tell(Role.INDEX, EchoWatermark(Watermark(self.origin, message.seq))))
        return effects

    def _on_record_range(self, message: RecordRange, now: Now) -> list[Effect]:
        if not message.known:
            self.counters["ranges_unknown"] += 1
            self._outgoing.drop(message)
            return []
        return sending(self._outgoing.send(message, self._heartbeat, now.monotonic_ms))

    def _on_delta_acknowledged(self, message: DeltaAcknowledged, now: Now) -> list[Effect]:
        node_id = self._peers.node_of(message.link)
        if node_id is None:
            return []  # the link was lost meanwhile; the next digest says the same
        frames = self._outgoing.acknowledge(node_id, message.ack, self._heartbeat, now.monotonic_ms)
        return [*sending(frames), *self._settled(now)]

    def _on_pull_received(self, message: PullReceived, now: Now) -> list[Effect]:
        node_id = self._peers.node_of(message.link)
        wanted = (
            self._outgoing.pull(node_id, message.link, message.pull, now.monotonic_ms) if node_id is not None else None
        )
        if wanted is None:
            self.counters["pulls_unserved"] += 1
            return []
        self.counters["pulls_served"] += 1
        return [*_asking([wanted]), *self._settled(now)]

    # -- receive: chunks go to ClientManager; what is in the index is acknowledged

    def _on_delta_received(self, message: DeltaReceived, now: Now) -> list[Effect]:
        if message.delta.origin == self.origin:
            self.counters["foreign_claims"] += 1
            return []
        return self._reception.take(message.link, message.delta, now.monotonic_ms)

    def _on_owners_applied(self, message: OwnersApplied, now: Now) -> list[Effect]:
        # What was in the index when a purge came is gone, and must not be claimed.
        watermarks = [watermark for watermark in message.watermarks if not self._incoming.is_purged(watermark.origin)]
        self._pushed.index(watermarks, message.touches)
        synced = [watermark for watermark in watermarks if watermark.origin != self.origin]
        frames = self._incoming.owners_applied(synced)
        self._pushed_news.acknowledged(synced)
        answers = self._waits.settle(now.monotonic_ms) if len(synced) < len(watermarks) else []
        return [*sending(frames), *_answering(answers), *self._caught_up()]

    # -- verify: digests once a second

    def _on_digest_round(self, message: DigestRound) -> list[Effect]:
        entries = message.digest.entries
        own = next((entry for entry in entries if entry.origin == self.origin), None)
        if own is not None:
            self._heartbeat = own.heartbeat if own.age_ms == 0 else 0  # one from before a pause proves nothing
        self._incoming.note_round(entry for entry in entries if entry.origin != self.origin)
        targets = sorted(self._peers.peers)
        if len(targets) > self.settings.digest_peers_max:
            targets = sorted(self._chance.sample(targets, self.settings.digest_peers_sampled))
        self.counters["digests_sent"] += len(targets)
        payload = encode_peer(PeerTag.DIGEST, message.digest)
        frames = [PeerFrame(self._peers.peers[node_id].link, payload) for node_id in targets]
        frames += self._pushed_news.repeated(targets)
        return [*sending(frames), *self._caught_up()]

    def _on_digest_accepted(self, message: DigestAccepted, now: Now) -> list[Effect]:
        if message.node_id not in self._peers.peers:
            return []  # it is no peer any more
        confirmed = next((entry.applied for entry in message.entries if entry.origin == self.origin), 0)
        self._outgoing.learn(message.node_id, confirmed)
        frames, differences = self._incoming.compare(message.node_id, message.ready, message.entries, now.monotonic_ms)
        self.counters["digest_mismatches"] += len(differences)
        logs = [Log("WARNING", "equal watermarks, other records: pulling what differs", facts) for facts in differences]
        return [*logs, *sending(frames), *self._settled(now), *self._caught_up()]

    # -- members

    def _on_peers_changed(self, message: PeersChanged, now: Now) -> list[Effect]:
        self._peers.replace(message.peers, self.origin.owner)
        self._waits.living = tuple(sorted(set(message.living) - {self.origin.owner}))
        self._outgoing.change_peers(self._waits.living)
        self._incoming.change_peers(now.monotonic_ms)
        return [*sending(self._pushed_news.met()), *self._settled(now)]

    def _on_owners_purged(self, message: OwnersPurged) -> list[Effect]:
        self._reception.purge(message.origins)
        self._outgoing.purge(message.origins)
        self._incoming.purge(message.origins)
        self._pushed.purge(message.origins)
        self._pushed_news.purge(message.origins)
        return self._caught_up()

    def _caught_up(self) -> list[Effect]:
        return [Tell(Role.MEMBERS, CaughtUp(node_id)) for node_id in self._incoming.take_caught_up()]

    # -- callers that wait for others

    def _on_cluster_waits_added(self, message: ClusterWaitsAdded, now: Now) -> list[Effect]:
        refused = self._waits.add(message.waits, now.monotonic_ms)
        return _answering([*refused, *self._waits.settle(now.monotonic_ms)])

    # -- leaving, status, time

    def _on_status_requested(self, message: StatusRequested) -> list[Effect]:
        parts = {
            "lags": self._outgoing.lags(),
            "convergence": self._waits.convergence.status(),
            "counters": {**message.parts.get("counters", {}), **self.counters},
        }
        return [Tell(Role.MEMBERS, message.with_parts(**parts))]

    def _on_deadline_due(self, message: _DeadlineDue, now: Now) -> list[Effect]:
        if message.at_ms == self._reminded_ms:
            self._reminded_ms = None
        self._outgoing.expire(now.monotonic_ms)
        self._incoming.expire(now.monotonic_ms)
        effects = _answering(self._waits.expire(now.monotonic_ms))
        return [*effects, *self._flush.expire(now.monotonic_ms), *self._settled(now)]

    def _settled(self, now: Now) -> list[Effect]:
        """After any news of what peers have: who lacks something is served, who waited for it is told."""
        effects = [*_asking(self._outgoing.serve()), *_answering(self._waits.settle(now.monotonic_ms))]
        if self._flush.deadlines() and self._outgoing.everyone_has_everything:
            effects += self._flush.end()
        return effects

    def _remind(self, now: Now) -> list[Effect]:
        """One reminder, for the earliest deadline; a later one follows when that is due."""
        deadlines = [*self._outgoing.deadlines(), *self._incoming.deadlines(), *self._waits.deadlines()]
        deadlines += self._flush.deadlines()
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
        self._pushed.check_invariants()
        assert self.origin.owner not in self._peers.peers, "a node is not its own peer"


def _asking(wanted: Sequence[GetRecordRange | ExpectParts | GiveUpParts]) -> list[Effect]:
    return [Tell(Role.CLIENTS, question) for question in wanted]


def _answering(frames: Iterable[ClientFrame]) -> list[Effect]:
    batch = tuple(frames)
    return [Tell(Role.IO, AnswerClients(batch))] if batch else []
