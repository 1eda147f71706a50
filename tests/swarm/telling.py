"""What happened to one client, one instance or one service, on all nodes, in order of time: one line per fact.

The run is played again with this listening. Facts of the history say what applications and lists did; turns of the
actors say why: where a record came from, which owners a node hid, which sessions it ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from actors.base import Role, Tell
from actors.messages.clients import ApplyDelta, OpenSessionOrdered, OrdersReceived, OwnersPurged, ReleaseSession
from actors.messages.index import OwnersVisible, RecordsChanged
from actors.messages.values import Origin, Record
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn
from tests.support.history import (
    ClientEnded,
    ClientStood,
    Event,
    FaultBegan,
    FaultEnded,
    NodeSeen,
    OrderAnswered,
    OrderSent,
    SessionSeen,
    ViewSeen,
)
from tests.swarm.world import World


class Subject(NamedTuple):
    """Whom the story is about; what is empty does not matter."""

    client: str = ""
    service: str = ""
    instance: str = ""

    def fits(self, client: str, service: str) -> bool:
        return (not self.client or client == self.client) and (not self.service or service == self.service)


class Line(NamedTuple):
    after: int  # so many events of the history came before it
    at_ms: float
    place: str
    text: str


class Teller:
    """Listens to one world; ``lines`` is the story."""

    def __init__(self, world: World, subject: Subject) -> None:
        self.world = world
        self.subject = subject
        self._turns: list[Line] = []
        self._origins: set[Origin] = set()  # owners of records that matter
        self._hidden: dict[str, dict[Origin, int]] = {}
        world.cluster.checkers.insert(0, self.look)  # a cause is told before what follows from it

    # -- turns

    def look(self, _cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        if turn.role is Role.CLIENTS:
            for effect in turn.effects:
                if isinstance(effect, Tell) and isinstance(effect.message, RecordsChanged):
                    self._look_at_records(node, turn, effect.message)
            if isinstance(turn.message, OpenSessionOrdered) and turn.message.client == self.subject.client:
                self._say(turn, node, f"opens session {turn.message.route.session} of {turn.message.client}")
            if isinstance(turn.message, ReleaseSession):
                self._look_at_release(node, turn, turn.message)
        elif turn.role is Role.INDEX and isinstance(turn.message, OwnersVisible):
            self._look_at_filter(node, turn, dict(turn.message.hidden))

    def _look_at_records(self, node: SimNode, turn: Turn, changed: RecordsChanged) -> None:
        for record in changed.records:
            if self._matters(record):
                self._origins.add(record.origin)
                self._say(turn, node, f"{_record(record)} {self._cause(node, turn)}")
        for origin, key in changed.removed:
            if origin in self._origins and self.subject.fits(key.client, key.service.name):
                self._say(turn, node, f"forgets {key.client}'s record of {key.service.name}, owner {_origin(origin)}")

    def _look_at_release(self, node: SimNode, turn: Turn, message: ReleaseSession) -> None:
        sessions = self.world.checks.parties.get(self.subject.client)
        if sessions and any(serving.session == message.route.session for serving in sessions.sessions):
            self._say(turn, node, f"session {message.route.session} of {self.subject.client} is over: {message.how}")

    def _look_at_filter(self, node: SimNode, turn: Turn, hidden: dict[Origin, int]) -> None:
        before = self._hidden.get(node.name, {})
        self._hidden[node.name] = hidden
        for origin in sorted(self._origins):
            if (origin in before) != (origin in hidden):
                self._say(turn, node, f"{'hides' if origin in hidden else 'shows again'} owner {_origin(origin)}")

    def _cause(self, node: SimNode, turn: Turn) -> str:
        match turn.message:
            case ApplyDelta(link=link):
                sender = _sender(node, link)
                return f"from {sender}" if sender else f"over {link}"
            case OrdersReceived():
                return "ordered by its client"
            case OwnersPurged():
                return "purged"
            case message:
                return f"by {type(message).__name__.lstrip('_')}"

    def _matters(self, record: Record) -> bool:
        if not self.subject.fits(record.key.client, record.key.service.name):
            return False
        shown = {f"{instance.ip}:{instance.port}" for instance in record.instances}
        return not self.subject.instance or not shown or self.subject.instance in shown

    def _say(self, turn: Turn, node: SimNode, text: str) -> None:
        self._turns.append(Line(len(self.world.watch.events), turn.at_us / 1_000, node.name, text))

    # -- the whole

    def lines(self) -> list[Line]:
        return sorted([*self._turns, *self._facts()], key=lambda line: line.after)  # stable: turns first

    def _facts(self) -> Iterator[Line]:
        keys = self._keys()
        tables: dict[tuple[str, str], dict[str, str]] = {}
        for number, event in enumerate(self.world.watch.events):
            texts = self._facts_of_view(event, keys, tables) if isinstance(event, ViewSeen) else [self._fact(event)]
            yield from (Line(number, event.at_ms, _place(event), text) for text in texts if text)

    def _fact(self, event: Event) -> str:
        match event:
            case FaultBegan():
                return f"FAULT {event.number}: {event.what.strip()}"
            case FaultEnded():
                return f"fault {event.number} is over"
            case NodeSeen(what=what) if what != "ready":
                return what
            case _ if getattr(event, "client", "") != self.subject.client:
                return ""
            case OrderSent():
                wishes = ", ".join(f"{key}={value}" if value else key for key, value in event.instances.items())
                return f"order {event.number}: {event.kind} {event.service} {wishes}".rstrip()
            case OrderAnswered():
                return f"order {event.number} {'failed: ' + event.error if event.error else 'is done'}"
            case SessionSeen():
                return f"is served by {event.node}, session {event.session}" if event.node else "has no session"
            case ClientEnded():
                return event.how
            case ClientStood():
                return ("stands still" if event.still else "goes on") + (" (application)" if event.blocked else "")
            case _:
                return ""

    def _facts_of_view(
        self, event: ViewSeen, keys: set[tuple[str, str]], tables: dict[tuple[str, str], dict[str, str]]
    ) -> list[str]:
        """What changed in a list, at a node or in the eyes of an application, of the instances that matter."""
        before = tables.get((event.observer, event.service), {})
        tables[event.observer, event.service] = event.instances
        changed = [
            key
            for service, key in sorted(keys)
            if service == event.service and before.get(key) != event.instances.get(key)
        ]
        if event.how != "table" and event.observer != self.subject.client and self.subject.client:
            return []
        said = "LIST" if event.how == "table" else f"is told by {event.node} ({event.how})"
        flags = f" ({', '.join(event.flags)})" if event.flags else ""
        return [f"{said}: {event.service} {key}: {event.instances.get(key, 'gone')}{flags}" for key in changed]

    def _keys(self) -> set[tuple[str, str]]:
        """What the client publishes, or the instance or service itself."""
        subject, claims = self.subject, self.world.checks.claims
        listed = claims.of_client.get(subject.client, {}) if subject.client else claims.of_listed
        return {
            (service, key)
            for service, key in listed
            if (not subject.service or service == subject.service) and (not subject.instance or key == subject.instance)
        }


def _record(record: Record) -> str:
    what = "a tombstone" if record.is_tombstone else f"{len(record.instances)} instances"
    return (
        f"has {what} of {record.key.client} in {record.key.service.name}: owner {_origin(record.origin)}"
        f" seq {record.seq}, session {record.session},"
    )


def _origin(origin: Origin) -> str:
    """Epochs are long; their last digits tell the lives of one node apart."""
    return f"{origin.owner}/…{origin.epoch % 1_000_000:06d}"


def _sender(node: SimNode, link: str) -> str:
    """Which machine is at the other end of this link."""
    end = node.host.ends.get(int(link.rpartition("#")[2]))
    return end.other.host.name if end is not None else ""


def _place(event: Event) -> str:
    match event:
        case ViewSeen():
            return event.observer
        case NodeSeen():
            return event.node
        case OrderSent() | OrderAnswered() | SessionSeen() | ClientEnded() | ClientStood():
            return event.client
        case _:
            return ""
