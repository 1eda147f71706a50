"""How late this machine lets a process run: what a bound must allow for besides itself."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

_INTERVAL_S = 0.02
_NOTED_MS_MIN = 100


class Stall(NamedTuple):
    at_ms: int  # when it ended
    length_ms: int


class StallMeter:
    """A thread that wants to run every 20 ms, and writes down by how much it comes late."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []  # those worth a line
        self.longest_ms = 0
        self.looks = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stall-meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        wanted = time.monotonic() + _INTERVAL_S
        while not self._stopped.wait(max(0.0, wanted - time.monotonic())):
            now = time.monotonic()
            late_ms = int((now - wanted) * 1000)
            self.looks += 1
            self.longest_ms = max(self.longest_ms, late_ms)
            if late_ms >= _NOTED_MS_MIN:
                self.stalls.append(Stall(int(now * 1000), late_ms))
            wanted = now + _INTERVAL_S


def longest_between(stalls: list[Stall], from_ms: int, to_ms: int) -> int:
    """Of the stalls that touch this time."""
    return max((s.length_ms for s in stalls if s.at_ms >= from_ms and s.at_ms - s.length_ms <= to_ms), default=0)
