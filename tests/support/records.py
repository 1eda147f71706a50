"""A ClientManager with records of many clients, and the ranges and parts that it sends and takes."""

from __future__ import annotations

import random
from typing import Any

from actors.base import Effect, Effects, NodeIdentity, Now, Remind, Tell
from actors.client_manager import ClientManager, ClientsSettings
from actors.messages.clients import ApplyDelta, ExpectParts, GetRecordRange, OpenSessionOrdered, OrdersReceived
from actors.messages.distro import PartsExpected, RecordRange
from actors.messages.values import BUCKETS, Order, Origin, Route, Scope, Standing
from actors.ranges import ScanDue
from rollbook.model import Instance, Service
from rollbook.wire import Publish, Withdraw
from tests.support.settings import settings_of

SERVICE = Service("public", "DEFAULT_GROUP", "orders")
EVERYTHING = Scope(0, BUCKETS)


class RecordNode:
    """A ClientManager whose reminders of a next slice are counted and carried out when a test says so."""

    def __init__(self, node_id: str = "n1", **overrides: Any) -> None:
        identity = NodeIdentity(node_id, 5, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        settings = settings_of("clients", ClientsSettings, **overrides)
        self.actor = ClientManager(identity, settings, random.Random(0))
        self.origin = self.actor.origin
        self.ms = 1_000
        self.slices = 0
        self._due = False

    def handle(self, message: Any) -> Effects:
        effects = self.actor.handle(message, Now(self.ms, 1_700_000_000_000 + self.ms))
        if any(isinstance(effect, Remind) and isinstance(effect.message, ScanDue) for effect in effects):
            assert not self._due, "one reminder is out"
            self._due = True
        self.actor.check_invariants()
        return effects

    def work_off(self) -> list[Effect]:
        """Take the turns of all slices that are left."""
        effects: list[Effect] = []
        while self._due:
            self._due = False
            self.slices += 1
            effects += self.handle(ScanDue())
        return effects

    def publish(self, *clients: str, port: int = 80) -> None:
        for client in clients:
            route = Route(client.encode(), 1)
            self.handle(OpenSessionOrdered(route, 1, client, 15_000, Standing(ready=True)))
            order = Publish(SERVICE, (Instance("10.0.0.1", port),), "replace")
            self.handle(OrdersReceived((Order(route, 1, order),)))

    def withdraw(self, client: str) -> None:
        self.handle(OrdersReceived((Order(Route(client.encode(), 1), 1, Withdraw(SERVICE)),)))

    def freeze(self, origin: Origin, after: int = 0, *, link: str = "l", **fields: Any) -> list[RecordRange]:
        """What comes of asking for one range, at once or after some slices."""
        return ranges(self.handle(wanted(origin, after, link=link, **fields)))

    def take(self, part: RecordRange, link: str = "peer") -> Effects:
        """Everything of a range that another node froze, as DistroSyncActor would carry it."""
        effects: list[Effect] = []
        last = len(part.chunks) - 1
        for index, bodies in enumerate(part.chunks):
            effects += self.handle(
                ApplyDelta(
                    link,
                    part.origin,
                    part.after,
                    part.upper,
                    part.full,
                    part.resume,
                    part.gc_floor,
                    index,
                    index == last,
                    bodies,
                    part.scope,
                    part.whole,
                )
            )
        return effects

    def pull(self, source: RecordNode, *, full: bool = False, scope: Scope = EVERYTHING) -> Effects:
        """All of a source's own records in one part."""
        (noted,) = told([*self.handle(ExpectParts(source.origin)), *self.work_off()], PartsExpected)
        question = wanted(source.origin, noted.have, full=full, scope=scope, sums=noted.sums)
        (part,) = ranges([*source.handle(question), *source.work_off()])
        return self.take(part)


def wanted(origin: Origin, after: int = 0, *, link: str = "l", **fields: Any) -> GetRecordRange:
    values = {"full": False, "resume": 0, **fields}
    return GetRecordRange(origin, after, links=(link,), **values)


def ranges(effects: Effects) -> list[RecordRange]:
    return told(effects, RecordRange)


def told(effects: Effects, kind: type[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, Tell) and isinstance(effect.message, kind)]
