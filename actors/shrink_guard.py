"""The shrink guard: a service of some size does not lose more than half of its instances to one verdict at once.

Pure rules and one table; the index owns it. A verdict on an owner is a guess about a process that nobody can ask, and
what it costs is not the same everywhere: a service that had most of its instances behind that owner may be left with
too few to carry its load. There the verdict waits: the service goes on showing what the owner published for one more
lease, once per service and origin, and every answer says so.

What is hidden within one lease counts as one loss: two owners that die a second apart are judged together, and what the
second one would take is kept. What has been hidden stays hidden, for a list must not bring back what it has removed.
Only the filter is held up: tombstones, higher sessions, purges and the owner's return take effect as always.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from actors.messages.values import Origin, Record
from actors.views import Filter, OwnerVerdict, live_winners
from rollbook.model import Service, instance_key

SHRINK_PERCENT_MAX = 50  # of the instances that were shown; a loss above it is guarded


class ShrinkPatience(Protocol):
    """What is guarded and for how long; the index section of configs/defaults.toml."""

    @property
    def shrink_guard_ms(self) -> int: ...

    @property
    def shrink_guard_instances_min(self) -> int: ...


class _Hiding(NamedTuple):
    """A change of the filter that is younger than one guard."""

    grace_before_ms: int  # what the filter said of the origin until then; -1: nothing
    until_ms: int


class ShrinkGuard:
    """The filter as each service applies it."""

    def __init__(self, patience: ShrinkPatience) -> None:
        self._patience = patience
        self.hidden: dict[Origin, OwnerVerdict] = {}  # the whole filter, as it was told
        self.guards_begun = 0
        self._lately: dict[Origin, _Hiding] = {}
        self._before: dict[Origin, OwnerVerdict] = {}  # the filter without what it has come to hide lately
        self._guarded: dict[Service, dict[Origin, int]] = {}  # running guards: the grace that stays in force
        self._filters: dict[Service, dict[Origin, OwnerVerdict]] = {}  # of the services with running guards
        self._ends_ms: dict[tuple[Service, Origin], int] = {}  # of the running guards, in order of time
        self._spent: dict[Service, set[Origin]] = {}  # guarded once, as long as the service has records of the origin

    @property
    def services(self) -> Collection[Service]:
        """Those that some guard holds up the filter for now."""
        return self._guarded.keys()

    def filter_of(self, service: Service) -> Filter:
        """What is hidden in this service."""
        return self._filters.get(service, self.hidden) if self._filters else self.hidden

    def next_end_ms(self) -> int | None:
        return next(iter(self._ends_ms.values()), None)

    def take_over(self, hidden: dict[Origin, OwnerVerdict], now_ms: int) -> tuple[list[Origin], dict[Origin, int]]:
        """The whole filter is now this one. Returns the origins that it changes, and for those of which it hides more
        the grace up to which it did before (-1: nothing)."""
        before, self.hidden = self.hidden, hidden
        changed = [
            origin for origin in sorted(before.keys() | hidden.keys()) if before.get(origin) != hidden.get(origin)
        ]
        graces_before = {origin: _grace_ms(before, origin) for origin in changed}
        grown = {origin: grace_ms for origin, grace_ms in graces_before.items() if _grace_ms(hidden, origin) > grace_ms}
        lately = {origin: hiding for origin, hiding in self._lately.items() if now_ms < hiding.until_ms}
        for origin, grace_ms in grown.items():
            lately.setdefault(origin, _Hiding(grace_ms, now_ms + self._patience.shrink_guard_ms))
        self._lately = {
            origin: hiding for origin, hiding in lately.items() if hiding.grace_before_ms < _grace_ms(hidden, origin)
        }
        self._before = _eased(hidden, {origin: hiding.grace_before_ms for origin, hiding in self._lately.items()})
        for service in self._guarded:
            self._filters[service] = _eased(hidden, self._guarded[service])
        return changed, grown

    def judge(
        self, service: Service, clients: Collection[tuple[Record, ...]], grown: Mapping[Origin, int], now_ms: int
    ) -> None:
        """Begin a guard, if these origins would now take too much from the service."""
        spent = self._spent.get(service, set())
        fresh = {origin: grace_ms for origin, grace_ms in grown.items() if origin not in spent}
        if not fresh or not self._is_too_much(service, clients):
            return
        self.guards_begun += 1
        self._guarded.setdefault(service, {}).update(fresh)
        self._spent.setdefault(service, set()).update(fresh)
        for origin in fresh:
            self._ends_ms[service, origin] = now_ms + self._patience.shrink_guard_ms
        self._filters[service] = _eased(self.hidden, self._guarded[service])

    def end_due(self, now_ms: int) -> list[Service]:
        """End the guards whose time is over; the services they held."""
        due = []
        for (service, origin), end_ms in self._ends_ms.items():
            if end_ms > now_ms:
                break
            due.append((service, origin))
        for service, origin in due:
            self._end(service, origin)
        return list(dict.fromkeys(service for service, _ in due))

    def forget(self, service: Service, origin: Origin) -> None:
        """The service has no record of this origin any more."""
        spent = self._spent.get(service)
        if spent is None or origin not in spent:
            return
        spent.remove(origin)
        if not spent:
            del self._spent[service]
        if (service, origin) in self._ends_ms:
            self._end(service, origin)

    def check_invariants(self, origins_of: Mapping[Service, Collection[Origin]]) -> None:
        """``origins_of``: whose records each service has."""
        running = {(service, origin) for service, guarded in self._guarded.items() for origin in guarded}
        assert running == self._ends_ms.keys(), "every guard has an end"
        ends_ms = list(self._ends_ms.values())
        assert ends_ms == sorted(ends_ms), "guards end in the order in which they begin"
        assert self._filters.keys() == self._guarded.keys() <= self._spent.keys()
        for service, guarded in self._guarded.items():
            assert self._filters[service] == _eased(self.hidden, guarded), f"the filter of {service} is stale"
            assert guarded.keys() <= self._spent[service], "a guard is spent when it begins"
        for service, spent in self._spent.items():
            assert spent, f"{service} is remembered without guards"
            assert spent <= set(origins_of[service]), "a guard is kept for records that are gone"
        assert self._lately.keys() <= self.hidden.keys(), "only what is hidden has been hidden lately"

    def _is_too_much(self, service: Service, clients: Collection[tuple[Record, ...]]) -> bool:
        least = self._patience.shrink_guard_instances_min
        if sum(len(record.instances) for records in clients for record in records) < least:
            return False  # of the many services that an owner leaves, most are small
        before = _shown(clients, self._before)
        lost = before - _shown(clients, self.filter_of(service))
        return before >= least and 100 * lost > SHRINK_PERCENT_MAX * before

    def _end(self, service: Service, origin: Origin) -> None:
        del self._ends_ms[service, origin]
        guarded = self._guarded[service]
        del guarded[origin]
        if guarded:
            self._filters[service] = _eased(self.hidden, guarded)
        else:
            del self._guarded[service], self._filters[service]


def is_held(winners: Sequence[Record], clients: Collection[tuple[Record, ...]], hidden: Filter) -> bool:
    """Whether a view of these winners shows anything that the whole filter hides."""
    return len(winners) > len(live_winners(clients, hidden))


def _grace_ms(hidden: Filter, origin: Origin) -> int:
    return hidden[origin].grace_ms if origin in hidden else -1


def _eased(hidden: Filter, graces_ms: Mapping[Origin, int]) -> dict[Origin, OwnerVerdict]:
    """The filter, less what it hides above these graces."""
    eased = {
        origin: verdict._replace(grace_ms=min(verdict.grace_ms, graces_ms.get(origin, verdict.grace_ms)))
        for origin, verdict in hidden.items()
    }
    return {origin: verdict for origin, verdict in eased.items() if verdict.grace_ms >= 0}


def _shown(clients: Collection[tuple[Record, ...]], hidden: Filter) -> int:
    return len({instance_key(found) for record in live_winners(clients, hidden) for found in record.instances})
