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

from actors.base import Effects, NodeIdentity
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
        self.hidden: dict[Origin, int] = {}
        self.subscribed: set[tuple[Route, Service]] = set()
        self.flags = (False, False)

    def shows(self, service: Service, cluster: str = "") -> tuple[Instance, ...]:
        best: dict[str, Record] = {}
        for held in self.records.values():
            if held.key.service == service:
                rival = best.setdefault(held.key.client, held)
                best[held.key.client] = max(
                    held, rival, key=lambda item: (item.session, item.origin.epoch, item.origin)
                )
        chosen: dict[Any, tuple[int, str, Instance]] = {}
        for client, held in best.items():
            if self.hidden.get(held.origin, -1) < held.grace_ms:
                for found in held.instances:
                    offer = (held.stamp, client, found)
                    chosen[found.key] = max(chosen.get(found.key, offer), offer, key=lambda item: item[:2])
        return tuple(chosen[key][2] for key in sorted(chosen) if cluster in ("", key.cluster))

    def watched(self) -> set[Service]:
        return {service for _, service in self.subscribed}

    def known(self) -> set[Service]:
        return {key.service for _, key in self.records} | self.watched()


class IndexAndTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        self.index = IndexManager(identity, settings_of("index", IndexSettings), random.Random(0))
        self.twin = NaiveTwin()
        self.turns = 0
        self.versions: dict[Service, View] = {}  # the newest view seen of each service

    def told_to_index(self, message: Any) -> Effects:
        """One turn; a watched service that shows something else must be among the touched ones."""
        watched = self.twin.watched()
        before = {service: (self.twin.shows(service), self.twin.flags) for service in watched}
        self.turns += 1
        effects = self.index.handle(message, at(self.turns // 3))  # several turns fall into one millisecond
        self.take_over(message)
        touched = {service for told_ in told(effects, ServicesTouched) for service in told_.services}
        changed = {service for service in watched if before[service] != (self.twin.shows(service), self.twin.flags)}
        assert changed <= touched <= watched
        return effects

    def take_over(self, message: Any) -> None:
        match message:
            case RecordsChanged():
                self.twin.records |= {(item.origin, item.key): item for item in message.records}
                for origin, key in message.removed:
                    self.twin.records.pop((origin, key), None)
            case OwnersVisible():
                self.twin.hidden = dict(message.hidden)
            case StandingChanged():
                self.twin.flags = (message.standing.warming, message.standing.preserved)

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

    @rule(warming=st.booleans(), preserved=st.booleans())
    def standing_changes(self, warming: bool, preserved: bool) -> None:
        self.told_to_index(StandingChanged(Standing(warming=warming, preserved=preserved)))

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
        assert view.instances == self.twin.shows(service, cluster)
        assert (view.warming, view.preserved) == self.twin.flags

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
        live = [service.name for service in SERVICES if service.group == group and self.twin.shows(service)]
        assert (services_.total, list(services_.names)) == (len(live), live)

    def seen(self, view: View) -> None:
        """Content as the twin has it; versions rise, and one version never shows two things."""
        assert view.instances == self.twin.shows(view.service)
        assert (view.warming, view.preserved) == self.twin.flags
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


IndexAndTwin.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestIndexAgainstItsTwin = IndexAndTwin.TestCase
