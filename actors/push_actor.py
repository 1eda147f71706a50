"""PushActor: what each subscriber has been sent and has acknowledged.

Owns: topics, subscribers and deliveries (push_table.py). Accepts: messages/push.py. Tells: IndexManager (which views it
wants: view_questions.py), I/O (pushes, which links to listen to), DistroSyncActor (what subscribers have yet to be
told: untold.py).

A touched service is pushed at once, then at most once per interval. One push per subscriber and service is in
flight; what changes meanwhile is not queued but overtaken: after the ack, or the time-out, the newest view goes out.
Whoever acknowledges nothing is left alone until its next frame, and costs no more than its versions.
"""

from __future__ import annotations

import random
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.messages.io import ClientFrame, PushToClients, WatchLinks
from actors.messages.push import (
    PushesAcknowledged,
    ServicesTouched,
    SubscriberHeard,
    Subscription,
    SubscriptionsChanged,
    ViewsBuilt,
)
from actors.messages.values import Route
from actors.push_table import (
    PushAgenda,
    PushDelivery,
    PushSubscriber,
    PushTopic,
    ReportKey,
    SilentLinks,
    check_tables,
)
from actors.untold import UntoldTouches
from actors.view_questions import ViewQuestions
from rollbook.model import Service, clusters_of
from rollbook.wire import Tag, encode


class PushSettings(msgspec.Struct, frozen=True):
    interval_ms: int
    ack_timeout_ms: int
    attempts_max: int
    slow_consumer_ms: int
    in_flight_per_subscriber_max: int
    report_interval_ms: int
    laggard_ms: int


class _PushDue(msgspec.Struct, frozen=True):
    due_ms: int


PushInput = (
    SubscriptionsChanged
    | ServicesTouched
    | ViewsBuilt
    | PushesAcknowledged
    | SubscriberHeard
    | StatusRequested
    | _PushDue
)


class PushActor:
    role = Role.PUSH

    def __init__(self, identity: NodeIdentity, settings: PushSettings, chance: random.Random) -> None:
        del identity, chance  # Nothing that is pushed depends on who this node is, and nothing is left to chance.
        self.settings = settings
        self.topics: dict[Service, PushTopic] = {}
        self.subscribers: dict[Route, PushSubscriber] = {}
        self.silent = SilentLinks()
        self.untold = UntoldTouches(settings.report_interval_ms, settings.laggard_ms)
        self.counters = dict.fromkeys(
            (
                "push_sent",
                "push_acknowledged",
                "push_retries",
                "push_suppressed",
                "push_subscribers_slow",
                "push_subscribers_cut",
                "push_pending",
            ),
            0,
        )
        self._agenda = PushAgenda()
        self._questions = ViewQuestions(self._agenda, settings.interval_ms)
        self._reminders_ms: list[int] = []  # under way, latest first; a new one is always the earliest
        self._frames: list[ClientFrame] = []  # of this turn, as are the logs
        self._logs: list[Log] = []

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: PushInput, now: Now) -> Effects:
        now_ms = now.monotonic_ms
        match message:
            case SubscriptionsChanged():
                self._on_subscriptions(message, now_ms)
            case ServicesTouched():
                self._on_touched(message, now_ms)
            case ViewsBuilt():
                self._on_views(message, now_ms)
            case PushesAcknowledged():
                self._on_acknowledged(message, now_ms)
            case SubscriberHeard():
                for route in self.silent.of(message.link):
                    self._revive(self.subscribers[route], now_ms)
            case StatusRequested():
                counters = {**message.parts.get("counters", {}), **self.counters}
                return [Tell(Role.DISTRO, message.with_parts(counters=counters))]
            case _PushDue():
                self._on_due(message, now_ms)
            case _:
                assert_never(message)
        return self._turn_ended(now_ms)

    # -- who wants what

    def _on_subscriptions(self, message: SubscriptionsChanged, now_ms: int) -> None:
        for route in message.gone:
            for service in tuple(self.subscribers[route].deliveries) if route in self.subscribers else ():
                self._remove(route, service, now_ms)
        for route, service in message.removed:
            self._remove(route, service, now_ms)
            self._changed(route, now_ms)
        for subscription in message.added:
            self._add(subscription, now_ms)
            self._changed(subscription.route, now_ms)
        for view in message.views:
            topic = self.topics.get(view.service)
            if topic is not None and topic.is_news(view):
                topic.show(view)
                if len(topic.deliveries) > 1:
                    self._questions.touch(topic, now_ms)  # The others learn of it in their turn.

    def _changed(self, route: Route, now_ms: int) -> None:
        """What was in flight may have ended with its subscription."""
        subscriber = self.subscribers.get(route)
        if subscriber is not None and subscriber.state == "slow" and not subscriber.in_flight:
            self._revive(subscriber, now_ms)  # It has just spoken, and nothing is left that could cut it.
        self._offer_waiting(route, now_ms)

    def _add(self, subscription: Subscription, now_ms: int) -> None:
        route, service, text, version, client = subscription
        self._remove(route, service, now_ms, keep=True)
        topic = self.topics.get(service)
        if topic is None:
            topic = self.topics[service] = PushTopic(service)
        subscriber = self.subscribers.get(route)
        if subscriber is None:
            subscriber = self.subscribers[route] = PushSubscriber(route, client)
        topic.subscribe(subscriber, clusters_of(text), version)

    def _remove(self, route: Route, service: Service, now_ms: int, *, keep: bool = False) -> None:
        """End a subscription; with ``keep`` its topic and subscriber stay, though it was their last one."""
        subscriber = self.subscribers.get(route)
        delivery = subscriber.deliveries.pop(service, None) if subscriber is not None else None
        if subscriber is None or delivery is None:
            return
        self._land(delivery)
        subscriber.waiting.pop(delivery, None)
        topic = delivery.topic
        topic.unsubscribe(delivery)
        self.untold.given_up(delivery, now_ms)
        if not topic.deliveries and not keep:
            del self.topics[service]
            self.untold.forget(service)
            self._questions.forget(service)
            self._agenda.forget(service)
        if not subscriber.deliveries and not keep:
            self.silent.discard(route)
            del self.subscribers[route]
            self._agenda.forget(route)

    # -- what is news

    def _on_touched(self, message: ServicesTouched, now_ms: int) -> None:
        wholly = True
        for service, origin, seq in message.changes:
            if service in self.topics:
                self.untold.touch(service, origin, seq)
            else:
                wholly = False
        if message.number:
            self.untold.taken_in(message.number, wholly=wholly)
        for service in message.services:
            topic = self.topics.get(service)
            if topic is not None:
                self._questions.touch(topic, now_ms)

    def _on_views(self, message: ViewsBuilt, now_ms: int) -> None:
        self._questions.answered()
        for view in message.views:
            topic = self.topics.get(view.service)
            if topic is None:
                continue  # Its last subscriber left meanwhile.
            topic.asked = False
            is_news = topic.is_news(view)
            if is_news:
                topic.show(view)
            behind = [delivery for delivery in topic.deliveries.values() if delivery.is_behind]
            for delivery in behind:
                self._offer(delivery, now_ms)
            if is_news:  # For the others this version counts as told: their clusters have not changed.
                self.counters["push_suppressed"] += len(topic.deliveries) - len(behind)
            self.untold.viewed(topic, now_ms)
            if is_news or behind:
                self._questions.rest(topic, now_ms)

    def _offer(self, delivery: PushDelivery, now_ms: int) -> None:
        """Send the newest view, unless one is in flight: its ack, or its time-out, will send what is newest then."""
        subscriber = delivery.subscriber
        if delivery.attempts or subscriber.state != "reading":
            return
        if self._has_place(subscriber):
            self._send(delivery, now_ms)
        else:
            subscriber.waiting[delivery] = None

    def _send(self, delivery: PushDelivery, now_ms: int) -> None:
        subscriber = delivery.subscriber
        body = delivery.topic.body(delivery.cluster_filter)
        if not delivery.attempts:
            self.counters["push_pending"] += 1
        delivery.depart(now_ms)
        self.counters["push_sent"] += 1
        self._frames.append(ClientFrame(subscriber.route, encode(Tag.PUSH, 0, subscriber.route.session, body)))
        self._agenda.schedule(subscriber.route, now_ms + self.settings.ack_timeout_ms)

    def _land(self, delivery: PushDelivery) -> None:
        """It is no longer in flight, for whatever reason."""
        if delivery.attempts:
            delivery.land()
            self.counters["push_pending"] -= 1

    # -- who reads

    def _on_acknowledged(self, message: PushesAcknowledged, now_ms: int) -> None:
        heard: dict[Route, PushSubscriber] = {}
        for route, service, version in message.acknowledgements:
            subscriber = self.subscribers.get(route)
            if subscriber is None:
                continue
            if subscriber.state != "reading":
                heard[route] = subscriber
            delivery = subscriber.deliveries.get(service)
            if delivery is not None and delivery.attempts:
                self._acknowledge(delivery, version, now_ms)
        for subscriber in heard.values():  # At the end: what these acks confirm need not be sent again.
            self._revive(subscriber, now_ms)

    def _acknowledge(self, delivery: PushDelivery, version: int, now_ms: int) -> None:
        delivery.version = max(delivery.version, min(version, delivery.sent_version))
        self.untold.acknowledged(delivery, now_ms)
        if delivery.is_behind and delivery.version < delivery.sent_version:
            # An ack of an earlier attempt: it reads, but does not have yet what the last attempt carried.
            delivery.attempts, delivery.first_sent_ms = 1, delivery.sent_ms
            return
        self.counters["push_acknowledged"] += 1
        self._land(delivery)
        if delivery.is_behind:
            self._offer(delivery, now_ms)
        self._offer_waiting(delivery.subscriber.route, now_ms)

    def _offer_waiting(self, route: Route, now_ms: int) -> None:
        """A place may be free: whoever waits for one takes it."""
        subscriber = self.subscribers.get(route)
        while subscriber and subscriber.waiting and self._has_place(subscriber):
            self._send(next(iter(subscriber.waiting)), now_ms)

    def _has_place(self, subscriber: PushSubscriber) -> bool:
        return len(subscriber.in_flight) < self.settings.in_flight_per_subscriber_max

    def _revive(self, subscriber: PushSubscriber, now_ms: int) -> None:
        """It reads again: it gets fresh views of all that moved, and whatever was under way counts as lost."""
        self.silent.discard(subscriber.route)
        subscriber.state = "reading"
        for delivery in tuple(subscriber.in_flight):
            self._land(delivery)
        for delivery in subscriber.deliveries.values():
            if delivery.is_behind:
                self._offer(delivery, now_ms)

    def _slow_down(self, subscriber: PushSubscriber) -> None:
        subscriber.state = "slow"
        subscriber.waiting.clear()  # Reviving looks at every delivery.
        self.counters["push_subscribers_slow"] += 1
        self.silent.add(subscriber.route)

    def _cut(self, subscriber: PushSubscriber, now_ms: int) -> None:
        waited_ms = now_ms - subscriber.unacknowledged_since_ms
        subscriber.state = "cut"
        subscriber.waiting.clear()
        for delivery in tuple(subscriber.in_flight):
            self._land(delivery)
        for delivery in subscriber.deliveries.values():
            self.untold.given_up(delivery, now_ms)
        self.counters["push_subscribers_cut"] += 1
        self.silent.add(subscriber.route)
        fields = {
            "client": subscriber.client,
            "session": subscriber.route.session,
            "subscriptions": len(subscriber.deliveries),
            "waited_ms": waited_ms,
        }
        self._logs.append(Log("WARNING", "a subscriber does not read; its pending pushes are given up", fields))

    # -- what is due

    def _on_due(self, message: _PushDue, now_ms: int) -> None:
        if message.due_ms in self._reminders_ms:
            self._reminders_ms.remove(message.due_ms)
        for key in self._agenda.take_due(now_ms):
            if isinstance(key, Route):
                self._review(self.subscribers[key], now_ms)
            elif isinstance(key, Service):
                self._questions.want(self.topics[key])

    def _review(self, subscriber: PushSubscriber, now_ms: int) -> None:
        """Something of this subscriber may have waited too long for its ack."""
        if not subscriber.in_flight:
            return
        if now_ms - subscriber.unacknowledged_since_ms >= self.settings.slow_consumer_ms:
            self._cut(subscriber, now_ms)
            return
        for delivery in tuple(subscriber.in_flight) if subscriber.state == "reading" else ():
            if now_ms - delivery.sent_ms < self.settings.ack_timeout_ms:
                break  # In order of their last send: the rest is younger still.
            if delivery.attempts >= self.settings.attempts_max:
                self._slow_down(subscriber)
                break
            self.counters["push_retries"] += 1
            self._send(delivery, now_ms)
        self._agenda.schedule(subscriber.route, self._review_due_ms(subscriber))

    def _review_due_ms(self, subscriber: PushSubscriber) -> int:
        cut_ms = subscriber.unacknowledged_since_ms + self.settings.slow_consumer_ms
        if subscriber.state != "reading":
            return cut_ms
        return min(cut_ms, next(iter(subscriber.in_flight)).sent_ms + self.settings.ack_timeout_ms)

    # -- the end of every turn

    def _turn_ended(self, now_ms: int) -> Effects:
        """All frames of the turn leave in one message; one reminder stands for the earliest thing due."""
        effects: list[Effect] = []
        if self._frames:
            effects.append(Tell(Role.IO, PushToClients(tuple(self._frames))))
            self._frames = []
        links = self.silent.take_new()
        if links:
            effects.append(Tell(Role.IO, WatchLinks(links)))
        question = self._questions.take()
        if question is not None:
            effects.append(Tell(Role.INDEX, question))
        effects += self._report(now_ms)
        due_ms = self._agenda.earliest_ms()
        if due_ms is not None and (not self._reminders_ms or due_ms < self._reminders_ms[-1]):
            self._reminders_ms.append(due_ms)
            effects.append(Remind(max(0, due_ms - now_ms), _PushDue(due_ms)))
        effects += self._logs
        self._logs = []
        return effects

    def _report(self, now_ms: int) -> list[Effect]:
        due_ms = self.untold.due_ms()
        report = self.untold.report(now_ms) if due_ms is not None and due_ms <= now_ms else None
        due_ms = self.untold.due_ms()
        if due_ms is not None:
            self._agenda.schedule(ReportKey.REPORT, due_ms)
        return [Tell(Role.DISTRO, report)] if report is not None else []

    def check_invariants(self) -> None:
        assert not self._frames, "a push was not sent"
        self.untold.check_invariants()
        self._questions.check_invariants(self.topics)
        check_tables(self.topics, self.subscribers)
        assert self.counters["push_pending"] == sum(len(known.in_flight) for known in self.subscribers.values())
        watched = {route for routes in self.silent.routes.values() for route in routes}
        silent = {route for route, known in self.subscribers.items() if known.state != "reading"}
        assert watched == silent, "exactly those who do not read are listened for"
        for route, subscriber in self.subscribers.items():
            free = self.settings.in_flight_per_subscriber_max - len(subscriber.in_flight)
            assert free >= 0, "too many in flight"
            assert not (subscriber.waiting and free), "a push waits for nothing"
            assert not subscriber.in_flight or route in self._agenda, "nobody looks after a push in flight"
        assert sorted(self._reminders_ms, reverse=True) == self._reminders_ms, "the last reminder is the earliest"
        due_ms = self._agenda.earliest_ms()
        assert due_ms is None or self._reminders_ms[-1] <= due_ms, "something is due and nobody is reminded"
