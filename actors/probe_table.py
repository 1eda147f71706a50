"""The persistent instances that are stored, who probes each, and what this node knows of those that it probes itself.

Pure data; HealthChecker owns the one instance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from actors.node_shares import NodeShares, identity_of
from actors.probe_schedule import Tally
from actors.probe_targets import Network, Probing, probing_of
from actors.verdict_lists import ListKey
from actors.verdicts import shard_of
from rollbook.checkers import CheckerSettings
from rollbook.model import InstanceKey, Service

DEFAULT_CHECKER = CheckerSettings()


class ProbeCandidate:
    """One stored instance, whoever probes it."""

    __slots__ = ("identity", "is_mine", "key", "service", "stored", "target")

    def __init__(self, service: Service, key: InstanceKey, stored: bool) -> None:
        self.service = service
        self.key = key
        self.stored = stored
        self.identity = identity_of(service, key)
        self.is_mine = False  # by the shares of the living nodes
        self.target: ProbeTarget | None = None  # if this node probes it

    @property
    def place(self) -> ListKey:
        return ListKey(shard_of(self.identity), self.service)


class ProbeTarget:
    """One instance that this node probes. It awaits the verdict in force, then waits for its time or for a result."""

    __slots__ = ("interval_ms", "is_changed", "kept", "number", "probing", "tally")

    def __init__(self, number: int, kept: ProbeCandidate, probing: Probing, interval_ms: int) -> None:
        self.number = number
        self.kept = kept
        self.probing = probing
        self.interval_ms = interval_ms
        self.tally = Tally(kept.stored)
        self.is_changed = False  # while a probe was under way: its result is of no use

    @property
    def is_dropped(self) -> bool:
        return self.kept.target is not self


class ProbeTable:
    def __init__(self, node_id: str, networks: Collection[Network]) -> None:
        self._node_id = node_id
        self._networks = networks
        self._shares = NodeShares(())
        self._checkers: dict[tuple[Service, str], CheckerSettings] = {}
        self._kept: dict[tuple[Service, InstanceKey], ProbeCandidate] = {}

    def __iter__(self) -> Iterator[ProbeCandidate]:
        return iter(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, service: Service, key: InstanceKey, stored: bool) -> ProbeCandidate:
        kept = self._kept.get((service, key))
        if kept is None:
            kept = self._kept[service, key] = ProbeCandidate(service, key, stored)
            kept.is_mine = self._is_mine(kept)
        return kept

    def remove(self, service: Service, key: InstanceKey) -> ProbeCandidate | None:
        return self._kept.pop((service, key), None)

    def share(self, node_ids: Iterable[str]) -> list[ProbeCandidate]:
        """These nodes live; returns the instances that have come to this one, or have gone from it."""
        self._shares = NodeShares(node_ids)
        moved = [kept for kept in self._kept.values() if self._is_mine(kept) != kept.is_mine]
        for kept in moved:
            kept.is_mine = not kept.is_mine
        return moved

    def set_checkers(
        self, put: Iterable[tuple[Service, str, CheckerSettings]], removed: Iterable[tuple[Service, str]]
    ) -> list[ProbeCandidate]:
        """Returns the instances that this may concern."""
        changed = set()
        for service, cluster, checker in put:
            self._checkers[service, cluster] = checker
            changed.add((service, cluster))
        for service, cluster in removed:
            self._checkers.pop((service, cluster), None)
            changed.add((service, cluster))
        return [kept for kept in self._kept.values() if (kept.service, kept.key.cluster) in changed]

    def checker_of(self, kept: ProbeCandidate) -> CheckerSettings:
        return self._checkers.get((kept.service, kept.key.cluster), DEFAULT_CHECKER)

    def probing_of(self, kept: ProbeCandidate) -> Probing | None:
        """How it is to be probed; None if it must not be."""
        return probing_of(kept.key, self.checker_of(kept), self._networks)

    def check_invariants(self) -> None:
        for place, kept in self._kept.items():
            assert place == (kept.service, kept.key), "an instance stands under its key"
            assert kept.is_mine == self._is_mine(kept), "the shares have changed, and nobody was told"
            assert kept.target is None or kept.is_mine, "each instance is probed by one node"
            assert kept.target is None or kept.target.kept is kept

    def _is_mine(self, kept: ProbeCandidate) -> bool:
        return self._shares.node_for(kept.identity) == self._node_id
