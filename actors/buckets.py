"""An origin cut into buckets by client, so that two nodes can say where they differ and several can send a share each.

The rules of sums and parts that need no table: who is in which bucket, what a snapshot answers to the sums of another
node, and when an origin is pulled in parts at all. docs/adr/0010 says why no removed record can come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

from actors.messages.values import BUCKETS, Record, Scope
from actors.records import DIGEST_MODULUS


def bucket_of(client: str) -> int:
    """Everything one client publishes is in one bucket, the same on every machine."""
    return crc32(client.encode()) % BUCKETS


def scopes(records: int, part_records_max: int) -> list[Scope]:
    """Cut an origin of about so many records into parts of at most about that many."""
    parts = min(BUCKETS, max(1, -(-records // part_records_max)))
    edges = [part * BUCKETS // parts for part in range(parts + 1)]
    return [Scope(first, after - first) for first, after in pairwise(edges)]


def must_be_pulled(have: int, upper: int, gc_floor: int, part_records_max: int) -> bool:
    """The owner pushes nothing to a peer whose whole copy has to be looked at, or that has nothing of much: it pulls,
    from several nodes if there are."""
    return have < gc_floor or (have == 0 and upper > part_records_max)


def comes_in_parts(have: int, upper: int, gc_floor: int, part_records_max: int) -> bool:
    return have < gc_floor or upper - have > part_records_max


class Part(NamedTuple):
    """What a snapshot holds of a scope that the asker may lack. ``whole``: these buckets stand in it completely."""

    whole: tuple[int, ...]
    records: list[Record]


class BucketSnapshot:
    """All records of an origin as they were at one moment, by bucket, with the sums of the live ones.

    Records are immutable, so the moment can be sorted into buckets in steps, turn after turn: a long table must not
    hold up a heartbeat.
    """

    def __init__(self, applied: int, gc_floor: int, records: Iterable[Record]) -> None:
        self.applied = applied
        self.gc_floor = gc_floor
        self.records: list[list[Record]] = [[] for _ in range(BUCKETS)]
        self.sums = [0] * BUCKETS
        self._unsorted = list(records)

    def sort(self, records_max: int) -> bool:
        """Sort so many more; True once all are."""
        batch = self._unsorted[-records_max:]
        del self._unsorted[-records_max:]
        for record in batch:
            bucket = crc32(record.key.client.encode()) % BUCKETS
            self.records[bucket].append(record)
            if record.instances:
                self.sums[bucket] = (self.sums[bucket] + record.digest) % DIGEST_MODULUS
        return self.is_sorted

    @property
    def is_sorted(self) -> bool:
        return not self._unsorted

    @property
    def is_empty(self) -> bool:
        """Of a sorted one."""
        return not any(self.records)

    @property
    def digest(self) -> int:
        return sum(self.sums) % DIGEST_MODULUS

    def part(self, scope: Scope, after: int, full: bool, sums: Sequence[int]) -> Part:
        """What whoever has everything up to ``after`` lacks.

        In full, with the asker's sums of these buckets (none: it holds nothing): all of each bucket that differs, and
        of the others the tombstones above ``after``, for an equal sum says only that the same records live.
        """
        assert self.is_sorted, "a snapshot answers once it is sorted"
        if not full:
            return Part(
                (), [record for bucket in scope.buckets for record in self.records[bucket] if record.seq > after]
            )
        whole: list[int] = []
        records: list[Record] = []
        for place, bucket in enumerate(scope.buckets):
            if self.sums[bucket] != (sums[place] if place < len(sums) else 0):
                whole.append(bucket)
                records += self.records[bucket]
            else:
                records += [record for record in self.records[bucket] if record.seq > after and record.is_tombstone]
        return Part(tuple(whole), records)
