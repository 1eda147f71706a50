"""Who has a session here: each open session in order of admission, by connection, ip and app. A table of
ConnectionManager."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from actors.messages.values import Route
from rollbook.wire import SessionKind


class Admission(NamedTuple):
    """What a session counts against. An empty app is no application and has no limit of its own."""

    ip: str
    app: str
    kind: SessionKind = "native"


class Admissions:
    """Iterates in order of admission."""

    def __init__(self) -> None:
        self._sessions: dict[Route, Admission] = {}
        self._by_link: dict[bytes, set[Route]] = {}
        self._by_ip: Counter[str] = Counter()
        self._by_app: Counter[str] = Counter()
        self._gateways: set[Route] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._sessions)

    def __contains__(self, route: object) -> bool:
        return route in self._sessions

    @property
    def has_callers(self) -> bool:
        """Whether anybody is here but gateways, which come and go with those whom they speak for."""
        return len(self._sessions) > len(self._gateways)

    @property
    def of_gateways(self) -> int:
        return len(self._gateways)

    def of_callers(self) -> list[Route]:
        """The sessions that another node may serve as well: a gateway's own stays where the gateway is."""
        return [route for route in self._sessions if route not in self._gateways]

    def on(self, link: bytes) -> tuple[Route, ...]:
        """The sessions of one connection, in order of number."""
        return tuple(sorted(self._by_link.get(link, ())))

    def of_ip(self, ip: str) -> int:
        return self._by_ip[ip]

    def of_app(self, app: str) -> int:
        return self._by_app[app]

    def add(self, route: Route, admission: Admission) -> None:
        self._sessions[route] = admission
        self._by_link.setdefault(route.link, set()).add(route)
        self._by_ip[admission.ip] += 1
        self._by_app[admission.app] += 1
        if admission.kind == "gateway":
            self._gateways.add(route)

    def remove(self, route: Route) -> None:
        admission = self._sessions.pop(route)
        self._gateways.discard(route)
        routes = self._by_link[route.link]
        routes.discard(route)
        if not routes:
            del self._by_link[route.link]
        for counter, key in ((self._by_ip, admission.ip), (self._by_app, admission.app)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    def check_invariants(self) -> None:
        admissions = self._sessions.values()
        assert self._by_ip == Counter(admission.ip for admission in admissions), "ips count the sessions"
        assert self._by_app == Counter(admission.app for admission in admissions), "apps count the sessions"
        gateways = {route for route, admission in self._sessions.items() if admission.kind == "gateway"}
        assert self._gateways == gateways, "gateways are known as such"
        by_link: dict[bytes, set[Route]] = {}
        for route in self._sessions:
            by_link.setdefault(route.link, set()).add(route)
        assert self._by_link == by_link, "links name their sessions"
