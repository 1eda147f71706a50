"""When a frame leaves for the node: at once while there are few, in groups while there are many.

A frame alone wakes five threads on its way there and back, and a group of them no more than that. Pure.
"""

from __future__ import annotations


class FramePace:
    """Periods begin with a frame, one after the other or with silence between them."""

    def __init__(self, period_seconds: float, few: int) -> None:
        self._period_seconds = period_seconds
        self._few = few
        self._ends = 0.0
        self._frames = 0  # in this period
        self._frames_before = 0  # in the period just before

    def delay(self, now: float) -> float:
        """How many seconds one more frame is to wait. All of a period that wait leave together, at its end."""
        if now >= self._ends:
            self._frames_before = self._frames if now < self._ends + self._period_seconds else 0
            self._frames, self._ends = 0, now + self._period_seconds
        self._frames += 1
        are_few = max(self._frames, self._frames_before) <= self._few
        return 0.0 if are_few else self._ends - now
