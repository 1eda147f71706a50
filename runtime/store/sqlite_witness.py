"""How far the embedded store had come, in a small file beside it: so the loss of the newest changes is noticed.

sqlite ends a write-ahead log at the first page of it that is damaged, and says nothing of what followed; nor does a
file know that it is an older copy. So the index of each commit is written here, once it is on the disk and before
anybody is told. That costs no fsync: whatever kills the process, the witness is as far as what was acknowledged. When
the power goes it may be behind, by the seconds that the system held back, and then the loss of just these changes goes
unseen; it is never ahead. Two places are written in turn, each with a checksum, so one is whole at any moment.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from runtime.node_store import DirectoryFiles, StoreUnusable, write_durably

WITNESS = "acknowledged"
_PLACES = 2
_DIGITS = 19  # of any index that sqlite takes


class Witness:
    """Of the thread that commits; of the one store with this identity."""

    def __init__(self, identity: str, descriptor: int) -> None:
        self._identity = identity
        self._descriptor = descriptor
        self._place = 0

    @classmethod
    def open(cls, folder: Path, identity: str, index: int) -> Witness:
        """Begun anew at each start, with what is on the disk by then."""
        write_durably(DirectoryFiles(folder), WITNESS, "\n".join([_testimony(identity, index)] * _PLACES))
        (folder / WITNESS).chmod(0o600)
        return cls(identity, os.open(folder / WITNESS, os.O_WRONLY))

    def record(self, index: int) -> str:
        """What hinders it; "" if nothing does."""
        testimony = f"{_testimony(self._identity, index)}\n".encode()
        try:
            os.pwrite(self._descriptor, testimony, self._place * len(testimony))
        except OSError as error:
            return f"{WITNESS} beside it: {error.strerror}"
        self._place = (self._place + 1) % _PLACES
        return ""

    def close(self) -> None:
        os.close(self._descriptor)


def witnessed_index(folder: Path, identity: str) -> int:
    """What this store acknowledged, as far as is known; 0 without a witness: who removed it accepted what there is."""
    text = DirectoryFiles(folder).read(WITNESS)
    if text is None:
        return 0
    whole = [line.split(" ") for line in text.splitlines() if _is_whole(line)]
    if not whole:
        raise StoreUnusable(f"{folder / WITNESS} is damaged: remove it to accept what the store beside it has")
    return max(int(number) if of == identity else 0 for of, number, _ in whole)


def _testimony(identity: str, index: int) -> str:
    said = f"{identity} {index:0{_DIGITS}d}"
    return f"{said} {_checksum(said)}"


def _is_whole(line: str) -> bool:
    said, _, checksum = line.rpartition(" ")
    return said.count(" ") == 1 and checksum == _checksum(said)


def _checksum(said: str) -> str:
    return f"{zlib.crc32(said.encode()):08x}"
