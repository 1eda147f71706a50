"""All records of one origin, as one node holds them: versions, watermark, digest, tombstones and their gc floor.

The same class holds the native records (``commit`` makes the next version) and those of others (``apply`` takes a
chunk). Rules that it keeps, whatever arrives in whatever order: a record is replaced only by one with a greater
seq; ``applied`` is raised only when everything up to it is here; a dropped tombstone raises ``gc_floor``.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from actors.messages.values import DigestEntry, Origin, Record, RecordKey
from actors.records import DIGEST_MODULUS, make_record
from rollbook.model import Instance


class Chunk(NamedTuple):
    """One chunk of a delta, its records decoded."""

    link: str
    after: int
    upper: int
    full: bool
    resume: int
    gc_floor: int
    number: int  # from 0
    last: bool
    records: tuple[Record, ...]


class Applied(NamedTuple):
    """What a chunk changed."""

    changed: tuple[Record, ...]
    removed: tuple[RecordKey, ...]


class Transfer:
    """A delta of several chunks on its way in. Its resume point is private: it claims nothing."""

    def __init__(self, chunk: Chunk, seen: set[RecordKey]) -> None:
        self.touched_ms = 0
        self.upper = chunk.upper
        self.full = chunk.full
        self.number_next = 0
        self.through = chunk.resume
        self.seen = seen  # keys that the source has, for a full one


class OwnerTable:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.applied = 0
        self.gc_floor = 0
        self.live = 0
        self.digest = 0
        self.seq_max = 0
        self.records: dict[RecordKey, Record] = {}  # in order of seq, unless ``_unordered``
        self._unordered = False
        self._tombstones: deque[tuple[int, int, RecordKey]] = deque()  # (since ms, seq, key), oldest first
        self._transfers: dict[str, Transfer] = {}

    # -- the owner's side

    def commit(
        self, key: RecordKey, session: int, stamp: int, grace_ms: int, instances: tuple[Instance, ...], now_ms: int
    ) -> Record:
        """Make the next version of one publication. State and version change here, together, and nowhere else."""
        record = make_record(self.origin, key, session, self.applied + 1, stamp, grace_ms, instances)
        self._put(record, now_ms)
        self.applied = record.seq
        return record

    # -- everybody's side

    def apply(self, chunk: Chunk, now_ms: int) -> Applied | None:
        """Take one chunk; None if it cannot be used (a gap, a lost chunk, a resume point that is not ours).

        A record may lie above ``upper``: a relay in the midst of a transfer holds some keys only in a version that it
        does not claim yet. Without them the receiver would claim what it lacks.
        """
        transfer = self._transfer_of(chunk)
        if transfer is None:
            return None
        changed = tuple(record for record in chunk.records if self._accept(record, chunk.full, now_ms))
        if chunk.full:
            transfer.seen.update(record.key for record in chunk.records)
        if chunk.records:
            transfer.through = chunk.records[-1].seq
        transfer.number_next += 1
        transfer.touched_ms = now_ms
        removed: tuple[RecordKey, ...] = ()
        if chunk.last:
            removed = self._finish(chunk, transfer)
        return Applied(changed, removed)

    def resume_point(self, link: str) -> int:
        """How far the transfer on this link has come; 0 if there is none."""
        transfer = self._transfers.get(link)
        return transfer.through if transfer is not None else 0

    def range_after(self, seq: int) -> list[Record]:
        """Every record above ``seq``, in order of seq. Costs the length of the answer."""
        self._restore_order()
        newest: list[Record] = []
        for record in reversed(self.records.values()):
            if record.seq <= seq:
                break
            newest.append(record)
        newest.reverse()
        return newest

    def collect(self, now_ms: int, age_ms_max: int, count_max: int) -> list[RecordKey]:
        """Drop tombstones that are old or too many and raise the gc floor above them; forget transfers as old."""
        self._transfers = {
            link: transfer for link, transfer in self._transfers.items() if now_ms - transfer.touched_ms < age_ms_max
        }
        dropped: list[RecordKey] = []
        while self._tombstones and (now_ms - self._tombstones[0][0] >= age_ms_max or len(self._tombstones) > count_max):
            _, seq, key = self._tombstones.popleft()
            record = self.records.get(key)
            if record is not None and record.seq == seq:
                del self.records[key]
                self.gc_floor = max(self.gc_floor, seq)
                dropped.append(key)
        return dropped

    def entry(self) -> DigestEntry:
        """What a digest says of this table; heartbeat and age are filled in by MemberManager."""
        return DigestEntry(
            owner=self.origin.owner,
            epoch=self.origin.epoch,
            applied=self.applied,
            heartbeat=0,
            age_ms=0,
            records=self.live,
            digest=self.digest,
            settled=self.seq_max <= self.applied and not any(transfer.full for transfer in self._transfers.values()),
            gc_floor=self.gc_floor,
        )

    @property
    def tombstones(self) -> int:
        return len(self.records) - self.live

    def check_invariants(self) -> None:
        live = [record for record in self.records.values() if not record.is_tombstone]
        assert self.live == len(live), "the live count is the number of live records"
        assert self.digest == sum(record.digest for record in live) % DIGEST_MODULUS, "the digest sums up live records"
        assert all(record.origin == self.origin for record in self.records.values()), "a table has one origin"
        assert all(key == record.key for key, record in self.records.items()), "a record stands under its key"
        assert self.seq_max >= max((record.seq for record in self.records.values()), default=0), "seq_max covers all"

    # -- how

    def _transfer_of(self, chunk: Chunk) -> Transfer | None:
        if chunk.number > 0:
            transfer = self._transfers.get(chunk.link)
            fits = transfer is not None and transfer.number_next == chunk.number and transfer.upper == chunk.upper
            return transfer if fits else None
        if chunk.after > self.applied:
            return None  # a gap: what lies between was never here
        seen: set[RecordKey] = set()
        if chunk.resume > chunk.after:
            broken = self._broken_transfer(chunk)
            if broken is None:
                return None
            seen = broken.seen
        transfer = self._transfers[chunk.link] = Transfer(chunk, seen)
        return transfer

    def _broken_transfer(self, chunk: Chunk) -> Transfer | None:
        for link in sorted(self._transfers):
            transfer = self._transfers[link]
            if transfer.through == chunk.resume and transfer.full == chunk.full:
                return transfer
        return None

    def _finish(self, chunk: Chunk, transfer: Transfer) -> tuple[RecordKey, ...]:
        removed: tuple[RecordKey, ...] = ()
        if chunk.full:
            removed = tuple(
                key for key, record in self.records.items() if record.seq <= chunk.upper and key not in transfer.seen
            )
            for key in removed:
                self._uncount(self.records.pop(key))
            self.gc_floor = max(self.gc_floor, chunk.gc_floor)
        self.applied = max(self.applied, chunk.upper)
        self.seq_max = max(self.seq_max, self.applied)
        # Whatever else was on its way up to here is now of no use; what goes further may go on.
        self._transfers = {
            link: other for link, other in self._transfers.items() if other.upper > self.applied and link != chunk.link
        }
        return removed

    def _accept(self, record: Record, full: bool, now_ms: int) -> bool:
        known = self.records.get(record.key)
        if known is not None and record.seq <= known.seq:
            # Equal versions are equal bytes; where they are not, one copy is damaged, and a full pull mends it.
            damaged = record.seq == known.seq and record.digest != known.digest
            if not (full and damaged):
                return False
        self._put(record, now_ms)
        return True

    def _put(self, record: Record, now_ms: int) -> None:
        known = self.records.pop(record.key, None)  # popped, so that the new one stands last
        if known is not None:
            self._uncount(known)
        if record.seq < self.seq_max:
            self._unordered = True
        else:
            self.seq_max = record.seq
        self.records[record.key] = record
        if record.instances:
            self.live += 1
            self.digest = (self.digest + record.digest) % DIGEST_MODULUS
        else:
            self._tombstones.append((now_ms, record.seq, record.key))

    def _uncount(self, record: Record) -> None:
        if record.instances:
            self.live -= 1
            self.digest = (self.digest - record.digest) % DIGEST_MODULUS

    def _restore_order(self) -> None:
        if self._unordered:
            self.records = dict(sorted(self.records.items(), key=lambda item: item[1].seq))
            self._unordered = False
