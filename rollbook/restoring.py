"""What has to be written so that a store holds what a backup holds: nothing that it holds already, and nothing at all
if it holds anything else.

So a restore that was interrupted is said again, and goes on. Of rows only digests are kept in memory.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping

from rollbook.backup_file import BackupReader
from rollbook.codec import pack
from rollbook.durable_bodies import PERSISTENT_PER_ORDER_MAX
from rollbook.errors import Code, InvalidField, Refused
from rollbook.kept_rows import DurablePage, DurableRows, KeptRow, durable_rows, row_name, row_text

ORDER_BYTES_MAX = 131_072  # half of what a frame may have, unless one row is larger

_SINGULAR = {"services": "service", "namespaces": "namespace", "intents": "intent", "instances": "instance"}


class RowCounts:
    """How many of each kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter(dict.fromkeys(_SINGULAR, 0))

    def add(self, rows: DurableRows) -> None:
        for kind in _SINGULAR:
            self._counts[kind] += len(getattr(rows, kind))

    def facts(self) -> dict[str, int]:
        return dict(self._counts)

    def __str__(self) -> str:
        return counts_text(self._counts)


def counts_text(counts: Mapping[str, int]) -> str:
    """For people: ``2 services, 1 instance``, or ``nothing``."""
    some = [(kind, count) for kind, count in counts.items() if count]
    return ", ".join(f"{count:,} {kind if count > 1 else _SINGULAR[kind]}" for kind, count in some) or "nothing"


class Restoring:
    """``verify`` first, then ``compare`` with each page of the store; ``orders`` are what is left to do."""

    def __init__(self, reader: BackupReader) -> None:
        self._reader = reader
        self._wanted: dict[bytes, bytes] = {}  # by the digest of a row's name: that of the row
        self._there: set[bytes] = set()  # names of those that the store holds as they are wanted
        self._others = RowCounts()
        self.counts = RowCounts()

    @property
    def missing(self) -> int:
        return len(self._wanted) - len(self._there)

    def verify(self) -> Iterator[int]:
        """Look at the whole file; how many rows it was each time. InvalidField if it cannot be restored."""
        for rows in self._reader.rows():
            for row in rows:
                name = _name(row)
                if name in self._wanted:
                    raise InvalidField(f"{row_text(row)} occurs twice in the backup", field="FILE")
                self._wanted[name] = _digest(row)
            self.counts.add(rows)
            yield len(rows)

    def compare(self, page: DurablePage) -> None:
        """Note what the store holds; Refused on the last page if any of it is not in the backup."""
        for row in page.rows:
            name = _name(row)
            if self._wanted.get(name) == _digest(row):
                self._there.add(name)
            else:
                self._others.add(durable_rows([row]))
        if not page.is_complete:
            return
        if page.unreadable:
            raise _not_empty(f"{page.unreadable} rows that its node cannot read")
        if any(self._others.facts().values()):
            raise _not_empty(f"{self._others} that the backup does not hold, or holds otherwise")

    def orders(self) -> Iterator[DurableRows]:
        """What is missing, in portions for one order each, and in the order in which it is to be written."""
        portion: list[KeptRow] = []
        size_bytes = 0
        for row in self._missing_rows() if self.missing else ():
            row_bytes = len(pack(row))
            if portion and (len(portion) == PERSISTENT_PER_ORDER_MAX or size_bytes + row_bytes > ORDER_BYTES_MAX):
                yield durable_rows(portion)
                portion, size_bytes = [], 0
            portion.append(row)
            size_bytes += row_bytes
        if portion:
            yield durable_rows(portion)

    def _missing_rows(self) -> Iterator[KeptRow]:
        for rows in self._reader.rows():
            yield from (row for row in rows if _name(row) not in self._there)


def _not_empty(what: str) -> Refused:
    sentence = f"nothing was written: only an empty store is restored into, and this one holds {what}"
    return Refused(sentence, code=Code.SERVICE_EXISTS)


def _name(row: KeptRow) -> bytes:
    return _digest(row_name(row))


def _digest(value: object) -> bytes:
    return hashlib.blake2b(pack(value), digest_size=16).digest()
