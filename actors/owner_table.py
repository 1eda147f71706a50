"""All records of one origin, as one node holds them: versions, watermark, digest, tombstones and their gc floor.

The same class holds the native records (``commit`` makes the next version) and those of others (``apply`` takes a
chunk). Rules that it keeps, whatever arrives in whatever order: a record is replaced only by one with a greater
seq; ``applied`` is raised only when everything up to it is here; a dropped tombstone raises ``gc_floor``, which never
passes ``applied``. So what is at or below ``applied`` and not here has been removed, and only a source that knows all
removals this node has forgotten (a full part with ``upper`` at or above the floor) may say otherwise. docs/adr/0010.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from actors.assembly import Assembly
from actors.buckets import BucketSnapshot
from actors.messages.values import WHOLE, DigestEntry, Origin, Record, RecordKey, Scope, Trail
from actors.records import DIGEST_MODULUS, make_record
from rollbook.model import Instance


class Chunk(NamedTuple):
    """One chunk of a delta, its records decoded. With a scope it belongs to a part; a full delta always does."""

    link: str
    after: int
    upper: int
    full: bool
    resume: int
    gc_floor: int
    number: int  # from 0
    last: bool
    records: tuple[Record, ...]
    scope: Scope = WHOLE
    whole: tuple[int, ...] = ()  # of a full part: the buckets that stand in it completely


class Applied(NamedTuple):
    """What a chunk changed; ``claims``: with it, ``applied`` stands for everything that it was to bring."""

    changed: tuple[Record, ...]
    removed: tuple[RecordKey, ...]
    claims: bool


class Transfer:
    """A delta of several chunks on its way in. Its resume point is private: it claims nothing."""

    def __init__(self, chunk: Chunk) -> None:
        self.touched_ms = 0
        self.upper = chunk.upper
        self.scope = chunk.scope
        self.number_next = 0
        self.through = chunk.resume
        self.seen: set[RecordKey] = set()  # keys that live at the source, for a full part
        self.fresh: list[RecordKey] = []  # keys that a part has brought to life here


class OwnerTable:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.applied = 0
        self.gc_floor = 0
        self.live = 0
        self.instances = 0  # in live records
        self.digest = 0
        self.seq_max = 0
        self.records: dict[RecordKey, Record] = {}  # in order of seq, unless ``_unordered``
        self._unordered = False
        self._tombstones: deque[tuple[int, int, RecordKey]] = deque()  # (since ms, seq, key), oldest first
        self._transfers: dict[str, Transfer] = {}
        self._assembly: Assembly | None = None  # while this origin is pulled in parts

    # -- the owner's side

    def commit(
        self,
        key: RecordKey,
        session: int,
        stamp: int,
        grace_ms: int,
        instances: tuple[Instance, ...],
        now_ms: int,
        trail: Trail | None = None,
    ) -> Record:
        """Make the next version of one publication. State and version change here, together, and nowhere else."""
        record = make_record(self.origin, key, session, self.applied + 1, stamp, grace_ms, instances, trail)
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
        # What is at or below ``applied`` is here, or was and has been removed.
        old = 0 if chunk.full and chunk.upper >= self.gc_floor else self.applied
        revived = self._revived_by(chunk, transfer)
        changed = tuple(
            record for record in chunk.records if record.seq > old and self._accept(record, chunk.full, revived, now_ms)
        )
        if chunk.full:
            transfer.seen.update(record.key for record in chunk.records if record.instances)
        if chunk.records and not chunk.scope.length:
            transfer.through = chunk.records[-1].seq
        transfer.number_next += 1
        transfer.touched_ms = now_ms
        if not chunk.last:
            return Applied(changed, (), claims=False)
        if not chunk.scope.length:
            self._claim(chunk.upper)
            return Applied(changed, (), claims=True)
        return self._finish_part(chunk, changed)

    def snapshot(self) -> BucketSnapshot:
        return BucketSnapshot(self.applied, self.gc_floor, self.records.values())

    def assemble(self) -> BucketSnapshot:
        """Expect parts from now on, beside what is here now. What came of an earlier attempt counts as records only."""
        self.give_up_parts()
        before = self.snapshot()
        self._assembly = Assembly(before)
        return before

    def give_up_parts(self) -> None:
        """What parts have brought stays; their claims go."""
        self._drop_parts(list(self._transfers))
        self._assembly = None

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

    def collect(
        self, now_ms: int, age_ms_max: int, count_max: int, is_needed: Callable[[Record], bool] = lambda _: False
    ) -> list[RecordKey]:
        """Drop tombstones that are old or too many and raise the gc floor above them; forget transfers as old.

        ``is_needed``: what such a tombstone supersedes is still here, under another origin; without it that would be
        shown again. It stays until it is old, whatever the count.
        """
        old = [link for link, transfer in self._transfers.items() if now_ms - transfer.touched_ms >= age_ms_max]
        self._drop_parts(old)
        self._transfers = {link: transfer for link, transfer in self._transfers.items() if link not in old}
        dropped: list[RecordKey] = []
        kept: list[tuple[int, int, RecordKey]] = []
        while self._tombstones:
            since_ms, seq, key = self._tombstones[0]
            is_old = now_ms - since_ms >= age_ms_max
            if not is_old and len(self._tombstones) + len(kept) <= count_max:
                break
            if seq > self.applied:
                break  # came ahead of what is claimed: forgotten now, an older version could still pass for news
            entry = self._tombstones.popleft()
            record = self.records.get(key)
            if record is None or record.seq != seq:
                continue
            if not is_old and is_needed(record):
                kept.append(entry)
                continue
            del self.records[key]
            self.gc_floor = max(self.gc_floor, seq)
            dropped.append(key)
        self._tombstones.extendleft(reversed(kept))
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
            settled=self.seq_max <= self.applied and self._assembly is None,
            gc_floor=self.gc_floor,
        )

    @property
    def tombstones(self) -> int:
        return len(self.records) - self.live

    def check_invariants(self) -> None:
        live = [record for record in self.records.values() if not record.is_tombstone]
        assert self.live == len(live), "the live count is the number of live records"
        assert self.instances == sum(len(record.instances) for record in live), "instances are counted"
        assert self.digest == sum(record.digest for record in live) % DIGEST_MODULUS, "the digest sums up live records"
        assert all(record.origin == self.origin for record in self.records.values()), "a table has one origin"
        assert all(key == record.key for key, record in self.records.items()), "a record stands under its key"
        assert self.seq_max >= max((record.seq for record in self.records.values()), default=0), "seq_max covers all"
        assert self.gc_floor <= self.applied, "what was forgotten had been claimed"
        parted = any(transfer.scope.length for transfer in self._transfers.values())
        assert not parted or self._assembly is not None, "parts come to an assembly"

    # -- how

    def _transfer_of(self, chunk: Chunk) -> Transfer | None:
        transfer = self._transfers.get(chunk.link)
        if chunk.number > 0:
            fits = (
                transfer is not None
                and transfer.number_next == chunk.number
                and (transfer.upper, transfer.scope) == (chunk.upper, chunk.scope)
            )
            return transfer if fits else None
        if chunk.after > self.applied:
            return None  # a gap: what lies between was never here
        if chunk.scope.length:
            if self._assembly is None:
                if self.records:
                    return None  # nobody noted what is here: it was not asked for
                self._assembly = Assembly(self.snapshot())
        elif chunk.full or (chunk.resume > chunk.after and not self._has_come_to(chunk.resume)):
            return None
        self._drop_parts([chunk.link] if transfer is not None else [])
        transfer = self._transfers[chunk.link] = Transfer(chunk)
        return transfer

    def _has_come_to(self, seq: int) -> bool:
        """A transfer, on whatever link, broke there."""
        return any(transfer.through == seq for transfer in self._transfers.values())

    def _finish_part(self, chunk: Chunk, changed: tuple[Record, ...]) -> Applied:
        assembly, transfer = self._assembly, self._transfers.pop(chunk.link)
        assert assembly is not None, "a part comes to an assembly"
        if chunk.full:
            assembly.add_full(chunk.scope, chunk.upper, chunk.gc_floor, chunk.whole, transfer.seen)
        else:
            assembly.add(chunk.scope, chunk.upper)
        if not assembly.is_complete or assembly.upper is None:
            return Applied(changed, (), claims=False)
        self.give_up_parts()
        if assembly.gc_floor > max(self.applied, assembly.upper):
            return Applied(changed, (), claims=False)  # one source has forgotten what another has yet to learn
        removed = self._remove(assembly)
        self.gc_floor = max(self.gc_floor, assembly.gc_floor)
        self._claim(assembly.upper)
        return Applied(changed, removed, claims=True)

    def _remove(self, assembly: Assembly) -> tuple[RecordKey, ...]:
        removed: list[RecordKey] = []
        for key, upper in assembly.lacking():
            record = self.records.get(key)
            if record is not None and record.instances and record.seq <= upper:
                self._uncount(self.records.pop(key))
                removed.append(key)
        return tuple(removed)

    def _drop_parts(self, links: Iterable[str]) -> None:
        """These have not come to their end and are of no more use; what they brought may have to go again."""
        for link in links:
            if self._transfers[link].scope.length:
                dropped = self._transfers.pop(link)
                if self._assembly is not None:
                    self._assembly.loose += dropped.fresh

    def _claim(self, upper: int) -> None:
        """Everything up to here is here. Whatever else was on its way up to here is now of no use; what goes further
        may go on."""
        self.applied = max(self.applied, upper)
        self.seq_max = max(self.seq_max, self.applied)
        self._transfers = {
            link: other for link, other in self._transfers.items() if other.upper > self.applied or other.scope.length
        }

    def _revived_by(self, chunk: Chunk, transfer: Transfer) -> list[RecordKey] | None:
        """Where to note keys that come to life with it; None unless parts are under way."""
        if self._assembly is None:
            return None
        return transfer.fresh if chunk.scope.length else self._assembly.loose

    def _accept(self, record: Record, full: bool, revived: list[RecordKey] | None, now_ms: int) -> bool:
        known = self.records.get(record.key)
        if known is not None and record.seq <= known.seq:
            # Equal versions are equal bytes; where they are not, one copy is damaged, and a full part mends it.
            damaged = record.seq == known.seq and record.digest != known.digest
            if not (full and damaged):
                return False
        if revived is not None and (known is None or known.is_tombstone):
            revived.append(record.key)
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
            self.instances += len(record.instances)
            self.digest = (self.digest + record.digest) % DIGEST_MODULUS
        else:
            self._tombstones.append((now_ms, record.seq, record.key))

    def _uncount(self, record: Record) -> None:
        if record.instances:
            self.live -= 1
            self.instances -= len(record.instances)
            self.digest = (self.digest - record.digest) % DIGEST_MODULUS

    def _restore_order(self) -> None:
        if self._unordered:
            self.records = dict(sorted(self.records.items(), key=lambda item: item[1].seq))
            self._unordered = False
