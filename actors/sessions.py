"""Which sessions are open here, what their clients publish natively, and the highest session known of every client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from actors.messages.values import Record, Route, Trail
from actors.owner_table import OwnerTable
from actors.sessionless import is_sessionless
from rollbook.catalog import Subscriber
from rollbook.model import Service
from rollbook.wire import SessionKind

_FORGET_ABOVE = 1_024  # below this many clients, forgetting is not worth a scan


class Session:
    """One open session of one client."""

    __slots__ = ("client", "grace_ms", "kind", "number", "route", "subscriber", "trail")

    def __init__(
        self,
        client: str,
        route: Route,
        grace_ms: int,
        kind: SessionKind = "native",
        subscriber: Subscriber | None = None,
        trail: Trail | None = None,
    ) -> None:
        """``subscriber``: what is shown of it where it subscribes; None for a gateway's own session."""
        self.client = client
        self.subscriber = subscriber
        self.route = route
        self.number = route.session
        self.grace_ms = grace_ms
        self.kind = kind
        self.trail = trail  # what its publications begin with

    @property
    def may_outlive_its_link(self) -> bool:
        """The connection is a gateway's: that it is lost says nothing of the client behind it."""
        return self.kind == "sdk"

    def client_may_live(self, how: Literal["leave", "lost", "moved"]) -> bool:
        """Whether its client may be elsewhere now, by how the session ended."""
        return how == "moved" or (how == "lost" and self.may_outlive_its_link)

    def redo_ms_max(self, native_ms: int) -> int:
        """How long its client may take to redo elsewhere: behind a gateway as long as it pleases, within the grace."""
        return self.grace_ms if self.may_outlive_its_link else native_ms


class SessionTable:
    def __init__(self) -> None:
        self._by_route: dict[Route, Session] = {}
        self._by_client: dict[str, Session] = {}
        self._published: dict[str, set[Service]] = {}  # live native publications, whatever their session
        self._highest: dict[str, int] = {}

    def at(self, route: Route) -> Session | None:
        return self._by_route.get(route)

    def of(self, client: str) -> Session | None:
        return self._by_client.get(client)

    def callers(self) -> Iterator[str]:
        """Clients with an open session, without gateways, which speak for others."""
        return (client for client, session in self._by_client.items() if session.kind != "gateway")

    def has(self, client: str) -> bool:
        return client in self._by_client

    def is_open(self, client: str, number: int) -> bool:
        session = self._by_client.get(client)
        return session is not None and session.number == number

    def highest(self, client: str) -> int:
        """0 for a client that nobody knows."""
        return self._highest.get(client, 0)

    def published(self, client: str) -> list[Service]:
        return sorted(self._published.get(client, ()))

    def published_count(self, client: str) -> int:
        return len(self._published.get(client, ()))

    def open(self, session: Session) -> None:
        assert session.client not in self._by_client, "a client has one open session; the older one was ended first"
        self._by_route[session.route] = session
        self._by_client[session.client] = session
        self.witness(session.client, session.route.session)

    def close(self, session: Session) -> None:
        del self._by_route[session.route]
        del self._by_client[session.client]

    def witness(self, client: str, number: int) -> None:
        """A session of this number exists or existed somewhere."""
        if number > self._highest.get(client, 0):
            self._highest[client] = number

    def note_native(self, record: Record) -> None:
        """Keep the list of native publications in step with the record that was just committed."""
        client, service = record.key
        if record.instances:
            services = self._published.get(client)
            if services is None:
                self._published[client] = {service}
            else:
                services.add(service)
            return
        services = self._published.get(client)
        if services is not None:
            services.discard(service)
            if not services:
                del self._published[client]

    def forget_unknown_clients(self, tables: Iterable[OwnerTable]) -> None:
        """Drop session numbers of clients without session and record, once they are most of what is kept."""
        tables = list(tables)
        useful = len(self._by_client) + sum(len(table.records) for table in tables)
        if len(self._highest) <= max(_FORGET_ABOVE, 2 * useful):
            return
        kept = set(self._by_client)
        for table in tables:
            kept.update(key.client for key in table.records)
        self._highest = {client: number for client, number in self._highest.items() if client in kept}

    def check_invariants(self, native: OwnerTable) -> None:
        for route, session in self._by_route.items():
            assert self._by_client.get(session.client) is session, "each open session is its client's"
            assert session.route == route, "a session stands under its route"
            assert self._highest[session.client] >= route.session, "an open session is known"
        assert len(self._by_route) == len(self._by_client), "a client has at most one open session"
        live = {key for key, record in native.records.items() if record.instances and not is_sessionless(key.client)}
        listed = {(client, service) for client, services in self._published.items() for service in services}
        assert listed == live, "the list of native publications is the native table"
