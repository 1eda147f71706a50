"""Faults as they befall a simulated cluster: begun, and undone in any order, however they overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations

from runtime.simulation.cluster import SimCluster
from runtime.simulation.failpoints import FailpointAction
from runtime.simulation.paths import PathFault
from tests.support.history import FaultBegan, FaultEnded, NodeSeen, PathSeen
from tests.swarm.plan import Deed
from tests.swarm.watch import Watch

Undo = Callable[[], None]
Path = tuple[int, int]


class Faults:
    """What is wrong at the moment, of one cluster. A fault that makes no sense now is not begun."""

    def __init__(self, cluster: SimCluster, watch: Watch, scale: int) -> None:
        self.cluster = cluster
        self.scale = scale
        self.watch = watch
        self.kinds: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()  # kinds that were seen at the same time
        self._active: dict[int, tuple[str, Undo]] = {}
        self._numbers = 0
        self._cuts: Counter[Path] = Counter()
        self._lost_dials: Counter[Path] = Counter()
        self._degraded: dict[Path, dict[int, PathFault]] = {}
        self._carries: dict[Path, bool] = {}  # as last told
        self._down: set[int] = set()  # nodes that a fault keeps down, or still
        self._slow: dict[tuple[str, int], dict[int, int]] = {}
        self._unlisted: Counter[int] = Counter()

    def begin(self, deed: Deed) -> int | None:
        """Returns the number of the fault, for its end; None if it was passed over."""
        self._numbers += 1
        number = self._numbers
        undo = self._apply(number, deed)
        if undo is None:
            return None
        for kind in {kind for kind, _ in self._active.values()} - {deed.kind}:
            self.pairs[min(kind, deed.kind), max(kind, deed.kind)] += 1
        self._active[number] = (deed.kind, undo)
        self.kinds[deed.kind] += 1
        names = ", ".join(f"n{node}" for node in deed.nodes)
        self.watch.record(
            FaultBegan(self.cluster.now_ms, number, deed.kind, f"{deed.kind} {names} {deed.amount or ''}")
        )
        return number

    def end(self, number: int) -> None:
        if number in self._active:
            _, undo = self._active.pop(number)
            undo()
            self.watch.record(FaultEnded(self.cluster.now_ms, number))

    def heal(self) -> None:
        for number in sorted(self._active):
            self.end(number)

    def _apply(self, number: int, deed: Deed) -> Undo | None:
        nodes = deed.nodes
        match deed.kind:
            case "cut":
                return self._cut([(nodes[0], nodes[1]), (nodes[1], nodes[0])])
            case "one-way cut":
                return self._cut([(nodes[0], nodes[1])])
            case "bridge":
                middle = len(nodes) // 2
                return self._cut(_between(nodes[1 : middle + 1], nodes[middle + 1 :]))
            case "isolation" | "halves":
                others = [number for number in range(len(self.cluster.nodes)) if number not in nodes]
                return self._cut(_between(nodes, others))
            case "reset":
                self.cluster.reset_links(*nodes)
                return lambda: None
            case "lost dials":
                return self._lose_dials((nodes[0], nodes[1]))
            case "loss" | "delay" | "duplication" | "bandwidth":
                return self._degrade(number, (nodes[0], nodes[1]), _path_fault(deed))
            case "slow node":
                return self._slow_down(number, nodes[0], deed.amount, self.cluster.slow)
            case "slow processing":
                delay_us = deed.amount * 1_000 // self.scale
                return self._slow_down(number, nodes[0], delay_us, self.cluster.slow_processing)
            case "clock step":
                self.cluster.step_clock(nodes[0], deed.amount)
                return lambda: self.cluster.step_clock(nodes[0], -deed.amount)
            case "member flap":
                return self._unlist(nodes[0])
            case "rolling restart":
                return self._roll(deed)
            case _:
                return self._take_down(nodes[0], deed)

    # -- paths

    def _cut(self, paths: list[Path]) -> Undo:
        for path in paths:
            self._cuts[path] += 1
            if self._cuts[path] == 1:
                self.cluster.cut_one_way(*path)
                self._note_path(path)

        def undo() -> None:
            for path in paths:
                self._cuts[path] -= 1
                if not self._cuts[path]:
                    self._restore(path)
                    self._note_path(path)

        return undo

    def _lose_dials(self, path: Path) -> Undo:
        self._lost_dials[path] += 1
        self.cluster.refuse_dials(*path)
        self._note_path(path)

        def undo() -> None:
            self._lost_dials[path] -= 1
            if not self._lost_dials[path] and not self._cuts[path]:
                self._restore(path)
            self._note_path(path)

        return undo

    def _degrade(self, number: int, path: Path, fault: PathFault) -> Undo:
        self._degraded.setdefault(path, {})[number] = fault
        self.cluster.degrade(*path, self._sum(path))
        self._note_path(path)

        def undo() -> None:
            del self._degraded[path][number]
            self.cluster.degrade(*path, self._sum(path))
            self._note_path(path)

        return undo

    def _restore(self, path: Path) -> None:
        """The path carries again; what else is wrong with it stays."""
        self.cluster.restore(*path)
        if self._lost_dials[path]:
            self.cluster.refuse_dials(*path)
        if self._degraded.get(path):
            self.cluster.degrade(*path, self._sum(path))

    def _sum(self, path: Path) -> PathFault:
        faults = list(self._degraded.get(path, {}).values())
        widths = [fault.bytes_per_ms for fault in faults if fault.bytes_per_ms]
        return PathFault(
            sum(fault.delay_us for fault in faults),
            sum(fault.jitter_us for fault in faults),
            max((fault.loss for fault in faults), default=0.0),
            max((fault.duplicate for fault in faults), default=0.0),
            min(widths, default=0),
        )

    def _note_path(self, path: Path) -> None:
        """A path whose dials are lost both ways, or take too long, carries nothing once its connections have broken."""
        back = (path[1], path[0])
        closed = bool(self._lost_dials[path] and self._lost_dials[back])
        dial_us = self._sum(path).delay_us + self._sum(back).delay_us
        closed = closed or dial_us > self.cluster.settings.io.peer_connect_timeout_ms * 1_000
        closed = closed or any(self._unlisted[node] for node in path)  # nobody dials or accepts who is not listed
        for source, target in (path, back):
            carries = not self._cuts[source, target] and not closed
            if carries != self._carries.get((source, target), True):
                self._carries[source, target] = carries
                self.watch.record(PathSeen(self.cluster.now_ms, f"n{source}", f"n{target}", carries))

    # -- nodes

    def _slow_down(self, number: int, node: int, delay_us: int, slow_down: Callable[[int, int], None]) -> Undo:
        slow = self._slow.setdefault((slow_down.__name__, node), {})
        slow[number] = delay_us
        slow_down(node, max(slow.values()))

        def undo() -> None:
            del slow[number]
            slow_down(node, max(slow.values(), default=0))

        return undo

    def _unlist(self, node: int) -> Undo | None:
        """The watched file of everybody loses one line for a while."""
        if sum(count > 0 for count in self._unlisted.values()) + 2 > len(self.cluster.nodes):
            return None
        self._unlisted[node] += 1
        self._list_members()
        self.watch.record(NodeSeen(self.cluster.now_ms, f"n{node}", "unlisted"))

        def undo() -> None:
            self._unlisted[node] -= 1
            self._list_members()
            if not self._unlisted[node]:
                self.watch.record(NodeSeen(self.cluster.now_ms, f"n{node}", "listed"))

        return undo

    def _list_members(self) -> None:
        everybody = range(len(self.cluster.nodes))
        self.cluster.list_members([number for number in everybody if not self._unlisted[number]])
        for one in everybody:
            for two in everybody[one + 1 :]:
                self._note_path((one, two))

    def _roll(self, deed: Deed) -> Undo | None:
        """One node after the other is ended in good order and started again."""
        if self._down.intersection(deed.nodes):
            return None
        undone = [False]

        def leave(index: int) -> None:
            if undone[0] or index == len(deed.nodes):
                return
            node = deed.nodes[index]
            if node not in self._down and self.cluster.node(node).is_running:
                self._leave(node)
                self.cluster.scheduler.after(1_200_000, lambda: back(index))
            else:
                leave(index + 1)

        def back(index: int) -> None:
            self._start(deed.nodes[index])
            self.cluster.scheduler.after(deed.amount * 1_000, lambda: leave(index + 1))

        leave(0)

        def undo() -> None:
            undone[0] = True
            for node in deed.nodes:
                if node not in self._down:
                    self._start(node)

        return undo

    def _take_down(self, node: int, deed: Deed) -> Undo | None:
        """Whatever keeps one node from serving; one at a time per node."""
        if node in self._down or not self.cluster.node(node).is_running:
            return None
        self._down.add(node)
        name, now_ms = f"n{node}", self.cluster.now_ms
        match deed.kind:
            case "pause":
                self.cluster.pause(node)
                self.watch.record(NodeSeen(now_ms, name, "paused"))
            case "leave":
                self._leave(node)
            case "power loss":
                self.cluster.power_off(node)
            case "failpoint":
                action: FailpointAction = "power_off" if deed.word == "power_off" else "crash"
                self.cluster.failpoints.arm(name, None, deed.amount, action)
            case _:
                self.cluster.crash(node)
        return lambda: self._bring_up(node, deed)

    def _leave(self, node: int) -> None:
        self.cluster.leave(node)
        self.watch.record(NodeSeen(self.cluster.now_ms, f"n{node}", "leaving"))

    def _bring_up(self, node: int, deed: Deed) -> None:
        self._down.discard(node)
        match deed.kind:
            case "pause":
                if self.cluster.node(node).is_running:
                    self.watch.record(NodeSeen(self.cluster.now_ms, f"n{node}", "resumed"))
                    self.cluster.resume(node)
            case "new address":
                self.cluster.restart(node, new_address=True)
            case "failpoint":
                self._disarm(name=f"n{node}")
                self._start(node)
            case _:
                self._start(node)

    def _disarm(self, name: str) -> None:
        """What has not struck by now never does."""
        armed = self.cluster.failpoints.armed
        armed[:] = [each for each in armed if each.place != name]

    def _start(self, node: int) -> None:
        if not self.cluster.node(node).is_running:
            self.cluster.restart(node)


def _between(some: tuple[int, ...] | list[int], others: tuple[int, ...] | list[int]) -> list[Path]:
    return [path for one in some for two in others for path in ((one, two), (two, one))]


def _path_fault(deed: Deed) -> PathFault:
    match deed.kind:
        case "loss":
            return PathFault(loss=deed.amount / 100)
        case "delay":
            return PathFault(delay_us=deed.amount * 1_000, jitter_us=deed.amount * 1_000)
        case "duplication":
            return PathFault(duplicate=deed.amount / 100)
        case _:
            return PathFault(bytes_per_ms=deed.amount)


def pairs_of(kinds: list[str]) -> list[tuple[str, str]]:
    """Every pair of kinds that could overlap."""
    return list(combinations(sorted(kinds), 2))
