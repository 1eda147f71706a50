"""One client's session with the cluster, as a pure state machine.

Owns: the connections (one serves; during a move a second one is opened, and the first retires), calls in progress, what
the client means to publish (redo.py), what it subscribed to (cache.py), which server is next (servers.py).
Accepts: the inputs of orders.py. Returns: the actions of orders.py, to be performed in order.

Every session is a new connection with a higher number. When it opens, it is filled from the client's own tables: one atomic
``replace`` per service, withdrawals that no node acknowledged, subscriptions, and then the calls that still wait. So a
call is an order that survives any number of connections until its deadline; all orders are idempotent.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, assert_never

import msgspec

from rollbook import wire
from rollbook.cache import Snapshot, ViewCache, snapshot_of
from rollbook.errors import (
    ClientClosed,
    ClientIdInUse,
    ClusterUnreachable,
    Code,
    InvalidField,
    NotConfirmed,
    Refused,
    RemoteProtocolError,
    RollbookError,
)
from rollbook.link import TAGS, Link, LinkSettings, Request, Stage, Verdict
from rollbook.model import Service, View
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
    Forget,
    FrameReceived,
    Input,
    Moment,
    Reject,
    Report,
    Resolve,
    Send,
    SessionsChanged,
    Ticked,
)
from rollbook.redo import Change, Publications
from rollbook.servers import ServerList
from rollbook.status import NodeStatus
from rollbook.wire import (
    CloseSession,
    Done,
    Failed,
    GetStatus,
    ListServices,
    MoveAdvised,
    OpenSession,
    Ping,
    Pong,
    Probe,
    Publish,
    PushAck,
    Query,
    Services,
    SessionEnded,
    SessionOpened,
    Subscribe,
    Tag,
    Unsubscribe,
    Withdraw,
)

ANSWER_OF: dict[type[Any], type[Any]] = {
    Publish: Done,
    Withdraw: Done,
    Unsubscribe: Done,
    Query: View,
    Subscribe: View,
    ListServices: Services,
    GetStatus: NodeStatus,
    Ping: Pong,
}
STRANGER = frozenset({Code.SESSION_SUPERSEDED, Code.CLIENT_ID_IN_USE, Code.SESSION_STALE})


class SessionSettings(msgspec.Struct, frozen=True):
    """The patience and the limits of one client."""

    link: LinkSettings = LinkSettings()
    open_ms: int = 1_000  # for a connection, and again for its session: a silent server costs no more
    steady_ms: int = 1_000  # a session that stood for this long was no failure: the next loss is answered at once
    calls_max: int = 10_000  # in progress; beyond it the caller is refused, so that memory is bounded
    redirects_max: int = 3  # advice followed in a row; then the client stays where it is
    redirect_memory_ms: int = 30_000  # advice after a longer rest starts a new row
    stale_answers_max: int = 5  # a node that calls every number stale is not worth more tries
    overload_pause_ms: int = 100  # before what was answered OVER_LIMIT is sent again, with jitter
    cluster_wait_margin_ms: int = 200  # the node's NOT_CONFIRMED must arrive before the caller's own deadline
    own_sessions_max: int = 64  # remembered, to tell our own newer session from a stranger's


class _Call(NamedTuple):
    body: CallBody
    deadline_ms: int
    change: Change | None


class _Closing(NamedTuple):
    call: int
    deadline_ms: int


class Session:
    """See the module. Not thread-safe: one driver feeds it."""

    def __init__(
        self,
        client_id: str,
        servers: Sequence[str],
        chance: random.Random,
        *,
        app: str = "",
        agent: str = "",
        settings: SessionSettings | None = None,
    ) -> None:
        self.counters: dict[str, int] = {}
        self._client_id = client_id
        self._app = app
        self._agent = agent
        self._chance = chance
        self._settings = settings or SessionSettings()
        self._servers = ServerList(servers, chance)
        self._publications = Publications()
        self._published = False  # whether a node may hold anything of this client
        self._subscriptions: dict[Service, None] = {}
        self._cache = ViewCache()
        self._calls: dict[int, _Call] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._connections = 0
        self._correlations = 0
        self._session_last = 0
        self._sessions_own: deque[int] = deque(maxlen=self._settings.own_sessions_max)
        self._current: Link | None = None  # serves
        self._candidate: Link | None = None  # dials and opens, to become current
        self._retiring: Link | None = None  # was current until its successor opened; ends when that has redone all
        self._dial_at_ms = 0
        self._move: tuple[str, list[str]] | None = None  # why, and which servers are left to try
        self._redirects = 0
        self._redirected_ms = 0
        self._closing: _Closing | None = None
        self._ended: RollbookError | None = None
        self._actions: list[Action] = []

    def handle(self, event: Input, now: Moment) -> list[Action]:
        """One turn: what happened, then whatever the time demands."""
        if self._ended is not None:
            return self._answer_after_the_end(event)
        match event:
            case Called():
                self._on_called(event, now)
            case CloseOrdered():
                self._on_close_ordered(event, now)
            case ConnectionOpened():
                self._on_connection_opened(event, now)
            case ConnectionLost():
                self._on_connection_lost(event, now)
            case FrameReceived():
                self._on_frame(event, now)
            case Ticked():
                pass
            case _:
                assert_never(event)
        self._keep_time(now)
        actions, self._actions = self._actions, []
        return actions

    def wake_at_ms(self) -> int | None:
        """When to tick, if nothing happens before; None once the session has ended."""
        if self._ended is not None:
            return None
        wakes = [link.wake_at_ms() for link in (self._current, self._candidate) if link is not None]
        if self._deadlines:
            wakes.append(self._deadlines[0][0])
        if self._current is None and self._candidate is None:
            wakes.append(self._dial_at_ms)
        if self._closing is not None:
            wakes.append(self._closing.deadline_ms)
        return min(wakes)
