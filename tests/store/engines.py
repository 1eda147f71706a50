"""The engines that must all behave alike, each with a storage of its own for one test."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Protocol

from runtime.store.port import Store
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite_settings import SqliteSettings
from tests.store.etcd_engine import EtcdEngine, SharedEtcd
from tests.support.store_settings import SQLITE


class Engine(Protocol):
    """One storage, empty at first, and whatever serves it."""

    advance_seconds_max: float  # a watch that has nothing to tell says within this how far the log is

    def open(self) -> Store:
        """What is on the storage, also after ``kill``. One at a time."""

    def reopen(self) -> Store:
        """Closed in good order, then opened."""

    def kill(self) -> None:
        """All that serves the storage dies without a word: what was acknowledged is there when it is opened again."""

    def close(self) -> None:
        """The end of the test: nothing is left running."""


class SqliteEngine:
    """In this process, so what a kill leaves is the files as they are at that moment."""

    advance_seconds_max = 5.0

    def __init__(self, folder: Path, settings: SqliteSettings = SQLITE) -> None:
        self.failures: list[BaseException] = []
        self._folder = folder
        self._lives = 0
        self._settings = settings
        self.store: SqliteStore | None = None
        self.directory.mkdir()

    @property
    def directory(self) -> Path:
        return self._folder / f"life-{self._lives}"

    @property
    def file(self) -> Path:
        return self.directory / "store" / "rows.sqlite"

    def open(self) -> SqliteStore:
        self.store = SqliteStore.open(self.directory, self._settings, self.failures.append)
        return self.store

    def reopen(self) -> SqliteStore:
        self.close()
        return self.open()

    def kill(self) -> None:
        before, before_file = self.directory, self.file
        self._lives += 1
        pin = sqlite3.connect(f"file:{before_file}?mode=ro", uri=True, isolation_level=None)
        pin.execute("BEGIN")
        pin.execute("SELECT newest FROM store").fetchone()  # as long as this lasts, the write-ahead log only grows
        self.file.parent.mkdir(parents=True)
        shutil.copy(before / "store-id", self.directory)
        for name in ("acknowledged", "rows.sqlite", "rows.sqlite-wal"):  # what is witnessed is there by then
            shutil.copy(before_file.with_name(name), self.file.parent)
        pin.close()
        self.close()

    def close(self) -> None:
        if self.store is not None:
            self.store.close()
            self.store = None
        assert self.failures == []


NAMES = ("etcd", "sqlite")


def make_engine(name: str, folder: Path, shared: SharedEtcd) -> Engine:
    return EtcdEngine(shared) if name == "etcd" else SqliteEngine(folder)
