"""A run can be played again: the same seed gives the same trace, here and in another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.sim_replay import trace_of

ROOT = Path(__file__).resolve().parents[2]


def trace_in_a_process(seed: int, hash_seed: str) -> str:
    """The same run in a Python whose sets and dictionaries of strings are ordered by another chance."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.sim_replay", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return run.stdout.strip()


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    assert trace_of(5) == trace_of(5)
    assert trace_of(5) != trace_of(6)


def test_the_trace_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    traces = {trace_in_a_process(5, hash_seed) for hash_seed in ("0", "1", "4711")}
    assert traces == {trace_of(5)}
