"""Changes that were acknowledged and are not there any more: noticed, whatever took them away."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from runtime.node_store import StoreUnusable
from runtime.store.sqlite_witness import Witness, witnessed_index
from tests.store.engines import SqliteEngine
from tests.store.listening import newest, values_of, write

CHANGES = 60


@pytest.fixture
def killed(tmp_path: Path) -> SqliteEngine:
    """All its changes are in the write-ahead log."""
    engine = SqliteEngine(tmp_path)
    store = engine.open()
    for number in range(CHANGES):
        write(store, **{f"k{number}": b"%03d" % number * 50})
    engine.kill()
    return engine


def write_ahead_log(engine: SqliteEngine) -> Path:
    return engine.file.with_name("rows.sqlite-wal")


def witness(engine: SqliteEngine) -> Path:
    return engine.file.with_name("acknowledged")


def test_damage_in_the_write_ahead_log_is_noticed_or_takes_nothing_away(killed: SqliteEngine) -> None:
    log = write_ahead_log(killed)
    whole, file = log.read_bytes(), killed.file.read_bytes()
    chance = random.Random(11)
    sentences = []
    for _ in range(40):
        place = chance.randrange(len(whole))
        log.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        try:
            assert len(values_of(killed.open())) == CHANGES, place
            killed.close()
            killed.file.write_bytes(file)
        except StoreUnusable as refused:
            sentences.append(str(refused))
    assert len(sentences) > 30
    for sentence in sentences:
        assert "has lost changes: it ends at " in sentence
        assert f"and {CHANGES} was acknowledged; restore a backup" in sentence


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_write_ahead_log_that_was_cut_off_is_noticed(killed: SqliteEngine, part: float) -> None:
    content = write_ahead_log(killed).read_bytes()
    write_ahead_log(killed).write_bytes(content[: int(len(content) * part)])
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="has lost changes"):
            killed.open()


def test_an_older_copy_is_noticed_and_can_be_accepted(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    write(engine.open(), a=b"1")
    engine.close()
    shutil.copy(engine.file, tmp_path / "copy")
    write(engine.open(), a=b"2")
    engine.close()
    shutil.copy(tmp_path / "copy", engine.file)
    with pytest.raises(StoreUnusable, match="has lost changes: it ends at 1, and 2 was acknowledged"):
        engine.open()
    witness(engine).unlink()  # as the sentence says
    assert values_of(engine.open()) == {"a": b"1"}
    write(engine.reopen(), a=b"3")
    assert newest(engine.reopen()) == 2
    engine.close()


def test_one_half_of_the_witness_is_enough_and_none_is_damage(killed: SqliteEngine) -> None:
    whole = witness(killed).read_text()
    first, second = whole.splitlines()
    assert {int(first.split()[1]), int(second.split()[1])} == {CHANGES, CHANGES - 1}
    newer = max(first, second)
    witness(killed).write_text(f"{newer}\n{'7' * len(newer)}\n")
    assert witnessed_index(killed.file.parent, newer.split()[0]) == CHANGES
    assert witnessed_index(killed.file.parent, "another") == 0
    for damaged in ("", whole.replace("0", "1"), "0\n", "\ud7ff"):
        witness(killed).write_text(damaged)
        with pytest.raises(StoreUnusable, match="acknowledged is damaged: remove it"):
            killed.open()
    witness(killed).unlink()
    assert len(values_of(killed.open())) == CHANGES
    killed.close()


def test_a_line_that_says_nothing_is_none_though_its_checksum_is_right(tmp_path: Path) -> None:
    Witness.open(tmp_path, "id", 7).close()
    path = tmp_path / "acknowledged"
    path.write_text(f" 00000000\n{path.read_text().splitlines()[0]}\n")
    assert witnessed_index(tmp_path, "id") == 7


def test_from_its_beginning_a_witness_survives_that_one_half_is_torn(tmp_path: Path) -> None:
    witness = Witness.open(tmp_path, "id", 7)
    path = tmp_path / "acknowledged"
    for index, known in ((7, 7), (8, 7), (9, 8), (10, 9)):
        if index > 7:
            assert witness.record(index) == ""
        whole = path.read_bytes()
        newest = whole.rindex(b"%019d" % index) if index > 7 else 0
        path.write_bytes(whole[:newest] + b"x" * 5 + whole[newest + 5 :])
        assert witnessed_index(tmp_path, "id") == known
        path.write_bytes(whole)
        assert witnessed_index(tmp_path, "id") == index
    witness.close()


def test_a_witness_that_cannot_be_written_says_why() -> None:
    full = Witness("id", os.open("/dev/full", os.O_WRONLY))
    assert full.record(1) == "acknowledged beside it: No space left on device"
    full.close()
