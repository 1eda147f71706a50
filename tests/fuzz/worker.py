"""One fuzzing process: atheris drives one target, and what breaks a promise is written down and passed over.

    python -m tests.fuzz.worker TARGET FINDINGS_DIRECTORY [libFuzzer options and corpus directories]

Beside the target's own promises it watches the budgets: CPU time and memory of one input. tests/fuzz/run.py starts it.
"""

from __future__ import annotations

import hashlib
import random
import resource
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rollbook", "actors", "runtime"]):
    from tests.fuzz.targets import TARGETS, FuzzTarget

from tests.fuzz.mutations import mutated_frame, mutated_text
from tests.fuzz.seeds import seeds_of, words_of

MEMORY_KIB_MAX = 32 * 1024
FINDINGS_MAX = 50  # of one process: more would be the same again
SEED_CHANCE = 0.2  # of a structured change beginning with a valid input
LANDMARKS = 1_024


class BudgetExceeded(AssertionError):
    """An input costs more than any may."""


class Watch:
    """Runs one target; keeps the first input of each way in which it fails."""

    def __init__(self, target: FuzzTarget, findings: Path) -> None:
        self._check = target.check
        self._cpu_ms_max = target.cpu_ms_max
        self._findings = findings
        self._seen: set[str] = set()
        self._landmarks = [_landmark() for _ in range(LANDMARKS)]

    def run(self, data: bytes) -> None:
        memory_kib = _memory_peak_kib()
        began_ns = time.thread_time_ns()
        try:
            outcome = self._check(data)
            self._landmarks[zlib.crc32(outcome.encode()) % LANDMARKS]()
            if time.thread_time_ns() - began_ns > self._cpu_ms_max * 1_000_000:
                self._time_again(data)
            grown_kib = _memory_peak_kib() - memory_kib
            if grown_kib > MEMORY_KIB_MAX:
                raise BudgetExceeded(f"{grown_kib} KiB for one input, at most {MEMORY_KIB_MAX}")
        except Exception as error:
            self._keep(data, error)

    def _time_again(self, data: bytes) -> None:
        """The first time may have paid for a collection or an import; what takes long twice more is slow."""
        best_ms = float(self._cpu_ms_max)
        for _ in range(2):
            began_ns = time.thread_time_ns()
            self._check(data)
            best_ms = min(best_ms, (time.thread_time_ns() - began_ns) / 1_000_000)
        if best_ms >= self._cpu_ms_max:
            raise BudgetExceeded(f"more than {self._cpu_ms_max} ms of CPU for one input")

    def _keep(self, data: bytes, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        signature = f"{type(error).__name__} {place.filename}:{place.lineno}"
        if signature in self._seen or len(self._seen) >= FINDINGS_MAX:
            return
        self._seen.add(signature)
        stem = self._findings / hashlib.sha256(signature.encode()).hexdigest()[:12]
        stem.with_suffix(".bin").write_bytes(data)
        stem.with_suffix(".txt").write_text(
            "".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace"
        )
        sys.stderr.write(f"finding: {signature}: {str(error)!a}\n")


def _landmark() -> Callable[[], None]:
    """A function of its own: to be called is new coverage, which is how libFuzzer learns of a new outcome."""
    names: dict[str, Callable[[], None]] = {}
    exec("def landmark():\n    return None", names)
    landmark: Callable[[], None] = atheris.instrument_func(names["landmark"])
    return landmark


def _memory_peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Mutator:
    """Every second input is changed by its structure, the others as libFuzzer sees fit."""

    def __init__(self, target: str) -> None:
        self._is_msgpack = TARGETS[target].is_msgpack
        self._seeds = seeds_of(target)
        self._words = [] if self._is_msgpack else words_of(target)

    def __call__(self, data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            if chance.random() < SEED_CHANCE:
                data = chance.choice(self._seeds)
            changed = mutated_frame(data, chance) if self._is_msgpack else mutated_text(data, self._words, chance)
            if changed is not None and len(changed) <= size_max:
                return changed
        mutated: bytes = atheris.Mutate(data, size_max)
        return mutated


def main() -> None:
    name, findings, *options = sys.argv[1:]
    watch = Watch(TARGETS[name], Path(findings))
    for seed in seeds_of(name):
        watch.run(seed)
    atheris.Setup([sys.argv[0], *options], watch.run, custom_mutator=Mutator(name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
