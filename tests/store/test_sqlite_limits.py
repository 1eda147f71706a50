"""What the embedded engine does when it is asked for more than it holds, or longer than somebody waits."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from actors.messages.store import Operation
from runtime.store.port import Compacted, FateUnknown, Unavailable
from tests.store.engines import SqliteEngine
from tests.store.listening import SECONDS, RememberingListener, begin, newest, values_of, write
from tests.support.store_settings import SQLITE

SMALL = msgspec.structs.replace(
    SQLITE, waiting_max=20, log_changes_max=80, recent_changes_max=16, group_max=8, reads_waiting_max=5
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path, SMALL)
    yield engine
    engine.close()


@contextmanager
def held(engine: SqliteEngine) -> Iterator[None]:
    """Another process has the file: what is begun does not end."""
    holder = sqlite3.connect(engine.file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def test_what_was_begun_and_is_late_is_unknown_and_what_still_waits_surely_not_done(engine: SqliteEngine) -> None:
    store = engine.open()
    write(store, a=b"1")
    with held(engine):
        begun = store.propose([Operation("a", b"2")], timeout_seconds=1.0)
        with pytest.raises(FateUnknown, match=r"within 1 s"):
            begun.result(SECONDS)
        waiting = store.propose([Operation("a", b"3")], timeout_seconds=0.2)
        with pytest.raises(Unavailable, match="its turn did not come"):
            waiting.result(SECONDS)
        assert values_of(store) == {"a": b"1"}  # reads do not wait for the writer
    assert write(store, b=b"1").applied
    assert values_of(store)["a"] in (b"1", b"2")


def test_no_more_waits_than_was_declared(engine: SqliteEngine) -> None:
    store = engine.open()
    with held(engine):
        futures = [begin(store, **{f"k{number}": b"1"}) for number in range(40)]
        refused = [future for future in futures if future.done()]
        assert 12 <= len(refused) <= 20  # the others wait, or were begun
        for future in refused:
            with pytest.raises(Unavailable, match="more waits for the store already"):
                future.result()
    accepted = [future for future in futures if future not in refused]
    done = sum(future.exception(SECONDS) is None for future in accepted)
    assert len(values_of(store)) == done > 0


def test_no_more_bytes_wait_than_was_declared(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path, msgspec.structs.replace(SQLITE, waiting_bytes_max=50_000, group_bytes_max=1_000))
    store = engine.open()
    with held(engine):
        futures = [begin(store, **{f"k{number}": b"v" * 10_000}) for number in range(10)]
        assert 4 <= sum(future.done() for future in futures) <= 6
    assert all(future.done() or future.result(SECONDS).applied for future in futures)
    engine.close()


def test_a_file_that_another_process_holds_is_a_trouble_that_passes(tmp_path: Path) -> None:
    impatient = msgspec.structs.replace(SQLITE, busy_timeout_ms=200, retry_interval_ms=100)
    engine = SqliteEngine(tmp_path, impatient)
    store = engine.open()
    with held(engine):
        with pytest.raises(Unavailable, match="another process holds the file"):
            write(store, a=b"1")
        assert not store.status().is_writable
        assert "another process holds the file" in store.status().trouble
        assert store.status().trouble.endswith("; it is tried again every 0.1 s")
    wait_until_writable(engine)
    assert values_of(store) == {}
    assert write(store, a=b"1").applied
    engine.close()


def wait_until_writable(engine: SqliteEngine) -> None:
    assert engine.store is not None
    deadline = time.monotonic() + SECONDS
    pause = threading.Event()
    while not engine.store.status().is_writable:
        assert time.monotonic() < deadline, engine.store.status().trouble
        pause.wait(0.02)


def test_a_log_above_its_bounds_is_shortened(engine: SqliteEngine) -> None:
    store = engine.open()
    for number in range(300):
        write(store, **{f"k{number % 9}": b"%d" % number})
        assert newest(store) - store.status().oldest_index <= 80 + 80 // 8 + 8
    assert store.status().oldest_index > 200
    assert len(values_of(store)) == 9


def test_a_log_of_many_bytes_is_shortened(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path, msgspec.structs.replace(SQLITE, log_bytes_max=80_000))
    store = engine.open()
    for _ in range(40):
        write(store, a=b"v" * 10_000)
    assert 5 <= newest(store) - store.status().oldest_index <= 9
    again = engine.reopen()
    for _ in range(20):
        write(again, a=b"v" * 10_000)
    assert 5 <= newest(again) - again.status().oldest_index <= 9
    engine.close()


def test_a_log_that_is_old_is_shortened(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path, msgspec.structs.replace(SQLITE, log_ms_max=0, log_changes_max=16))
    store = engine.open()
    for _ in range(10):
        write(store, a=b"1")
    assert store.status().oldest_index > 1
    assert newest(store) - store.status().oldest_index <= 3
    engine.close()


def test_a_listener_that_is_too_slow_for_the_log_is_told_so(engine: SqliteEngine) -> None:
    store = engine.open()
    slow = RememberingListener()
    slow.gate.clear()
    write(store, a=b"before")
    store.watch("", 1, slow)
    for number in range(200):
        write(store, a=b"%d" % number)
    slow.gate.set()
    fault = slow.wait_for_compacted()
    assert isinstance(fault, Compacted)
    assert fault.oldest_index == store.status().oldest_index
    told = [change.index for change in slow.changes]
    assert told == list(range(1, len(told) + 1))


def test_changes_that_are_no_longer_in_memory_are_told_from_the_file(engine: SqliteEngine) -> None:
    store = engine.open()
    for number in range(70):
        write(store, a=b"%d" % number)
    listener = RememberingListener()
    store.watch("", 5, listener)
    assert [change.index for change in listener.wait_for_index(70)] == list(range(5, 71))


def test_no_more_reads_wait_than_was_declared(engine: SqliteEngine) -> None:
    store = engine.open()
    for number in range(40):
        write(store, **{f"k{number}": b"v" * 200_000})
    futures = [store.read("", timeout_seconds=SECONDS) for _ in range(200)]
    faults = [future.exception(SECONDS) for future in futures]
    assert any(isinstance(fault, Unavailable) for fault in faults)
    assert sum(fault is None for fault in faults) >= 5


def test_a_restore_takes_all_or_nothing(engine: SqliteEngine) -> None:
    store = engine.open()
    for number in range(300):
        write(store, **{f"k{number}": b"%d" % number})
    rows = list(store.snapshot())
    for number in range(300):
        write(store, **{f"k{number}": None})
    with pytest.raises(Exception, match="occurs twice"):
        store.restore([*rows, rows[0]])
    assert values_of(store) == {}
    assert store.restore(reversed(rows)) == 300
    assert list(values_of(store)) == [row.key for row in rows]


def test_no_more_watch_than_was_declared_and_who_left_makes_room(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path, msgspec.structs.replace(SQLITE, watches_max=2))
    store = engine.open()
    first, _ = (store.watch("", 1, RememberingListener()) for _ in range(2))
    with pytest.raises(Unavailable, match="2 watches already"):
        store.watch("", 1, RememberingListener())
    first.close()
    store.watch("", 1, RememberingListener())
    engine.close()
