"""What ClientManager is told."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from actors.messages.io import ClientFrame
from actors.messages.values import WHOLE, Order, Origin, RecordKey, Route, Scope, Standing, Trail
from rollbook.model import Instance, Service
from rollbook.wire import SessionKind


class OrdersReceived(msgspec.Struct, frozen=True):
    """Everything the I/O thread drained in one go, in order of arrival. From: I/O."""

    orders: tuple[Order, ...]


class OpenSessionOrdered(msgspec.Struct, frozen=True):
    """The limits allow this session; open it unless its number is stale. From: ConnectionManager."""

    route: Route
    correlation: int
    client: str
    grace_ms: int
    standing: Standing  # for the answer
    kind: SessionKind = "native"
    ip: str = ""
    app: str = ""
    agent: str = ""
    trail: Trail | None = None


class NewsPassed(msgspec.Struct, frozen=True):
    """To be sent to sessions, some of which may have yet to be opened: behind the answers to that. From:
    ConnectionManager."""

    frames: tuple[ClientFrame, ...]


class ReleaseSession(msgspec.Struct, frozen=True):
    """A session has ended. ``leave`` removes its publications at once, as does ``lost`` if its connection was its
    client's own; ``moved`` leaves them to a newer session, for at most their grace. From: ConnectionManager."""

    route: Route
    how: Literal["leave", "lost", "moved"]


class GetRecordRange(msgspec.Struct, frozen=True):
    """Freeze what this origin has after ``after`` (or ``resume``, if greater), for these links. From: DistroSyncActor.

    With a scope it is a part of the origin: in full if ``full`` says so or ``after`` lies below the gc floor, for
    whoever holds records with these sums in these buckets. Without one, a range from below the floor cannot be had.
    """

    origin: Origin
    after: int
    full: bool
    resume: int
    links: tuple[str, ...]
    scope: Scope = WHOLE
    sums: tuple[int, ...] = ()


class ExpectParts(msgspec.Struct, frozen=True):
    """This origin will come in parts: note what is held of it, and answer ``PartsExpected``. From: DistroSyncActor."""

    origin: Origin


class GiveUpParts(msgspec.Struct, frozen=True):
    """No more parts of this origin will come. From: DistroSyncActor."""

    origin: Origin


class ApplyDelta(msgspec.Struct, frozen=True):
    """One chunk from a peer. From: DistroSyncActor."""

    link: str
    origin: Origin
    after: int
    upper: int
    full: bool
    resume: int
    gc_floor: int
    index: int  # of this chunk, from 0
    last: bool
    bodies: tuple[bytes, ...]
    scope: Scope = WHOLE
    whole: tuple[int, ...] = ()


class BeatPassed(msgspec.Struct, frozen=True):
    """A tick that has passed the I/O thread. From: I/O."""

    number: int


class OwnersPurged(msgspec.Struct, frozen=True):
    """Forget everything of these origins. From: MemberManager (also to DistroSyncActor)."""

    origins: tuple[Origin, ...]


class PersistentServicesChanged(msgspec.Struct, frozen=True):
    """These services are persistent from now on, these are not any more: no session publishes ephemeral instances of a
    persistent one. From: PersistentStore."""

    added: tuple[Service, ...]
    removed: tuple[Service, ...]


class HttpPublication(NamedTuple):
    """What an HTTP client is to publish from now on; None: nothing any more."""

    key: RecordKey
    session: int
    stamp: int  # 0: a new one
    instance: Instance | None


class HttpPublicationsOrdered(msgspec.Struct, frozen=True):
    """To be records of this node, in this order. Answered by ``HttpCommitted``. From: BeatKeeper."""

    publications: tuple[HttpPublication, ...]
    grace_ms: int
