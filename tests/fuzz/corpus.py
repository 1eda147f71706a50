"""The kept corpus: for each target the smallest known input of each outcome; and the regressions, each with its reason.

Both are replayed by tests/fuzz/test_corpus.py, without any fuzzer.
"""

from __future__ import annotations

import hashlib
import tomllib
import zlib
from itertools import zip_longest
from pathlib import Path

from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS

ROOM = Path(__file__).resolve().parent
CORPUS = ROOM / "corpus"
REGRESSIONS = ROOM / "regressions"
REASONS = REGRESSIONS / "reasons.toml"


def inputs_in(directory: Path) -> list[Path]:
    """Every input of a directory that may be absent."""
    return sorted(path for path in directory.iterdir() if path.is_file()) if directory.is_dir() else []


def regressions() -> dict[str, str]:
    """Why each file stands there, by its path below the directory."""
    reasons: dict[str, str] = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    return reasons


def keep(target: str, found: Path) -> int:
    """Make the kept corpus of this target anew, from what is kept and what was found; how many files it has then."""
    smallest = _smallest_of_each_outcome(target, found)
    chosen = _chosen(list(smallest), TARGETS[target].kept_max)
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    for path in inputs_in(directory):
        path.unlink()
    for outcome in chosen:
        data = smallest[outcome]
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(chosen)


def _chosen(outcomes: list[str], count: int) -> list[str]:
    """So many of them, of what was read and what was refused in turns."""
    # The sum of the name is as good as a draw, and always the same one.
    drawn = sorted(outcomes, key=lambda outcome: zlib.crc32(outcome.encode()))
    read = [outcome for outcome in drawn if not outcome.startswith("refused")]
    refused = [outcome for outcome in drawn if outcome.startswith("refused")]
    turns = [outcome for pair in zip_longest(read, refused) for outcome in pair if outcome is not None]
    return turns[:count]


def _smallest_of_each_outcome(target: str, found: Path) -> dict[str, bytes]:
    known = [path.read_bytes() for path in (*inputs_in(CORPUS / target), *inputs_in(found))]
    smallest: dict[str, bytes] = {}
    for data in sorted((*known, *seeds_of(target)), key=lambda data: (len(data), data)):
        smallest.setdefault(TARGETS[target].check(data), data)
    return smallest
