"""The embedded store: one change after the other, and many in flight, beside bare upserts of the same rows in sqlite.

The bare peer has one table, no log and no expectations; in its transactions lie as many rows as changes are in flight.
The two alternate: how long a disk takes differs from moment to moment.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from actors.messages.store import Operation, Outcome
from benchmarks.processes import median, quantile
from runtime.settings import load_settings
from runtime.store.sqlite import SqliteStore

PAIRS = 5
LONE_CHANGES = 400
CHANGES = 10_000
WINDOW = 256
VALUE = b"v" * 300  # about a record with some metadata
SECONDS = 60.0
UPSERT = "REPLACE INTO rows VALUES (?, ?)"


class StoreComparison(NamedTuple):
    lone_p50_ms: float
    bare_lone_p50_ms: float
    lone_per_second: float
    bare_lone_per_second: float
    per_second: float
    bare_per_second: float
    speed_ratio: float


def store_against_bare_sqlite(folder: Path) -> StoreComparison:
    """Lone changes alternate one by one, what is in flight run by run."""
    failures: list[BaseException] = []
    store = SqliteStore.open(folder, load_settings().sqlite, failures.append)
    bare = bare_store(folder / "bare.sqlite")
    lone = [(lone_bare_seconds(bare, number), _lone_seconds(store, number)) for number in range(LONE_CHANGES)]
    bare_times, times = ([pair[side] for pair in lone] for side in (0, 1))
    runs = [(bare_per_second(bare, run), _per_second(store, run)) for run in range(PAIRS)]
    bare.close()
    store.close()
    assert not failures, failures
    return StoreComparison(
        lone_p50_ms=quantile(times, 50) * 1_000,
        bare_lone_p50_ms=quantile(bare_times, 50) * 1_000,
        lone_per_second=len(times) / sum(times),
        bare_lone_per_second=len(times) / sum(bare_times),
        per_second=median([ours for _, ours in runs]),
        bare_per_second=median([theirs for theirs, _ in runs]),
        speed_ratio=median([ours / theirs for theirs, ours in runs]),
    )


def bare_store(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
    return connection


def lone_bare_seconds(bare: sqlite3.Connection, number: int) -> float:
    begun = time.perf_counter()
    bare.execute(UPSERT, (b"lone/%d" % number, VALUE))
    return time.perf_counter() - begun


def _lone_seconds(store: SqliteStore, number: int) -> float:
    begun = time.perf_counter()
    store.propose([Operation(f"lone/{number}", VALUE)], timeout_seconds=SECONDS).result()
    return time.perf_counter() - begun


def bare_per_second(bare: sqlite3.Connection, run: int) -> float:
    begun = time.perf_counter()
    for first in range(0, CHANGES, WINDOW):
        bare.execute("BEGIN IMMEDIATE")
        for number in range(first, min(first + WINDOW, CHANGES)):
            bare.execute(UPSERT, (b"many/%d/%d" % (run, number), VALUE))
        bare.execute("COMMIT")
    return CHANGES / (time.perf_counter() - begun)


def _per_second(store: SqliteStore, run: int) -> float:
    waiting: deque[Future[Outcome]] = deque()
    begun = time.perf_counter()
    for number in range(CHANGES):
        waiting.append(store.propose([Operation(f"many/{run}/{number}", VALUE)], timeout_seconds=SECONDS))
        if len(waiting) == WINDOW:
            waiting.popleft().result()
    for future in waiting:
        future.result()
    return CHANGES / (time.perf_counter() - begun)
