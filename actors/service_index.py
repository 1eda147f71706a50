"""The tables of IndexManager: services, what their clients publish, who subscribes, and the views built of it.

Pure data and rules; IndexManager owns the one instance of it. Everything derived is lazy: a change marks its service
(service_entry.py), and the view is built (view_builder.py) when somebody asks for it. Two indexes point both ways:
service ↔ origin, and service ↔ subscribing session.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from actors.durable_rows import STORE_ORIGIN
from actors.messages.values import BoundIntent, IntentPlace, Origin, Record, RecordKey, Route
from actors.overlays import Incarnations
from actors.service_entry import ServiceEntry, ServiceGroup
from actors.service_news import ServiceNews, matches, matching
from actors.shrink_guard import ShrinkGuard, ShrinkPatience
from actors.verdicts import is_verdicts_client, last_verdicts
from actors.view_builder import ViewBuilder
from actors.views import Filter, OwnerVerdict, listed_count, live_winners, winners_and_heirs
from rollbook.catalog import Subscriber
from rollbook.model import VERDICTS_CLIENT_PREFIX, InstanceKey, Service

_NOBODY: Mapping[Origin, int] = MappingProxyType({})


class ServiceIndex:
    """Services by name, by origin and by subscriber."""

    def __init__(self, patience: ShrinkPatience) -> None:
        self.entries: dict[Service, ServiceEntry] = {}
        self.groups: dict[tuple[str, str], ServiceGroup] = {}
        self.entries_of: dict[Origin, dict[ServiceEntry, None]] = {}
        self.subscriptions: dict[Route, dict[Service, None]] = {}
        self.guard = ShrinkGuard(patience)
        self.views = ViewBuilder(self.guard)
        self.hides_nobody = False
        self.news = ServiceNews()
        self.touched: dict[Service, dict[Origin, int]] = {}  # subscribed, changed in this turn: by which lowest seq
        self.records_count = 0

    def put(self, records: Iterable[Record]) -> None:
        """Index each record in the place of the same key of the same origin. The hot path: nothing is built here."""
        entries = self.entries
        for record in records:
            client, service = record.key
            entry = entries.get(service)
            if entry is None:
                entry = self._open(service)
            held = entry.clients.get(client)
            if held is None:
                if client.startswith(VERDICTS_CLIENT_PREFIX):
                    self._put_verdict(entry, client, record)
                else:
                    entry.clients[client] = (record,)
                    self._count(entry, record.origin)
            elif len(held) == 1 and held[0].origin == record.origin:
                entry.clients[client] = (record,)
            else:
                self._put_beside(entry, held, record)
            if entry.settled:
                entry.unsettle()
            if entry.subscribers:
                self._touch(service, record.origin, record.seq)

    def remove(self, removed: Iterable[tuple[Origin, RecordKey]]) -> None:
        """Forget these records without a trace, and with each what older sessions of its client have left.

        That was superseded, and nothing may bring it back when the owner of the newer record is given up.
        """
        for origin, (client, service) in removed:
            entry = self.entries.get(service)
            held = entry.publishers(client).get(client, ()) if entry is not None else ()
            gone = next((record for record in held if record.origin == origin), None)
            if entry is None or gone is None:
                continue  # Never indexed here, or already gone.
            if entry.subscribers and not gone.is_tombstone:
                self._touch(entry.service, origin, gone.seq + 1)  # Whatever removed it came after it.
            rest = tuple(record for record in held if record is not gone and record.session >= gone.session)
            if rest:
                entry.publishers(client)[client] = rest
            else:
                del entry.publishers(client)[client]
            for record in held:
                if record not in rest:
                    self._discount(entry, record.origin)
            self._mark(entry)
            self._forget_if_empty(entry)

    def hide(self, hidden: dict[Origin, int], now_ms: int, silent_since_ms: Mapping[Origin, int] = _NOBODY) -> None:
        """Take over the whole filter; mark the services with records of an origin whose visibility it changes.

        ``silent_since_ms``: by the wall clock.
        """
        verdicts: dict[Origin, OwnerVerdict] = {}
        for origin, grace_ms in hidden.items():
            known = self.guard.hidden.get(origin)
            if known is None:
                known = OwnerVerdict(grace_ms, self._held_seq(origin), silent_since_ms.get(origin, 0))
            verdicts[origin] = known._replace(grace_ms=grace_ms)
        changed, grown = self.guard.take_over(verdicts, now_ms)
        grown_in: dict[ServiceEntry, dict[Origin, int]] = {}
        for origin in changed:
            for entry in self.entries_of.get(origin, ()):
                self._mark(entry)
        for origin, grace_ms in grown.items():
            for entry in self.entries_of.get(origin, ()):
                grown_in.setdefault(entry, {})[origin] = grace_ms
        for entry, graces_ms in grown_in.items():
            self.guard.judge(entry.service, entry.clients.values(), graces_ms, now_ms)

    def end_guards(self, now_ms: int) -> None:
        """What was shown one lease longer is hidden now. Not by a node that hides nobody: whom the verdict was about
        may be back where it cannot hear."""
        if self.hides_nobody:
            return
        for service in self.guard.end_due(now_ms):
            self._mark(self.entries[service])

    def filter_of(self, service: Service) -> Filter:
        """The filter, as far as it is in force for this service."""
        return self.guard.filter_of(service)

    def flag(self, warming: bool, preserved: bool) -> None:
        """Take over what every view says of this node. Views follow when they are next asked for."""
        if (warming, preserved) == (self.views.warming, self.views.preserved):
            return
        self.views.warming, self.views.preserved = warming, preserved
        for service, entry in self.entries.items():
            if entry.subscribers:
                self.touched.setdefault(service, {})

    def follow_store(self, *, is_read: bool, stale_since_ms: int) -> None:
        """How well the store is known. Views that this changes follow when they are next asked for."""
        views = self.views
        was_unread = views.is_store_unread
        is_changed = (not is_read, stale_since_ms) != (was_unread, views.stale_since_ms)
        views.is_store_unread, views.stale_since_ms = not is_read, stale_since_ms
        if not is_changed:
            return
        concerned = self.entries.values() if was_unread == is_read else self.entries_of.get(STORE_ORIGIN, ())
        for entry in concerned:
            if entry.subscribers:
                self.touched.setdefault(entry.service, {})

    def overlay(
        self,
        thresholds: Iterable[tuple[Service, float | None]],
        intents: Iterable[tuple[IntentPlace, BoundIntent | None]],
    ) -> None:
        """Take over what is laid over instances; their services are marked."""
        for service in self.views.overlays.take(thresholds, intents):
            entry = self.entries.get(service)
            if entry is not None:
                self._mark(entry)

    def subscribe(self, route: Route, service: Service, subscriber: Subscriber | None = None) -> ServiceEntry:
        entry = self.entries.get(service) or self._open(service)
        entry.subscribers[route] = subscriber
        self.subscriptions.setdefault(route, {})[service] = None
        return entry

    def unsubscribe(self, route: Route, service: Service) -> bool:
        """False if there was no such subscription."""
        services = self.subscriptions.get(route)
        if services is None or service not in services:
            return False
        del services[service]
        if not services:
            del self.subscriptions[route]
        self._drop_subscriber(route, service)
        return True

    def release(self, route: Route) -> bool:
        """Drop all subscriptions of a session; False if it had none."""
        services = self.subscriptions.pop(route, None)
        for service in services or ():
            self._drop_subscriber(route, service)
        return services is not None

    def is_ephemeral(self, service: Service) -> bool:
        """Whether a session publishes an instance of it."""
        entry = self.entries.get(service)
        if entry is None or entry.origins.get(STORE_ORIGIN, 0) == len(entry.clients):
            return False  # the usual case of a persistent one, at once
        hidden = self.filter_of(service)
        winners = live_winners(entry.clients.values(), hidden)
        return any(winner.origin != STORE_ORIGIN for winner in winners)

    def has_namespace(self, namespace: str) -> bool:
        """Whether any service of it is published."""
        groups = sorted(key for key in self.groups if key[0] == namespace)
        return any(self.live_names(*key) for key in groups)

    def incarnations(self, service: Service) -> Incarnations:
        """Of what it lists."""
        entry = self.entries.get(service)
        clients = entry.clients.values() if entry is not None else ()
        return Incarnations(*winners_and_heirs(clients, self.filter_of(service)))

    def live_names(self, namespace: str, group: str) -> list[str]:
        """Sorted names of the services of a group that have at least one live publisher. Not to be changed."""
        found = self.groups.get((namespace, group))
        if found is None:
            return []
        self._settle(found)
        return found.listing()

    def known_names(self, namespace: str, group: str) -> list[str]:
        """Likewise also of those that have nothing but settings."""
        live, kept = self.live_names(namespace, group), self.views.overlays.names(namespace, group)
        return sorted({*live, *kept}) if kept else live

    def matching_services(
        self, namespace: str, group_pattern: str, name_pattern: str, *, with_empty: bool = False
    ) -> list[tuple[str, str]]:
        """Likewise of every group that matches: group and name, sorted. ``with_empty``: of all that are known."""
        groups = {group for where, group in self.groups if where == namespace}
        if with_empty:
            groups |= self.views.overlays.groups(namespace)
        names_of = self.known_names if with_empty else self.live_names
        chosen = sorted(group for group in groups if matches(group_pattern, group))
        return [(group, name) for group in chosen for name in matching(name_pattern, names_of(namespace, group))]

    def settled_counts(self) -> Iterator[tuple[str, int, int]]:
        """Of every group: its namespace, how many services live, how many instances they list."""
        for (namespace, _), group in self.groups.items():
            self._settle(group)
            yield namespace, len(group.live), group.instances

    def news_of(
        self, namespace: str, group_pattern: str, name_pattern: str, since: int
    ) -> tuple[int, dict[Service, bool] | None]:
        """The number of now, and which matching services have come or gone since that one, if it is still known."""
        for key, group in self.groups.items():
            if key[0] == namespace and group.unsettled:
                self._settle(group)
        return self.news.number, self.news.since(since, namespace, group_pattern, name_pattern)

    def last_verdicts(
        self, targets: Collection[tuple[int, Service, InstanceKey]]
    ) -> tuple[tuple[int, bool | None], ...]:
        """By the numbers of the targets, what any node has said last of each."""
        found: dict[Service, dict[tuple[str, int, str], bool]] = {}
        for _, service, _ in targets:
            if service not in found:
                entry = self.entries.get(service)
                found[service] = last_verdicts(entry.verdicts.values()) if entry is not None else {}
        return tuple((number, found[service].get(key)) for number, service, key in targets)

    def take_touched(self) -> dict[Service, dict[Origin, int]]:
        touched, self.touched = self.touched, {}
        return touched

    def _held_seq(self, origin: Origin) -> int:
        """The highest seq of its records here. Only a change of the filter asks."""
        entries = self.entries_of.get(origin, ())
        tables = (table for entry in entries for table in (entry.clients, entry.verdicts))
        held = (record for table in tables for records in table.values() for record in records)
        return max((record.seq for record in held if record.origin == origin), default=0)

    def _touch(self, service: Service, origin: Origin, seq: int) -> None:
        lowest = self.touched.get(service)
        if lowest is None:
            self.touched[service] = {origin: seq}
        elif seq < lowest.get(origin, seq + 1):
            lowest[origin] = seq

    def _open(self, service: Service) -> ServiceEntry:
        key = (service.namespace, service.group)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = ServiceGroup(key, self.news)
        entry = self.entries[service] = ServiceEntry(service, group)
        group.size += 1
        group.unsettled.add(entry)
        return entry

    def _forget_if_empty(self, entry: ServiceEntry) -> None:
        if entry.clients or entry.verdicts or entry.subscribers:
            return
        entry.settle(0)
        entry.group.forget(entry.service.name)
        self.views.note_conflicts(entry, ())
        del self.entries[entry.service]
        entry.group.size -= 1
        if not entry.group.size:
            del self.groups[entry.group.key]

    def _put_verdict(self, entry: ServiceEntry, client: str, record: Record) -> None:
        """Verdicts stand apart, so that a service without them pays nothing for them when its view is built."""
        held = entry.verdicts.get(client)
        if held is not None:
            self._put_beside(entry, held, record)
            return
        entry.verdicts[client] = (record,)
        self._count(entry, record.origin)

    def _put_beside(self, entry: ServiceEntry, held: tuple[Record, ...], record: Record) -> None:
        client = record.key.client
        others = tuple(other for other in held if other.origin != record.origin)
        if len(others) == len(held):
            self._count(entry, record.origin)
        entry.publishers(client)[client] = (*others, record)

    def _count(self, entry: ServiceEntry, origin: Origin) -> None:
        count = entry.origins.get(origin, 0)
        entry.origins[origin] = count + 1
        self.records_count += 1
        if not count:
            self.entries_of.setdefault(origin, {})[entry] = None

    def _discount(self, entry: ServiceEntry, origin: Origin) -> None:
        entry.origins[origin] -= 1
        self.records_count -= 1
        if entry.origins[origin]:
            return
        del entry.origins[origin]
        self.guard.forget(entry.service, origin)
        del self.entries_of[origin][entry]
        if not self.entries_of[origin]:
            del self.entries_of[origin]

    def _mark(self, entry: ServiceEntry) -> None:
        if entry.settled:
            entry.unsettle()
        if entry.subscribers:
            self.touched.setdefault(entry.service, {})

    def _settle(self, group: ServiceGroup) -> None:
        for entry in sorted(group.unsettled, key=lambda entry: entry.service):
            hidden = self.filter_of(entry.service)
            entry.settle(listed_count(live_winners(entry.clients.values(), hidden)))

    def _drop_subscriber(self, route: Route, service: Service) -> None:
        entry = self.entries[service]
        del entry.subscribers[route]
        self._forget_if_empty(entry)

    def check_invariants(self) -> None:
        """Raise AssertionError if an index disagrees with its other way, or a view with a fresh one."""
        for service, entry in self.entries.items():
            assert entry.service == service
            assert entry.clients or entry.verdicts or entry.subscribers, f"{service} has neither record nor subscriber"
            self._check_records(entry)
            self.views.check_invariants(entry)
            for route in entry.subscribers:
                assert service in self.subscriptions[route], "a subscriber is not in the index of sessions"
        self._check_totals()
        self.guard.check_invariants({service: entry.origins.keys() for service, entry in self.entries.items()})

    def _check_records(self, entry: ServiceEntry) -> None:
        counts: dict[Origin, int] = {}
        assert not any(map(is_verdicts_client, entry.clients)), "a verdict is no publication"
        assert all(map(is_verdicts_client, entry.verdicts)), "a publication is no verdict"
        for client, records in (*entry.clients.items(), *entry.verdicts.items()):
            assert records, "a client without records"
            assert len({record.origin for record in records}) == len(records), "two records of one key and origin"
            for record in records:
                assert record.key == (client, entry.service)
                counts[record.origin] = counts.get(record.origin, 0) + 1
        assert counts == entry.origins, "records per origin are miscounted"
        assert all(entry in self.entries_of[origin] for origin in counts), "an origin does not know its service"

    def _check_totals(self) -> None:
        entries = self.entries.values()
        assert self.records_count == sum(sum(entry.origins.values()) for entry in entries)
        assert self.views.conflicts_count == sum(len(entry.conflicts) for entry in entries)
        for origin, known in self.entries_of.items():
            assert known, f"{origin} is kept without services"
            assert all(origin in entry.origins and self.entries[entry.service] is entry for entry in known)
        for route, services in self.subscriptions.items():
            assert services, "a session is kept without subscriptions"
            assert all(route in self.entries[service].subscribers for service in services)
        members: dict[tuple[str, str], list[ServiceEntry]] = {}
        for entry in entries:
            members.setdefault(entry.group.key, []).append(entry)
        assert members.keys() == self.groups.keys(), "a group is kept without services"
        for key, group in self.groups.items():
            group.check_invariants(members[key])
