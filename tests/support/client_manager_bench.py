"""ClientManager under test: sessions, orders and copies of what it holds, as short calls."""

from __future__ import annotations

import random
from typing import Any, TypeVar

from actors.base import Effects, NodeIdentity, Now, Role, Tell
from actors.client_manager import ClientManager, ClientsSettings
from actors.messages.clients import (
    ApplyDelta,
    GetRecordRange,
    OpenSessionOrdered,
    OrdersReceived,
)
from actors.messages.distro import RecordRange
from actors.messages.index import RecordsChanged
from actors.messages.io import AnswerClients
from actors.messages.values import Order, Route, Standing, Trail
from rollbook.model import Instance, Service
from rollbook.wire import (
    Publish,
    SessionKind,
    SessionOpened,
    answer_body,
    open_envelope,
)
from tests.support.settings import settings_of

SERVICE = Service("public", "DEFAULT_GROUP", "orders")
ONE, TWO = Instance("10.0.0.1", 1), Instance("10.0.0.1", 2)
T = TypeVar("T")


def now(ms: int = 1_000) -> Now:
    return Now(ms, 1_700_000_000_000 + ms)


def manager(node_id: str = "n1", epoch: int = 5, **overrides: Any) -> ClientManager:
    identity = NodeIdentity(node_id, epoch, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
    return ClientManager(identity, settings_of("clients", ClientsSettings, **overrides), random.Random(0))


def told(effects: Effects, kind: type[T], to: Role | None = None) -> list[T]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Tell) and isinstance(effect.message, kind) and to in (None, effect.to)
    ]


def opened(
    clients: ClientManager,
    client: str,
    session: int,
    link: bytes = b"l1",
    ms: int = 1_000,
    kind: SessionKind = "native",
    trail: Trail | None = None,
) -> Route:
    route = Route(link, session)
    grace_ms = 45_000 if kind == "sdk" else 15_000
    opening = OpenSessionOrdered(route, 1, client, grace_ms, Standing(ready=True), kind, trail=trail)
    effects = clients.handle(opening, now(ms))
    frame = told(effects, AnswerClients)[0].frames[0]
    assert isinstance(answer(frame.payload), SessionOpened)
    clients.check_invariants()
    return route


def answer(payload: bytes) -> Any:
    return answer_body(open_envelope(payload))


def ordered(clients: ClientManager, route: Route, *bodies: Any, ms: int = 1_000) -> tuple[RecordsChanged, Effects]:
    orders = tuple(Order(route, number, body) for number, body in enumerate(bodies, 1))
    effects = clients.handle(OrdersReceived(orders), now(ms))
    clients.check_invariants()
    return told(effects, RecordsChanged, Role.INDEX)[0], effects


def publish(*instances: Instance, **more: Any) -> Publish:
    return Publish(SERVICE, instances, **more)


def copied(source: ClientManager, target: ClientManager, link: str = "peer", ms: int = 1_000) -> Effects:
    """One delta of everything native, as DistroSyncActor would carry it."""
    effects = source.handle(GetRecordRange(source.origin, 0, False, 0, (link,)), now(ms))
    part = told(effects, RecordRange)[0]
    last = len(part.chunks) - 1
    effects = []
    for index, bodies in enumerate(part.chunks):
        delta = ApplyDelta(
            link, part.origin, part.after, part.upper, part.full, 0, part.gc_floor, index, index == last, bodies
        )
        effects = [*effects, *target.handle(delta, now(ms))]
    target.check_invariants()
    return effects
