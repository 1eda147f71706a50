"""One thread that calls back when time has passed. Reminders of actors and the watch on files hang on it."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from itertools import count

Callback = Callable[[], None]


class TimerThread:
    """A heap of what is due when. Callbacks run on this thread, so they only put something into a mailbox."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Callback]] = []
        self._numbers = count()  # equal times keep the order in which they were asked for
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call_after(self, delay_ms: int, callback: Callback) -> None:
        """Call once, at least ``delay_ms`` from now. From any thread."""
        due = time.monotonic() + delay_ms / 1000
        with self._changed:
            heapq.heappush(self._heap, (due, next(self._numbers), callback))
            if self._heap[0][0] == due:
                self._changed.notify()

    def stop(self) -> None:
        """Nothing is called after this returns, but for what runs already."""
        with self._changed:
            self._stopped = True
            self._heap.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(timeout=1)

    def _run(self) -> None:
        try:
            while (due := self._wait()) is not None:
                for callback in due:
                    callback()
        except BaseException as failure:
            self._on_failure(failure)

    def _wait(self) -> list[Callback] | None:
        """What is due, in order; None at the end."""
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                due = []
                while self._heap and self._heap[0][0] <= now:
                    due.append(heapq.heappop(self._heap)[2])
                if due:
                    return due
                self._changed.wait(self._heap[0][0] - now if self._heap else None)
        return None
