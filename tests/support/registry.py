"""Short builders for tests of the index and of pushes: records, routes, effects, answers."""

from __future__ import annotations

from typing import Any, TypeVar

from actors.base import Effects, Now, Role, Tell
from actors.messages.values import Origin, Record, RecordKey, Route
from actors.records import make_record
from rollbook.model import Instance, Service
from rollbook.wire import Envelope, answer_body, open_envelope

T = TypeVar("T")

WALL_MS = 1_700_000_000_000
ORDERS = Service("public", "DEFAULT_GROUP", "orders")
STOCK = Service("public", "DEFAULT_GROUP", "stock")
HERE = Origin("n1", 5)
THERE = Origin("n2", 7)


def at(ms: int) -> Now:
    return Now(ms, WALL_MS + ms)


def route(number: int) -> Route:
    return Route(b"link-%d" % number, number)


def instance(port: int, cluster: str = "DEFAULT", **fields: Any) -> Instance:
    return Instance("10.0.0.1", port, cluster, **fields)


def record(
    client: str,
    *instances: Instance,
    service: Service = ORDERS,
    origin: Origin = HERE,
    session: int = 1,
    seq: int = 1,
    stamp: int = 1,
    grace_ms: int = 15_000,
) -> Record:
    """One version of a publication; without instances a tombstone."""
    return make_record(origin, RecordKey(client, service), session, seq, stamp, grace_ms, instances)


def told(effects: Effects, kind: type[T], to: Role | None = None) -> list[T]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Tell) and isinstance(effect.message, kind) and to in (None, effect.to)
    ]


def opened(payload: bytes) -> tuple[Envelope, Any]:
    """A frame of the node: its envelope and its typed body."""
    envelope = open_envelope(payload)
    return envelope, answer_body(envelope)
