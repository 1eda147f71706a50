"""Callers that wait until every living node has what their own node has acknowledged: wait="cluster"."""

from __future__ import annotations

import heapq
from itertools import count

from actors.messages.values import ClusterWait

HEAP_SLACK = 1_024  # places of waits that are over; swept when there are more of them than waits


class ClusterWaits:
    """Two orders on one table: by seq, for what is confirmed, and by deadline, for what is not."""

    def __init__(self) -> None:
        self._waits: dict[int, ClusterWait] = {}
        self._by_seq: list[tuple[int, int]] = []
        self._by_deadline: list[tuple[int, int]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, wait: ClusterWait, deadline_ms: int) -> None:
        number = next(self._numbers)
        self._waits[number] = wait
        heapq.heappush(self._by_seq, (wait.seq, number))
        heapq.heappush(self._by_deadline, (deadline_ms, number))

    def confirm(self, seq: int | None) -> list[ClusterWait]:
        """Take out what everyone has confirmed: up to ``seq``, or all (None)."""
        confirmed: list[ClusterWait] = []
        while self._by_seq and (seq is None or self._by_seq[0][0] <= seq):
            wait = self._waits.pop(heapq.heappop(self._by_seq)[1], None)
            if wait is not None:
                confirmed.append(wait)
        self._forget_gone(self._by_deadline)
        return confirmed

    def expire(self, now_ms: int) -> list[ClusterWait]:
        """Take out what has waited long enough."""
        expired: list[ClusterWait] = []
        while self._by_deadline and self._by_deadline[0][0] <= now_ms:
            wait = self._waits.pop(heapq.heappop(self._by_deadline)[1], None)
            if wait is not None:
                expired.append(wait)
        self._forget_gone(self._by_seq)
        return expired

    def deadline(self) -> int | None:
        """The earliest one."""
        self._forget_gone(self._by_deadline)
        return self._by_deadline[0][0] if self._by_deadline else None

    def check_invariants(self) -> None:
        for heap in (self._by_seq, self._by_deadline):
            assert self._waits.keys() <= {number for _, number in heap}, "every wait stands in both orders"
            assert not heap or heap[0][1] in self._waits, "the first of an order still waits"

    def _forget_gone(self, heap: list[tuple[int, int]]) -> None:
        if len(heap) > 2 * len(self._waits) + HEAP_SLACK:
            heap[:] = sorted(item for item in heap if item[1] in self._waits)  # a sorted list is a heap
        while heap and heap[0][1] not in self._waits:
            heapq.heappop(heap)
