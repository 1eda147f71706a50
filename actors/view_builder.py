"""How the view of one service is made: whose word counts, what probes have found, what operators want, and what this
node has to say of itself.

Views are made when somebody asks, and only of what has changed. Owns the clock of their versions, what is laid over
instances (overlays.py), the flags of this node, and which conflicts were found on the way. Part of ServiceIndex.
"""

from __future__ import annotations

import msgspec

from actors.durable_rows import STORE_ORIGIN
from actors.overlays import ServiceOverlays
from actors.records import HybridClock
from actors.service_entry import ServiceEntry
from actors.shrink_guard import ShrinkGuard, is_held
from actors.verdicts import overlaid, verdicts_in_force
from actors.views import Filter, InstanceConflict, listed_count, live_winners, merge_instances, winners_and_heirs
from rollbook.model import Instance, Service, View


class ViewBuilder:
    def __init__(self, guard: ShrinkGuard) -> None:
        self.clock = HybridClock()  # view versions; of this node alone, so it witnesses nothing
        self.warming = False
        self.preserved = False
        self.is_store_unread = False  # a service that nobody publishes here may be one of the store
        self.stale_since_ms = 0  # of what is made of the store; 0 while that is followed
        self.overlays = ServiceOverlays()
        self.conflicts_found: list[tuple[Service, tuple[InstanceConflict, ...]]] = []  # new ones of this turn
        self.conflicts_count = 0
        self.built = 0
        self._guard = guard

    def of(self, entry: ServiceEntry, wall_ms: int) -> View:
        """The view of now. One that would say the same keeps its version, so that it wakes nobody."""
        view = entry.view
        instances = self._merge(entry) if entry.dirty or view is None else view.instances
        is_of_store = STORE_ORIGIN in entry.origins
        warming = self.warming or (self.is_store_unread and (is_of_store or not instances))
        stale_since_ms = self.stale_since_ms if is_of_store else 0
        flags = (warming, self.preserved, entry.guarded, stale_since_ms, entry.protected)
        if view is None or view.instances != instances or flags_of(view) != flags:
            view = entry.view = View(entry.service, self.clock.next(wall_ms), instances, *flags)
            entry.bodies.clear()
        return view

    def empty(self, service: Service, wall_ms: int) -> View:
        """The answer for a service that nobody knows; not kept, but its version rises with all others."""
        return View(service, self.clock.next(wall_ms), (), self.warming or self.is_store_unread, self.preserved)

    def healthy_count(self, entry: ServiceEntry, wall_ms: int) -> int:
        """How many were found healthy, also where all are shown so because so few are."""
        view = self.of(entry, wall_ms)
        return self._healthy_behind(entry) if view.protected else sum(one.healthy for one in view.instances)

    def _healthy_behind(self, entry: ServiceEntry) -> int:
        """Of a service that is protected."""
        hidden = self._guard.filter_of(entry.service)
        merged, _ = merge_instances(live_winners(entry.clients.values(), hidden))
        return sum(one.healthy for one in self._as_found(entry, merged, hidden))

    def take_conflicts(self) -> list[tuple[Service, tuple[InstanceConflict, ...]]]:
        found, self.conflicts_found = self.conflicts_found, []
        return found

    def _merge(self, entry: ServiceEntry) -> tuple[Instance, ...]:
        service, hidden = entry.service, self._guard.filter_of(entry.service)
        winners, heirs = winners_and_heirs(entry.clients.values(), hidden)
        merged, conflicts = merge_instances(winners)
        found = self._as_found(entry, merged, hidden)
        instances, entry.protected = self.overlays.laid_over(service, found, winners, heirs)
        may_be_held = service in self._guard.services
        entry.guarded = may_be_held and is_held(winners, entry.clients.values(), self._guard.hidden)
        entry.dirty = False
        self.built += 1
        entry.settle(len(merged))
        if conflicts or entry.conflicts:
            self.note_conflicts(entry, conflicts)
        return instances

    def _as_found(self, entry: ServiceEntry, instances: tuple[Instance, ...], hidden: Filter) -> tuple[Instance, ...]:
        """By probes, before what operators want is laid over it."""
        return overlaid(instances, verdicts_in_force(entry.verdicts.values(), hidden)) if entry.verdicts else instances

    def note_conflicts(self, entry: ServiceEntry, conflicts: tuple[InstanceConflict, ...]) -> None:
        known = {conflict.key for conflict in entry.conflicts}
        new = tuple(conflict for conflict in conflicts if conflict.key not in known)
        if new:
            self.conflicts_found.append((entry.service, new))
        self.conflicts_count += len(conflicts) - len(entry.conflicts)
        entry.conflicts = conflicts

    def check_invariants(self, entry: ServiceEntry) -> None:
        assert entry.settled != (entry in entry.group.unsettled)
        assert entry.settled or entry.dirty
        hidden = self._guard.filter_of(entry.service)
        winners, heirs = winners_and_heirs(entry.clients.values(), hidden)
        if entry.settled:
            assert entry.listed == listed_count(winners), "the count of instances is stale"
        if not entry.dirty:
            merged, conflicts = merge_instances(winners)
            found = self._as_found(entry, merged, hidden)
            instances, is_protected = self.overlays.laid_over(entry.service, found, winners, heirs)
            assert entry.protected == is_protected, "a view that is protected says so"
            assert entry.view is not None
            assert entry.view.instances == instances, f"the view of {entry.service} is stale"
            assert entry.conflicts == conflicts
            is_guarded = is_held(winners, entry.clients.values(), self._guard.hidden)
            assert entry.guarded == is_guarded, "a view that is guarded says so"
        for body in entry.bodies.values():
            assert entry.view is not None
            assert msgspec.msgpack.decode(body, type=View).version == entry.view.version, "an encoded view is stale"


def flags_of(view: View) -> tuple[bool, bool, bool, int, bool]:
    """What a view says beside its instances."""
    return view.warming, view.preserved, view.guarded, view.stale_since_ms, view.protected
