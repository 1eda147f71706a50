"""What MemberManager is told."""

from __future__ import annotations

from typing import Literal

import msgspec

from actors.messages.peers import (
    Digest,
    Goodbye,
    Hello,
    LinkPing,
    LinkPong,
    PeerRefused,
    ProbeAnswered,
    ProbeAsked,
    Welcome,
)
from actors.messages.values import DigestEntry, Origin

LinkBody = Hello | Welcome | PeerRefused | LinkPing | LinkPong | Digest | Goodbye | ProbeAsked | ProbeAnswered


class MembersListed(msgspec.Struct, frozen=True):
    """The configured peer addresses (host:port), this node's own included. From: runtime, at start and when the
    file changes."""

    addresses: tuple[str, ...]


class LinkOpened(msgspec.Struct, frozen=True):
    """A dialled connection stands (ZeroMQ level); say Hello. ``address`` is what was dialled. From: I/O."""

    link: str
    address: str


class LinkClosed(msgspec.Struct, frozen=True):
    """A link is gone, or a dial failed. ``refused``: nobody listens; ``reset``: it was closed by the other side's
    system; ``silent``: no answer in time. ``link`` is empty for a dial that never connected. From: I/O."""

    link: str
    address: str  # empty for a link that the other side dialled
    how: Literal["refused", "reset", "silent"]


class PeerFrameReceived(msgspec.Struct, frozen=True):
    """Handshakes, pings and digests. ``dialled_here`` is False for a link that the other side dialled. From: I/O."""

    link: str
    dialled_here: bool
    body: LinkBody


class DigestsTaken(msgspec.Struct, frozen=True):
    """A beat has passed the I/O thread, the record table and the index, and so has everything that ``entries`` count;
    they have no ages yet. From: ClientManager, by way of IndexManager."""

    number: int
    entries: tuple[DigestEntry, ...]
    taken_ms: int  # by the node's monotonic clock: the heart beat then, however long this has waited
    proves_life: bool = True  # False while this node has yet to handle what happened as it stood still
    is_uncertain: bool = False  # it keeps what may have been withdrawn where it hears nobody


class HeartbeatRaised(msgspec.Struct, frozen=True):
    """A delta from the owner itself carried its counter. From: DistroSyncActor."""

    link: str
    origin: Origin
    heartbeat: int


class CaughtUp(msgspec.Struct, frozen=True):
    """Everything that was in the first digest of this ready peer is in the index. From: DistroSyncActor."""

    node_id: str


class LeaveOrdered(msgspec.Struct, frozen=True):
    """SIGTERM. From: runtime."""


class SessionsGone(msgspec.Struct, frozen=True):
    """Every session has moved or the deadline passed. From: ConnectionManager."""


class Flushed(msgspec.Struct, frozen=True):
    """From: DistroSyncActor."""


class SessionsCounted(msgspec.Struct, frozen=True):
    """So many sessions are open here: once a second at most, when it has changed. From: ConnectionManager."""

    sessions: int
