"""A client as a script: it speaks the frames of rollbook.wire, and does nothing that it is not told to.

No redo, no failover, no cache: scenarios say what a client does, and when. What the node says is kept to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from rollbook.durable_bodies import PublishPersistent
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Instance, InstanceKey, Service, View
from rollbook.wire import (
    CloseSession,
    Failed,
    GetStatus,
    OpenSession,
    Ping,
    Publish,
    PushAck,
    Query,
    SessionEnded,
    SessionOpened,
    Subscribe,
    Tag,
    Wait,
    Withdraw,
    answer_body,
    encode,
    open_envelope,
)
from runtime.simulation.hosts import Heartbeats, How, SimEnd, SimHost
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import Scheduler


def service_of(name: str) -> Service:
    return Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, name)


class Answer(NamedTuple):
    at_ms: int
    session: int
    correlation: int
    body: Any


class RawClient:
    """One client process, on a host of its own. Orders go to the newest connection; older ones stay until left."""

    def __init__(self, scheduler: Scheduler, network: SimNetwork, client_id: str, heartbeats: Heartbeats) -> None:
        self.client_id = client_id
        self.host: SimHost = network.host(client_id)
        self.answers: list[Answer] = []
        self.pushes: list[tuple[int, View]] = []  # (when, view)
        self.session = 0
        self.is_open = False
        self.closed: How | None = None
        self.acknowledges = True
        self._scheduler = scheduler
        self._network = network
        self._heartbeats = heartbeats
        self._end: SimEnd | None = None
        self._left: list[tuple[int, SimEnd]] = []  # sessions and connections that a newer one took over from
        self._waiting: list[bytes] = []  # for the connection to stand
        self._after_opening: list[bytes] = []  # for the session to be open
        self._correlation = 0

    # -- connection and session

    def open(self, address: str, session: int = 0) -> RawClient:
        """Connect and ask for a session: one above the last, unless a number is given."""
        if self._end is not None:
            self._left.append((self.session, self._end))
        self.session = session or self.session + 1
        self.is_open, self.closed, self._end, self._waiting = False, None, None, []
        self._network.dial(self.host, address, self, self._heartbeats)
        self._ask(Tag.OPEN_SESSION, OpenSession(self.client_id, self.session, "simulated"))
        return self

    def close(self) -> None:
        """Say goodbye: what it published goes."""
        self._ask(Tag.CLOSE_SESSION, CloseSession("leave"))

    def leave_old(self) -> None:
        """Make before break, last step: the older sessions have moved here."""
        for session, end in self._left:
            self._network.send(end, encode(Tag.CLOSE_SESSION, 0, session, CloseSession("moved")))
            self._network.close(end)
        self._left.clear()

    def crash(self) -> None:
        """kill -9: its system closes the socket."""
        self.is_open = False
        self._network.kill(self.host)

    def vanish(self) -> None:
        """Its machine is gone without a word: the connection is half open."""
        self.is_open = False
        self._network.power_off(self.host)

    # -- orders: each returns the correlation that its answer carries

    def publish(self, service: str, *instances: Instance, wait: Wait = "node", replace: bool = False) -> int:
        order = Publish(service_of(service), instances, "replace" if replace else "add", wait)
        return self.order(Tag.PUBLISH, order)

    def publish_persistent(self, service: str, *instances: Instance) -> int:
        return self.order(Tag.PUBLISH_PERSISTENT, PublishPersistent(service_of(service), instances))

    def withdraw(self, service: str, keys: Iterable[InstanceKey] = (), wait: Wait = "node", wait_ms: int = 0) -> int:
        return self.order(Tag.WITHDRAW, Withdraw(service_of(service), tuple(keys), wait, wait_ms))

    def subscribe(self, service: str) -> int:
        return self.order(Tag.SUBSCRIBE, Subscribe(service_of(service)))

    def query(self, service: str) -> int:
        return self.order(Tag.QUERY, Query(service_of(service)))

    def ping(self) -> int:
        return self.order(Tag.PING, Ping())

    def status(self) -> int:
        return self._ask(Tag.GET_STATUS, GetStatus())

    def answer(self, correlation: int) -> Any:
        """The body of that answer; None as long as it has not come."""
        return next((answer.body for answer in self.answers if answer.correlation == correlation), None)

    def send_bytes(self, payload: bytes) -> None:
        """Anything at all, well formed or not."""
        if self._end is None:
            self._waiting.append(payload)
        else:
            self._network.send(self._end, payload)

    # -- what the network tells

    def end_opened(self, end: SimEnd) -> None:
        self._end = end
        waiting, self._waiting = self._waiting, []
        for payload in waiting:
            self._network.send(end, payload)

    def dial_failed(self, address: str, how: How) -> None:
        self.closed = how

    def end_closed(self, end: SimEnd, how: How) -> None:
        if end is self._end:
            self.is_open, self.closed = False, how

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        if end is not self._end:
            return
        envelope = open_envelope(payload)
        body = answer_body(envelope)
        self.answers.append(Answer(self._scheduler.now_ms, envelope.session, envelope.correlation, body))
        if envelope.tag == Tag.PUSH:
            self.pushes.append((self._scheduler.now_ms, body))
            if self.acknowledges:
                self._ask(Tag.PUSH_ACK, PushAck(body.service, body.version))
        match body:
            case SessionOpened():
                self._opened()
            case SessionEnded():
                self.is_open = False
            case Failed() if not self.is_open:
                self._after_opening.clear()
            case _:
                pass

    def _opened(self) -> None:
        self.is_open = True
        waiting, self._after_opening = self._after_opening, []
        for payload in waiting:
            self.send_bytes(payload)

    def order(self, tag: Tag, body: object) -> int:
        """Like _ask, but not before the session is open."""
        self._correlation += 1
        payload = encode(tag, self._correlation, self.session, body)
        if self.is_open:
            self.send_bytes(payload)
        else:
            self._after_opening.append(payload)
        return self._correlation

    def _ask(self, tag: Tag, body: object) -> int:
        self._correlation += 1
        self.send_bytes(encode(tag, self._correlation, self.session, body))
        return self._correlation
