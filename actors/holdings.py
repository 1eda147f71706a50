"""What several origins hold of one publication, and what of all of it may be forgotten: the record tables together.

A client that moves leaves a trail: a record of each session under the owner that it was connected to. Each table knows
its own origin only. Whether a record is still the newest word of its client, or a tombstone is still needed, is
seen by looking at all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from actors.messages.values import Origin, Record, RecordKey
from actors.owner_table import OwnerTable
from rollbook.status import OwnerStatus

Removed = list[tuple[Origin, RecordKey]]


class Holdings:
    """Over the tables of ClientManager, which puts the new ones in."""

    def __init__(self, tables: dict[Origin, OwnerTable]) -> None:
        self._tables = tables

    def is_taken_over(self, key: RecordKey, number: int) -> bool:
        """A newer session of that client shows something there."""
        return any(held.session > number and held.instances for held in self._held(key))

    def is_last_word(self, key: RecordKey, number: int) -> bool:
        """No newer session of that client has shown or removed anything there."""
        return all(held.session <= number for held in self._held(key))

    def is_needed(self, tombstone: Record) -> bool:
        """An older session of that client has left something under another origin, which would be shown again."""
        return any(held.session < tombstone.session and held.instances for held in self._held(tombstone.key))

    def collect(self, now_ms: int, tombstone_age_ms: int, tombstones_max: int) -> Removed:
        """Drop tombstones that are old or too many, and hide nothing any more."""
        removed: Removed = []
        for origin in sorted(self._tables):
            keys = self._tables[origin].collect(now_ms, tombstone_age_ms, tombstones_max, self.is_needed)
            removed += [(origin, key) for key in keys]
        return removed

    def purge(self, origins: Iterable[Origin]) -> Removed:
        """Drop the tables of these."""
        return [(origin, key) for origin in origins for key in self._tables.pop(origin).records]

    def status(self) -> tuple[OwnerStatus, ...]:
        return tuple(
            OwnerStatus(origin.owner, origin.epoch, table.applied, table.live, table.digest, table.tombstones)
            for origin, table in sorted(self._tables.items())
        )

    def check_invariants(self) -> None:
        for origin, table in self._tables.items():
            assert origin == table.origin, "a table stands under its origin"
            table.check_invariants()

    def _held(self, key: RecordKey) -> Iterator[Record]:
        return (record for table in self._tables.values() if (record := table.records.get(key)) is not None)
