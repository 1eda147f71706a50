"""What every actor is made of: a behaviour, the time it is handed, and the effects it returns.

A behaviour is a plain class. ``handle`` takes one message and the time and returns effects; a stage performs them
in order. A behaviour reads no clock, draws no chance, opens nothing and knows no other actor but by its role, so
the same class runs on threads (runtime/threads.py), in the deterministic simulator (runtime/simulation/) and alone
in a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol

import msgspec


class Role(Enum):
    """Whom a message is for. One of each per node."""

    IO = "io"  # the thread that owns every socket; not a behaviour of this room
    STORE = "store"  # the port to durable data; a behaviour only where another node keeps it
    CONNECTIONS = "connections"
    CLIENTS = "clients"
    BEATS = "beats"
    INDEX = "index"
    PUSH = "push"
    DISTRO = "distro"
    MEMBERS = "members"
    VERIFY = "verify"
    PERSISTENT = "persistent"
    HOME = "home"
    HEALTH = "health"
    PROBER = "prober"  # the thread that connects to instances; not a behaviour of this room either

    __hash__ = object.__hash__  # an identity hash: roles key the hottest dictionary of a stage


# Where this node's durable data is: in a file of its own, in one that it keeps for the others too, with the node that
# does so, in an etcd, or nowhere (a simulation of what is ephemeral alone).
StoreKind = Literal["none", "alone", "home", "away", "etcd"]


class NodeIdentity(msgspec.Struct, frozen=True):
    """Who this node is, for one life. Addresses are host:port as others dial them."""

    node_id: str
    epoch: int
    cluster_name: str
    peer_address: str
    client_address: str
    requests_in_flight_max: int  # per session; announced to it, enforced by the edge
    standalone: bool = False
    store: StoreKind = "none"


class Now(NamedTuple):
    """The time of one turn. Leases and timers use the monotonic clock; the wall clock only feeds stamps and display."""

    monotonic_ms: int
    wall_ms: int


class Tell(NamedTuple):
    """Put ``message`` (a frozen value) into the mailbox of ``to``."""

    to: Role
    message: Any


class Remind(NamedTuple):
    """Hand ``message`` back to this same actor after ``delay_ms``."""

    delay_ms: int
    message: Any


class Log(NamedTuple):
    """One fact for the log, with bound fields; the stage adds node and actor."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    fact: str
    fields: dict[str, Any]


class Terminate(NamedTuple):
    """End this node process. ``epoch_floor``: the next life must take an epoch above it (0: no demand)."""

    exit_code: int
    reason: str
    epoch_floor: int = 0


Effect = Tell | Remind | Log | Terminate
Effects = Sequence[Effect]


class Behaviour(Protocol):
    """One actor: its tables and its rules."""

    role: Role

    def start(self, now: Now) -> Effects:
        """Called once, before the first message."""

    def handle(self, message: Any, now: Now) -> Effects:
        """One turn. It either commits wholly or raises before it changed anything."""

    def check_invariants(self) -> None:
        """Raise AssertionError if the tables contradict each other; run after every simulated step and actor test."""


class StatusRequested(msgspec.Struct, frozen=True):
    """A question that passes every actor in turn, each adding what it owns, and is answered by the last one.

    CONNECTIONS → CLIENTS → BEATS → INDEX → PERSISTENT → (HOME or STORE) → HEALTH → PUSH → DISTRO → MEMBERS → IO.
    """

    link: bytes
    session: int
    correlation: int
    parts: dict[str, Any] = {}

    def with_parts(self, **parts: Any) -> StatusRequested:
        return StatusRequested(self.link, self.session, self.correlation, {**self.parts, **parts})

    def with_counters(self, counters: Mapping[str, int]) -> StatusRequested:
        return self.with_parts(counters={**self.parts.get("counters", {}), **counters})
