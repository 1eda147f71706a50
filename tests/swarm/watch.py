"""What is seen of a simulated run, as events of a history: they go to the checks at once, and stay for the story."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from actors.base import Role
from actors.messages.connections import StandingChanged
from actors.messages.index import RecordsChanged, SubscribersReleased, ViewsWanted
from actors.messages.members import DigestsTaken
from actors.messages.values import Origin, Record
from actors.views import OwnerVerdict
from rollbook.cache import Snapshot
from rollbook.errors import NotConfirmed, Refused, RollbookError
from rollbook.model import Instance, Service
from rollbook.orders import Action, Deliver, Ended, Reject, Resolve, SessionsChanged
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn
from runtime.simulation.sdk_client import SdkClient
from tests.support.history import ClientEnded, Event, NodeSeen, OrderAnswered, SessionSeen, ViewSeen
from tests.support.history_checks import HistoryChecks

Lists = dict[str, str]


class _Source(NamedTuple):
    """Of a view: what each client has in the service, and which owners are hidden there."""

    records: tuple[tuple[Record, ...], ...]
    hidden: dict[Origin, OwnerVerdict]


class Watch:
    """One per cluster. ``record`` is how anybody adds an event."""

    def __init__(self, cluster: SimCluster, checks: HistoryChecks) -> None:
        self.cluster = cluster
        self.checks = checks
        self.events: list[Event] = []
        self._lives: dict[str, int] = {}  # of nodes that run: their epoch
        self._tables: dict[str, dict[str, tuple[Lists, tuple[str, ...]]]] = {}  # and flags
        self._made_of: dict[str, dict[str, _Source]] = {}  # what the lists were made of
        self._addresses: dict[str, str] = {}
        self._sessions: dict[str, tuple[str, int]] = {}
        cluster.checkers.append(self.look)
        for node in cluster.nodes:
            node.on_ended = partial(self._on_ended, node)

    def record(self, event: Event) -> None:
        self.events.append(event)
        self.checks.see(event)

    # -- nodes

    def look(self, _cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        """After every turn of every actor."""
        identity = node.identity
        if identity is not None and self._lives.get(node.name) != identity.epoch:
            self._on_started(node, identity.epoch)
            self.checks.copies.start(node.name, Origin(node.node_id, identity.epoch))
        if turn.role is not Role.INDEX:
            return
        if isinstance(turn.message, RecordsChanged):
            self.checks.copies.note(node.name, turn.message, self.cluster.now_ms)
        match turn.message:
            case RecordsChanged(records=(), removed=()) | SubscribersReleased() | ViewsWanted() | DigestsTaken() | None:
                return
            case RecordsChanged(records, removed):
                touched = {record.key.service for record in records} | {key.service for _, key in removed}
                self._compare(node, sorted(touched))
            case StandingChanged():
                self._compare(node, sorted(node.behaviour(Role.INDEX).index.entries))
                if turn.message.standing.ready:
                    self.record(NodeSeen(self.cluster.now_ms, node.name, "ready", _flags(node)))
            case _:  # hidden owners, a guard
                self._compare(node, sorted(node.behaviour(Role.INDEX).index.entries))

    def _on_ended(self, node: SimNode) -> None:
        """By its own doing or another's."""
        if self._lives.pop(node.name, None) is not None:
            self._tables.pop(node.name, None)
            self.record(NodeSeen(self.cluster.now_ms, node.name, "crashed"))

    def _on_started(self, node: SimNode, epoch: int) -> None:
        self._lives[node.name] = epoch
        self._tables[node.name], self._made_of[node.name] = {}, {}
        self._addresses[node.client_address] = node.name
        self.record(NodeSeen(self.cluster.now_ms, node.name, "started"))

    def _compare(self, node: SimNode, services: Iterable[Service]) -> None:
        tables, made_of = self._tables[node.name], self._made_of[node.name]
        index = node.behaviour(Role.INDEX).index
        guarded = index.guard.services
        flags = _flags(node)
        for service in services:
            name, entry = service.name, index.entries.get(service)
            lists, _ = before = tables.get(name, ({}, ()))
            source = _Source(tuple(entry.clients.values()) if entry else (), dict(index.filter_of(service)))
            if source != made_of.get(name):  # a view follows from these two alone
                made_of[name], lists = source, lists_of(node.view(service))
            now = (lists, (*flags, "guarded") if service in guarded else flags)
            if now != before:
                tables[name] = now
                self.record(ViewSeen(self.cluster.now_ms, node.name, "table", node.name, 0, name, 0, *now))

    # -- clients

    def follow(self, client: SdkClient) -> None:
        client.on_action = lambda action: self._on_action(client, action)

    def _on_action(self, client: SdkClient, action: Action) -> None:
        now_ms, name = self.cluster.now_ms, client.client_id
        match action:
            case Resolve(call, value):
                if isinstance(value, Snapshot):
                    self._on_list(name, value, "query", call)
                self.record(OrderAnswered(now_ms, name, call))
            case Reject(call, error):
                self.record(OrderAnswered(now_ms, name, call, _said(error)))
            case Deliver(snapshot):
                self._on_list(name, snapshot, "push", 0)
            case SessionsChanged(live, server):
                node = self._addresses.get(server, "")
                self._on_session(name, (node, max(live)) if node else ("", 0))
            case Ended() if not client.is_dead:
                self.record(ClientEnded(now_ms, name, "closed"))
            case _:
                return

    def _on_list(self, client: str, snapshot: Snapshot, how: str, number: int) -> None:
        node = self._sessions.get(client, ("", 0))[0]
        lists = lists_of(snapshot.instances)
        seen = ViewSeen(
            self.cluster.now_ms,
            client,
            "query" if how == "query" else "push",
            node,
            snapshot.session,
            snapshot.service.name,
            snapshot.version,
            lists,
            number=number,
        )
        self.record(seen)

    def _on_session(self, client: str, session: tuple[str, int]) -> None:
        if self._sessions.get(client, ("", 0)) != session:
            self._sessions[client] = session
            self.record(SessionSeen(self.cluster.now_ms, client, *session))


def _flags(node: SimNode) -> tuple[str, ...]:
    return ("warming",) * node.standing.warming + ("preserved",) * node.standing.preserved


def lists_of(instances: Iterable[Instance]) -> Lists:
    return {f"{instance.ip}:{instance.port}": instance.metadata.get("v", "") for instance in instances}


def _said(error: RollbookError) -> str:
    """What a history calls it."""
    if isinstance(error, NotConfirmed):
        return f"unconfirmed: {error}"
    return f"{'refused' if isinstance(error, Refused) else 'open'}: {error}"
