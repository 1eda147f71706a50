"""What IndexManager is told."""

from __future__ import annotations

import msgspec

from actors.messages.store import RowVersion
from actors.messages.values import (
    BoundIntent,
    ClusterWait,
    IntentPlace,
    Order,
    Origin,
    Record,
    RecordKey,
    Reply,
    Route,
    Watermark,
)
from rollbook.durable_bodies import ServiceShown
from rollbook.model import InstanceKey, Service


class RecordsChanged(msgspec.Struct, frozen=True):
    """One batch of the record table: index ``records`` and ``removed``, then let everything that waited for it go.

    From: ClientManager; of what is made of durable data from PersistentStore. ``requests`` are queries, subscriptions
    and listings of admitted sessions, in order of arrival; ``persistent``: orders that pass on to PersistentStore,
    unless ephemeral instances stand in their way.
    """

    records: tuple[Record, ...] = ()  # new versions and tombstones; each replaces the same key of the same origin
    removed: tuple[tuple[Origin, RecordKey], ...] = ()  # purged or collected: gone without a trace
    replies: tuple[Reply, ...] = ()
    waits: tuple[ClusterWait, ...] = ()
    watermarks: tuple[Watermark, ...] = ()
    requests: tuple[Order, ...] = ()
    persistent: tuple[Order, ...] = ()


class OverlaysChanged(msgspec.Struct, frozen=True):
    """What is laid over the instances of services when their views are built: protection thresholds (0: none; None: the
    service has no settings any more) and what operators want of instances (None: nothing any more). From:
    PersistentStore."""

    thresholds: tuple[tuple[Service, float | None], ...] = ()
    intents: tuple[tuple[IntentPlace, BoundIntent | None], ...] = ()


class IntentsReviewed(msgspec.Struct, frozen=True):
    """Which of these are meant for an incarnation that is not listed? Answered by ``IntentsUnclaimed``, unless this
    node may not know all instances. From: PersistentStore."""

    intents: tuple[tuple[RowVersion, Service, InstanceKey, str], ...]


class IntentHeirsWanted(msgspec.Struct, frozen=True):
    """Which decisions are bound to a client that has an heir? Answered by ``IntentHeirsFound``. From:
    PersistentStore."""


class ServiceAnswer(msgspec.Struct, frozen=True):
    """What is kept of a service; ``incarnations``: whom each of its intents was meant for."""

    route: Route
    correlation: int
    shown: ServiceShown
    incarnations: tuple[str, ...]


class ServicesAnswered(msgspec.Struct, frozen=True):
    """Answer whoever asked, having said of each intent whether its instance is listed. From: PersistentStore."""

    answers: tuple[ServiceAnswer, ...]


class EchoWatermark(msgspec.Struct, frozen=True):
    """Say ``OwnersApplied`` of this. It comes after the records, so once it is said they are indexed and whom they
    touched is known. From: DistroSyncActor, for changes of this node that it times."""

    watermark: Watermark


class SubscriptionsWanted(msgspec.Struct, frozen=True):
    """The body of an order: what the session ``subscriber`` watches, behind ``after``. From: ClientManager, which knows
    whose session it is."""

    subscriber: Route
    after: Service | None
    size: int


class SubscribersReleased(msgspec.Struct, frozen=True):
    """These sessions are gone: drop their subscriptions. From: ClientManager."""

    routes: tuple[Route, ...]


class OwnersVisible(msgspec.Struct, frozen=True):
    """The whole filter: records of an origin whose grace is at most the given one are hidden. From: MemberManager."""

    hidden: tuple[tuple[Origin, int], ...]
    heard_at_ms: tuple[tuple[Origin, int], ...] = ()  # the last sign of life before that, by the monotonic clock


class ViewsWanted(msgspec.Struct, frozen=True):
    """PushActor is about to push these services. Answered by ``ViewsBuilt``."""

    services: tuple[Service, ...]
