"""The tables of PushActor: topics, subscribers, deliveries between them, and the agenda of what is due when.

Pure data; PushActor owns the one instance of each. A topic keeps one view, the newest; a delivery keeps versions only.
So a subscriber that is slow costs a few numbers per subscription, never lists.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import Enum
from typing import Literal

import msgspec

from actors.messages.values import Route
from actors.service_entry import encode_view
from rollbook.model import Service, View, filter_clusters


class ClusterFilter:
    """What those who watch these clusters of one topic should have."""

    __slots__ = ("body", "changed_version", "clusters", "watchers")

    def __init__(self, clusters: frozenset[str], changed_version: int) -> None:
        self.clusters = clusters
        self.changed_version = changed_version  # the first view version with what the filter shows now
        self.watchers = 0
        self.body: msgspec.Raw | None = None  # the topic's view, encoded, while it is being delivered


class PushTopic:
    """A subscribed service."""

    __slots__ = ("asked", "deliveries", "dirty", "filters", "in_flight", "quiet_until_ms", "service", "view")

    def __init__(self, service: Service) -> None:
        self.service = service
        self.view: View | None = None  # the newest one seen
        self.deliveries: dict[Route, PushDelivery] = {}
        self.filters: dict[frozenset[str], ClusterFilter] = {}
        self.asked = False  # a view is on its way that will show every touch up to now
        self.dirty = False  # touched in its quiet time
        self.quiet_until_ms = 0
        self.in_flight = 0  # deliveries that wait for an ack

    def subscribe(self, subscriber: PushSubscriber, clusters: frozenset[str], version: int) -> None:
        """``version``: of the view that the answer carries."""
        cluster_filter = self.filters.get(clusters)
        if cluster_filter is None:
            cluster_filter = self.filters[clusters] = ClusterFilter(clusters, version)
        cluster_filter.watchers += 1
        delivery = PushDelivery(subscriber, self, cluster_filter, version)
        subscriber.deliveries[self.service] = self.deliveries[subscriber.route] = delivery

    def unsubscribe(self, delivery: PushDelivery) -> None:
        cluster_filter = delivery.cluster_filter
        del self.deliveries[delivery.subscriber.route]
        cluster_filter.watchers -= 1
        if not cluster_filter.watchers:
            del self.filters[cluster_filter.clusters]

    def is_news(self, view: View) -> bool:
        return self.view is None or self.view.version < view.version

    def show(self, view: View) -> None:
        """Take over a newer view; each filter learns whether it shows anything else now."""
        before, self.view = self.view, view
        for cluster_filter in self.filters.values():
            cluster_filter.body = None
            if before is None or _shows_change(cluster_filter.clusters, before, view):
                cluster_filter.changed_version = view.version

    def body(self, cluster_filter: ClusterFilter) -> msgspec.Raw:
        """The newest view for one filter, encoded once."""
        assert self.view is not None, "nothing is sent before a view has come"
        if cluster_filter.body is None:
            cluster_filter.body = encode_view(self.view, cluster_filter.clusters)
        return cluster_filter.body

    def landed(self) -> None:
        """One delivery less is in flight; encoded views are kept no longer than they are needed."""
        self.in_flight -= 1
        if not self.in_flight:
            for cluster_filter in self.filters.values():
                cluster_filter.body = None


class PushDelivery:
    """One subscription: what its subscriber is known to have, and what is on its way to it."""

    __slots__ = (
        "attempts",
        "cluster_filter",
        "first_sent_ms",
        "sent_ms",
        "sent_version",
        "subscriber",
        "topic",
        "version",
    )

    def __init__(
        self, subscriber: PushSubscriber, topic: PushTopic, cluster_filter: ClusterFilter, version: int
    ) -> None:
        self.subscriber = subscriber
        self.topic = topic
        self.cluster_filter = cluster_filter
        self.version = version  # acknowledged, or carried by the answer to the subscription
        self.attempts = 0  # sends without an ack; 0: nothing in flight
        self.sent_version = 0
        self.sent_ms = 0
        self.first_sent_ms = 0

    @property
    def is_behind(self) -> bool:
        return self.version < self.cluster_filter.changed_version

    def depart(self, now_ms: int) -> None:
        """The newest view is on its way, for the first time or once more."""
        topic, in_flight = self.topic, self.subscriber.in_flight
        assert topic.view is not None, "nobody is behind before a view has come"
        if not self.attempts:
            self.first_sent_ms = now_ms
            topic.in_flight += 1
        self.attempts += 1
        self.sent_version, self.sent_ms = topic.view.version, now_ms
        self.subscriber.waiting.pop(self, None)
        in_flight.pop(self, None)
        in_flight[self] = None  # the last one to be sent

    def land(self) -> None:
        self.attempts = self.sent_version = 0
        del self.subscriber.in_flight[self]
        self.topic.landed()


class PushSubscriber:
    """A session that subscribes.

    reading: it gets what is news. slow: it has let every attempt of a push pass; nothing is sent until it is heard.
    cut: for so long that its pending pushes are given up as well.
    """

    __slots__ = ("client", "deliveries", "in_flight", "route", "state", "waiting")

    def __init__(self, route: Route, client: str) -> None:
        self.route = route
        self.client = client
        self.deliveries: dict[Service, PushDelivery] = {}
        self.in_flight: dict[PushDelivery, None] = {}  # in order of their last send
        self.waiting: dict[PushDelivery, None] = {}  # behind, but too many are in flight
        self.state: Literal["reading", "slow", "cut"] = "reading"

    @property
    def unacknowledged_since_ms(self) -> int:
        return min(delivery.first_sent_ms for delivery in self.in_flight)


class SilentLinks:
    """The links of subscribers that are slow or cut: their next frame revives them."""

    def __init__(self) -> None:
        self.routes: dict[bytes, dict[Route, None]] = {}
        self._new: dict[bytes, None] = {}

    def add(self, route: Route) -> None:
        self.routes.setdefault(route.link, {})[route] = None
        self._new[route.link] = None

    def discard(self, route: Route) -> None:
        routes = self.routes.get(route.link, {})
        routes.pop(route, None)
        if not routes:
            self.routes.pop(route.link, None)

    def of(self, link: bytes) -> tuple[Route, ...]:
        return tuple(self.routes.get(link, ()))

    def take_new(self) -> tuple[bytes, ...]:
        """To be listened to from now on."""
        new = tuple(self._new)
        self._new.clear()
        return new


class ReportKey(Enum):
    """On the agenda: what is told of the pushed watermarks."""

    REPORT = "report"


AgendaKey = Service | Route | ReportKey


class PushAgenda:
    """What to look at when: at most one valid entry per key, so it is as long as there are services and sessions."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, AgendaKey]] = []
        self._due_ms: dict[AgendaKey, int] = {}
        self._tie = 0  # keys of two kinds cannot be compared

    def schedule(self, key: AgendaKey, due_ms: int) -> None:
        """Look at the key at ``due_ms``, or when it is due already if that is earlier: whoever looks decides anew."""
        known_ms = self._due_ms.get(key)
        if known_ms is not None and known_ms <= due_ms:
            return
        self._due_ms[key] = due_ms
        self._tie += 1
        heapq.heappush(self._heap, (due_ms, self._tie, key))
        if len(self._heap) > 2 * len(self._due_ms) + 64:
            self._heap = [entry for entry in self._heap if self._due_ms.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def __contains__(self, key: AgendaKey) -> bool:
        return key in self._due_ms

    def forget(self, key: AgendaKey) -> None:
        self._due_ms.pop(key, None)

    def take_due(self, now_ms: int) -> Iterator[AgendaKey]:
        """Each key that is due, once. What is scheduled meanwhile for later stays."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, _, key = heapq.heappop(self._heap)
            if self._due_ms.get(key) == due_ms:
                del self._due_ms[key]
                yield key

    def earliest_ms(self) -> int | None:
        while self._heap and self._due_ms.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # forgotten, or moved to an earlier time
        return self._heap[0][0] if self._heap else None


def _shows_change(clusters: frozenset[str], before: View, after: View) -> bool:
    if not clusters or _flags(before) != _flags(after):
        return True  # A whole view takes a new version only when it says something new.
    return filter_clusters(before.instances, clusters) != filter_clusters(after.instances, clusters)


def _flags(view: View) -> tuple[bool, ...]:
    return (view.warming, view.preserved, view.guarded)


def check_tables(topics: dict[Service, PushTopic], subscribers: dict[Route, PushSubscriber]) -> None:
    """Raise AssertionError if topics and subscribers disagree about a delivery, or something is left behind."""
    for service, topic in topics.items():
        assert topic.service == service
        assert topic.deliveries, f"{service} is kept without subscribers"
        assert topic.in_flight == sum(bool(delivery.attempts) for delivery in topic.deliveries.values())
        assert topic.in_flight or all(known.body is None for known in topic.filters.values()), "a body is kept in vain"
        for clusters, cluster_filter in topic.filters.items():
            watchers = [known for known in topic.deliveries.values() if known.cluster_filter is cluster_filter]
            assert clusters == cluster_filter.clusters
            assert len(watchers) == cluster_filter.watchers > 0
        for route, delivery in topic.deliveries.items():
            assert subscribers[route].deliveries[service] is delivery
            assert topic.filters[delivery.cluster_filter.clusters] is delivery.cluster_filter
    for route, subscriber in subscribers.items():
        assert subscriber.route == route
        assert subscriber.deliveries, f"{route} is kept without subscriptions"
        _check_deliveries(subscriber, topics)


def _check_deliveries(subscriber: PushSubscriber, topics: dict[Service, PushTopic]) -> None:
    sent_ms = [delivery.sent_ms for delivery in subscriber.in_flight]
    assert sent_ms == sorted(sent_ms), "in flight: in order of the last send"
    assert not (subscriber.in_flight.keys() & subscriber.waiting.keys())
    assert subscriber.state == "reading" or not subscriber.waiting
    assert subscriber.state != "cut" or not subscriber.in_flight
    assert subscriber.in_flight.keys() | subscriber.waiting.keys() <= set(subscriber.deliveries.values())
    for service, delivery in subscriber.deliveries.items():
        topic = topics[service]
        assert topic.deliveries[subscriber.route] is delivery
        assert bool(delivery.attempts) == (delivery in subscriber.in_flight)
        assert not delivery.attempts or delivery.version < delivery.sent_version, "in flight is what it does not have"
        if subscriber.state == "reading" and not (topic.asked or topic.dirty):
            taken_up = delivery in subscriber.in_flight or delivery in subscriber.waiting
            assert taken_up or not delivery.is_behind, "a subscriber is behind and nothing is done about it"
