"""The image: what the store holds, as far as this node has followed it. Derived from rows and from nothing else.

Pure data; PersistentStore owns the only one of a node. Changes come in order, and each says what it made of what was
there before, so that whoever derives from it need not look at the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from actors.durable_rows import RowUnreadable, instance_row_key, read_row
from actors.durable_values import Kept, KeptInstance, KeptIntent, KeptNamespace, KeptService
from actors.messages.store import Cut, StoredChange
from rollbook.durable import IntentField, Namespace, is_kept_incarnation, kept_incarnation
from rollbook.model import InstanceKey, Service

Key = TypeVar("Key")


class ImageChange(NamedTuple):
    """One row: as it was here, and as it is now."""

    key: str
    before: Kept | None
    after: Kept | None


class DurableImage:
    def __init__(self) -> None:
        self.rows: dict[str, Kept] = {}
        self.unreadable: dict[str, int] = {}  # by key, the index of rows that this version cannot read
        self.instances_of: dict[Service, int] = {}  # how many
        self.intents_of: dict[Service, dict[tuple[InstanceKey, IntentField], KeptIntent]] = {}
        self.intent_count = 0
        self.namespaces: dict[str, Namespace] = {}  # by id
        self.used_namespaces: dict[str, int] = {}  # by how many rows about services
        self.index = 0
        self.is_loaded = False

    def replace(self, cut: Cut) -> tuple[list[ImageChange], list[str]]:
        """The whole store anew: what differs from before, and why rows cannot be read. An older cut changes nothing."""
        if self.is_loaded and cut.index < self.index:
            return [], []
        found = {row.key for row in cut.rows}
        changes = [change for key in sorted(self.rows.keys() - found) if (change := self._put(key, None)) is not None]
        for key in self.unreadable.keys() - found:
            del self.unreadable[key]
        reasons: list[str] = []
        for row in cut.rows:
            known = self.rows.get(row.key)
            if known is None or known.index != row.index:
                self._read(row.key, row.value, row.index, changes, reasons)
        self.index, self.is_loaded = cut.index, True
        return changes, reasons

    def follow(self, news: Iterable[StoredChange], index: int) -> tuple[list[ImageChange], list[str]]:
        """What has been written since. What is known already, from a cut that was taken meanwhile, changes nothing."""
        changes: list[ImageChange] = []
        reasons: list[str] = []
        for change in news:
            if change.index > self.index:
                for operation in change.operations:
                    self._read(operation.key, operation.value, change.index, changes, reasons)
                self.index = change.index
        self.index = max(self.index, index)
        return changes, reasons

    def intents(self) -> list[KeptIntent]:
        """All of them, in order."""
        return [kept for _, intents in sorted(self.intents_of.items()) for _, kept in sorted(intents.items())]

    def has_outlived(self, kept: KeptIntent) -> bool:
        """Whether it was meant for a persistent instance that is no longer kept: that one never comes back."""
        if not is_kept_incarnation(kept.incarnation):
            return False
        there = self.rows.get(instance_row_key(kept.service, kept.key))
        return not isinstance(there, KeptInstance) or kept_incarnation(there.added_ms) != kept.incarnation

    def row_index(self, key: str) -> int:
        """For an expectation: when it was last written; 0 if there is no such row."""
        known = self.rows.get(key)
        return self.unreadable.get(key, 0) if known is None else known.index

    def shows(self, key: str, value: bytes) -> bool:
        """Whether the row is what this value means. One that nobody can read is what nothing means."""
        known = self.rows.get(key)
        try:
            return known is not None and known == read_row(key, value, known.index)
        except RowUnreadable:
            return False

    def check_invariants(self) -> None:
        anew = DurableImage()
        for key, kept in self.rows.items():
            anew._put(key, kept)
            assert kept.index <= self.index, "a row comes from beyond what was followed"
        assert anew.instances_of == self.instances_of, "instances are miscounted"
        assert anew.intents_of == self.intents_of, "intents are found by their service"
        assert anew.intent_count == self.intent_count, "intents are miscounted"
        assert anew.namespaces == self.namespaces, "namespaces are found by their id"
        assert anew.used_namespaces == self.used_namespaces, "namespaces are miscounted"
        assert not self.rows.keys() & self.unreadable.keys()

    def _read(self, key: str, value: bytes | None, index: int, changes: list[ImageChange], reasons: list[str]) -> None:
        self.unreadable.pop(key, None)
        kept = None
        try:
            kept = None if value is None else read_row(key, value, index)
        except RowUnreadable as error:
            self.unreadable[key] = index
            reasons.append(str(error))
        change = self._put(key, kept)
        if change is not None:
            changes.append(change)

    def _put(self, key: str, kept: Kept | None) -> ImageChange | None:
        before = self.rows.pop(key, None)
        if before is not None:
            self._note(before, -1)
        if kept is not None:
            self.rows[key] = kept
            self._note(kept, 1)
        return ImageChange(key, before, kept) if before is not None or kept is not None else None

    def _note(self, kept: Kept, by: int) -> None:
        """A row has come or is going."""
        match kept:
            case KeptInstance():
                _count(self.instances_of, kept.service, by)
                _count(self.used_namespaces, kept.service.namespace, by)
            case KeptNamespace(namespace=namespace) if by > 0:
                self.namespaces[namespace.id] = namespace
            case KeptNamespace(namespace=namespace):
                del self.namespaces[namespace.id]
            case KeptService():
                _count(self.used_namespaces, kept.service.namespace, by)
            case KeptIntent() if by > 0:
                self.intent_count += 1
                self.intents_of.setdefault(kept.service, {})[kept.key, kept.field] = kept
            case KeptIntent():
                self.intent_count -= 1
                intents = self.intents_of[kept.service]
                del intents[kept.key, kept.field]
                if not intents:
                    del self.intents_of[kept.service]


def _count(counts: dict[Key, int], key: Key, by: int) -> None:
    count = counts.get(key, 0) + by
    if count:
        counts[key] = count
    else:
        del counts[key]
