"""Questions about the clients of one node, and their answers (rollbook/wire.py has their tags).

A node answers for those whom it has in hand: who has a session with it, and of whom it has published something itself.
Nodes tell each other what is published and not who subscribes, so whoever wants to know all asks every node. Answers
come in pages: ``next`` is what to ask on behind, and empty behind the last page.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rollbook.model import InstanceKey, Service

ClientKind = Literal["", "native", "sdk", "http", "lost"]


class ListClients(msgspec.Struct, frozen=True, array_like=True):
    """In order of id, those behind ``after``. Answered by CLIENTS_LISTED."""

    after: str = ""
    size: int = 100


class ClientsListed(msgspec.Struct, frozen=True, array_like=True):
    clients: tuple[str, ...]
    next: str = ""


class GetClient(msgspec.Struct, frozen=True, array_like=True):
    """Answered by CLIENT_SHOWN."""

    client_id: str


class ClientShown(msgspec.Struct, frozen=True, array_like=True):
    """``kind``: of its session; ``http``: beats keep it; ``lost``: its session has ended and what it published stays
    for its grace; empty: it is none of this node's. ``ip``, ``app`` and ``agent``: as its session was opened with.
    ``updated_ms``: when it published last or, if it never did, the number of its session."""

    client_id: str
    kind: ClientKind = ""
    ip: str = ""
    app: str = ""
    agent: str = ""
    publications: int = 0
    updated_ms: int = 0


class ListPublications(msgspec.Struct, frozen=True, array_like=True):
    """What this client publishes, in order of service. Answered by PUBLICATIONS_LISTED."""

    client_id: str
    after: Service | None = None
    size: int = 100


class Publication(msgspec.Struct, frozen=True, array_like=True):
    service: Service
    instances: tuple[InstanceKey, ...]


class PublicationsListed(msgspec.Struct, frozen=True, array_like=True):
    publications: tuple[Publication, ...]
    next: Service | None = None


class ListSubscriptions(msgspec.Struct, frozen=True, array_like=True):
    """What this client watches, in order of service. Answered by SUBSCRIPTIONS_LISTED."""

    client_id: str
    after: Service | None = None
    size: int = 100


class SubscriptionsListed(msgspec.Struct, frozen=True, array_like=True):
    services: tuple[Service, ...]
    next: Service | None = None


class ListPublishers(msgspec.Struct, frozen=True, array_like=True):
    """Whose instances of this service are listed, wherever they are connected, in order of id. Answered by
    PUBLISHERS_LISTED."""

    service: Service
    after: str = ""
    size: int = 100


class Publisher(msgspec.Struct, frozen=True, array_like=True):
    """``client_id``: of a persistent instance, which belongs to no client, a name that begins with ``kept``."""

    client_id: str
    instances: tuple[InstanceKey, ...]


class PublishersListed(msgspec.Struct, frozen=True, array_like=True):
    """A page may hold fewer than were asked for, and another one follow."""

    publishers: tuple[Publisher, ...]
    next: str = ""


ClientsBody = ListClients | GetClient | ListPublications | ListSubscriptions | ListPublishers
