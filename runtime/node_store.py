"""The data directory of a node: who it is, which life this is, and that it is the only one.

``node-id`` never changes. ``epoch`` is higher for every life, and is on the disk before the node accepts anything: two
lives with one epoch would give two meanings to one version. ``lock`` is held by the living process.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from rollbook.wire import NUMBER_MAX

EPOCH_CHANCE_BITS = 16
LOCK_RETRY_SECONDS = 0.1
STATE_FILE = "state.json"
NODE_ID = re.compile(r"[0-9a-f]{16}")


class StoreUnusable(Exception):
    """The data directory cannot be used; one line for the operator."""


class StoreFiles(Protocol):
    """The files of one directory, as POSIX promises them: what is not synced may be lost with the power."""

    def read(self, name: str) -> str | None:
        """None if there is no such file."""

    def write(self, name: str, text: str) -> None: ...

    def sync(self, name: str) -> None: ...

    def rename(self, name: str, new_name: str) -> None:
        """It takes the place of what had that name."""

    def sync_directory(self) -> None: ...


class IdentityStore:
    """The rules, over any files: which id, which epoch, and what must be on the disk before either is used."""

    def __init__(
        self, files: StoreFiles, place: str, new_node_id: Callable[[], str], pattern: re.Pattern[str] = NODE_ID
    ) -> None:
        self._files = files
        self._place = place
        self._new_node_id = new_node_id
        self._pattern = pattern

    def node_id(self) -> str:
        """Made at the first start, the same ever after."""
        text = self._read("node-id")
        if text is None:
            text = self._new_node_id()
            self._write("node-id", text)
        if self._pattern.fullmatch(text) is None:
            raise StoreUnusable(f"{self._place}/node-id does not hold a node id; remove it to become a new node")
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

    def _last_epoch(self) -> int:
        text = self._read("epoch")
        if text is None:
            return 0
        if not (text.isascii() and text.isdigit() and len(text) <= 19) or int(text) > NUMBER_MAX:
            advice = "remove it if the wall clock of this machine is right"
            raise StoreUnusable(f"{self._place}/epoch does not hold an epoch; {advice}")
        return int(text)

    def _read(self, name: str) -> str | None:
        text = self._files.read(name)
        return None if text is None else text.strip()

    def _write(self, name: str, text: str) -> None:
        write_durably(self._files, name, text)


class NodeStore(IdentityStore):
    """Open it, then ask; close it last."""

    def __init__(self, directory: Path, lock: IO[str]) -> None:
        super().__init__(DirectoryFiles(directory), str(directory), lambda: os.urandom(8).hex())
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
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        except OSError as error:
            raise _unusable(directory, error) from None
        return cls(directory, lock)

    def write_state(self, text: str) -> None:
        """What others may read while this process lives; nobody needs it after the power went."""
        draft = f"{STATE_FILE}.draft"
        self._files.write(draft, text)
        self._files.rename(draft, STATE_FILE)

    def remove_state(self) -> None:
        try:
            (self.directory / STATE_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self.directory, error) from None

    def close(self) -> None:
        self._lock.close()


class DirectoryFiles:
    """A real directory; what the system refuses is one line for the operator."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> str | None:
        try:
            return (self._path / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._path, error) from None

    def write(self, name: str, text: str) -> None:
        try:
            (self._path / name).write_text(text, encoding="ascii")
        except OSError as error:
            raise _unusable(self._path, error) from None

    def sync(self, name: str) -> None:
        self._sync(self._path / name, os.O_WRONLY)

    def rename(self, name: str, new_name: str) -> None:
        try:
            (self._path / name).replace(self._path / new_name)
        except OSError as error:
            raise _unusable(self._path, error) from None

    def sync_directory(self) -> None:
        self._sync(self._path, os.O_RDONLY)

    def _sync(self, path: Path, flags: int) -> None:
        try:
            descriptor = os.open(path, flags)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unusable(self._path, error) from None


def write_durably(files: StoreFiles, name: str, text: str) -> None:
    """The old text or the new one, whenever the power goes."""
    draft = f"{name}.draft"
    files.write(draft, f"{text}\n")
    files.sync(draft)
    files.rename(draft, name)
    files.sync_directory()


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(directory: Path, error: OSError) -> StoreUnusable:
    return StoreUnusable(f"the data directory {directory} cannot be used: {error.strerror or error}")
