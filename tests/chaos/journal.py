"""Where a process of the round writes down what it did and saw, and how the files of all of them become one history.

A line is written in one go and stamped under the same lock, so that each file is in order of time; a process that is
killed may leave a torn last line, which counts as never written.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path

import msgspec

from tests.support.history import Event

NOW = 0  # the time of an event that a journal will stamp
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Journal:
    """One file; any thread may write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        """Its time is now, whatever it says."""
        with self._lock:
            os.write(self._file, _encode(msgspec.structs.replace(event, at_ms=now_ms())) + b"\n")

    def close(self) -> None:
        os.close(self._file)


def merged(paths: Iterable[Path]) -> Iterator[Event]:
    """Everything that was written, in order of time, without holding it all."""
    return heapq.merge(*(_events(path) for path in sorted(paths)), key=attrgetter("at_ms"))


def _events(path: Path) -> Iterator[Event]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode(line)
