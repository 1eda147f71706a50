"""Ranges that ClientManager freezes for peers, and what it notes before parts come to this node.

An ordinary range costs its own length. A part costs a look at the whole table, so a snapshot is sorted into buckets in
slices, a turn each, with whatever else ClientManager has to do between them; it answers the parts that follow as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import assert_never

import msgspec

from actors.base import Effect, Remind, Role, Tell
from actors.buckets import BucketSnapshot
from actors.messages.clients import ExpectParts, GetRecordRange, GiveUpParts
from actors.messages.distro import PartsExpected, RecordRange
from actors.messages.values import Origin
from actors.owner_table import OwnerTable
from actors.records import in_chunks


class ScanDue(msgspec.Struct, frozen=True):
    """The next slice of a scan. From: ClientManager to itself."""


class _Scan:
    """A snapshot on its way into buckets, and for whom."""

    def __init__(self, origin: Origin, snapshot: BucketSnapshot, wanted: GetRecordRange | None) -> None:
        self.origin = origin
        self.snapshot = snapshot
        self.wanted = [wanted] if wanted is not None else []  # none: this node is the one that pulls


class RangeDesk:
    def __init__(
        self, tables: dict[Origin, OwnerTable], *, chunk_bytes_max: int, scan_records_max: int, snapshot_ms: int
    ) -> None:
        self._tables = tables
        self._chunk_bytes_max = chunk_bytes_max
        self._scan_records_max = scan_records_max
        self._snapshot_ms = snapshot_ms
        self._scans: deque[_Scan] = deque()
        self._snapshots: dict[Origin, tuple[BucketSnapshot, int]] = {}  # and when it was taken
        self._due = False

    def handle(self, message: GetRecordRange | ExpectParts | GiveUpParts | ScanDue, now_ms: int) -> list[Effect]:
        match message:
            case GetRecordRange():
                return self.freeze(message, now_ms)
            case ExpectParts():
                return self.expect_parts(message.origin, now_ms)
            case GiveUpParts():
                self.give_up_parts(message.origin)
                return []
            case ScanDue():
                return self.step(now_ms)
            case _:
                assert_never(message)

    def freeze(self, wanted: GetRecordRange, now_ms: int) -> list[Effect]:
        table = self._tables.get(wanted.origin)
        if table is None:
            unknown = RecordRange(wanted.origin, 0, 0, False, 0, 0, (), wanted.links, known=False)
            return [Tell(Role.DISTRO, unknown)]
        if wanted.scope.length == 0:
            return [Tell(Role.DISTRO, self._ordinary(wanted, table))]
        snapshot = self._usable(wanted, table, now_ms)
        if snapshot is not None:
            return [Tell(Role.DISTRO, self._part(wanted, snapshot))]
        for scan in self._scans:
            if scan.origin == wanted.origin and scan.wanted:
                scan.wanted.append(wanted)
                return []
        return self._begin(_Scan(wanted.origin, table.snapshot(), wanted), now_ms)

    def expect_parts(self, origin: Origin, now_ms: int) -> list[Effect]:
        self.give_up_parts(origin)
        table = self._tables.get(origin)
        if table is None:
            return [Tell(Role.DISTRO, PartsExpected(origin, 0, ()))]
        return self._begin(_Scan(origin, table.assemble(), None), now_ms)

    def give_up_parts(self, origin: Origin) -> None:
        self._scans = deque(scan for scan in self._scans if scan.wanted or scan.origin != origin)
        table = self._tables.get(origin)
        if table is not None:
            table.give_up_parts()

    def step(self, now_ms: int) -> list[Effect]:
        """One slice of the first scan; its answers when it is through."""
        self._due = False
        effects: list[Effect] = []
        if self._scans and self._scans[0].snapshot.sort(self._scan_records_max):
            effects += self._finish(self._scans.popleft(), now_ms)
        if self._scans:
            self._due = True
            effects.append(Remind(0, ScanDue()))
        return effects

    def forget(self, origins: Iterable[Origin]) -> None:
        """These are gone, and so is whatever was asked of them."""
        gone = frozenset(origins)
        self._scans = deque(scan for scan in self._scans if scan.origin not in gone)
        self._snapshots = {origin: kept for origin, kept in self._snapshots.items() if origin not in gone}

    def forget_old(self, now_ms: int) -> None:
        self._snapshots = {
            origin: kept for origin, kept in self._snapshots.items() if now_ms - kept[1] < self._snapshot_ms
        }

    # -- how

    def _ordinary(self, wanted: GetRecordRange, table: OwnerTable) -> RecordRange:
        if wanted.after < table.gc_floor:
            return RecordRange(
                wanted.origin, wanted.after, 0, False, 0, table.gc_floor, (), wanted.links, below_floor=True
            )
        resume = wanted.resume if wanted.resume >= wanted.after else 0
        chunks = in_chunks(table.range_after(max(wanted.after, resume)), self._chunk_bytes_max)
        return RecordRange(
            wanted.origin, wanted.after, table.applied, False, resume, table.gc_floor, chunks, wanted.links
        )

    def _part(self, wanted: GetRecordRange, snapshot: BucketSnapshot) -> RecordRange:
        full = wanted.full or wanted.after < snapshot.gc_floor
        part = snapshot.part(wanted.scope, wanted.after, full, wanted.sums)
        return RecordRange(
            wanted.origin,
            wanted.after,
            snapshot.applied,
            full,
            0,
            snapshot.gc_floor,
            in_chunks(part.records, self._chunk_bytes_max),
            wanted.links,
            scope=wanted.scope,
            whole=part.whole,
        )

    def _usable(self, wanted: GetRecordRange, table: OwnerTable, now_ms: int) -> BucketSnapshot | None:
        """One that says the same as the table, or, for whoever only wants to come closer, one of a moment ago."""
        snapshot, taken_ms = self._snapshots.get(wanted.origin, (None, 0))
        if snapshot is None:
            return None
        is_same = (snapshot.applied, snapshot.digest) == (table.applied, table.digest)
        is_recent = not wanted.full and now_ms - taken_ms < self._snapshot_ms and snapshot.applied > wanted.after
        return snapshot if is_same or is_recent else None

    def _begin(self, scan: _Scan, now_ms: int) -> list[Effect]:
        self._scans.append(scan)
        return self.step(now_ms) if not self._due else []

    def _finish(self, scan: _Scan, now_ms: int) -> list[Effect]:
        snapshot = scan.snapshot
        if not scan.wanted:
            sums = () if snapshot.is_empty else tuple(snapshot.sums)
            return [Tell(Role.DISTRO, PartsExpected(scan.origin, snapshot.applied, sums))]
        self._snapshots[scan.origin] = (snapshot, now_ms)
        return [Tell(Role.DISTRO, self._part(wanted, snapshot)) for wanted in scan.wanted]
