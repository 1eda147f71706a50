"""The data directory of a node: who it is, which life this is, and that it is the only one.

``node-id`` never changes. ``epoch`` is higher for every life, and is on the disk before the node accepts anything: two
lives with one epoch would give two meanings to one version. ``lock`` is held by the living process.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path
from typing import IO

from rollbook.wire import NUMBER_MAX

EPOCH_CHANCE_BITS = 16
LOCK_RETRY_SECONDS = 0.1
_NODE_ID = re.compile(r"[0-9a-f]{16}")


class StoreUnusable(Exception):
    """The data directory cannot be used; one line for the operator."""


class NodeStore:
    """Open it, then ask; close it last."""

    def __init__(self, directory: Path, lock: IO[str]) -> None:
        self.directory = directory
        self._lock = lock

    @classmethod
    def open(cls, directory: Path, patience_seconds: float) -> NodeStore:
        """Take the directory for this process; wait this long for a process that still has it."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise _unusable(directory, error) from None
        deadline = time.monotonic() + patience_seconds
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                lock.close()
                raise StoreUnusable(f"the data directory {directory} belongs to a running node (process {holder})")
            time.sleep(LOCK_RETRY_SECONDS)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return cls(directory, lock)

    def node_id(self) -> str:
        """Made at the first start, the same ever after."""
        text = self._read("node-id")
        if text is None:
            text = os.urandom(8).hex()
            self._write("node-id", text)
        if _NODE_ID.fullmatch(text) is None:
            raise StoreUnusable(f"{self.directory / 'node-id'} does not hold a node id; remove it to become a new node")
        return text

    def next_epoch(self, wall_ms: int, chance: int) -> int:
        """The epoch of this life: above every earlier one, even if the file is lost or the wall clock went back."""
        epoch = max(self._last_epoch() + 1, (wall_ms << EPOCH_CHANCE_BITS) | (chance % (1 << EPOCH_CHANCE_BITS)))
        self._write("epoch", str(epoch))
        return epoch

    def raise_epoch_floor(self, floor: int) -> None:
        """The next life must take an epoch above this one."""
        if floor > self._last_epoch():
            self._write("epoch", str(floor))

    def close(self) -> None:
        self._lock.close()

    def _last_epoch(self) -> int:
        text = self._read("epoch")
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= 19) or int(text) > NUMBER_MAX:
            advice = "remove it if the wall clock of this machine is right"
            raise StoreUnusable(f"{self.directory / 'epoch'} does not hold an epoch; {advice}")
        return int(text)

    def _read(self, name: str) -> str | None:
        try:
            return (self.directory / name).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.directory, error) from None

    def _write(self, name: str, text: str) -> None:
        """The old text or the new one, whenever the power goes."""
        draft = self.directory / f"{name}.draft"
        try:
            with draft.open("w", encoding="ascii") as file:
                file.write(f"{text}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.directory / name)
            descriptor = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unusable(self.directory, error) from None


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(directory: Path, error: OSError) -> StoreUnusable:
    return StoreUnusable(f"the data directory {directory} cannot be used: {error.strerror or error}")
