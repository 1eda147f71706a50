"""What a session is told and what it orders: frozen values, so a thread, a simulator and a test drive it alike.

Inputs are user calls, facts about connections, frames and the passing of time. Actions are for the driver to perform in
the order given. Times are milliseconds; ``deadline_ms`` belongs to the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from rollbook.cache import Snapshot
from rollbook.catalog import CountServices, FindServices, ListCatalog, ListSubscribers
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetHealth,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import RollbookError
from rollbook.http_clients import Beats, HttpPatch, HttpPublish, HttpWithdraw
from rollbook.kept_rows import ReadDurable, RestoreRows
from rollbook.known_clients import ClientsBody
from rollbook.model import Service
from rollbook.wire import GetStatus, ListServices, Ping, Publish, Query, SetLogLevel, Subscribe, Unsubscribe, Withdraw

DecisionBody = PutService | DeleteService | PutNamespace | DeleteNamespace | SetIntent | ClearIntent
DurableBody = PublishPersistent | WithdrawPersistent | DecisionBody | SetHealth | RestoreRows
HttpBody = HttpPublish | HttpWithdraw | HttpPatch | Beats  # of a gateway's session, for clients that speak HTTP
CatalogBody = ListServices | FindServices | ListCatalog | CountServices | ListSubscribers
NodeBody = GetStatus | Ping | SetLogLevel  # about the node itself
QuestionBody = Query | CatalogBody | ClientsBody | GetService | ListNamespaces | ReadDurable | NodeBody
CallBody = Publish | Withdraw | DurableBody | Subscribe | Unsubscribe | QuestionBody | HttpBody


class Chance(Protocol):
    """Where chance comes from: a random.Random, seeded wherever a run must be repeatable."""

    def choice(self, seq: Sequence[str], /) -> str: ...

    def randint(self, a: int, b: int, /) -> int: ...

    def shuffle(self, x: list[str], /) -> None: ...


class Moment(NamedTuple):
    """Deadlines use the monotonic clock; the wall clock only feeds session numbers."""

    monotonic_ms: int
    wall_ms: int


class Called(msgspec.Struct, frozen=True):
    """A user's order. It is resolved or rejected exactly once, at the deadline at the latest."""

    call: int
    body: CallBody
    deadline_ms: int


class CloseOrdered(msgspec.Struct, frozen=True):
    """Withdraw everything, say goodbye, end. Resolved at the deadline at the latest."""

    call: int
    deadline_ms: int


class ConnectionOpened(msgspec.Struct, frozen=True):
    """The handshake is done: frames can be sent."""

    connection: int


class ConnectionLost(msgspec.Struct, frozen=True):
    """Refused, reset or closed; no further fact about this connection follows."""

    connection: int
    reason: str


class FrameReceived(msgspec.Struct, frozen=True):
    connection: int
    payload: bytes


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed; every other input tells the time too."""


Input = Called | CloseOrdered | ConnectionOpened | ConnectionLost | FrameReceived | Ticked


class Connect(msgspec.Struct, frozen=True):
    """Open a new connection to ``server`` (host:port). Answered by ConnectionOpened or ConnectionLost."""

    connection: int
    server: str


class Send(msgspec.Struct, frozen=True):
    connection: int
    payload: bytes


class Disconnect(msgspec.Struct, frozen=True):
    """Close it once what was sent has left. No ConnectionLost is wanted for it any more."""

    connection: int


class Resolve(msgspec.Struct, frozen=True):
    call: int
    value: Any  # a Snapshot for a view, else the body of the answer


class Reject(msgspec.Struct, frozen=True):
    call: int
    error: RollbookError


class Deliver(msgspec.Struct, frozen=True):
    """The newest state of a subscribed service."""

    snapshot: Snapshot


class Forget(msgspec.Struct, frozen=True):
    """Nobody is subscribed to this service any more."""

    service: Service


class SessionsChanged(msgspec.Struct, frozen=True):
    """Snapshots of these sessions are fresh, all others stale. ``server`` is empty while there is no session."""

    live: frozenset[int]
    server: str


class Ended(msgspec.Struct, frozen=True):
    """Nothing more will come from this session; ``error`` is what further calls deserve."""

    error: RollbookError


class Report(msgspec.Struct, frozen=True):
    """One line for the log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    text: str


Action = Connect | Send | Disconnect | Resolve | Reject | Deliver | Forget | SessionsChanged | Ended | Report
