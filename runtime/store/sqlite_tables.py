"""What is in the database file of the embedded engine, and every statement that is run on it.

``store``: one row, who this is and how far it is. ``rows``: the table of keys. ``log``: what each change did, without a
gap from ``oldest`` to ``newest``, for watches. sqlite has no checksums of its own, so each row brings one.
"""

from __future__ import annotations

import sqlite3
import sys
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from actors.messages.store import Cut, Expectation, Operation, Outcome, Row, StoredChange
from runtime.store.port import StoreFault

FORMAT = 1
SCHEMA = """
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL,
    newest INTEGER NOT NULL, oldest INTEGER NOT NULL, is_closed INTEGER NOT NULL);
CREATE TABLE rows (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, written INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log (
    number INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL, bytes_so_far INTEGER NOT NULL,
    operations BLOB NOT NULL, checksum INTEGER NOT NULL);
"""
_ROWS = "SELECT key, value, written, checksum FROM rows"
_LOG = "SELECT number, operations, checksum FROM log"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[str, bytes | None], ...]).decode


class StoreDamaged(StoreFault):
    """The file does not hold what was written into it."""


class ForeignWriter(StoreFault):
    """Somebody else changed the file, so what is known of it here is wrong."""


class FileHeld(StoreFault):
    """Somebody reads it and does not end, so it cannot be said in the file that it is in use."""


class RestoreRefused(StoreFault):
    """There are rows already."""


class CommitDoubtful(Exception):
    """The transaction may be on the disk, or may be found there after a crash."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


class Position(NamedTuple):
    newest: int
    oldest: int


class Tables:
    """The writer's side: one transaction after the other. Nothing of it counts before ``commit`` returned."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self.position = read_position(connection)
        self.changes: list[StoredChange] = []  # of this transaction
        self._newest, self._oldest = self.position
        self._wall_ms = 0
        self._is_unsure = False  # whether the transaction before this one was committed
        self.logged_bytes = self._bytes_before = self._read_logged_bytes()

    def open(self) -> None:
        """Written at every start: whoever cannot write says so now, not at the first change."""
        self._execute("UPDATE store SET is_closed = 0")
        # In the file itself, so that a lost write-ahead log is noticed.
        is_held, *_ = self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_held:
            raise FileHeld("another process holds the file")

    def close(self) -> None:
        self._execute("UPDATE store SET is_closed = 1")

    def begin(self, wall_ms: int) -> None:
        self._execute("BEGIN IMMEDIATE")
        self._wall_ms = wall_ms
        self._bytes_before = self.logged_bytes
        self.changes = []
        found = read_position(self._connection)
        if found != self.position:
            if not self._is_unsure:
                raise ForeignWriter("something else has written to the file of the store")
            missed = found.newest - self.position.newest
            self.changes += read_log(self._connection, self.position.newest + 1, missed, sys.maxsize)
            self.logged_bytes = self._read_logged_bytes()
        self._newest, self._oldest = found

    def propose(self, operations: Sequence[Operation], expectations: Sequence[Expectation]) -> Outcome:
        """Expectations are looked at before anything is written, so a refusal leaves nothing to undo."""
        for expectation in expectations:
            if self._written(expectation.key) != expectation.index:
                return Outcome(False, self._newest)
        index = self._newest + 1
        done = [operation for operation in operations if self._apply(operation, index)]
        if done:
            done.sort(key=lambda operation: operation.key)
            self._log(index, done)
            self._newest = index
        return Outcome(True, self._newest)

    def restore(self, batches: Sequence[Sequence[Operation]]) -> None:
        if self._execute("SELECT 1 FROM rows LIMIT 1").fetchone():
            raise RestoreRefused("only an empty store can be restored into; this one has rows")
        for batch in batches:
            self.propose(batch, ())

    def compact(self, index: int) -> None:
        """The log up to and with this index goes."""
        oldest = min(index, self._newest) + 1
        if oldest > self._oldest:
            self._execute("DELETE FROM log WHERE number < ?", (oldest,))
            self._execute("UPDATE store SET oldest = ?", (oldest,))
            self._oldest = oldest

    def shorten_log(self, changes_max: int, bytes_max: int, written_after_ms: int) -> None:
        """Until it is within these bounds; of a wall clock that was set back no more is asked than that it ends."""

        def is_kept(number: int) -> bool:
            query = "SELECT bytes_so_far, wall_ms FROM log WHERE number = ?"
            bytes_so_far, wall_ms = self._execute(query, (number,)).fetchone()
            return bool(self.logged_bytes - bytes_so_far < bytes_max and wall_ms >= written_after_ms)

        numbers = range(max(self._oldest, self._newest + 1 - changes_max), self._newest + 1)
        self.compact(numbers.start + bisect_left(numbers, True, key=is_kept) - 1)

    def touch(self) -> None:
        """A write that changes nothing: whether there is a disk again."""
        self._execute("UPDATE store SET is_closed = 0")

    def commit(self) -> None:
        if self._newest != self.position.newest:
            self._execute("UPDATE store SET newest = ?", (self._newest,))
        try:
            self._execute("COMMIT")
        except sqlite3.Error as error:
            # A full disk is found before the last page of the transaction is written, and only that makes it count.
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise
            self._is_unsure = True
            raise CommitDoubtful(error) from None
        self._is_unsure = False
        self.position = Position(self._newest, self._oldest)

    def roll_back(self) -> None:
        self.changes = []
        self.logged_bytes = self._bytes_before
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def _read_logged_bytes(self) -> int:
        found = self._execute("SELECT bytes_so_far FROM log ORDER BY number DESC LIMIT 1").fetchone()
        return int(found[0]) if found else 0

    def _written(self, key: str) -> int:
        found = self._execute("SELECT written FROM rows WHERE key = ?", (key.encode(),)).fetchone()
        return int(found[0]) if found else 0

    def _apply(self, operation: Operation, index: int) -> bool:
        """False: it changed nothing."""
        key, value = operation.key.encode(), operation.value
        if value is None:
            return self._execute("DELETE FROM rows WHERE key = ?", (key,)).rowcount > 0
        self._execute("REPLACE INTO rows VALUES (?, ?, ?, ?)", (key, value, index, _checksum(index, key, value)))
        return True

    def _log(self, index: int, operations: Sequence[Operation]) -> None:
        packed = _encode([(operation.key, operation.value) for operation in operations])
        self.logged_bytes += len(packed)
        values = (index, self._wall_ms, self.logged_bytes, packed, _checksum(index, packed))
        self._execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", values)
        self.changes.append(StoredChange(index, tuple(operations)))


def read_position(connection: sqlite3.Connection) -> Position:
    return Position(*connection.execute("SELECT newest, oldest FROM store").fetchone())


def read_cut(connection: sqlite3.Connection, prefix: str) -> Cut:
    """Rows and index of one moment."""
    connection.execute("BEGIN")
    try:
        newest = read_position(connection).newest
        return Cut(tuple(iterate_rows(connection, prefix)), newest)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def iterate_rows(connection: sqlite3.Connection, prefix: str = "") -> Iterator[Row]:
    """Sorted by key; bytes of UTF-8 have the order of their characters."""
    if prefix:
        low = prefix.encode()
        bounds = (low, low[:-1] + bytes([low[-1] + 1]))  # no UTF-8 ends with 255
        found = connection.execute(f"{_ROWS} WHERE key >= ? AND key < ? ORDER BY key", bounds)
    else:
        found = connection.execute(f"{_ROWS} ORDER BY key")
    for key, value, written, checksum in found:
        if _checksum(written, key, value) != checksum:
            raise StoreDamaged(f"the row {key.decode(errors='replace')} is damaged: restore a backup")
        yield Row(key.decode(), value, written)


def read_log(connection: sqlite3.Connection, first: int, count_max: int, bytes_max: int) -> list[StoredChange]:
    """Those of the changes from here on that the log has, oldest first; one at least, if there is one."""
    changes: list[StoredChange] = []
    size_bytes = 0
    for number, packed, checksum in connection.execute(
        f"{_LOG} WHERE number >= ? ORDER BY number LIMIT ?", (first, count_max)
    ):
        changes.append(_change(number, packed, checksum))
        size_bytes += len(packed)
        if size_bytes > bytes_max:
            break
    return changes


def find_damage(connection: sqlite3.Connection) -> str:
    """What is wrong, if anything: the trees of the file, the bytes of each row, and whether all fits together."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        return str(verdict).splitlines()[-1]
    found = connection.execute("SELECT newest, oldest FROM store").fetchall()
    if len(found) != 1:
        return "it does not say how far it is"
    newest, oldest = found[0]
    try:
        rows_newest = max((row.index for row in iterate_rows(connection)), default=0)
        numbers = [_change(*row).index for row in connection.execute(f"{_LOG} ORDER BY number")]
    except StoreDamaged as damage:
        return str(damage).partition(":")[0]
    if rows_newest > newest or numbers != list(range(oldest, newest + 1)):
        return "rows, log and index do not belong together"
    return ""


def _change(number: int, packed: bytes, checksum: int) -> StoredChange:
    if _checksum(number, packed) != checksum:
        raise StoreDamaged(f"change {number} of the log is damaged: restore a backup")
    return StoredChange(number, tuple(Operation(key, value) for key, value in _decode(packed)))


def _checksum(number: int, *parts: bytes) -> int:
    checksum = number & 0xFFFFFFFF
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum
