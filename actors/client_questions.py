"""What ClientManager says of the clients that this node has in hand: who they are, what they publish. Pure rules.

A page costs one look at each session and each record of this node, and no sorting of them all.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Any

from actors.http_records import is_http_client
from actors.messages.values import RecordKey
from actors.owner_table import OwnerTable
from actors.records import STAMP_COUNTER_BITS
from actors.sessions import SessionTable
from actors.verdicts import is_verdicts_client
from rollbook.errors import InvalidField
from rollbook.known_clients import (
    ClientKind,
    ClientShown,
    ClientsListed,
    GetClient,
    ListClients,
    ListPublications,
    Publication,
    PublicationsListed,
)
from rollbook.model import Service
from rollbook.wire import PAGE_SIZE_MAX, Tag

INSTANCES_PER_PAGE_MAX = 10_000  # one publication has up to a thousand


def answered(
    body: ListClients | GetClient | ListPublications, native: OwnerTable, sessions: SessionTable
) -> tuple[Tag, Any]:
    """InvalidField if more is asked for than a page holds."""
    match body:
        case ListClients():
            return Tag.CLIENTS_LISTED, _listed(body, native, sessions)
        case GetClient():
            return Tag.CLIENT_SHOWN, _shown(body.client_id, native, sessions)
        case ListPublications():
            return Tag.PUBLICATIONS_LISTED, _publications(body, native, sessions)


def check_size(size: int) -> int:
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise InvalidField(f"size must lie between 1 and {PAGE_SIZE_MAX}, not {size}", field="size")
    return size


def _listed(body: ListClients, native: OwnerTable, sessions: SessionTable) -> ClientsListed:
    """A client that publishes many services comes up for each of them; then the page is shorter."""
    size = check_size(body.size)
    after = body.after
    behind = [client for client in sessions.callers() if client > after]
    behind += [client for (client, _), record in native.records.items() if client > after and record.instances]
    first = nsmallest(size, behind)
    shown = (client for client in dict.fromkeys(first) if not is_verdicts_client(client))
    return ClientsListed(tuple(shown), first[-1] if len(first) == size else "")


def _shown(client: str, native: OwnerTable, sessions: SessionTable) -> ClientShown:
    services = services_of(client, native, sessions)
    session = sessions.of(client)
    number = 0 if session is None else session.number
    stamps = (native.records[RecordKey(client, service)].stamp for service in services)
    updated_ms = max((stamp >> STAMP_COUNTER_BITS for stamp in stamps), default=number)
    who = None if session is None else session.subscriber
    if session is not None and who is not None:
        kind: ClientKind = "sdk" if session.kind == "sdk" else "native"
        return ClientShown(client, kind, who.ip, who.app, who.agent, len(services), updated_ms)
    if not services:
        return ClientShown(client)
    kind = "http" if is_http_client(client) else "lost"
    return ClientShown(client, kind, publications=len(services), updated_ms=updated_ms)


def _publications(body: ListPublications, native: OwnerTable, sessions: SessionTable) -> PublicationsListed:
    size, instances = check_size(body.size), 0
    shown: list[Publication] = []
    services = services_of(body.client_id, native, sessions)
    for service in services if body.after is None else (one for one in services if one > body.after):
        record = native.records[RecordKey(body.client_id, service)]
        if len(shown) == size or instances + len(record.instances) > INSTANCES_PER_PAGE_MAX:
            return PublicationsListed(tuple(shown), shown[-1].service)
        instances += len(record.instances)
        shown.append(Publication(service, tuple(instance.key for instance in record.instances)))
    return PublicationsListed(tuple(shown))


def services_of(client: str, native: OwnerTable, sessions: SessionTable) -> list[Service]:
    """What it publishes here, sorted. Who beats is in no table of sessions."""
    if not is_http_client(client):
        return sessions.published(client)
    records = native.records.items()
    return sorted(service for (each, service), record in records if each == client and record.instances)
