"""What ClientManager is told."""

from __future__ import annotations

from typing import Literal

import msgspec

from actors.messages.values import Order, Origin, Route, Standing


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


class ReleaseSession(msgspec.Struct, frozen=True):
    """A session has ended. ``leave`` and ``lost`` remove its publications at once; ``moved`` leaves them to a newer
    session, for at most their grace. From: ConnectionManager."""

    route: Route
    how: Literal["leave", "lost", "moved"]


class GetRecordRange(msgspec.Struct, frozen=True):
    """Freeze what this origin has after ``after`` (or ``resume``, if greater), for these links. From: DistroSyncActor.

    A range whose ``after`` lies below the gc floor, or one asked for with ``full``, comes back as a full one.
    """

    origin: Origin
    after: int
    full: bool
    resume: int
    links: tuple[str, ...]


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


class BeatPassed(msgspec.Struct, frozen=True):
    """A tick that has passed the I/O thread. From: I/O."""

    number: int


class OwnersPurged(msgspec.Struct, frozen=True):
    """Forget everything of these origins. From: MemberManager (also to DistroSyncActor)."""

    origins: tuple[Origin, ...]
