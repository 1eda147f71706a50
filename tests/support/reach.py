"""Who can reach whom: nodes that run, paths that carry both ways, and since when two nodes are of one group.

A connection needs both directions of its path, so a path that is cut one way carries nothing for long. Nodes are of one
group if they can reach each other through nodes that run. Groups are bit masks, one bit per node.
"""

from __future__ import annotations

from collections.abc import Sequence

NEVER_MS = -1


class Reach:
    def __init__(self, nodes: Sequence[str]) -> None:
        self.nodes = tuple(nodes)
        self.bits = {node: 1 << number for number, node in enumerate(nodes)}
        self.groups = dict.fromkeys(nodes, 0)  # who is in the group of this node; 0: it does not run
        self.majority_since_ms = dict.fromkeys(nodes, NEVER_MS)  # its group is most of all nodes
        self._together_since_ms: dict[tuple[str, str], int] = {}
        self._apart_since_ms: dict[tuple[str, str], int] = {}
        self.went_on_ms = dict.fromkeys(nodes, NEVER_MS)  # when its process last started, or went on after a pause
        self._running = 0
        self._cuts: set[tuple[str, str]] = set()
        self._changed_ms: dict[tuple[str, str], int] = {}  # when a path last changed
        self._blocked = dict.fromkeys(nodes, 0)

    def run(self, node: str, runs: bool, at_ms: int) -> bool:
        """The process starts, stops, stands still or goes on; True if a group has changed."""
        before = self._running
        self._running = before | self.bits[node] if runs else before & ~self.bits[node]
        if runs and self._running != before:
            self.went_on_ms[node] = at_ms
        return self._running != before and self.regroup(at_ms)

    def path(self, source: str, target: str, carries: bool, at_ms: int) -> bool:
        """True if groups may change by it: ``regroup`` says, once for all paths that change at one time."""
        self._changed_ms[min(source, target), max(source, target)] = at_ms
        (self._cuts.discard if carries else self._cuts.add)((source, target))
        if source not in self.bits or target not in self.bits:
            return False
        for one, two in ((source, target), (target, source)):
            if self.is_open(one, two):
                self._blocked[one] &= ~self.bits[two]
            else:
                self._blocked[one] |= self.bits[two]
        return True

    def is_open(self, one: str, two: str) -> bool:
        """Both directions carry."""
        return (one, two) not in self._cuts and (two, one) not in self._cuts

    def stands_since_ms(self, one: str, two: str) -> int:
        """When the direct path between the two last changed, which carries now; NEVER_MS: it always has."""
        return self._changed_ms.get((min(one, two), max(one, two)), NEVER_MS)

    def runs(self, node: str) -> bool:
        return bool(self._running & self.bits[node])

    def are_together(self, one: str, two: str) -> bool:
        return bool(self.groups[one] & self.bits[two])

    def together_since_ms(self, one: str, two: str) -> int:
        return self._together_since_ms.get((one, two), NEVER_MS)

    def apart_since_ms(self, one: str, two: str) -> int:
        return self._apart_since_ms.get((one, two), 0)

    def named(self, mask: int) -> list[str]:
        return [node for node in self.nodes if mask & self.bits[node]]

    def regroup(self, at_ms: int) -> bool:
        """True if a group has changed."""
        before = self.groups
        self.groups = dict.fromkeys(self.nodes, 0)
        for node in self.nodes:
            if self._running & self.bits[node] and not self.groups[node]:
                group = self._group_of(node)
                for member in self.named(group):
                    self.groups[member] = group
        for node in self.nodes:
            if self.groups[node] != before[node]:
                self._note(node, before[node], at_ms)
        return self.groups != before

    def _group_of(self, node: str) -> int:
        group = frontier = self.bits[node]
        while frontier:
            reached = 0
            for member in self.named(frontier):
                reached |= self._running & ~self._blocked[member]
            frontier = reached & ~group
            group |= frontier
        return group

    def _note(self, node: str, before: int, at_ms: int) -> None:
        now = self.groups[node]
        for other in self.named(now & ~before):
            self._together_since_ms[node, other] = at_ms
        for other in self.named(before & ~now):
            self._apart_since_ms[node, other] = at_ms
        if 2 * now.bit_count() <= len(self.nodes):
            self.majority_since_ms[node] = NEVER_MS
        elif self.majority_since_ms[node] == NEVER_MS:
            self.majority_since_ms[node] = at_ms
