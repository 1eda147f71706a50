"""How long changes of this node take: until every living member has applied them, and until every subscriber there has
been told. One change in a while is timed; the others cost nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

from rollbook.status import LatencyCounts

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)  # and one bucket for all above


class Sample(NamedTuple):
    seq: int
    changed_ms: int


class Convergence:
    def __init__(self, interval_ms: int, samples_max: int) -> None:
        self._interval_ms = interval_ms
        self._samples_max = samples_max
        self._next_ms = 0
        self._waiting: dict[str, deque[Sample]] = {"applied": deque(), "told": deque()}
        self._counts = {stage: [0] * (len(BOUNDS_MS) + 1) for stage in self._waiting}

    def sample(self, seq: int, now_ms: int) -> bool:
        """Time this change. False: it is too early for another one, or too many are under way."""
        if now_ms < self._next_ms or any(len(samples) >= self._samples_max for samples in self._waiting.values()):
            return False
        self._next_ms = now_ms + self._interval_ms
        for samples in self._waiting.values():
            samples.append(Sample(seq, now_ms))
        return True

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting["told"])

    def reached(self, applied: int, told: int, now_ms: int) -> None:
        """Every living member has what stands up to ``applied``, and has told all its subscribers up to ``told``."""
        for stage, seq in (("applied", applied), ("told", told)):
            samples = self._waiting[stage]
            while samples and samples[0].seq <= seq:
                took_ms = now_ms - samples.popleft().changed_ms
                self._counts[stage][bisect_left(BOUNDS_MS, took_ms)] += 1

    def status(self) -> tuple[LatencyCounts, ...]:
        return tuple(LatencyCounts(stage, BOUNDS_MS, tuple(counts)) for stage, counts in self._counts.items())

    def check_invariants(self) -> None:
        for samples in self._waiting.values():
            assert len(samples) <= self._samples_max
            assert all(one.seq < other.seq for one, other in zip(samples, list(samples)[1:], strict=False))
        assert set(self._waiting["applied"]) <= set(self._waiting["told"]), "nobody is told before it is applied"
