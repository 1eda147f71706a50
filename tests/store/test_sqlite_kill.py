"""kill -9 of a process that writes: what it was told is kept is kept, and no change is there by halves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from actors.messages.store import Row
from tests.store.engines import SqliteEngine
from tests.store.listening import SECONDS, RememberingListener

ROOT = Path(__file__).resolve().parents[2]
LIVES = 3
ACKNOWLEDGED_MIN = 150  # of each life before it is killed
LIFE_SECONDS = 0.4


def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed_under_load(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)
    ledger: dict[str, int] = {}  # key: index of the change that was acknowledged
    for life in range(LIVES):
        for line in _life(engine.directory, str(life)):
            number, index = line.split()
            ledger |= {f"{life}/{number}/{half}": int(index) for half in ("left", "right")}
        store = engine.open()
        cut = store.read("", timeout_seconds=SECONDS).result(SECONDS)
        _check(ledger, {row.key: row for row in cut.rows})
        listener = RememberingListener()
        store.watch("", 1, listener)
        changes = listener.wait_for_index(cut.index)
        assert [change.index for change in changes] == list(range(1, cut.index + 1))
        assert sum(len(change.operations) for change in changes) == len(cut.rows)
        engine.close()
    assert len(ledger) >= LIVES * ACKNOWLEDGED_MIN * 2


def _life(directory: Path, name: str) -> list[str]:
    """Whole lines that it said before it was killed."""
    command = [sys.executable, "-P", "-m", "tests.store.writer_child", str(directory), name]
    with subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            said = [child.stdout.readline() for _ in range(ACKNOWLEDGED_MIN)]
            end = time.monotonic() + LIFE_SECONDS
            while time.monotonic() < end:
                said.append(child.stdout.readline())
        finally:
            child.kill()
        said += child.stdout.readlines()
    return [line.decode() for line in said if line.endswith(b"\n")]


def _check(ledger: dict[str, int], rows: dict[str, Row]) -> None:
    missing = {key for key, index in ledger.items() if key not in rows or rows[key].index != index}
    assert missing == set()
    for key, row in rows.items():
        whole, _, half = key.rpartition("/")
        other = rows[f"{whole}/{'left' if half == 'right' else 'right'}"]
        assert (other.value, other.index) == (row.value, row.index)
