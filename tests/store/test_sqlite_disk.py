"""The embedded engine on a disk that is full, read-only, or fails. Most of it needs the right to mount one."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.messages.store import Operation, Row
from runtime.node_store import StoreUnusable
from runtime.store.port import FateUnknown, Unavailable
from tests.store.engines import SqliteEngine
from tests.store.listening import SECONDS, RememberingListener, begin, values_of, write
from tests.store.test_sqlite_limits import wait_until_writable
from tests.support.store_settings import SQLITE

DISK_KIB = 2_048
SMALL_GROUPS = msgspec.structs.replace(SQLITE, group_max=8)  # so that some are committed before the disk is full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k,mode=700", "store-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk that is full or read-only: only root may mount one here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_refuses_and_recovers_by_itself_when_there_is_space(disk: Path) -> None:
    engine = SqliteEngine(disk, SMALL_GROUPS)
    store = engine.open()
    listener = RememberingListener()
    store.watch("", 1, listener)
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 1024 * (DISK_KIB // 2))
    acknowledged, refused = _fill(engine)
    assert acknowledged
    with pytest.raises(Unavailable, match="the disk is full"):
        write(store, **{"big": b"v" * 200_000})
    assert (store.status().is_writable, "the disk is full" in store.status().trouble) == (False, True)
    assert set(values_of(store)) == acknowledged
    ballast.unlink()
    wait_until_writable(engine)
    assert store.status().trouble == ""
    index = write(store, after=b"1").index
    told = [operation.key for change in listener.wait_for_index(index) for operation in change.operations]
    assert sorted(told) == sorted([*acknowledged, "after"])
    found = set(values_of(engine.reopen()))
    assert found == acknowledged | {"after"}
    assert not found & refused
    engine.close()


def _fill(engine: SqliteEngine) -> tuple[set[str], set[str]]:
    """Keys that were acknowledged, and keys that were surely not written."""
    assert engine.store is not None
    futures = {}
    for number in range(600):
        operation = Operation(f"k{number:03}", b"v" * 3_000)
        futures[operation.key] = engine.store.propose([operation], timeout_seconds=SECONDS)
    faults = {key: future.exception(SECONDS) for key, future in futures.items()}
    assert {type(fault) for fault in faults.values()} == {type(None), Unavailable}
    return {key for key in faults if faults[key] is None}, {key for key in faults if faults[key] is not None}


def test_a_restore_for_which_the_disk_is_too_small_leaves_nothing_and_can_be_repeated(disk: Path) -> None:
    engine = SqliteEngine(disk)
    store = engine.open()
    rows = [Row(f"k{number:03}", b"v" * 3_000, 1) for number in range(600)]
    with pytest.raises(Unavailable, match="the disk is full"):
        store.restore(rows)
    assert values_of(store) == {}
    assert values_of(engine.reopen()) == {}
    subprocess.run(["mount", "-o", f"remount,size={16 * DISK_KIB}k", str(disk)], check=True)
    assert engine.reopen().restore(rows) == 600
    assert len(values_of(engine.reopen())) == 600
    engine.close()


def test_a_store_that_ends_on_a_full_disk_is_whole_once_there_is_space(disk: Path) -> None:
    engine = SqliteEngine(disk, SMALL_GROUPS)
    engine.open()
    acknowledged, _ = _fill(engine)
    engine.close()
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="cannot be used: the disk is full"):
            engine.open()
    subprocess.run(["mount", "-o", f"remount,size={4 * DISK_KIB}k", str(disk)], check=True)
    assert set(values_of(engine.open())) == acknowledged
    engine.close()


def test_a_full_disk_at_the_first_start_is_one_sentence(disk: Path) -> None:
    engine = SqliteEngine(disk)
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"\0" * 2 * 1024 * DISK_KIB)
    with pytest.raises(StoreUnusable, match=r"cannot be used: (No space left|the disk is full)"):
        engine.open()
    ballast.unlink()
    write(engine.open(), a=b"1")
    engine.close()


def test_a_read_only_disk_at_the_start_is_one_sentence(disk: Path) -> None:
    engine = SqliteEngine(disk)
    write(engine.open(), a=b"1")
    engine.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreUnusable, match="cannot be used: Read-only file system"):
        engine.open()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert values_of(engine.open()) == {"a": b"1"}
    engine.close()


def test_a_commit_that_failed_halfway_is_unknown_and_the_log_has_no_gap_afterwards(tmp_path: Path) -> None:
    """The system refuses files above some size: unlike a full disk nothing says how far the commit came."""
    engine = SqliteEngine(tmp_path, msgspec.structs.replace(SQLITE, group_max=1))
    store = engine.open()
    listener = RememberingListener()
    store.watch("", 1, listener)
    write(store, before=b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    try:
        futures = [begin(store, **{f"doubtful{number}": b"v" * 100_000}) for number in range(10)]
        assert isinstance(futures[-1].exception(SECONDS), FateUnknown)
        assert not store.status().is_writable
        known = values_of(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    wait_until_writable(engine)
    index = write(store, after=b"1").index
    assert [change.index for change in listener.wait_for_index(index)] == list(range(1, index + 1))
    expected = set(known) | {"after"}
    assert set(values_of(store)) == {change.operations[0].key for change in listener.changes} == expected
    assert set(values_of(engine.reopen())) == expected
    engine.close()
