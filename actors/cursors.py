"""What every peer has acknowledged, and what is on its way to it: the sending side of replication.

Per peer there is a cursor, no queue: a change leaves at once when nothing is under way, and merges with what follows
while a delta is. So a slow peer costs lag, not memory. A delta is a range that ClientManager froze; it goes out in
windows of chunks, the next as the peer reports progress, and it ends by acknowledgement, by the loss of its link, or
when nothing has moved for a while; then the next one is frozen from the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.buckets import must_be_pulled
from actors.messages.clients import GetRecordRange
from actors.messages.distro import RecordRange
from actors.messages.io import PeerFrame
from actors.messages.peers import Delta, DeltaAck, PeerTag, Pull
from actors.messages.values import WHOLE, Origin, Scope
from actors.peer_frames import encode_peer
from actors.peer_table import PeerTable

WINDOW_FIRST = 2  # chunks, before it is known how fast they get through


class Cursor:
    """What one peer, in one life of it, has applied of this node's epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.acknowledged = 0
        self.pushed = 0  # up to where its subscribers have been told as well
        self.laggards: tuple[str, ...] = ()  # its clients that hold this up, as it last said
        self.known = False  # until its first digest, pull or acknowledgement
        self.retry_ms = 0  # nothing before this: a delta was of no use, or it is pulling


class OutgoingDelta:
    """One delta to one peer: asked for (no range yet), then under way. A range that was asked for always comes."""

    def __init__(self, link: str, after: int, scope: Scope = WHOLE) -> None:
        self.link = link
        self.after = after
        self.scope = scope
        self.moved_ms = 0
        self.range: RecordRange | None = None
        self.sent = 0  # chunks
        self.progressed = 0  # chunks that the peer has in its record table
        self.deadline_ms = 0


class Outgoing:
    def __init__(
        self,
        origin: Origin,
        peers: PeerTable,
        counters: dict[str, int],
        *,
        window: int,
        timeout_ms: int,
        retry_ms: int,
        backlog_ms: int,
        part_records_max: int,
    ) -> None:
        self.origin = origin
        self.native_seq = 0
        self.cursors: dict[str, Cursor] = {}
        self.deltas: dict[tuple[str, Origin], OutgoingDelta] = {}
        self._peers = peers
        self._counters = counters
        self._window = window
        self._timeout_ms = timeout_ms
        self._retry_ms = retry_ms
        self._backlog_ms = backlog_ms
        self._part_records_max = part_records_max
        self._gc_floor = 0  # of this node's own records, as ClientManager last said

    # -- what changed

    def change_peers(self, living: Iterable[str]) -> None:
        """Keep the cursors of everyone still reachable or waited for; drop what was under way on lost links."""
        kept = self._peers.peers.keys() | set(living)
        self.cursors = {node: cursor for node, cursor in self.cursors.items() if node in kept}
        for node_id, peer in self._peers.peers.items():
            cursor = self.cursors.get(node_id)
            if cursor is None or cursor.epoch != peer.epoch:
                self.cursors[node_id] = Cursor(peer.epoch)
        self.deltas = {key: delta for key, delta in self.deltas.items() if delta.link in self._peers}

    def advance(self, seq: int) -> list[GetRecordRange]:
        """A peer of whom nothing is known yet is taken to have everything before: if not, its answer says so."""
        before, self.native_seq = self.native_seq, max(self.native_seq, seq)
        fresh = [node for node in sorted(self._peers.peers) if not self.cursors[node].known and not self._is_busy(node)]
        return [*self.serve(), *self._ask({before: fresh})]

    def serve(self) -> list[GetRecordRange]:
        """A range for every idle peer that lacks something; peers that have come equally far share one."""
        lacking: dict[int, list[str]] = {}
        behind = [node_id for node_id in self._peers.peers if self.cursors[node_id].acknowledged < self.native_seq]
        for node_id in sorted(behind):
            cursor = self.cursors[node_id]
            if cursor.known and self._is_owed(cursor) and not cursor.retry_ms and not self._is_busy(node_id):
                lacking.setdefault(cursor.acknowledged, []).append(node_id)
        return self._ask(lacking)

    def pull(self, node_id: str, link: str, pull: Pull, now_ms: int) -> GetRecordRange | None:
        """A peer asks by itself: that takes the place of what was under way. None if its range is being frozen."""
        if pull.origin == self.origin:
            if not self._set_cursor(node_id, pull.have):
                return None
            if pull.length:  # nothing is pushed between the parts that it asks for
                self.cursors[node_id].retry_ms = now_ms + self._timeout_ms
        known = self.deltas.get((node_id, pull.origin))
        if known is not None and known.range is None and known.scope == pull.scope:
            return None
        self.deltas[node_id, pull.origin] = OutgoingDelta(link, pull.have, pull.scope)
        return GetRecordRange(pull.origin, pull.have, pull.full, pull.resume, (link,), pull.scope, pull.sums)

    # -- what was frozen

    def send(self, frozen: RecordRange, heartbeat: int, now_ms: int) -> list[PeerFrame]:
        """The first chunks of a range, encoded once for all links that wait for it."""
        if frozen.origin == self.origin and frozen.known:
            self._gc_floor = max(self._gc_floor, frozen.gc_floor)
        ready: list[OutgoingDelta] = []
        for link in frozen.links:
            node_id = self._peers.node_of(link)
            key = (node_id or "", frozen.origin)
            delta = self.deltas.get(key)
            if delta is None or delta.link != link or delta.range is not None or delta.scope != frozen.scope:
                continue  # its link was lost meanwhile, or it has asked for something else
            if frozen.below_floor or self._is_useless(frozen, delta):
                del self.deltas[key]
                continue
            delta.range = frozen
            delta.moved_ms, delta.deadline_ms = now_ms, now_ms + self._timeout_ms
            ready.append(delta)
        self._counters["deltas_sent"] += len(ready)
        frames: list[PeerFrame] = []
        if not ready:
            return frames
        for index in range(min(WINDOW_FIRST, self._window, _chunk_count(frozen))):
            frames += self._chunk(frozen, index, heartbeat, ready)
        return frames

    def acknowledge(self, node_id: str, ack: DeltaAck, heartbeat: int, now_ms: int) -> list[PeerFrame]:
        """Move the cursor; end the delta that this answers, or send its next chunks."""
        delta = self.deltas.get((node_id, ack.origin))
        frozen = delta.range if delta is not None else None
        if ack.chunk > 0:
            if delta is None or frozen is None or ack.upper != frozen.upper:
                return []  # late
            frames = self._progress(delta, frozen, ack.chunk, heartbeat, now_ms)
            if frozen.scope.length and delta.progressed == _chunk_count(frozen):
                self._counters["deltas_acknowledged"] += 1
                del self.deltas[node_id, ack.origin]
            return frames
        if ack.origin == self.origin:
            if not self.learn(node_id, ack.applied):
                return []
            self._learn_pushed(self.cursors[node_id], ack)
        if frozen is not None and ack.applied >= frozen.upper:
            self._counters["deltas_acknowledged"] += 1
            del self.deltas[node_id, ack.origin]
        elif frozen is not None and ack.upper == frozen.upper:
            self._counters["deltas_refused_by_peers"] += 1
            del self.deltas[node_id, ack.origin]
            if ack.origin == self.origin:
                self._go_back(self.cursors[node_id], ack.applied, frozen.after, now_ms)
        return []

    def learn(self, node_id: str, applied: int) -> bool:
        """A peer says how far it has come; an older word than the newest one is only late. False: a foreign claim."""
        cursor = self.cursors.get(node_id)
        known = cursor.acknowledged if cursor is not None else 0
        if cursor is not None and applied > known:
            cursor.retry_ms = 0
        return self._set_cursor(node_id, max(known, applied))

    # -- time and loss

    def expire(self, now_ms: int) -> None:
        """Give up what has not moved."""
        for key, delta in list(self.deltas.items()):
            if delta.range is not None and delta.deadline_ms <= now_ms:
                self._counters["deltas_timed_out"] += 1
                del self.deltas[key]
        for cursor in self.cursors.values():
            if cursor.retry_ms <= now_ms:
                cursor.retry_ms = 0

    def deadlines(self) -> list[int]:
        moving = [delta.deadline_ms for delta in self.deltas.values() if delta.range is not None]
        return moving + [cursor.retry_ms for cursor in self.cursors.values() if cursor.retry_ms]

    def purge(self, origins: Iterable[Origin]) -> None:
        gone = frozenset(origins)
        self.deltas = {key: delta for key, delta in self.deltas.items() if key[1] not in gone}

    def drop(self, unknown: RecordRange) -> None:
        """This node holds nothing of what was asked for."""
        for link in unknown.links:
            self.deltas.pop((self._peers.node_of(link) or "", unknown.origin), None)

    # -- what others ask

    def acknowledged_by(self, node_id: str) -> int:
        cursor = self.cursors.get(node_id)
        return cursor.acknowledged if cursor is not None else 0

    def pushed_by(self, node_id: str) -> int:
        """Up to where all its subscribers have been told."""
        cursor = self.cursors.get(node_id)
        return min(cursor.acknowledged, cursor.pushed) if cursor is not None else 0

    def laggards_at(self, node_id: str) -> tuple[str, ...]:
        cursor = self.cursors.get(node_id)
        return cursor.laggards if cursor is not None else ()

    def lags(self) -> dict[str, int]:
        """By node: changes of this node that it has not confirmed; -1 as long as nothing is known of it."""
        return {
            node_id: self.native_seq - cursor.acknowledged if cursor.known else -1
            for node_id, cursor in sorted(self.cursors.items())
        }

    @property
    def everyone_has_everything(self) -> bool:
        return not any(self._lacks(self.cursors[node_id]) for node_id in self._peers.peers)

    def check_invariants(self) -> None:
        assert self._peers.peers.keys() <= self.cursors.keys(), "every peer has a cursor"
        assert all(cursor.acknowledged <= self.native_seq for cursor in self.cursors.values()), "nobody is ahead of me"
        assert all(delta.link in self._peers for delta in self.deltas.values()), "a delta goes to a current peer"
        for delta in self.deltas.values():
            assert delta.sent - delta.progressed <= self._window, "a slow peer costs one window"

    # -- how

    def _is_busy(self, node_id: str) -> bool:
        return (node_id, self.origin) in self.deltas

    def _lacks(self, cursor: Cursor) -> bool:
        return cursor.acknowledged < self.native_seq

    def _is_owed(self, cursor: Cursor) -> bool:
        """It lacks something that it need not pull by itself."""
        have = cursor.acknowledged
        return self._lacks(cursor) and not must_be_pulled(have, self.native_seq, self._gc_floor, self._part_records_max)

    def _ask(self, nodes_by_after: dict[int, list[str]]) -> list[GetRecordRange]:
        ranges: list[GetRecordRange] = []
        for after, nodes in sorted(nodes_by_after.items()):
            links = tuple(self._peers.peers[node_id].link for node_id in nodes)
            for node_id, link in zip(nodes, links, strict=True):
                self.deltas[node_id, self.origin] = OutgoingDelta(link, after)
            if links:
                ranges.append(GetRecordRange(self.origin, after, False, 0, links))
        return ranges

    def _is_useless(self, frozen: RecordRange, delta: OutgoingDelta) -> bool:
        """A pull that found nothing newer needs no answer."""
        return frozen.origin != self.origin and not frozen.full and frozen.upper <= delta.after

    def _set_cursor(self, node_id: str, applied: int) -> bool:
        cursor = self.cursors.get(node_id)
        if cursor is None or applied > self.native_seq:
            self._counters["foreign_claims"] += cursor is not None
            return False
        cursor.known = True
        cursor.acknowledged = applied
        return True

    def _learn_pushed(self, cursor: Cursor, ack: DeltaAck) -> None:
        cursor.pushed = max(cursor.pushed, min(ack.pushed, ack.applied))
        cursor.laggards = ack.laggards

    def _go_back(self, cursor: Cursor, applied: int, after: int, now_ms: int) -> None:
        """The peer has less than was thought: begin there at once. If it refused all the same, let it breathe."""
        cursor.acknowledged = min(cursor.acknowledged, applied) if applied < after else cursor.acknowledged
        if applied >= after:
            cursor.retry_ms = now_ms + self._retry_ms

    def _progress(
        self, delta: OutgoingDelta, frozen: RecordRange, chunks: int, heartbeat: int, now_ms: int
    ) -> list[PeerFrame]:
        if not delta.progressed < chunks <= delta.sent:
            return []
        chunk_ms = (now_ms - delta.moved_ms) // (chunks - delta.progressed)
        window = max(1, min(self._window, self._backlog_ms // max(1, chunk_ms)))
        delta.progressed = chunks
        delta.moved_ms, delta.deadline_ms = now_ms, now_ms + self._timeout_ms
        frames: list[PeerFrame] = []
        while delta.sent < min(chunks + window, _chunk_count(frozen)):
            frames += self._chunk(frozen, delta.sent, heartbeat, [delta])
        return frames

    def _chunk(self, frozen: RecordRange, index: int, heartbeat: int, deltas: list[OutgoingDelta]) -> list[PeerFrame]:
        """One chunk, encoded once, to each of these."""
        body = Delta(
            owner=frozen.origin.owner,
            epoch=frozen.origin.epoch,
            after=frozen.after,
            upper=frozen.upper,
            full=frozen.full,
            resume=frozen.resume,
            gc_floor=frozen.gc_floor,
            index=index,
            last=index == _chunk_count(frozen) - 1,
            heartbeat=heartbeat if frozen.origin == self.origin else 0,
            bodies=frozen.chunks[index] if frozen.chunks else (),
            first=frozen.scope.first,
            length=frozen.scope.length,
            whole=frozen.whole,
        )
        payload = encode_peer(PeerTag.DELTA, body)
        for delta in deltas:
            delta.sent = index + 1
        self._counters["delta_chunks_sent"] += len(deltas)
        self._counters["delta_bytes_sent"] += len(payload) * len(deltas)
        return [PeerFrame(delta.link, payload) for delta in deltas]


def _chunk_count(frozen: RecordRange) -> int:
    return max(1, len(frozen.chunks))  # a watermark can rise though no record is left to send
