"""Questions about which services there are, and their answers (rollbook/wire.py has their tags)."""

from __future__ import annotations

import msgspec

from rollbook.model import Service


class FindServices(msgspec.Struct, frozen=True, array_like=True):
    """Services with a publisher whose group and name match: ``*`` is anything, ``x*``, ``*x`` and ``*x*`` what begins,
    ends or has x, all else is equal. With ``since``, the number of an earlier answer of this node, only what has
    changed is answered, if the node still knows."""

    namespace: str
    group_pattern: str = "*"
    name_pattern: str = "*"
    size: int = 100
    since: int = 0


class ServicesFound(msgspec.Struct, frozen=True, array_like=True):
    """``is_whole``: the first ``size`` of all ``total`` that match, sorted. Else what has come and gone since then.

    ``warming``: the cluster has just started, and what is not among them may only be late.
    """

    number: int
    is_whole: bool
    total: int = 0
    found: tuple[tuple[str, str], ...] = ()  # group and name
    gone: tuple[tuple[str, str], ...] = ()
    warming: bool = False


class ListCatalog(msgspec.Struct, frozen=True, array_like=True):
    """What there is of each service of a namespace that matches (patterns as in FindServices), sorted by group and
    name, from the one with the number ``first`` on (counted from 0). ``with_empty``: also those that have settings and
    no instance. Answered by CATALOG."""

    namespace: str
    group_pattern: str = "*"
    name_pattern: str = "*"
    first: int = 0
    size: int = 100
    with_empty: bool = True


class CatalogEntry(msgspec.Struct, frozen=True, array_like=True):
    """Counts of what is listed. ``healthy``: found so, also where all are shown so because so few are."""

    group: str
    name: str
    clusters: int = 0
    instances: int = 0
    healthy: int = 0
    protection_threshold: float = 0.0


class Catalog(msgspec.Struct, frozen=True, array_like=True):
    """``total``: how many match. Less than was asked for may be told at once: whoever wants the rest asks on behind
    it. ``warming``: the cluster has just started, and what is not there may only be late."""

    total: int
    services: tuple[CatalogEntry, ...] = ()
    warming: bool = False


class CountServices(msgspec.Struct, frozen=True, array_like=True):
    """How much is listed. Answered by SERVICES_COUNTED."""


class NamespaceCount(msgspec.Struct, frozen=True, array_like=True):
    namespace: str
    services: int
    instances: int


class ServicesCounted(msgspec.Struct, frozen=True, array_like=True):
    """Services with an instance, and instances; ``namespaces``: likewise of each that has any, sorted, up to 1,000."""

    services: int
    instances: int
    namespaces: tuple[NamespaceCount, ...] = ()


class ListSubscribers(msgspec.Struct, frozen=True, array_like=True):
    """Who subscribes to a service at the asked node, sorted by client id. Answered by SUBSCRIBERS."""

    service: Service
    first: int = 0
    size: int = 100


class Subscriber(msgspec.Struct, frozen=True, array_like=True):
    """What its session has said of itself when it was opened; gateways, which subscribe for others, are none."""

    client_id: str
    ip: str = ""
    app: str = ""
    agent: str = ""


class Subscribers(msgspec.Struct, frozen=True, array_like=True):
    total: int
    subscribers: tuple[Subscriber, ...] = ()
