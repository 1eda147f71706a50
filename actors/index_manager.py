"""IndexManager: which clients publish and which sessions watch each service, and the view built of it.

Owns: the service index (service_index.py), the versions of views; what lists have to say of orders about durable data,
which pass through it, stands in durable_passage.py, what is answered of many services in listings.py. Accepts:
messages/index.py, StandingChanged, DigestsTaken, VerdictsWanted. Tells: I/O (answers), PushActor (touched services,
subscriptions, views), DistroSyncActor (watermarks, touches, waits), MemberManager (what a digest says), PersistentStore
(orders about durable data), HealthChecker (what it asks).

An answer leaves only after everything that came with it is indexed: an acknowledged registration is in every later
answer of this node. So does a digest, for its watermarks acknowledge too. Views are lazy: a registration marks its
service, and only who asks pays for the view.
"""

from __future__ import annotations

import random
from typing import Any, assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.client_listings import publishers_listed, subscriptions_listed
from actors.durable_passage import DurablePassage
from actors.listings import catalogued, counted, found, listed, subscribers
from actors.messages.connections import StandingChanged
from actors.messages.distro import ClusterWaitsAdded, OwnersApplied, Touches
from actors.messages.health import VerdictsFound, VerdictsWanted
from actors.messages.index import (
    EchoWatermark,
    IntentHeirsWanted,
    IntentsReviewed,
    OverlaysChanged,
    OwnersVisible,
    RecordsChanged,
    ServicesAnswered,
    SubscribersReleased,
    SubscriptionsWanted,
    ViewsWanted,
)
from actors.messages.io import AnswerClients, ClientFrame
from actors.messages.members import DigestsTaken
from actors.messages.push import ServicesTouched, Subscription, SubscriptionsChanged, ViewsBuilt
from actors.messages.store import StoreFollowed
from actors.messages.values import Order, Origin, Route
from actors.service_entry import encode_view
from actors.service_index import ServiceIndex
from rollbook.catalog import CountServices, FindServices, ListCatalog, ListSubscribers
from rollbook.errors import Code, InvalidField, Refused, RollbookError
from rollbook.known_clients import ListPublishers
from rollbook.model import Service, View, clusters_of
from rollbook.wire import (
    Done,
    Failed,
    ListServices,
    Query,
    Subscribe,
    Tag,
    Unsubscribe,
    encode,
)


class IndexSettings(msgspec.Struct, frozen=True):
    services_max: int
    subscriptions_per_session_max: int
    clusters_per_filter_max: int
    shrink_guard_ms: int
    shrink_guard_instances_min: int


class _GuardDue(msgspec.Struct, frozen=True):
    """The time of the oldest shrink guard is over."""


IndexInput = (
    RecordsChanged
    | EchoWatermark
    | SubscribersReleased
    | OwnersVisible
    | ViewsWanted
    | VerdictsWanted
    | StandingChanged
    | DigestsTaken
    | StoreFollowed
    | OverlaysChanged
    | IntentsReviewed
    | IntentHeirsWanted
    | ServicesAnswered
    | StatusRequested
    | _GuardDue
)


class SubscriptionChanges:
    """What one batch does to subscriptions, net: the last word on each (session, service)."""

    __slots__ = ("last", "views")

    def __init__(self) -> None:
        self.last: dict[tuple[Route, Service], Subscription | None] = {}
        self.views: dict[Service, View] = {}

    def message(self) -> SubscriptionsChanged:
        added = tuple(change for change in self.last.values() if change is not None)
        return SubscriptionsChanged(
            added=added,
            removed=tuple(key for key, change in self.last.items() if change is None),
            views=tuple(self.views[service] for service in dict.fromkeys(change.service for change in added)),
        )


class IndexManager:
    role = Role.INDEX

    def __init__(self, identity: NodeIdentity, settings: IndexSettings, chance: random.Random) -> None:
        del chance  # The same records give the same views on every node, and nothing is left to chance.
        self._status_to = Role.PUSH if identity.store == "none" else Role.PERSISTENT
        self.settings = settings
        self.index = ServiceIndex(settings)
        self._is_guard_reminded = False
        self._touches_told = 0
        self.counters = {"index_queries": 0, "index_refused": 0, "index_failed": 0}
        self._passage = DurablePassage(self.index, self.counters)

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: IndexInput, now: Now) -> Effects:
        match message:
            case RecordsChanged():
                return self._on_records(message, now)
            case SubscribersReleased():
                return self._on_released(message)
            case OwnersVisible():
                silent_ms = {origin: now.monotonic_ms - at_ms for origin, at_ms in message.heard_at_ms}
                silent_since_ms = {origin: now.wall_ms - silent for origin, silent in silent_ms.items()}
                self.index.hide(dict(message.hidden), now.monotonic_ms, silent_since_ms)
                return [*self._touched(), *self._remind_of_guards(now)]
            case ViewsWanted():
                return self._on_views_wanted(message, now)
            case VerdictsWanted():
                return [Tell(Role.HEALTH, VerdictsFound(self.index.last_verdicts(message.targets)))]
            case StandingChanged():
                self.index.flag(message.standing.warming, message.standing.preserved)
                self.index.hides_nobody = message.standing.hides_nobody
                return [*self._touched(), *self._remind_of_guards(now)]
            case DigestsTaken():
                return [Tell(Role.MEMBERS, message)]
            case StoreFollowed():
                self.index.follow_store(is_read=message.is_read, stale_since_ms=message.stale_since_ms)
                return [*self._touched(), Tell(Role.MEMBERS, message)]
            case OverlaysChanged():
                self.index.overlay(message.thresholds, message.intents)
                return self._touched()
            case IntentsReviewed() | IntentHeirsWanted() | ServicesAnswered():
                return self._passage.handle(message)
            case StatusRequested():
                return self._on_status(message)
            case EchoWatermark():
                return [Tell(Role.DISTRO, OwnersApplied((message.watermark,)))]
            case _GuardDue():
                self._is_guard_reminded = False
                self.index.end_guards(now.monotonic_ms)
                return [*self._touched(), *self._remind_of_guards(now)]
            case _:
                assert_never(message)

    # -- records, and the answers that waited for them

    def _on_records(self, message: RecordsChanged, now: Now) -> Effects:
        index = self.index
        index.put(message.records)
        if message.removed:
            index.remove(message.removed)
        effects: list[Effect] = []
        changes = SubscriptionChanges()
        frames = [self._answer(order, now, changes, effects) for order in message.requests]
        frames += [
            ClientFrame(reply.route, encode(reply.tag, reply.correlation, reply.route.session, reply.body))
            for reply in message.replies
        ]
        if frames:
            effects.append(Tell(Role.IO, AnswerClients(tuple(frames))))
        touched: dict[Service, dict[Origin, int]] = {}
        touches: Touches | None = None
        if index.touched:
            touched = index.take_touched()
            touches = self._numbered(touched)
        if message.watermarks or touches is not None:
            effects.append(Tell(Role.DISTRO, OwnersApplied(message.watermarks, touches)))
        if message.waits:
            effects.append(Tell(Role.DISTRO, ClusterWaitsAdded(message.waits)))
        if message.persistent:
            effects += self._passage.pass_on(message.persistent)
        # After the answers: no push of a subscription may overtake the view that its answer carries.
        if changes.last:
            effects.append(Tell(Role.PUSH, changes.message()))
        if touched:
            effects.append(Tell(Role.PUSH, _told_of(touched, touches)))
        if index.views.conflicts_found:
            effects += self._conflicts()
        return effects

    def _answer(self, order: Order, now: Now, changes: SubscriptionChanges, effects: list[Effect]) -> ClientFrame:
        """The answer of one request; an error of any kind is answered too, and costs the others nothing."""
        route, correlation, body = order.route, order.correlation, order.body
        tag: int
        answer: Any
        try:
            tag, answer = self._respond(order, now, changes)
        except RollbookError as error:
            self.counters["index_refused"] += 1
            tag, answer = Tag.FAILED, Failed(error.code, error.message, error.field, error.retryable)
        except Exception as error:
            self.counters["index_failed"] += 1
            effects.append(Log("ERROR", "a request failed", {"request": repr(body)[:200], "error": repr(error)[:200]}))
            tag, answer = Tag.FAILED, Failed(Code.INTERNAL, "this request could not be answered")
        return ClientFrame(route, encode(tag, correlation, route.session, answer))

    def _respond(self, order: Order, now: Now, changes: SubscriptionChanges) -> tuple[Tag, Any]:
        """Validate and compute, then commit: what raises here has changed nothing."""
        match body := order.body:
            case Query():
                self.counters["index_queries"] += 1
                return Tag.VIEW, self._queried(body, now)
            case Subscribe():
                return Tag.VIEW, self._subscribed(order, body, now, changes)
            case Unsubscribe():
                if self.index.unsubscribe(order.route, body.service):
                    changes.last[(order.route, body.service)] = None
                return Tag.DONE, Done()
            case ListServices():
                return Tag.SERVICES, listed(self.index, body)
            case FindServices():
                return Tag.SERVICES_FOUND, found(self.index, body)
            case ListCatalog():
                return Tag.CATALOG, catalogued(self.index, body, now.wall_ms)
            case CountServices():
                return Tag.SERVICES_COUNTED, counted(self.index)
            case ListSubscribers():
                return Tag.SUBSCRIBERS, subscribers(self.index, body)
            case SubscriptionsWanted():
                return Tag.SUBSCRIPTIONS_LISTED, subscriptions_listed(self.index, body)
            case ListPublishers():
                return Tag.PUBLISHERS_LISTED, publishers_listed(self.index, body)
            case _:
                raise TypeError(f"the index does not answer {type(body).__name__}")

    def _queried(self, query: Query, now: Now) -> msgspec.Raw:
        entry = self.index.entries.get(query.service)
        clusters = self._clusters(query.clusters)
        if entry is None:
            return encode_view(self.index.views.empty(query.service, now.wall_ms), frozenset())
        self.index.views.of(entry, now.wall_ms)
        return entry.body(query.clusters, clusters)

    def _subscribed(self, order: Order, body: Subscribe, now: Now, changes: SubscriptionChanges) -> msgspec.Raw:
        route, clusters = order.route, self._clusters(body.clusters)
        self._check_room(route, body.service)
        entry = self.index.subscribe(route, body.service, order.subscriber)
        view = self.index.views.of(entry, now.wall_ms)
        subscription = Subscription(route, body.service, body.clusters, view.version, order.client)
        changes.last[(route, body.service)] = subscription
        changes.views[body.service] = view
        return entry.body(body.clusters, clusters)

    def _clusters(self, text: str) -> frozenset[str]:
        if text.count(",") >= self.settings.clusters_per_filter_max:
            limit = self.settings.clusters_per_filter_max
            raise InvalidField(f"a filter names at most {limit} clusters", field="clusters")
        return clusters_of(text) if text else frozenset()

    def _check_room(self, route: Route, service: Service) -> None:
        held = self.index.subscriptions.get(route, {})
        if service in held:
            return  # Only its filter changes.
        if len(held) >= self.settings.subscriptions_per_session_max:
            limit = self.settings.subscriptions_per_session_max
            sentence = f"one session subscribes to at most {limit} services"
            raise Refused(sentence, code=Code.OVER_LIMIT, field="service", retryable=False)
        # Records are never refused here: ClientManager has already acknowledged them to peers and clients.
        if service not in self.index.entries and len(self.index.entries) >= self.settings.services_max:
            limit = self.settings.services_max
            raise Refused(f"this node knows {limit} services, its limit", code=Code.OVER_LIMIT, field="service")

    # -- everything else

    def _on_released(self, message: SubscribersReleased) -> Effects:
        gone = tuple(route for route in message.routes if self.index.release(route))
        return [Tell(Role.PUSH, SubscriptionsChanged(gone=gone))] if gone else []

    def _on_views_wanted(self, message: ViewsWanted, now: Now) -> Effects:
        views = tuple(self._view(service, now) for service in message.services)
        return [Tell(Role.PUSH, ViewsBuilt(views)), *self._conflicts()]

    def _view(self, service: Service, now: Now) -> View:
        entry = self.index.entries.get(service)
        views = self.index.views
        return views.empty(service, now.wall_ms) if entry is None else views.of(entry, now.wall_ms)

    def _on_status(self, message: StatusRequested) -> Effects:
        index = self.index
        self.counters |= {
            "index_services": len(index.entries),
            "index_records": index.records_count,
            "index_subscribers": len(index.subscriptions),
            "index_subscriptions": sum(len(services) for services in index.subscriptions.values()),
            "instance_conflicts": index.views.conflicts_count,
            "view_builds": index.views.built,
            "views_guarded": len(index.guard.services),
            "shrink_guards": index.guard.guards_begun,
        }
        counters = {**message.parts.get("counters", {}), **self.counters}
        return [Tell(self._status_to, message.with_parts(counters=counters))]

    def _remind_of_guards(self, now: Now) -> list[Effect]:
        """All guards last equally long, so one reminder of the oldest will do. None ends while no verdict is given."""
        end_ms = self.index.guard.next_end_ms()
        if end_ms is None or self._is_guard_reminded or self.index.hides_nobody:
            return []
        self._is_guard_reminded = True
        return [Remind(max(0, end_ms - now.monotonic_ms), _GuardDue())]

    def _numbered(self, touched: dict[Service, dict[Origin, int]]) -> Touches | None:
        """What DistroSyncActor must not take for told before PushActor says so; None if no record touched anything."""
        lowest: dict[Origin, int] = {}
        for seqs in touched.values():
            for origin, seq in seqs.items():
                lowest[origin] = min(seq, lowest.get(origin, seq))
        if not lowest:
            return None
        self._touches_told += 1
        return Touches(self._touches_told, tuple(lowest.items()))

    def _touched(self) -> Effects:
        """What touches services, but is no record: filters and flags."""
        touched = self.index.take_touched()
        return [Tell(Role.PUSH, _told_of(touched, None))] if touched else []

    def _conflicts(self) -> list[Effect]:
        """One line per service and build, however many of its keys are contended."""
        return [
            Log(
                "WARNING",
                "several clients publish the same instance",
                {
                    "service": service.grouped_name,
                    "namespace": service.namespace,
                    "conflicts": len(conflicts),
                    "instance": f"{conflicts[0].key.ip}:{conflicts[0].key.port}@{conflicts[0].key.cluster}",
                    "clients": conflicts[0].clients[:10],
                },
            )
            for service, conflicts in self.index.views.take_conflicts()
        ]

    def check_invariants(self) -> None:
        assert not self.index.touched, "a change was not told"
        assert not self.index.views.conflicts_found, "a conflict was not told"
        is_awaited = self._is_guard_reminded or self.index.hides_nobody
        assert is_awaited or not self.index.guard.services, "a guard would never end"
        self.index.check_invariants()


def _told_of(touched: dict[Service, dict[Origin, int]], touches: Touches | None) -> ServicesTouched:
    changes = tuple((service, origin, seq) for service, seqs in touched.items() for origin, seq in seqs.items())
    return ServicesTouched(tuple(touched), changes, touches.number if touches is not None else 0)
