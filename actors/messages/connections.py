"""What ConnectionManager is told."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from actors.messages.values import Route, Standing
from rollbook.wire import OpenSession


class SessionRequested(msgspec.Struct, frozen=True):
    """A connection asks for a session. From: I/O."""

    route: Route
    correlation: int
    ip: str
    order: OpenSession


class SessionCloseRequested(msgspec.Struct, frozen=True):
    """A client says goodbye. From: I/O. Every order that came before it has already been told to ClientManager."""

    route: Route
    correlation: int
    reason: Literal["leave", "moved"]


class TransportClosed(msgspec.Struct, frozen=True):
    """A client's connection is gone without a goodbye (confirmed by a probe). From: I/O."""

    link: bytes


class SessionDiscarded(msgspec.Struct, frozen=True):
    """ClientManager refused or ended this session: it no longer counts. From: ClientManager."""

    route: Route


class StandingChanged(msgspec.Struct, frozen=True):
    """From: MemberManager (also to IndexManager and ClientManager)."""

    standing: Standing


class SessionsShed(msgspec.Struct, frozen=True):
    """The node leaves: advise every session to move; say when none is left, or ``deadline_ms`` from now. From:
    MemberManager."""

    deadline_ms: int


class MemberSessions(NamedTuple):
    """How many sessions another member has open, by its newest digest."""

    server: str  # its client address
    sessions: int
    is_settled: bool  # it has been ready for one lease, so it may be given some


class SessionsCompared(msgspec.Struct, frozen=True):
    """Every rebalancing interval, unless a member is suspect or leaving, or this node is not wholly well: how the
    sessions are spread. From: MemberManager."""

    members: tuple[MemberSessions, ...]  # the living ones, without this node
