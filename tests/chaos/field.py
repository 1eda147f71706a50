"""What faults act on, and where they write down what they do.

Every fault runs in a thread of its own; what several may touch at once is guarded here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from tests.chaos.crowds import Crowd
from tests.chaos.firewall import Drop
from tests.chaos.journal import NOW, Journal
from tests.chaos.nodes import ChaosNode
from tests.chaos.world import World
from tests.support.history import ClientEnded, FaultBegan, FaultEnded, NodeSeen, PathSeen

READY_S_MAX = 40.0
_POLL_S = 0.1


class Field:
    def __init__(
        self, world: World, nodes: Sequence[ChaosNode], mortals: list[Crowd], journal: Journal, longest_s: float
    ) -> None:
        self.world = world
        self.nodes = list(nodes)
        self.mortals = mortals  # may be killed at any time
        self.longest_s = longest_s  # of what may last long
        self.complaints: list[str] = []  # what nodes did that no fault excuses
        self.over = threading.Event()
        self._journal = journal
        self._lock = threading.Lock()
        self._numbers = 0
        self._cuts: Counter[tuple[str, str]] = Counter()

    def others(self, node: ChaosNode) -> list[ChaosNode]:
        return [other for other in self.nodes if other is not node]

    def client_addresses(self) -> list[str]:
        return [place.address for place in self.world.clients]

    def pause(self, seconds: float) -> None:
        """Shorter if the round is over: then every fault ends."""
        self.over.wait(seconds)

    def until(self, condition: Callable[[], object], seconds_max: float) -> bool:
        """Poll until it holds. Goes on when the round is over: what was broken must be whole in the end."""
        deadline = time.monotonic() + seconds_max
        while not condition():
            if time.monotonic() > deadline:
                return False
            threading.Event().wait(_POLL_S)
        return True

    def until_ready(self, node: ChaosNode) -> None:
        if not self.until(node.is_ready, READY_S_MAX):
            self.complain(f"{node.name} was not ready {READY_S_MAX:g} s after it was started: {node.last_words()}")

    def complain(self, text: str) -> None:
        with self._lock:
            self.complaints.append(text)

    # What is written down

    def began(self, kind: str, what: str, nodes: tuple[str, ...]) -> int:
        with self._lock:
            self._numbers += 1
            number = self._numbers
        self._journal.note(FaultBegan(NOW, number, kind, what, nodes))
        return number

    def ended(self, number: int) -> None:
        self._journal.note(FaultEnded(NOW, number))

    def saw(self, node: ChaosNode, what: Literal["crashed", "left", "paused", "resumed"]) -> None:
        self._journal.note(NodeSeen(NOW, node.name, what))

    def saw_killed(self, clients: Iterable[str]) -> None:
        for client in clients:
            self._journal.note(ClientEnded(NOW, client, "killed"))

    # The network

    def drop(self, number: int, *drops: Drop) -> None:
        """The rules of this fault from now on; none ends them."""
        with self._lock:
            self.world.drop({number: drops})

    def cut(self, number: int, ways: Sequence[tuple[ChaosNode, ChaosNode]]) -> None:
        """Nothing arrives any more on these ways, until ``mend``."""
        with self._lock:
            for source, target in ways:
                self._count(source, target, 1)
        self.drop(number, *(Drop((source.place.address,), (target.place.address,)) for source, target in ways))

    def mend(self, number: int, ways: Sequence[tuple[ChaosNode, ChaosNode]]) -> None:
        self.drop(number)
        with self._lock:
            for source, target in ways:
                self._count(source, target, -1)

    def count_cut(self, source: ChaosNode, target: ChaosNode, change: int) -> None:
        """For what cuts a way by other means than a rule."""
        with self._lock:
            self._count(source, target, change)

    def _count(self, source: ChaosNode, target: ChaosNode, change: int) -> None:
        """Two faults may cut the same way; it carries again when both have ended."""
        way = (source.name, target.name)
        before = self._cuts[way]
        self._cuts[way] += change
        if (before == 0) != (self._cuts[way] == 0):
            self._journal.note(PathSeen(NOW, *way, carries=self._cuts[way] == 0))
