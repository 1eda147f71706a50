"""What waits for a thread of a store, within bounds, and what becomes of it when its time is up.

A piece of work ends once: with its result, or with the fault that tells whether it may have been done. Nobody waits
longer than he said, whatever the disk does: one more thread looks after that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from runtime.store.port import FateUnknown, StoreFault, Unavailable
from runtime.store.threads import OnFailure, guarded_thread
from runtime.store.together import answered_together

DEADLINE_PRECISION_SECONDS = 0.02

Result = TypeVar("Result")


class Work(Generic[Result]):
    """One call of the port that is not answered yet."""

    def __init__(self, do: Callable[[Any], Result], timeout_seconds: float, size_bytes: int = 0) -> None:
        self.do = do
        self.future: Future[Result] = Future()
        self.future.set_running_or_notify_cancel()  # nobody takes back what a thread may already be doing
        self.deadline = time.monotonic() + timeout_seconds
        self.timeout_seconds = timeout_seconds
        self.size_bytes = size_bytes
        self.is_ended = False  # guarded by the lock of its queue

    def is_late(self) -> bool:
        return time.monotonic() > self.deadline


class WorkQueue:
    """Between callers and the threads that take; ``fault_when_begun`` is what late work is told that was taken."""

    def __init__(self, count_max: int, bytes_max: int, fault_when_begun: type[StoreFault] = FateUnknown) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._fault_when_begun = fault_when_begun
        self._changed = threading.Condition()
        self._waiting: deque[Work[Any]] = deque()
        self._waiting_bytes = 0
        self._begun: set[Work[Any]] = set()
        self._is_closed = False
        self.on_first: Callable[[], None] = lambda: None  # told when there is something whose time can be up

    def put(self, work: Work[Any]) -> None:
        """Its future is failed at once if there is no place, or no tomorrow."""
        with self._changed:
            refusal = self._refusal(work)
            if not refusal:
                self._waiting.append(work)
                self._waiting_bytes += work.size_bytes
                self._changed.notify()
        if refusal:
            work.future.set_exception(Unavailable(refusal))
        else:
            self.on_first()

    def take(self, count_max: int, bytes_max: int, patience_seconds: float) -> list[Work[Any]] | None:
        """What waits, oldest first; empty after this long, None if it is closed and nothing waits any more."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(patience_seconds)
            if not self._waiting and self._is_closed:
                return None
            taken: list[Work[Any]] = []
            size_bytes = 0
            while self._waiting and len(taken) < count_max and size_bytes <= bytes_max:
                work = self._waiting.popleft()
                self._waiting_bytes -= work.size_bytes
                size_bytes += work.size_bytes
                taken.append(work)
            self._begun.update(taken)
            return taken

    def end(self, ended: Sequence[tuple[Work[Any], Any]]) -> None:
        """Each with its result or fault, unless its time was up before."""
        with self._changed:
            self._begun.difference_update(work for work, _ in ended)
            ended = [(work, result) for work, result in ended if _claim(work)]
        _tell(ended)

    def expire(self) -> bool:
        """End what is late. False: nothing is left to look after."""
        now = time.monotonic()
        with self._changed:
            late = [work for work in self._waiting if work.deadline <= now]
            if late:
                self._waiting = deque(work for work in self._waiting if work.deadline > now)
                self._waiting_bytes -= sum(work.size_bytes for work in late)
            begun = [work for work in self._begun if work.deadline <= now and not work.is_ended]
            ended: list[tuple[Work[Any], StoreFault]]
            ended = [(work, Unavailable(_late(work, "its turn did not come"))) for work in late if _claim(work)]
            ended += [(work, self._fault_when_begun(_late(work, "it was not over"))) for work in begun if _claim(work)]
            is_busy = bool(self._waiting or self._begun)
        _tell(ended)
        return is_busy

    def close(self) -> None:
        """What waits is still taken; nothing more is accepted."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _refusal(self, work: Work[Any]) -> str:
        if self._is_closed:
            return "the store is closed"
        if len(self._waiting) >= self._count_max or self._waiting_bytes + work.size_bytes > self._bytes_max:
            return "more waits for the store already than it takes"
        return ""


class Deadlines:
    """The thread that ends what is late in these queues; it sleeps while nothing waits."""

    def __init__(self, queues: Sequence[WorkQueue], on_failure: OnFailure) -> None:
        self._queues = queues
        self._changed = threading.Condition()
        self._is_wanted = False
        self._is_stopped = False
        self._thread = guarded_thread("store-deadlines", self._run, on_failure)
        for queue in queues:
            queue.on_first = self._wake
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join()

    def _wake(self) -> None:
        """What was put before is looked at after this is taken back: whoever sees that it is said need not say it."""
        if not self._is_wanted:
            with self._changed:
                self._is_wanted = True
                self._changed.notify()

    def _run(self) -> None:
        while self._next_look():
            if sum(queue.expire() for queue in self._queues):  # each of them
                self._wake()

    def _next_look(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._is_wanted or self._is_stopped)
            self._changed.wait_for(lambda: self._is_stopped, DEADLINE_PRECISION_SECONDS)
            self._is_wanted = False
            return not self._is_stopped


def _claim(work: Work[Any]) -> bool:
    if work.is_ended:
        return False
    work.is_ended = True
    return True


def _tell(ended: Sequence[tuple[Work[Any], Any]]) -> None:
    """Without a lock held: whoever waits for a future may call back from here."""
    with answered_together():
        for work, result in ended:
            if isinstance(result, BaseException):
                work.future.set_exception(result)
            else:
                work.future.set_result(result)


def _late(work: Work[Any], why: str) -> str:
    return f"the store did not answer within {work.timeout_seconds:g} s: {why}"
