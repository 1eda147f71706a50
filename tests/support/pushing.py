"""A PushActor under test: its clock, its reminders, and what it sends."""

from __future__ import annotations

import random
from typing import Any

from actors.base import Effects, NodeIdentity, Remind, Role
from actors.messages.index import ViewsWanted
from actors.messages.io import PushToClients, WatchLinks
from actors.messages.push import (
    Acknowledgement,
    PushesAcknowledged,
    ServicesTouched,
    Subscription,
    SubscriptionsChanged,
    ViewsBuilt,
)
from actors.messages.values import Route
from actors.push_actor import PushActor, PushSettings
from rollbook.model import Instance, Service, View
from rollbook.wire import Tag
from tests.support.registry import ORDERS, at, instance, opened, route, told
from tests.support.settings import settings_of

ONE, TWO, EAST = instance(1), instance(2), instance(3, "east")
A, B = route(1), route(2)


class PushUnderTest:
    """The actor with a clock that keeps its reminders, and with its tables checked after every turn."""

    def __init__(self, **overrides: Any) -> None:
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        self.actor = PushActor(identity, settings_of("push", PushSettings, **overrides), random.Random(0))
        self.ms = 1_000
        self.reminders: list[tuple[int, Any]] = []
        assert list(self.actor.start(at(self.ms))) == []

    def handle(self, message: Any) -> Effects:
        effects = self.actor.handle(message, at(self.ms))
        for effect in effects:
            if isinstance(effect, Remind):
                self.reminders.append((self.ms + effect.delay_ms, effect.message))
        self.actor.check_invariants()
        assert len(told(effects, PushToClients)) <= 1, "all frames of a turn leave in one message"
        return effects

    def advance(self, ms: int) -> list[Any]:
        """Let time pass; return everything that reminders brought about."""
        until_ms = self.ms + ms
        effects: list[Any] = []
        while self.reminders and (earliest := min(self.reminders, key=lambda due: due[0]))[0] <= until_ms:
            self.reminders.remove(earliest)
            self.ms = earliest[0]
            effects += self.handle(earliest[1])
        self.ms = until_ms
        return effects

    def subscribe(self, who: Route, view: View, clusters: str = "") -> Effects:
        added = Subscription(who, view.service, clusters, view.version)
        return self.handle(SubscriptionsChanged(added=(added,), views=(view,)))

    def touch(self, *services: Service) -> Effects:
        return self.handle(ServicesTouched(services or (ORDERS,)))

    def build(self, *views: View) -> list[tuple[Route, View]]:
        return pushes(self.handle(ViewsBuilt(views)))

    def push(self, view: View) -> list[tuple[Route, View]]:
        """A change that is due at once, all the way."""
        assert wanted(self.touch(view.service)) == [view.service]
        return self.build(view)

    def acknowledge(self, who: Route, version: int, service: Service = ORDERS) -> Effects:
        return self.handle(PushesAcknowledged((Acknowledgement(who, service, version),)))

    @property
    def counters(self) -> dict[str, int]:
        return self.actor.counters


def view(version: int, *instances: Instance, service: Service = ORDERS) -> View:
    return View(service, version, instances)


def pushes(effects: Any) -> list[tuple[Route, View]]:
    found = []
    for message in told(effects, PushToClients, Role.IO):
        for frame in message.frames:
            envelope, body = opened(frame.payload)
            assert (envelope.tag, envelope.correlation, envelope.session) == (Tag.PUSH, 0, frame.route.session)
            found.append((frame.route, body))
    return found


def wanted(effects: Any) -> list[Service]:
    return [service for message in told(effects, ViewsWanted, Role.INDEX) for service in message.services]


def watched(effects: Any) -> list[bytes]:
    return [link for message in told(effects, WatchLinks, Role.IO) for link in message.links]
