"""The embedded engine: one file of this node, durable and linearizable, and available as long as its disk is.

One thread writes: what waits is committed together, each proposal applied or refused by its own expectations. Answers
come after the commit is on the disk. A few threads read, each with its own connection. ``Unavailable`` is said only of
what was surely not written; after a commit was begun, the worst that is said is ``FateUnknown``.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from actors.messages.store import Cut, Expectation, Operation, Outcome, Row, StoredChange
from runtime.node_store import StoreUnusable
from runtime.store.port import (
    FateUnknown,
    StoreFault,
    StoreStatus,
    Unavailable,
    WatchListener,
    check_proposal,
    proposals_of,
)
from runtime.store.sqlite_file import FilesInUse, StoreFile, open_store_file, primary_code, trouble_of
from runtime.store.sqlite_settings import SqliteSettings
from runtime.store.sqlite_tables import (
    CommitDoubtful,
    FileHeld,
    ForeignWriter,
    RestoreRefused,
    StoreDamaged,
    Tables,
    iterate_rows,
    read_cut,
    read_log,
)
from runtime.store.sqlite_watches import LogWatch, WatchHub
from runtime.store.sqlite_witness import Witness
from runtime.store.threads import OnFailure, guarded_thread
from runtime.store.work_queue import Deadlines, Work, WorkQueue

PROGRESS_STEPS = 10_000  # of sqlite, between two looks at whether a read is late
_FATAL = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteStore:
    """``open`` it, use it from any thread, ``close`` it. Implements ``Store``."""

    def __init__(self, file: StoreFile, settings: SqliteSettings, on_failure: OnFailure) -> None:
        self.identity = file.identity
        self._file = file
        self._settings = settings
        self._retry_seconds = settings.retry_interval_ms / 1_000
        self._tidy_seconds = settings.tidy_interval_ms / 1_000
        self._writer = file.connect(is_writer=True)
        try:
            self._tables = Tables(self._writer)
            self._tables.open()
            self._witness = Witness.open(file.path.parent, file.identity, self._tables.position.newest)
            self._readers = [file.connect(is_writer=False) for _ in range(settings.readers_max)]
            self._log_reader = file.connect(is_writer=False)
        except (sqlite3.Error, FileHeld, StoreUnusable):
            file.leave(self._writer)
            raise
        self._files_in_use = FilesInUse(file.path)
        self._position = self._tables.position  # replaced after each commit, before anybody is answered
        self._trouble = ""
        self._is_broken = False  # until somebody has looked at it: writing on would make it worse
        self._is_closed = False
        self._tidied = (self._position.newest, self._tables.logged_bytes, time.monotonic())
        self._proposals = WorkQueue(settings.waiting_max, settings.waiting_bytes_max)
        self._reads = WorkQueue(settings.reads_waiting_max, settings.waiting_bytes_max, Unavailable)
        self._hub = WatchHub(self._read_log, self._position, settings, on_failure)
        self._deadlines = Deadlines((self._proposals, self._reads), on_failure)
        self._threads = [guarded_thread("store-writer", self._write, on_failure)]
        self._threads += [
            guarded_thread("store-reader", partial(self._read, reader), on_failure) for reader in self._readers
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(cls, directory: Path, settings: SqliteSettings, on_failure: OnFailure) -> SqliteStore:
        """The store of this data directory; StoreUnusable says why not. ``on_failure``: what nothing foresaw."""
        file = open_store_file(directory, settings)
        try:
            return cls(file, settings, on_failure)
        except sqlite3.Error as error:
            raise StoreUnusable(f"the store {file.path} cannot be used: {trouble_of(error)}") from None
        except FileHeld as held:
            raise StoreUnusable(f"the store {file.path} cannot be used: {held}") from None

    def propose(
        self, operations: Sequence[Operation], expectations: Sequence[Expectation] = (), *, timeout_seconds: float
    ) -> Future[Outcome]:
        check_proposal(operations, expectations)
        size_bytes = sum(len(operation.key) + len(operation.value or b"") for operation in operations)
        return self._order(Work(lambda tables: tables.propose(operations, expectations), timeout_seconds, size_bytes))

    def read(self, prefix: str, *, linearizable: bool = True, timeout_seconds: float) -> Future[Cut]:
        """All that is known is here, and what was acknowledged is on the disk: every read is linearizable."""
        work: Work[Cut] = Work(lambda connection: read_cut(connection, prefix), timeout_seconds)
        self._reads.put(work)
        return work.future

    def barrier(self, *, timeout_seconds: float) -> Future[int]:
        future: Future[int] = Future()
        if self._is_closed:
            future.set_exception(Unavailable("the store is closed"))
        else:
            future.set_result(self._position.newest)
        return future

    def watch(self, prefix: str, from_index: int, listener: WatchListener) -> LogWatch:
        return self._hub.watch(prefix, from_index, listener)

    def snapshot(self) -> Iterator[Row]:
        """Nothing of it is held in memory; the write-ahead log grows while it lasts."""
        if self._is_closed or self._is_broken:
            raise Unavailable(self.status().trouble)
        self._check_files()
        return self._snapshot()

    def restore(self, rows: Iterable[Row]) -> int:
        """All of them or none, in one transaction; as many changes in the log as a caller would have needed."""
        batches = list(proposals_of(rows))
        work = self._order(Work(lambda tables: tables.restore(batches), self._settings.restore_ms_max / 1_000))
        work.result()
        return sum(map(len, batches))

    def compact(self, index: int, *, timeout_seconds: float) -> Future[None]:
        return self._order(Work(lambda tables: tables.compact(index), timeout_seconds))

    def status(self) -> StoreStatus:
        newest, oldest = self._position
        return StoreStatus(
            engine=f"sqlite {sqlite3.sqlite_version}",
            index=newest,
            oldest_index=oldest,
            is_writable=not (self._trouble or self._is_closed),
            trouble=self._trouble or ("the store is closed" if self._is_closed else ""),
        )

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._proposals.close()
        self._reads.close()
        self._hub.close()
        deadline = time.monotonic() + self._settings.close_ms_max / 1_000  # of all together
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return  # the disk hangs: somebody is still to be told that it is late, and nothing can be tidied up
        self._deadlines.stop()
        for reader in (*self._readers, self._log_reader):
            reader.close()
        self._close_writer()
        self._witness.close()

    def _snapshot(self) -> Iterator[Row]:
        try:
            connection = self._file.connect(is_writer=False)
            try:
                connection.execute("BEGIN")
                yield from iterate_rows(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise Unavailable(f"the store {self._file.path} cannot be read: {trouble_of(error)}") from None

    def _order(self, work: Work[Any]) -> Future[Any]:
        self._proposals.put(work)
        return work.future

    def _write(self) -> None:
        count_max, bytes_max = self._settings.group_max, self._settings.group_bytes_max
        while (group := self._proposals.take(count_max, bytes_max, self._patience())) is not None:
            if self._trouble and not group:
                group = [Work(Tables.touch, self._retry_seconds)]
            elif self._is_tidying_due():
                group.append(Work(self._tidy, self._tidy_seconds))
            if group:
                self._proposals.end(self._commit(group))
                self._hub.tell(self._tables.changes)

    def _commit(self, group: Sequence[Work[Any]]) -> list[tuple[Work[Any], Any]]:
        """Each with what it is told; nobody is told before the disk has it."""
        if self._is_broken:
            return [(work, Unavailable(self._trouble)) for work in group]
        tables = self._tables
        try:
            tables.begin(time.time_ns() // 1_000_000)
            ended = [(work, _result_of(work, tables)) for work in group]
            self._check_files()
            tables.commit()
        except CommitDoubtful as doubt:
            self._roll_back(doubt.error)
            return [(work, FateUnknown(self._trouble)) for work in group]
        except (sqlite3.Error, ForeignWriter, StoreDamaged) as error:
            self._roll_back(error)
            return [(work, Unavailable(self._trouble)) for work in group]
        self._position = tables.position
        hindrance = self._witness.record(tables.position.newest)
        self._trouble = self._sentence(hindrance) if hindrance else ""
        self._hub.committed(tables.changes, tables.position)
        return ended

    def _roll_back(self, error: sqlite3.Error | ForeignWriter | StoreDamaged) -> None:
        if isinstance(error, StoreFault):
            self._is_broken, trouble = True, str(error)
        else:
            self._is_broken, trouble = primary_code(error) in _FATAL, trouble_of(error)
        self._trouble = self._sentence(trouble)
        self._tables.roll_back()

    def _check_files(self) -> None:
        """What is written to a file without a name is lost at the next start."""
        if self._files_in_use.are_exchanged():
            raise ForeignWriter("a file of the store, or its write-ahead log, was removed or exchanged")

    def _sentence(self, trouble: str) -> str:
        rest = "restart the node" if self._is_broken else f"it is tried again every {self._retry_seconds:g} s"
        return f"the store {self._file.path} cannot be written: {trouble}; {rest}"

    def _patience(self) -> float:
        return self._retry_seconds if self._trouble else self._tidy_seconds

    def _is_tidying_due(self) -> bool:
        """An eighth above the bounds at most; a log that is idle grows old as well."""
        changes, logged_bytes, moment = self._tidied
        settings, tables = self._settings, self._tables
        return (
            tables.position.newest - changes > settings.log_changes_max // 8
            or tables.logged_bytes - logged_bytes > settings.log_bytes_max // 8
            or time.monotonic() - moment >= self._tidy_seconds
        )

    def _tidy(self, tables: Tables) -> None:
        settings = self._settings
        youngest_ms = time.time_ns() // 1_000_000 - settings.log_ms_max
        tables.shorten_log(settings.log_changes_max, settings.log_bytes_max, youngest_ms)
        self._tidied = (tables.position.newest, tables.logged_bytes, time.monotonic())

    def _close_writer(self) -> None:
        try:
            if not self._is_broken:
                self._tables.close()
        except sqlite3.Error as error:
            self._trouble = self._sentence(trouble_of(error))
        if self._trouble:
            self._file.leave(self._writer)
        else:
            self._writer.close()

    def _read(self, connection: sqlite3.Connection) -> None:
        while (taken := self._reads.take(1, 0, self._tidy_seconds)) is not None:
            for work in taken:
                result: Any
                try:
                    connection.set_progress_handler(work.is_late, PROGRESS_STEPS)
                    result = work.do(connection)
                except sqlite3.Error as error:
                    result = Unavailable(f"the store {self._file.path} cannot be read: {trouble_of(error)}")
                except StoreFault as fault:
                    result = fault
                self._reads.end([(work, result)])

    def _read_log(self, first: int, count_max: int) -> Sequence[StoredChange]:
        """For the thread of the hub alone."""
        return read_log(self._log_reader, first, count_max, self._settings.group_bytes_max)


def _result_of(work: Work[Any], tables: Tables) -> Any:
    """A refusal concerns one proposal; what sqlite raises concerns all."""
    try:
        return work.do(tables)
    except RestoreRefused as fault:
        return fault
