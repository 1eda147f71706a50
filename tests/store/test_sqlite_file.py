"""The file of the embedded engine: lost, exchanged, damaged, newer or forbidden, it is named and never begun anew."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from runtime.node_store import StoreUnusable
from runtime.store.port import StoreFault, Unavailable
from tests.store.engines import SqliteEngine
from tests.store.listening import begin, values_of, write
from tests.store.test_sqlite_kill import ROOT
from tests.support.store_settings import SQLITE

NOBODY = 65534
OPEN_AS_NOBODY = f"""
import os, sys
from pathlib import Path
from runtime.node_store import StoreUnusable
from runtime.store.sqlite import SqliteStore
from tests.support.store_settings import SQLITE
if os.geteuid() == 0:
    os.setuid({NOBODY})
try:
    SqliteStore.open(Path(sys.argv[1]), SQLITE, print)
except StoreUnusable as refused:
    print(refused)
"""


@pytest.fixture
def engine(tmp_path: Path) -> SqliteEngine:
    """With a few rows, and closed."""
    engine = SqliteEngine(tmp_path, msgspec.structs.replace(SQLITE, busy_timeout_ms=200))
    store = engine.open()
    for number in range(50):
        begin(store, **{f"k{number}": b"%03d" % number * 100})
    engine.close()
    return engine


def refusal(engine: SqliteEngine) -> str:
    """Why it does not open; it says the same when asked again, and leaves every file alone."""
    before = _contents(engine.directory)
    sentences = set()
    for _ in range(2):
        with pytest.raises(StoreUnusable) as refused:
            engine.open()
        sentences.add(str(refused.value))
    assert _contents(engine.directory) == before
    (sentence,) = sentences
    assert "\n" not in sentence
    return sentence


def _contents(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path): path.read_bytes() for path in found}


def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    write(engine.open(), a=b"1")
    folder = engine.file.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("rows.sqlite", "rows.sqlite-wal", "rows.sqlite-shm", "acknowledged"), 0o600)
    engine.close()


def test_modes_that_a_copy_has_widened_are_narrowed_again(engine: SqliteEngine) -> None:
    engine.file.chmod(0o664)
    engine.file.parent.chmod(0o755)
    store = engine.open()
    assert stat.S_IMODE(engine.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(engine.file.parent.stat().st_mode) == 0o700
    assert len(values_of(store)) == 50
    engine.close()


def test_a_file_that_is_gone_is_not_begun_anew(engine: SqliteEngine) -> None:
    engine.file.unlink()
    assert "is missing, though this node had one" in refusal(engine)
    shutil.rmtree(engine.file.parent)
    with pytest.raises(StoreUnusable, match="is missing, though this node had one"):
        engine.open()
    assert not engine.file.exists()


def test_a_file_of_another_node_is_named(engine: SqliteEngine, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = SqliteEngine(tmp_path / "other")
    mine, theirs = (engine.directory / "store-id").read_text().strip(), other.open().identity
    other.close()
    shutil.copy(other.file, engine.file)
    sentence = refusal(engine)
    assert f"is another one ({theirs}) than this node had ({mine})" in sentence
    (engine.directory / "store-id").write_text(f"{theirs}\n")  # as the sentence says
    assert values_of(engine.open()) == {}
    engine.close()


def test_rows_without_the_marker_are_not_trusted_before_somebody_says_so(engine: SqliteEngine) -> None:
    marker = engine.directory / "store-id"
    identity = marker.read_text()
    marker.unlink()
    assert f"write {identity.strip()} into it" in refusal(engine)
    marker.write_text(identity)
    assert len(values_of(engine.open())) == 50
    engine.close()


def test_a_first_start_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    engine.file.parent.mkdir()
    engine.file.with_suffix(".draft").write_bytes(b"half")
    engine.open()
    engine.close()
    (engine.directory / "store-id").unlink()
    write(engine.open(), a=b"1")
    assert (engine.directory / "store-id").exists()
    assert values_of(engine.reopen()) == {"a": b"1"}
    engine.close()


def test_a_write_ahead_log_that_is_gone_is_noticed(engine: SqliteEngine) -> None:
    write(engine.open(), a=b"1")
    engine.kill()
    log = engine.file.with_name("rows.sqlite-wal")
    kept = log.read_bytes()
    log.unlink()
    assert "the write-ahead log of the store" in refusal(engine)
    log.write_bytes(kept)
    assert values_of(engine.open())["a"] == b"1"
    engine.close()


def test_a_refusal_keeps_the_write_ahead_log_of_a_life_that_was_killed(engine: SqliteEngine) -> None:
    write(engine.open(), a=b"1")
    engine.kill()
    marker = engine.directory / "store-id"
    identity = marker.read_text()
    marker.write_text("0123456789abcdef\n")
    assert "is another one" in refusal(engine)
    marker.write_text(identity)
    assert values_of(engine.open())["a"] == b"1"
    engine.close()


def test_a_newer_format_is_refused(engine: SqliteEngine) -> None:
    _execute(engine, "PRAGMA user_version=2")
    assert "has format 2, this version knows 1" in refusal(engine)


def test_another_database_is_refused(engine: SqliteEngine) -> None:
    engine.file.unlink()
    engine.file.touch()
    assert "damaged, or no store of rollbook" in refusal(engine)
    _execute(engine, "CREATE TABLE rows (a)")
    assert "damaged, or no store of rollbook" in refusal(engine)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE store SET newest = newest - 1",
        "DELETE FROM log WHERE number = 7",
        "UPDATE rows SET value = x'00' WHERE key = x'6B37'",
        "UPDATE log SET operations = x'90' WHERE number = 7",
        "DELETE FROM store",
        "DROP TABLE log",
    ],
)
def test_what_does_not_belong_together_is_damage(engine: SqliteEngine, statement: str) -> None:
    _execute(engine, statement)
    assert "cannot be used" in (found := refusal(engine)) or "is damaged (" in found


def test_a_byte_that_was_changed_is_noticed_or_changes_nothing(engine: SqliteEngine) -> None:
    whole = engine.file.read_bytes()
    expected = values_of(engine.open())
    engine.close()
    chance = random.Random(7)
    noticed = 0
    for _ in range(60):
        place = chance.randrange(len(whole))
        engine.file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        try:
            assert values_of(engine.open()) == expected, place
        except StoreUnusable:
            noticed += 1
        engine.close()
    assert noticed > 30


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.95])
def test_a_file_that_was_cut_off_is_damaged(engine: SqliteEngine, part: float) -> None:
    content = engine.file.read_bytes()
    engine.file.write_bytes(content[: int(len(content) * part)])
    assert "damaged" in refusal(engine)


@pytest.mark.parametrize("name", ["rows.sqlite", "."])
def test_a_file_that_may_not_be_opened_is_one_sentence(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # nobody else reaches the directory that pytest makes
        engine = SqliteEngine(Path(folder))
        write(engine.open(), a=b"1")
        engine.close()
        (engine.file.parent / name).chmod(0o000)
        if os.geteuid() == 0:  # for whom nothing is forbidden
            for place in (Path(folder), *Path(folder).rglob("*")):
                os.chown(place, NOBODY, NOBODY)
        command = [sys.executable, "-P", "-c", OPEN_AS_NOBODY, str(engine.directory)]
        said = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True).stdout
    assert (said.count("\n"), "cannot be used: Permission denied" in said) == (1, True), said


@pytest.mark.parametrize("name", ["rows.sqlite", "rows.sqlite-wal", "acknowledged"])
def test_a_file_that_is_removed_while_it_is_used_ends_all_writing(engine: SqliteEngine, name: str) -> None:
    store = engine.open()
    write(store, a=b"1")
    engine.file.with_name(name).unlink()
    for _ in range(2):
        with pytest.raises(Unavailable, match="removed or exchanged"):
            write(store, a=b"2")
    assert not store.status().is_writable
    assert "removed or exchanged" in store.status().trouble
    assert values_of(store)["a"] == b"1"
    engine.close()


def test_a_row_that_is_damaged_while_it_is_used_is_named_and_the_others_can_be_read(engine: SqliteEngine) -> None:
    store = engine.open()
    _execute(engine, "UPDATE rows SET value = x'00' WHERE key = x'6B37'")
    with pytest.raises(StoreFault, match="the row k7 is damaged: restore a backup"):
        values_of(store)
    with pytest.raises(StoreFault, match="the row k7 is damaged: restore a backup"):
        list(store.snapshot())
    assert len(values_of(store, "k1")) == 11
    engine.close()


def test_a_change_that_is_damaged_when_a_doubtful_commit_is_looked_for_ends_all_writing(engine: SqliteEngine) -> None:
    store = engine.open()
    _execute(engine, "UPDATE store SET newest = 51")
    _execute(engine, "INSERT INTO log VALUES (51, 0, 0, x'90', 0)")
    store._tables._is_unsure = True  # as a commit leaves it that the disk neither confirms nor denies
    for _ in range(2):
        with pytest.raises(Unavailable, match="change 51 of the log is damaged"):
            write(store, a=b"1")
    assert not store.status().is_writable
    engine.close()


def test_a_file_that_somebody_else_writes_ends_all_writing(engine: SqliteEngine) -> None:
    store = engine.open()
    write(store, a=b"1")
    _execute(engine, "UPDATE store SET newest = newest + 5")
    with pytest.raises(Unavailable, match="something else has written"):
        write(store, a=b"2")
    assert not store.status().is_writable
    engine.close()


def test_a_file_that_somebody_goes_on_reading_is_not_opened_because_a_lost_log_would_not_be_noticed(
    engine: SqliteEngine,
) -> None:
    reader = sqlite3.connect(f"file:{engine.file}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT newest FROM store").fetchone()
    with pytest.raises(StoreUnusable, match="cannot be used: another process holds the file"):
        engine.open()
    reader.close()
    assert len(values_of(engine.open())) == 50
    engine.close()


def _execute(engine: SqliteEngine, statement: str) -> None:
    connection = sqlite3.connect(engine.file, isolation_level=None)
    connection.execute(statement)
    connection.close()
