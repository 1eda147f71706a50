"""Durable data as rows: what a node gives for a backup, and takes back from one, with author, times and incarnation.

A row says all that is kept of one thing. Ephemeral instances are none of it. On the wire each is an array in this
order; fields are only appended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from rollbook.durable import (
    Intent,
    Namespace,
    ServiceSettings,
    check_intent,
    check_namespace,
    check_settings,
    decisions_of,
)
from rollbook.errors import InvalidField
from rollbook.model import (
    CLIENT_ID_LENGTH_MAX,
    DEFAULT_NAMESPACE,
    Instance,
    InstanceKey,
    Service,
    check_instance,
    check_service,
)

MOMENT_MS_MAX = 1 << 44  # a stamp holds it beside its 16 bits of a counter
INCARNATION_LENGTH_MAX = CLIENT_ID_LENGTH_MAX  # a client id, or "kept" and a moment

Moment = Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MS_MAX)]
Author = Annotated[str, msgspec.Meta(max_length=CLIENT_ID_LENGTH_MAX)]
Incarnation = Annotated[str, msgspec.Meta(min_length=1, max_length=INCARNATION_LENGTH_MAX)]
RowName = tuple[str | int, ...]


class ServiceRow(msgspec.Struct, frozen=True, array_like=True):
    """``author``: the client that wrote it last, ``written_ms``: when, by the wall clock of the node it asked."""

    service: Service
    settings: ServiceSettings
    author: Author
    written_ms: Moment


class NamespaceRow(msgspec.Struct, frozen=True, array_like=True):
    namespace: Namespace
    author: Author
    written_ms: Moment


class IntentRow(msgspec.Struct, frozen=True, array_like=True):
    """One decision: the intent says one thing. ``incarnation`` of the instance that is meant: ``kept`` and the
    ``added_ms`` of a persistent one, else the id of the client that publishes it. ``expires_ms`` 0: never."""

    service: Service
    key: InstanceKey
    intent: Intent
    incarnation: Incarnation
    author: Author
    written_ms: Moment
    expires_ms: Moment


class InstanceRow(msgspec.Struct, frozen=True, array_like=True):
    """``added_ms``: when it came; written again it stays the same incarnation."""

    service: Service
    instance: Instance
    author: Author
    written_ms: Moment
    added_ms: Moment


KeptRow = ServiceRow | NamespaceRow | IntentRow | InstanceRow


class DurableRows(msgspec.Struct, frozen=True, array_like=True):
    """Rows of any kinds, in the order in which they are to be written: what says how instances are to be probed stands
    before them; intents stand behind them, since of one whose persistent instance is not there the row goes."""

    services: tuple[ServiceRow, ...] = ()
    namespaces: tuple[NamespaceRow, ...] = ()
    instances: tuple[InstanceRow, ...] = ()
    intents: tuple[IntentRow, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.kinds()))

    def __iter__(self) -> Iterator[KeptRow]:
        for rows in self.kinds():
            yield from rows

    def kinds(self) -> tuple[tuple[KeptRow, ...], ...]:
        return self.services, self.namespaces, self.instances, self.intents


class ReadDurable(msgspec.Struct, frozen=True, array_like=True):
    """All durable data as the asked node has it at one index of the store. Answered by DURABLE_PAGE: ``index`` 0 asks
    for the first page of what there is now, the index of that page and ``position`` for a later one. With ``stale`` it
    is answered although the store cannot be followed."""

    index: Annotated[int, msgspec.Meta(ge=0)] = 0
    position: Annotated[int, msgspec.Meta(ge=0)] = 0
    stale: bool = False


class RestoreRows(msgspec.Struct, frozen=True, array_like=True):
    """Keep these rows exactly: all of them or none. One that is kept already as it is here is done; refused if another
    one stands in the place of any."""

    rows: DurableRows


class DurablePage(msgspec.Struct, frozen=True, array_like=True):
    """Rows from ``position`` on, of ``total``, as ``store`` held them at ``index``. ``unreadable``: how many more there
    are that the node cannot read. ``stale_since_ms``: by the node's wall clock, since when it cannot follow the store;
    0 while it does."""

    store: str
    index: int
    position: int
    total: int
    rows: DurableRows
    is_complete: bool
    unreadable: int = 0
    stale_since_ms: Moment = 0


def durable_rows(rows: Iterator[KeptRow] | list[KeptRow]) -> DurableRows:
    """These rows by their kinds."""
    services: list[ServiceRow] = []
    namespaces: list[NamespaceRow] = []
    intents: list[IntentRow] = []
    instances: list[InstanceRow] = []
    for row in rows:
        match row:
            case ServiceRow():
                services.append(row)
            case NamespaceRow():
                namespaces.append(row)
            case IntentRow():
                intents.append(row)
            case InstanceRow():
                instances.append(row)
    return DurableRows(tuple(services), tuple(namespaces), tuple(instances), tuple(intents))


def row_name(row: KeptRow) -> RowName:
    """What the row is about: of two with one name a store keeps one."""
    match row:
        case ServiceRow():
            return ("service", *row.service)
        case NamespaceRow():
            return ("namespace", row.namespace.id)
        case IntentRow():
            return ("intent", *row.service, *row.key, *decisions_of(row.intent))
        case InstanceRow():
            return ("instance", *row.service, *row.instance.key)


def check_rows(rows: DurableRows) -> DurableRows:
    """Raise InvalidField unless each row keeps the rules of the model and has a name of its own; return them."""
    names: set[RowName] = set()
    for row in rows:
        _check_row(row)
        name = row_name(row)
        if name in names:
            raise InvalidField(f"{row_text(row)} occurs twice", field="rows")
        names.add(name)
    return rows


def row_text(row: KeptRow) -> str:
    """Which one, for people."""
    return " ".join(map(str, row_name(row)))


def _check_row(row: KeptRow) -> None:
    match row:
        case ServiceRow():
            check_service(row.service)
            check_settings(row.settings)
        case NamespaceRow():
            check_namespace(row.namespace)
            if row.namespace.id == DEFAULT_NAMESPACE:
                raise InvalidField(f"the namespace {DEFAULT_NAMESPACE} is built in", field="id")
        case IntentRow():
            check_service(row.service)
            check_instance(Instance(*row.key))
            check_intent(row.intent)
            if len(decisions_of(row.intent)) > 1:
                raise InvalidField(f"{row_text(row)}: each thing is kept for itself", field="intent")
        case InstanceRow():
            check_service(row.service)
            check_instance(row.instance, ephemeral=False)
