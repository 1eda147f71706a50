"""The file of a backup: how it is written, and how it is found out whether it is whole before anything is made of it.

rollbook backup 1\\n             the number of the format; a reader refuses a higher one
length, header                  each block: four bytes, big endian, and so many of msgpack
length, rows                    DurableRows, as often as there are pages
0                               no block follows
checksum                        BLAKE2b, 32 bytes, of everything before it
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from rollbook.codec import pack, typed, unpack
from rollbook.errors import InvalidField, RollbookError
from rollbook.kept_rows import DurableRows, Moment, check_rows
from rollbook.wire import ANSWER_LIMITS

FORMAT = 1
CHECKSUM_BYTES = 32
_BEGIN = re.compile(rb"rollbook backup (\d{1,9})\n")
_BEGIN_BYTES_MAX = 32
_LENGTH_BYTES = 4
_PIECE_BYTES = 1_048_576


class BackupHeader(msgspec.Struct, frozen=True, array_like=True):
    """What is in the file: ``rows`` in all, as ``store`` held them at ``index``. ``made_ms``: by the clock of whoever
    made it. ``stale_since_ms``: since when the node that was read could not follow the store; 0: it could."""

    store: str
    index: int
    rows: int
    made_ms: Moment
    stale_since_ms: Moment = 0


class BackupWriter:
    """Nothing counts before ``finish``."""

    def __init__(self, file: BinaryIO, header: BackupHeader) -> None:
        self._file = file
        self._checksum = _checksum()
        self._write(f"rollbook backup {FORMAT}\n".encode())
        self._write_block(header)

    def add(self, rows: DurableRows) -> None:
        self._write_block(rows)

    def finish(self) -> None:
        self._write((0).to_bytes(_LENGTH_BYTES))
        self._file.write(self._checksum.digest())

    def _write_block(self, block: object) -> None:
        payload = pack(block)
        self._write(len(payload).to_bytes(_LENGTH_BYTES) + payload)

    def _write(self, payload: bytes) -> None:
        self._checksum.update(payload)
        self._file.write(payload)


class BackupReader:
    """InvalidField says why the file is none that can be restored; with the header everything has been looked at but
    the rows, which ``rows`` looks at each time."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._begin_bytes = self._read_begin()
        self._verify_checksum()
        self._file.seek(self._begin_bytes)
        self.header = self._read_header()
        self._rows_at = self._file.tell()

    def rows(self) -> Iterator[DurableRows]:
        self._file.seek(self._rows_at)
        count = 0
        while (payload := self._read_block()) is not None:
            try:
                rows = check_rows(typed(unpack(payload, ANSWER_LIMITS), DurableRows))
            except RollbookError as error:
                raise self._unusable(f"a row behind the {count}th breaks a rule: {error.message}") from None
            count += len(rows)
            yield rows
        if count != self.header.rows:
            raise self._unusable(f"it should hold {self.header.rows} rows, and holds {count}")

    def _read_begin(self) -> int:
        self._file.seek(0)
        begin = self._file.read(_BEGIN_BYTES_MAX)
        found = _BEGIN.match(begin)
        if found is None:
            raise self._unusable("it is no backup of rollbook")
        if int(found[1]) > FORMAT:
            raise self._unusable(
                f"it has format {int(found[1])}, and this version reads up to {FORMAT}: use a newer rollbook"
            )
        return found.end()

    def _verify_checksum(self) -> None:
        left = self._file.seek(0, io.SEEK_END) - CHECKSUM_BYTES
        self._file.seek(0)
        checksum = _checksum()
        while left > 0 and (piece := self._file.read(min(left, _PIECE_BYTES))):
            checksum.update(piece)
            left -= len(piece)
        if self._file.read(CHECKSUM_BYTES) != checksum.digest():
            raise self._unusable("it is damaged or cut off: its checksum is wrong")

    def _read_header(self) -> BackupHeader:
        payload = self._read_block()
        if payload is None:
            raise self._unusable("it has no header")
        try:
            return typed(unpack(payload, ANSWER_LIMITS), BackupHeader)
        except RollbookError as error:
            raise self._unusable(f"its header breaks a rule: {error.message}") from None

    def _read_block(self) -> bytes | None:
        """None behind the last one. The checksum was right, but whoever wrote the file may not have been."""
        length = self._file.read(_LENGTH_BYTES)
        size = int.from_bytes(length)
        if len(length) < _LENGTH_BYTES or size > ANSWER_LIMITS.frame_bytes_max:
            raise self._unusable("its blocks do not fit together")
        if not size:
            return None
        payload = self._file.read(size)
        if len(payload) < size:
            raise self._unusable("its blocks do not fit together")
        return payload

    def _unusable(self, reason: str) -> InvalidField:
        return InvalidField(f"{self._name} cannot be restored: {reason}", field="FILE")


def _checksum() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=CHECKSUM_BYTES)
