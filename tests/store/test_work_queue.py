"""What waits for a thread of a store, and the thread that ends what is late."""

from __future__ import annotations

import threading

import pytest

from runtime.store.port import FateUnknown, Unavailable
from runtime.store.work_queue import DEADLINE_PRECISION_SECONDS, Deadlines, Work, WorkQueue

SECONDS = 20.0
ROUNDS = 100
STOP_SECONDS = 5.0


def test_the_thread_of_the_deadlines_ends_whenever_it_is_asked_to() -> None:
    """Many are asked at about the moment between their short sleep and their look; chance decides who meets it."""
    failures: list[BaseException] = []
    queues = [WorkQueue(10, 10) for _ in range(ROUNDS)]
    deadlines = [Deadlines((queue,), failures.append) for queue in queues]
    works: list[Work[None]] = [Work(lambda _: None, SECONDS) for _ in queues]
    for queue, work in zip(queues, works, strict=True):
        queue.put(work)

    def end(each: Deadlines, number: int) -> None:
        threading.Event().wait(DEADLINE_PRECISION_SECONDS * (0.9 + 0.2 * number / ROUNDS))
        each.stop()

    enders = [
        threading.Thread(target=end, args=pair, daemon=True) for pair in zip(deadlines, range(ROUNDS), strict=True)
    ]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join(STOP_SECONDS)
    assert not any(ender.is_alive() for ender in enders)
    assert failures == []
    assert not any(work.future.done() for work in works)


def test_what_is_late_ends_by_itself_and_says_whether_it_was_begun() -> None:
    queue = WorkQueue(10, 10)
    failures: list[BaseException] = []
    deadlines = Deadlines((queue,), failures.append)
    begun: Work[None] = Work(lambda _: None, 0.05)
    queue.put(begun)
    assert queue.take(1, 10, SECONDS) == [begun]
    waiting: Work[None] = Work(lambda _: None, 0.05)
    queue.put(waiting)
    with pytest.raises(FateUnknown):
        begun.future.result(SECONDS)
    with pytest.raises(Unavailable):
        waiting.future.result(SECONDS)
    later: Work[None] = Work(lambda _: None, 0.05)  # it slept meanwhile
    queue.put(later)
    with pytest.raises(Unavailable):
        later.future.result(SECONDS)
    deadlines.stop()
    assert failures == []
