"""Callers that wait until others have what their own node has acknowledged: wait="cluster" and wait="subscribers".

A wait ends when its seq is confirmed, or at its deadline with an answer that names who has not.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from actors.messages.io import ClientFrame
from actors.messages.values import LAGGARDS_MAX, ClusterWait
from rollbook.errors import Code
from rollbook.wire import Failed, Tag, encode

HEAP_SLACK = 1_024  # places of waits that are over; swept when there are more of them than waits


class ClusterWaits:
    """Two orders on one table of waits of one kind: by seq, for what is confirmed, and by deadline, for what is not."""

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
        if not self._waits:
            return None
        self._forget_gone(self._by_deadline)
        return self._by_deadline[0][0]

    def check_invariants(self) -> None:
        for heap in (self._by_seq, self._by_deadline):
            assert self._waits.keys() <= {number for _, number in heap}, "every wait stands in both orders"
            assert not heap or heap[0][1] in self._waits, "the first of an order still waits"

    def _forget_gone(self, heap: list[tuple[int, int]]) -> None:
        if len(heap) > 2 * len(self._waits) + HEAP_SLACK:
            heap[:] = sorted(item for item in heap if item[1] in self._waits)  # a sorted list is a heap
        while heap and heap[0][1] not in self._waits:
            heapq.heappop(heap)


def confirmed_answers(waits: Iterable[ClusterWait]) -> list[ClientFrame]:
    return [
        ClientFrame(wait.route, encode(Tag(wait.tag), wait.correlation, wait.route.session, wait.body))
        for wait in waits
    ]


def refused_answer(wait: ClusterWait, waits_max: int) -> ClientFrame:
    sentence = f"done here, but {waits_max} callers already wait for others"
    return _failed(wait, Failed(Code.OVER_LIMIT, sentence, field="wait", retryable=True))


def expired_answer(wait: ClusterWait, missing: dict[str, tuple[str, ...]]) -> ClientFrame:
    """``missing``: the nodes that have not confirmed, and the clients of each that are known to hold it up."""
    nodes = tuple(missing)
    named = [f"{client}@{node}" for node, clients in missing.items() for client in clients]
    subscribers = tuple(named[:LAGGARDS_MAX])
    who = f"all subscribers at {', '.join(nodes)}" if wait.until == "subscribers" else ", ".join(nodes)
    sentence = f"done here, but not confirmed in time by {who}"
    if subscribers:
        sentence += f"; still without it: {', '.join(subscribers)}"
    failed = Failed(Code.NOT_CONFIRMED, sentence, retryable=True, nodes=nodes, subscribers=subscribers)
    return _failed(wait, failed)


def _failed(wait: ClusterWait, failed: Failed) -> ClientFrame:
    return ClientFrame(wait.route, encode(Tag.FAILED, wait.correlation, wait.route.session, failed))
