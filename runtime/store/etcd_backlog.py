"""What waits for a lane of the etcd engine, and what goes together: proposals with the same expectations make one txn.

One expectation that does not hold refuses the whole txn, so others cannot share it; nor can a proposal that writes the
very row it expects something of, for it would refuse those behind it. A key occurs once in a txn. What waited too long
was never sent, and is refused as such.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from actors.messages.store import Expectation, Operation, Outcome
from runtime.store.port import OPERATIONS_MAX, PROPOSAL_BYTES_MAX, Unavailable


class Waiting:
    """Something a lane will do; ``deadline`` is of time.monotonic()."""

    def __init__(self, future: Future[Any], deadline: float) -> None:
        self.future = future
        self.deadline = deadline
        self.size_bytes = 0


class WaitingProposal(Waiting):
    def __init__(self, operations: Sequence[Operation], expectations: Sequence[Expectation], deadline: float) -> None:
        super().__init__(Future[Outcome](), deadline)
        self.operations = operations
        self.expectations = tuple(expectations)
        self.size_bytes = sum(len(operation.key.encode()) + len(operation.value or b"") for operation in operations)
        expected = {expectation.key for expectation in expectations}
        self.goes_alone = any(operation.key in expected for operation in operations)


def take_group(proposals: deque[WaitingProposal]) -> list[WaitingProposal]:
    """The first, and those right behind it that fit into one txn with it and may wait at least as long."""
    group = [proposals.popleft()]
    keys = {operation.key for operation in group[0].operations}
    size_bytes = group[0].size_bytes
    while proposals:
        following = proposals[0]
        size_bytes += following.size_bytes
        more_keys = {operation.key for operation in following.operations}
        if len(keys) + len(more_keys) > OPERATIONS_MAX or size_bytes > PROPOSAL_BYTES_MAX:
            break
        if not keys.isdisjoint(more_keys) or following.deadline < group[0].deadline:
            break
        if following.expectations != group[0].expectations:
            break
        keys |= more_keys
        group.append(proposals.popleft())
    return group


class Backlog:
    """Bounded; everything in it ends: taken by a lane, refused for its age, or cancelled by whoever put it there."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._waiting_bytes = 0
        self._together: deque[WaitingProposal] = deque()
        self._alone: deque[Waiting] = deque()
        self._is_turn_of_alone = False
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, waiting: Waiting) -> None:
        with self._changed:
            if self._is_closed:
                waiting.future.set_exception(Unavailable("the store is closed"))
            elif self._is_full_for(waiting):
                waiting.future.set_exception(Unavailable("more waits for etcd already than the store takes"))
            else:
                self._waiting_bytes += waiting.size_bytes
                if isinstance(waiting, WaitingProposal) and not waiting.goes_alone:
                    self._together.append(waiting)
                else:
                    self._alone.append(waiting)
                self._changed.notify()

    def take(self) -> list[Waiting]:
        """Wait for work that belongs together; nothing once the backlog is closed and empty."""
        while True:
            with self._changed:
                while not self._together and not self._alone:
                    if self._is_closed:
                        return []
                    self._changed.wait()
                taken = self._take_one_kind()
                self._waiting_bytes -= sum(waiting.size_bytes for waiting in taken)
            if wanted := [waiting for waiting in taken if waiting.future.set_running_or_notify_cancel()]:
                return wanted

    def expire(self, now: float) -> None:
        """Refuse what nobody waits for any more."""
        with self._changed:
            late: list[Waiting] = [waiting for waiting in self._together if waiting.deadline <= now]
            late += [waiting for waiting in self._alone if waiting.deadline <= now]
            if late:
                self._waiting_bytes -= sum(waiting.size_bytes for waiting in late)
                self._together = deque(waiting for waiting in self._together if waiting.deadline > now)
                self._alone = deque(waiting for waiting in self._alone if waiting.deadline > now)
        for waiting in late:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(Unavailable("etcd is too busy or does not answer: nothing was sent"))

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _is_full_for(self, waiting: Waiting) -> bool:
        count = len(self._together) + len(self._alone)
        return count >= self._count_max or self._waiting_bytes + waiting.size_bytes > self._bytes_max

    def _take_one_kind(self) -> list[Waiting]:
        """Both kinds get their turns, so that neither waits for the end of the other."""
        takes_alone = bool(self._alone) and (self._is_turn_of_alone or not self._together)
        self._is_turn_of_alone = not takes_alone
        return [self._alone.popleft()] if takes_alone else list(take_group(self._together))
