"""IndexManager against a naive twin: a flat dictionary of records that is read anew for every question.

Whatever batches, subscriptions, filters and flags come in whatever order, both show the same, and everybody who
watches a service is told when it shows something else.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.base import Effects, NodeIdentity, Remind
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.connections import StandingChanged
from actors.messages.index import OwnersVisible, RecordsChanged, SubscribersReleased, ViewsWanted
from actors.messages.io import AnswerClients
from actors.messages.push import ServicesTouched, SubscriptionsChanged, ViewsBuilt
from actors.messages.values import Order, Origin, Record, RecordKey, Route, Standing
from rollbook.model import Instance, Service, View
from rollbook.wire import ListServices, Query, Subscribe, Unsubscribe
from tests.support.registry import at, instance, opened, record, route, told
from tests.support.settings import settings_of

GUARD_MS = 4
GUARDED_MIN = 2
SERVICES = [Service("public", "g", "s1"), Service("public", "g", "s2"), Service("public", "h", "s1")]
ORIGINS = [Origin("n1", 5), Origin("n1", 6), Origin("n2", 7)]
ROUTES = [route(1), route(2), route(3)]

ids = st.sampled_from(["a", "b", "c"])
services = st.sampled_from(SERVICES)
origins = st.sampled_from(ORIGINS)
routes = st.sampled_from(ROUTES)
instances = st.lists(
    st.builds(
        lambda port, cluster, weight: instance(port, cluster, weight=weight),
        st.integers(1, 3),
        st.sampled_from(["DEFAULT", "east"]),
        st.sampled_from([1.0, 2.0]),
    ),
    max_size=3,
    unique_by=lambda found: found.key,
)
records = st.builds(
    lambda client, service, origin, session, stamp, grace_ms, found: record(
        client, *found, service=service, origin=origin, session=session, stamp=stamp, grace_ms=grace_ms
    ),
    ids,
    services,
    origins,
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([15_000, 45_000]),
    instances,
)


class NaiveTwin:
    """What the rules say, without any index."""

    def __init__(self) -> None:
        self.records: dict[tuple[Origin, RecordKey], Record] = {}
        self.filters: list[tuple[int, dict[Origin, int]]] = [(0, {})]  # each with the time since when it has been so
        self.held_seq: dict[Origin, int] = {}  # of the hidden: the highest when that began
        self.guards: dict[tuple[Service, Origin], tuple[int, int]] = {}  # the grace that stays, and until when
        self.subscribed: set[tuple[Route, Service]] = set()
        self.flags = (False, False)
        self.guards_stopped_ms: int | None = None  # since when this node hides nobody: no guard ends

    @property
    def hidden(self) -> dict[Origin, int]:
        return self.filters[-1][1]

    def hide(self, hidden: dict[Origin, int], now_ms: int) -> None:
        """Of the services that would lose more than half of what they showed at some time of the last lease."""
        before = self.hidden
        seqs = {origin: [each.seq for (of, _), each in self.records.items() if of == origin] for origin in hidden}
        self.held_seq = {
            origin: self.held_seq[origin] if origin in before else max(seqs[origin], default=0) for origin in hidden
        }
        self.filters.append((now_ms, hidden))
        ends = [since for since, _ in self.filters[1:]] + [now_ms + 1]
        lately = [each for (_, each), end in zip(self.filters, ends, strict=True) if end > now_ms - GUARD_MS]
        eased = {origin: min(each.get(origin, -1) for each in lately) for origin in hidden}
        grown = {origin for origin in hidden if hidden[origin] > before.get(origin, -1)}
        for service in SERVICES:
            fresh = [
                origin
                for origin in sorted(grown)
                if (service, origin) not in self.guards and origin in self.origins_in(service)
            ]
            most, now = len(self.shows(service, hidden=eased)), len(self.shows(service, now_ms=now_ms))
            if most >= GUARDED_MIN and 2 * now < most:
                self.guards |= {(service, origin): (before.get(origin, -1), now_ms + GUARD_MS) for origin in fresh}

    def remove(self, origin: Origin, key: RecordKey) -> None:
        """With what older sessions of the same client have left."""
        gone = self.records.pop((origin, key), None)
        for place, each in list(self.records.items()):
            if gone is not None and each.key == key and each.session < gone.session:
                del self.records[place]

    def origins_in(self, service: Service) -> set[Origin]:
        return {origin for origin, key in self.records if key.service == service}

    def forget_guards(self) -> None:
        self.guards = {at: guard for at, guard in self.guards.items() if at[1] in self.origins_in(at[0])}

    def stand(self, standing: Standing, now_ms: int) -> None:
        """What would have ended while this node hid nobody ends right after."""
        self.flags = (standing.warming, standing.preserved)
        stopped_ms = self.guards_stopped_ms
        if standing.hides_nobody:
            self.guards_stopped_ms = now_ms if stopped_ms is None else stopped_ms
        elif stopped_ms is not None:
            self.guards_stopped_ms = None
            self.guards |= {
                at: (grace, max(end, now_ms + 1)) for at, (grace, end) in self.guards.items() if end > stopped_ms
            }

    def filter_of(self, service: Service, now_ms: int) -> dict[Origin, int]:
        guards_ms = now_ms if self.guards_stopped_ms is None else min(now_ms, self.guards_stopped_ms)
        graces = {
            origin: grace
            for (guarded, origin), (grace, end) in self.guards.items()
            if guarded == service and end > guards_ms
        }
        return {origin: min(grace, graces.get(origin, grace)) for origin, grace in self.hidden.items()}

    def shown_winner(self, client: str, service: Service, in_force: dict[Origin, int]) -> Record | None:
        """Down from the newest: the first that is a tombstone, or was hidden with what was held, ends it."""
        held = [each for each in self.records.values() if each.key == (client, service)]
        held.sort(key=lambda item: (item.session, item.origin.epoch, item.origin), reverse=True)
        for each in held:
            if not each.instances:
                return None
            if in_force.get(each.origin, -1) < each.grace_ms:
                return held[0]
            if each.seq <= self.held_seq[each.origin]:
                return None
        return None

    def winners(self, service: Service, in_force: dict[Origin, int]) -> dict[str, Record]:
        clients = {key.client for _, key in self.records if key.service == service}
        found = {client: self.shown_winner(client, service, in_force) for client in clients}
        return {client: each for client, each in found.items() if each is not None}

    def shows(
        self, service: Service, cluster: str = "", *, now_ms: int = 0, hidden: dict[Origin, int] | None = None
    ) -> tuple[Instance, ...]:
        in_force = self.filter_of(service, now_ms) if hidden is None else hidden
        chosen: dict[Any, tuple[int, str, Instance]] = {}
        for client, held in self.winners(service, in_force).items():
            for found in held.instances:
                offer = (held.stamp, client, found)
                chosen[found.key] = max(chosen.get(found.key, offer), offer, key=lambda item: item[:2])
        return tuple(chosen[key][2] for key in sorted(chosen) if cluster in ("", key.cluster))

    def says(self, service: Service, now_ms: int) -> tuple[bool, ...]:
        """Warming, preserved, guarded."""
        held = self.winners(service, self.filter_of(service, now_ms)) != self.winners(service, self.hidden)
        return (*self.flags, held)

    def watched(self) -> set[Service]:
        return {service for _, service in self.subscribed}

    def known(self) -> set[Service]:
        return {key.service for _, key in self.records} | self.watched()


class IndexAndTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        settings = settings_of("index", IndexSettings, shrink_guard_ms=GUARD_MS, shrink_guard_instances_min=GUARDED_MIN)
        self.index = IndexManager(identity, settings, random.Random(0))
        self.twin = NaiveTwin()
        self.turns = 0
        self.reminders: list[tuple[int, Any]] = []
        self.versions: dict[Service, View] = {}  # the newest view seen of each service

    @property
    def now_ms(self) -> int:
        return self.turns // 3  # several turns fall into one millisecond

    def told_to_index(self, message: Any) -> Effects:
        """One turn; a watched service that shows something else must be among the touched ones."""
        self.turns += 1
        self.remind()
        return self.turn(message)

    def turn(self, message: Any, *, earlier_ms: int = 0) -> Effects:
        watched = self.twin.watched()
        before = {service: self.shows_and_says(service, earlier_ms) for service in watched}
        effects = self.index.handle(message, at(self.now_ms))
        self.take_over(message)
        reminders = [item for item in effects if isinstance(item, Remind)]
        self.reminders += [(self.now_ms + max(1, item.delay_ms), item.message) for item in reminders]
        touched = {service for told_ in told(effects, ServicesTouched) for service in told_.services}
        changed = {service for service in watched if before[service] != self.shows_and_says(service)}
        assert changed <= touched <= watched
        return effects

    def remind(self) -> None:
        """What is due comes in time: until then everything is as it was a millisecond ago."""
        due = [message for due_ms, message in self.reminders if due_ms <= self.now_ms]
        self.reminders = [(due_ms, message) for due_ms, message in self.reminders if due_ms > self.now_ms]
        for message in due:
            self.turn(message, earlier_ms=1)

    def shows_and_says(self, service: Service, earlier_ms: int = 0) -> Any:
        now_ms = self.now_ms - earlier_ms
        return self.twin.shows(service, now_ms=now_ms), self.twin.says(service, now_ms)

    def take_over(self, message: Any) -> None:
        match message:
            case RecordsChanged():
                self.twin.records |= {(item.origin, item.key): item for item in message.records}
                for origin, key in message.removed:
                    self.twin.remove(origin, key)
                self.twin.forget_guards()
            case OwnersVisible():
                self.twin.hide(dict(message.hidden), self.now_ms)
            case StandingChanged():
                self.twin.stand(message.standing, self.now_ms)

    @rule(
        batch=st.lists(records, min_size=1, max_size=5), removed=st.lists(st.tuples(origins, ids, services), max_size=3)
    )
    def records_change(self, batch: list[Record], removed: list[tuple[Origin, str, Service]]) -> None:
        gone = tuple((origin, RecordKey(client, service)) for origin, client, service in removed)
        self.told_to_index(RecordsChanged(records=tuple(batch), removed=gone))

    @rule()
    def everything_is_purged(self) -> None:
        self.told_to_index(RecordsChanged(removed=tuple(self.twin.records)))

    @rule(hidden=st.dictionaries(origins, st.sampled_from([15_000, 45_000]), max_size=2))
    def filter_changes(self, hidden: dict[Origin, int]) -> None:
        self.told_to_index(OwnersVisible(tuple(hidden.items())))

    @rule(service=services, owners=st.lists(origins, min_size=3, max_size=3), session=st.integers(1, 3))
    def everybody_registers(self, service: Service, owners: list[Origin], session: int) -> None:
        batch = [
            record(client, instance(port), service=service, origin=owner, session=session)
            for port, (client, owner) in enumerate(zip("abc", owners, strict=True), start=1)
        ]
        self.told_to_index(RecordsChanged(records=tuple(batch)))

    @rule(origin=origins, grace_ms=st.sampled_from([15_000, 45_000]))
    def an_owner_is_hidden_too(self, origin: Origin, grace_ms: int) -> None:
        self.told_to_index(OwnersVisible(tuple(sorted((self.twin.hidden | {origin: grace_ms}).items()))))

    @rule(origin=origins)
    def an_owner_is_back(self, origin: Origin) -> None:
        hidden = {other: grace_ms for other, grace_ms in self.twin.hidden.items() if other != origin}
        self.told_to_index(OwnersVisible(tuple(sorted(hidden.items()))))

    @rule(warming=st.booleans(), preserved=st.booleans(), hides_nobody=st.booleans())
    def standing_changes(self, warming: bool, preserved: bool, hides_nobody: bool) -> None:
        standing = Standing(warming=warming, preserved=preserved, hides_nobody=hides_nobody)
        self.told_to_index(StandingChanged(standing))

    @rule(asker=routes, service=services)
    def subscribed(self, asker: Route, service: Service) -> None:
        effects = self.told_to_index(RecordsChanged(requests=(Order(asker, 1, Subscribe(service)),)))
        self.twin.subscribed.add((asker, service))
        (change,) = told(effects, SubscriptionsChanged)
        assert [(item.route, item.service) for item in change.added] == [(asker, service)]
        self.seen(change.views[0])

    @rule(asker=routes, service=services)
    def unsubscribed(self, asker: Route, service: Service) -> None:
        effects = self.told_to_index(RecordsChanged(requests=(Order(asker, 1, Unsubscribe(service)),)))
        assert bool(told(effects, SubscriptionsChanged)) == ((asker, service) in self.twin.subscribed)
        self.twin.subscribed.discard((asker, service))

    @rule(gone=st.sets(routes))
    def sessions_end(self, gone: set[Route]) -> None:
        self.told_to_index(SubscribersReleased(tuple(sorted(gone))))
        self.twin.subscribed = {(asker, service) for asker, service in self.twin.subscribed if asker not in gone}

    @rule(service=services, cluster=st.sampled_from(["", "east"]))
    def queried(self, service: Service, cluster: str) -> None:
        effects = self.told_to_index(RecordsChanged(requests=(Order(ROUTES[0], 1, Query(service, cluster)),)))
        (answers,) = told(effects, AnswerClients)
        _, view = opened(answers.frames[0].payload)
        assert view.instances == self.twin.shows(service, cluster, now_ms=self.now_ms)
        assert (view.warming, view.preserved, view.guarded) == self.twin.says(service, self.now_ms)

    @rule()
    def time_passes(self) -> None:
        self.turns += 3
        self.remind()

    @rule(wanted=st.lists(services, unique=True))
    def views_are_wanted(self, wanted: list[Service]) -> None:
        (built,) = told(self.told_to_index(ViewsWanted(tuple(wanted))), ViewsBuilt)
        for view in built.views:
            self.seen(view)

    @rule(group=st.sampled_from("gh"))
    def listed(self, group: str) -> None:
        order = Order(ROUTES[0], 1, ListServices("public", group))
        (answers,) = told(self.told_to_index(RecordsChanged(requests=(order,))), AnswerClients)
        _, services_ = opened(answers.frames[0].payload)
        live = [service.name for service in SERVICES if service.group == group and self.shows_and_says(service)[0]]
        assert (services_.total, list(services_.names)) == (len(live), live)

    def seen(self, view: View) -> None:
        """Content as the twin has it; versions rise, and one version never shows two things."""
        assert view.instances == self.twin.shows(view.service, now_ms=self.now_ms)
        assert (view.warming, view.preserved, view.guarded) == self.twin.says(view.service, self.now_ms)
        before = self.versions.get(view.service)
        if before is not None and before.version != view.version:
            assert view.version > before.version
        elif before is not None:
            assert before == view
        if view.service in self.twin.known():
            self.versions[view.service] = view

    @invariant()
    def tables_agree(self) -> None:
        self.index.check_invariants()
        assert self.index.index.entries.keys() == self.twin.known()
        assert self.index.index.records_count == len(self.twin.records)


IndexAndTwin.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestIndexAgainstItsTwin = IndexAndTwin.TestCase
