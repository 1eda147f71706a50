"""What PushActor is told."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from actors.messages.values import Origin, Route
from rollbook.model import Service, View


class Subscription(NamedTuple):
    route: Route
    service: Service
    clusters: str  # the comma list as it was asked for
    version: int  # of the view that the answer carried
    client: str = ""  # the client's id: who it is, should it be the one that others wait for


class SubscriptionsChanged(msgspec.Struct, frozen=True):
    """From: IndexManager. ``added`` replaces an earlier subscription of the same session and service.

    Of one session and service at most one of ``added`` and ``removed`` is told. ``views`` are those that the answers of
    ``added`` carried (before any cluster filter), so that a later view can be compared with what a filter showed.
    """

    added: tuple[Subscription, ...] = ()
    removed: tuple[tuple[Route, Service], ...] = ()
    gone: tuple[Route, ...] = ()  # sessions that ended
    views: tuple[View, ...] = ()


class ServicesTouched(msgspec.Struct, frozen=True):
    """Subscribed services whose records changed; whether their view did is known when it is built. From:
    IndexManager.

    ``changes``: for each of them and each origin, the lowest seq that touched it. ``number`` is that of the ``Touches``
    which DistroSyncActor was told of the same batch; 0 if there were none, as when a filter of owners changes.
    """

    services: tuple[Service, ...]
    changes: tuple[tuple[Service, Origin, int], ...] = ()
    number: int = 0


class ViewsBuilt(msgspec.Struct, frozen=True):
    """The answer to ``ViewsWanted``. From: IndexManager."""

    views: tuple[View, ...]


class Acknowledgement(NamedTuple):
    route: Route
    service: Service
    version: int


class PushesAcknowledged(msgspec.Struct, frozen=True):
    """From: I/O."""

    acknowledgements: tuple[Acknowledgement, ...]


class SubscriberHeard(msgspec.Struct, frozen=True):
    """A link that WatchLinks named has sent something: it reads again. From: I/O."""

    link: bytes
