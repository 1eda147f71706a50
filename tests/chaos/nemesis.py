"""Who does what to whom, and when: all from one seed.

Kinds come from a shuffled deck, so that each is seen before any is seen again. A fault may be joined by a second one
while it lasts. What a registry promises its clients holds while a majority of nodes is whole and connected, so all
faults under way touch at most a minority; a rolling restart, which takes one node after the other, comes alone. After
each group there is peace for long enough to see whether everybody agrees again.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.chaos import network_faults, process_faults
from tests.chaos.field import Field
from tests.chaos.network_faults import Fault
from tests.chaos.nodes import ChaosNode

PEACE_S = 6.0  # nodes agree 3 s after a fault, and there must be time to see that they go on doing so
_SECOND_SHARE = 0.4
_SECOND_AFTER_S = (0.5, 4.0)

Maker = Callable[[Field, ChaosNode, random.Random], Fault]


class Kind(NamedTuple):
    make: Maker
    stops_process: bool = False  # two of these do not fit one node at a time
    kills_clients: bool = False  # two of these could want the same process
    is_alone: bool = False


KINDS: dict[str, Kind] = {
    "loss": Kind(network_faults.loss),
    "one_way": Kind(network_faults.one_way),
    "syn_only": Kind(network_faults.syn_only),
    "partition": Kind(network_faults.partition, is_alone=True),
    "isolation": Kind(network_faults.isolation),
    "clients_cut": Kind(network_faults.clients_cut),
    "blackhole": Kind(network_faults.blackhole),
    "delay": Kind(network_faults.delay),
    "crash": Kind(process_faults.crash, stops_process=True),
    "plug": Kind(process_faults.plug, stops_process=True),
    "orphan": Kind(process_faults.orphan, stops_process=True),
    "stop": Kind(process_faults.stop, stops_process=True),
    "flood": Kind(process_faults.flood, stops_process=True),
    "clock": Kind(process_faults.clock),
    "disk_full": Kind(process_faults.disk_full, stops_process=True),
    "rolling": Kind(process_faults.rolling, stops_process=True, is_alone=True),
    "clients_killed": Kind(process_faults.clients_killed, kills_clients=True),
    "both_killed": Kind(process_faults.both_killed, stops_process=True, kills_clients=True),
}


class Plan(NamedTuple):
    """One group of faults: the first, and perhaps a second some time after it."""

    first: str
    victim: int
    second: str = ""
    second_victim: int = 0
    second_after_s: float = 0.0


class Planner:
    """Draws groups. Knows kinds and numbers of nodes, nothing that runs."""

    def __init__(self, nodes: int, kinds: Sequence[str], chance: random.Random) -> None:
        self._nodes = nodes
        self._kinds = list(kinds)
        self._chance = chance
        self._deck: list[str] = []

    def next(self) -> Plan:
        first = self._draw(KINDS.__contains__)
        victim = self._chance.randrange(self._nodes)
        if self._chance.random() >= _SECOND_SHARE or KINDS[first].is_alone:
            return Plan(first, victim)
        # With three nodes a minority is one, so that the second fault must hit the same node.
        same = self._nodes < 5 or self._chance.random() < 0.5
        second = self._draw(lambda kind: kind != first and _go_together(KINDS[first], KINDS[kind], same))
        if not second:
            return Plan(first, victim)
        second_victim = victim if same else self._chance.choice([n for n in range(self._nodes) if n != victim])
        return Plan(first, victim, second, second_victim, self._chance.uniform(*_SECOND_AFTER_S))

    def _draw(self, fits: Callable[[str], bool]) -> str:
        """The next kind of the deck that fits; the others keep their place. Empty if none fits."""
        if not self._deck:
            self._deck = list(self._kinds)
            self._chance.shuffle(self._deck)
        fitting = next((kind for kind in self._deck if fits(kind)), "")
        if fitting:
            self._deck.remove(fitting)
        return fitting


def _go_together(first: Kind, second: Kind, same: bool) -> bool:
    """``same``: they would hit the same node."""
    if second.is_alone or (same and first.stops_process and second.stops_process):
        return False
    return not (first.kills_clients and second.kills_clients)


class Nemesis:
    """Carries plans out, one group after the other."""

    def __init__(self, field: Field, kinds: Sequence[str], seed: int, tell: Callable[[str], None]) -> None:
        self._field = field
        self._chance = random.Random(f"{seed}/acts")
        self._planner = Planner(len(field.nodes), kinds, random.Random(f"{seed}/plans"))
        self._tell = tell

    def run(self, seconds: float) -> None:
        """Until this much time has passed; the group that is under way then is cut short."""
        timer = threading.Timer(seconds, self._field.over.set)
        timer.daemon = True
        timer.start()
        try:
            while not self._field.over.is_set():
                self._group(self._planner.next())
                self._field.pause(PEACE_S)
        finally:
            self._field.over.set()
            timer.cancel()

    def _group(self, plan: Plan) -> None:
        threads = [self._begin(plan.first, plan.victim)]
        if plan.second:
            self._field.pause(plan.second_after_s)
            if not self._field.over.is_set():
                threads.append(self._begin(plan.second, plan.second_victim))
        for thread in threads:
            thread.join()

    def _begin(self, kind: str, victim: int) -> threading.Thread:
        fault = KINDS[kind].make(self._field, self._field.nodes[victim], self._chance)
        thread = threading.Thread(target=self._carry_out, args=(fault,), name=fault.kind, daemon=True)
        thread.start()
        return thread

    def _carry_out(self, fault: Fault) -> None:
        number = self._field.began(fault.kind, fault.what, fault.nodes)
        started = time.monotonic()
        self._tell(f"{number:3} {fault.kind:14} {fault.what}")
        try:
            fault.act(number)
        except Exception:
            self._field.complain(f"the fault {fault.kind} ({fault.what}) could not be done:\n{traceback.format_exc()}")
        self._field.ended(number)
        self._tell(f"{number:3} {fault.kind:14} over after {time.monotonic() - started:.1f} s")
