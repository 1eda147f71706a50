"""What all living members have of this node's changes, and who waits for it: callers, and the convergence histogram.

A change is applied everywhere when every living member has it in its index, and told when all subscribers of each,
those of this node too, have acknowledged what it changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.cluster_waits import ClusterWaits, confirmed_answers, expired_answer, refused_answer
from actors.convergence import Convergence
from actors.cursors import Outgoing
from actors.messages.io import ClientFrame
from actors.messages.values import ClusterWait, Origin
from actors.pushed import PushedWatermarks


class Confirmations:
    def __init__(
        self,
        origin: Origin,
        outgoing: Outgoing,
        pushed: PushedWatermarks,
        convergence: Convergence,
        counters: dict[str, int],
        *,
        wait_ms_default: int,
        wait_ms_max: int,
        waits_max: int,
    ) -> None:
        self.living: tuple[str, ...] = ()  # less this node
        self.convergence = convergence
        self._origin = origin
        self._outgoing = outgoing
        self._pushed = pushed
        self._counters = counters
        self._wait_ms_default = wait_ms_default
        self._wait_ms_max = wait_ms_max
        self._waits_max = waits_max
        self._for_cluster = ClusterWaits()
        self._for_subscribers = ClusterWaits()

    def __len__(self) -> int:
        return len(self._for_cluster) + len(self._for_subscribers)

    def add(self, waits: Iterable[ClusterWait], now_ms: int) -> list[ClientFrame]:
        """The refusals of those for whom there is no place."""
        refused: list[ClientFrame] = []
        for wait in waits:
            if len(self) >= self._waits_max:
                refused.append(refused_answer(wait, self._waits_max))
                continue
            wait_ms = min(wait.wait_ms or self._wait_ms_default, self._wait_ms_max)
            self._of(wait).add(wait, now_ms + wait_ms)
        self._counters["cluster_waits_refused"] += len(refused)
        return refused

    def settle(self, now_ms: int) -> list[ClientFrame]:
        """After any news: the answers of those who have waited for it."""
        answers: list[ClientFrame] = []
        if len(self._for_cluster):
            # Without any other living node nobody is left to ask.
            through = min(map(self._outgoing.acknowledged_by, self.living), default=None)
            answers += self._confirmed(self._for_cluster.confirm(through))
        if len(self._for_subscribers):
            answers += self._confirmed(self._for_subscribers.confirm(self._told_everywhere()))
        if self.convergence.is_waiting:
            here = self._pushed.indexed.get(self._origin, 0)
            applied = min([here, *map(self._outgoing.acknowledged_by, self.living)])
            told = min([self._pushed.through(self._origin), *map(self._outgoing.pushed_by, self.living)])
            self.convergence.reached(applied, told, now_ms)
        return answers

    def expire(self, now_ms: int) -> list[ClientFrame]:
        """The answers of those who have waited long enough."""
        expired = [*self._for_cluster.expire(now_ms), *self._for_subscribers.expire(now_ms)]
        self._counters["cluster_waits_timed_out"] += len(expired)
        return [expired_answer(wait, self._missing(wait)) for wait in expired]

    def deadlines(self) -> list[int]:
        deadlines = (self._for_cluster.deadline(), self._for_subscribers.deadline())
        return [at_ms for at_ms in deadlines if at_ms is not None]

    def check_invariants(self) -> None:
        self._for_cluster.check_invariants()
        self._for_subscribers.check_invariants()
        self.convergence.check_invariants()
        assert len(self) <= self._waits_max, "cluster waits have a limit"
        assert self._origin.owner not in self.living

    def _of(self, wait: ClusterWait) -> ClusterWaits:
        return self._for_cluster if wait.until == "cluster" else self._for_subscribers

    def _confirmed(self, waits: list[ClusterWait]) -> list[ClientFrame]:
        self._counters["cluster_waits_confirmed"] += len(waits)
        return confirmed_answers(waits)

    def _told_everywhere(self) -> int | None:
        """Whoever waits is indexed here already, so on this node only what is untold can be missing."""
        through = [self._outgoing.pushed_by(node) for node in self.living]
        lowest = self._pushed.lowest_untold(self._origin)
        if lowest is not None:
            through.append(lowest - 1)
        return min(through, default=None)

    def _missing(self, wait: ClusterWait) -> dict[str, tuple[str, ...]]:
        """By node: the clients that are known to hold the wait up."""
        if wait.until == "cluster":
            return {node: () for node in self.living if self._outgoing.acknowledged_by(node) < wait.seq}
        missing = {
            node: self._outgoing.laggards_at(node) for node in self.living if self._outgoing.pushed_by(node) < wait.seq
        }
        lowest = self._pushed.lowest_untold(self._origin)
        if lowest is not None and lowest <= wait.seq:
            missing[self._origin.owner] = self._pushed.laggards.get(self._origin, ())
        return dict(sorted(missing.items()))
