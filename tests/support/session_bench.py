"""A pure session on the bench: the test is its clock, its network and its node.

Every step checks the session's invariants. What was sent is decoded as a node would decode it.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from rollbook import wire
from rollbook.errors import RollbookError
from rollbook.model import Instance, Service, View
from rollbook.orders import (
    Action,
    CallBody,
    Called,
    CloseOrdered,
    Connect,
    ConnectionLost,
    ConnectionOpened,
    Deliver,
    Disconnect,
    Ended,
    FrameReceived,
    Input,
    Moment,
    Reject,
    Resolve,
    Send,
    SessionsChanged,
    Ticked,
)
from rollbook.patience import SessionSettings
from rollbook.session import ClientSession
from rollbook.wire import Done, OpenSession, SessionOpened, Tag

SERVERS = ("a:1", "b:1", "c:1")
ORDERS = Service("public", "DEFAULT_GROUP", "orders")
BILLING = Service("public", "DEFAULT_GROUP", "billing")
START_MS = 1_000_000
WALL_OFFSET_MS = 1_700_000_000_000


def instance(port: int = 80, weight: float = 1.0) -> Instance:
    return Instance("10.0.0.1", port, weight=weight)


def view(version: int, *ports: int, service: Service = ORDERS, warming: bool = False) -> View:
    return View(service, version, tuple(instance(port) for port in ports), warming)


class Sent(NamedTuple):
    """A frame as the node sees it."""

    connection: int
    tag: int
    correlation: int
    session: int
    body: Any


class SessionBench:
    """Drives one session; everything it orders is kept in ``actions``, everything it sends in ``sent``."""

    def __init__(self, servers: tuple[str, ...] = SERVERS, settings: SessionSettings | None = None) -> None:
        self.session = ClientSession("client-1", servers, random.Random(7), settings=settings)
        self.now_ms = START_MS
        self.actions: list[Action] = []
        self.sent: list[Sent] = []
        self._calls = 0
        self.tick()

    # Time and orders

    @property
    def moment(self) -> Moment:
        return Moment(self.now_ms, self.now_ms + WALL_OFFSET_MS)

    def feed(self, event: Input) -> list[Action]:
        actions = self.session.handle(event, self.moment)
        self.session.check_invariants()
        self.actions += actions
        for action in actions:
            if isinstance(action, Send):
                envelope = wire.open_envelope(action.payload)
                body = wire.request_body(envelope)
                sent = Sent(action.connection, envelope.tag, envelope.correlation, envelope.session, body)
                self.sent.append(sent)
        return actions

    def tick(self) -> list[Action]:
        return self.feed(Ticked())

    def pass_ms(self, milliseconds: int) -> list[Action]:
        """Let time pass as a driver would: ticking whenever the session wants to be woken."""
        actions: list[Action] = []
        end_ms = self.now_ms + milliseconds
        while (wake_at_ms := self.session.wake_at_ms()) is not None and wake_at_ms <= end_ms:
            self.now_ms = max(self.now_ms, wake_at_ms)
            actions += self.tick()
        self.now_ms = end_ms
        return actions

    def call(self, body: CallBody, timeout_ms: int = 3_000) -> int:
        self._calls += 1
        self.feed(Called(self._calls, body, self.now_ms + timeout_ms))
        return self._calls

    def close(self, timeout_ms: int = 1_500) -> int:
        self._calls += 1
        self.feed(CloseOrdered(self._calls, self.now_ms + timeout_ms))
        return self._calls

    # The node's side

    def dialled(self) -> Connect:
        """The last connection that was ordered."""
        return [action for action in self.actions if isinstance(action, Connect)][-1]

    def accept(self, **fields: Any) -> int:
        """Open the connection ordered last and its session; returns the connection."""
        connection = self.dialled().connection
        self.feed(ConnectionOpened(connection))
        self.open_session(connection, **fields)
        return connection

    def open_session(self, connection: int, **fields: Any) -> None:
        asked = self.last(Tag.OPEN_SESSION, connection)
        opened = {"node_id": "n", "epoch": 1, "session": asked.body.session, "requests_in_flight_max": 256, **fields}
        self.answer(asked, Tag.SESSION_OPENED, SessionOpened(**opened))

    def lose(self, connection: int) -> list[Action]:
        return self.feed(ConnectionLost(connection, "connection closed"))

    def answer(self, sent: Sent, tag: Tag, body: object) -> list[Action]:
        payload = wire.encode(tag, sent.correlation, sent.session, body)
        return self.feed(FrameReceived(sent.connection, payload))

    def tell(self, connection: int, tag: Tag, body: object) -> list[Action]:
        """Something that nobody asked for."""
        session = self.last(Tag.OPEN_SESSION, connection).session
        return self.feed(FrameReceived(connection, wire.encode(tag, 0, session, body)))

    def done(self, sent: Sent, stamp: int = 5) -> list[Action]:
        return self.answer(sent, Tag.DONE, Done(1, 1, stamp))

    # What came of it

    def last(self, tag: Tag, connection: int | None = None) -> Sent:
        return self.all(tag, connection)[-1]

    def all(self, tag: Tag, connection: int | None = None) -> list[Sent]:
        return [sent for sent in self.sent if sent.tag == tag and connection in (None, sent.connection)]

    def tags(self, connection: int) -> list[Tag]:
        """The order of what this connection was sent, apart from the opening."""
        return [Tag(sent.tag) for sent in self.sent if sent.connection == connection and sent.tag != Tag.OPEN_SESSION]

    def result(self, call: int) -> Any:
        """What the call was told; None while it waits. It is told once."""
        told = [action for action in self.actions if isinstance(action, Resolve | Reject) and action.call == call]
        assert len(told) <= 1, "a call is answered once"
        if not told:
            return None
        return told[0].value if isinstance(told[0], Resolve) else told[0].error

    def is_waiting(self, call: int) -> bool:
        return not any(isinstance(action, Resolve | Reject) and action.call == call for action in self.actions)

    def delivered(self) -> list[tuple[int, ...]]:
        """The ports of each state that subscribers were given."""
        snapshots = [action.snapshot for action in self.actions if isinstance(action, Deliver)]
        return [tuple(shown.port for shown in snapshot.instances) for snapshot in snapshots]

    def is_disconnected(self, connection: int) -> bool:
        return any(isinstance(action, Disconnect) and action.connection == connection for action in self.actions)

    def live_sessions(self) -> frozenset[int]:
        return [action.live for action in self.actions if isinstance(action, SessionsChanged)][-1]

    def ended(self) -> RollbookError | None:
        ends = [action.error for action in self.actions if isinstance(action, Ended)]
        return ends[0] if ends else None

    def session_of(self, connection: int) -> int:
        opening = self.last(Tag.OPEN_SESSION, connection).body
        assert isinstance(opening, OpenSession)
        return opening.session
