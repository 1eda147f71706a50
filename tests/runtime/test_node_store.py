"""The data directory: one node id for ever, a higher epoch for every life, one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.node_store import NodeStore, StoreUnusable

WALL_MS = 1_800_000_000_000


def open_store(directory: Path, patience_seconds: float = 0.0) -> NodeStore:
    return NodeStore.open(directory, patience_seconds)


def test_the_node_id_stays_the_same_and_differs_between_directories(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "a", "b"):
        store = open_store(tmp_path / name / "data")
        ids.append(store.node_id())
        store.close()
    assert ids[0] == ids[1] != ids[2]


def test_every_life_has_a_higher_epoch_also_when_the_wall_clock_goes_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    epochs = [store.next_epoch(wall_ms, chance=9) for wall_ms in (WALL_MS, WALL_MS, WALL_MS - 50_000, 0)]
    assert epochs[0] == WALL_MS << 16 | 9
    assert epochs == [epochs[0] + number for number in range(4)]
    store.close()


def test_a_lost_epoch_file_costs_nothing_while_the_clock_is_right(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    before = store.next_epoch(WALL_MS, chance=65_535)
    (tmp_path / "epoch").unlink()
    assert store.next_epoch(WALL_MS + 1, chance=0) > before
    store.close()


def test_the_next_life_lies_above_a_floor_that_others_demanded(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    floor = store.next_epoch(WALL_MS, 0) + 1_000_000_000_000
    store.raise_epoch_floor(floor)
    store.raise_epoch_floor(5)  # a floor never sinks
    assert store.next_epoch(WALL_MS, 0) == floor + 1
    store.close()


def test_a_directory_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    with pytest.raises(StoreUnusable, match=f"belongs to a running node \\(process {os.getpid()}\\)"):
        open_store(tmp_path)
    first.close()
    open_store(tmp_path).close()


@pytest.mark.parametrize("text", ["", "xyz", "-5", "1 2", str(2**63)])
def test_a_broken_epoch_file_is_refused_rather_than_guessed(tmp_path: Path, text: str) -> None:
    (tmp_path / "epoch").write_text(text)
    store = open_store(tmp_path)
    with pytest.raises(StoreUnusable, match="does not hold an epoch"):
        store.next_epoch(WALL_MS, 0)
    store.close()


def test_a_broken_node_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node-id").write_bytes(b"\xff\x00")
    store = open_store(tmp_path)
    with pytest.raises(StoreUnusable, match="does not hold a node id"):
        store.node_id()
    store.close()


def test_a_directory_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnusable, match=r"data directory .* cannot be used: Not a directory"):
        open_store(tmp_path / "file" / "data")


def test_a_crash_between_draft_and_file_leaves_the_old_epoch(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    epoch = store.next_epoch(WALL_MS, 0)
    (tmp_path / "epoch.draft").write_text("9")
    assert store.next_epoch(0, 0) == epoch + 1
    store.close()


def test_a_state_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    (tmp_path / "data" / "state.json.draft").mkdir()
    with pytest.raises(StoreUnusable, match=r"data directory .* cannot be used: Is a directory"):
        store.write_state("{}")
    store.close()
