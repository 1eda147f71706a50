"""Who a session at the node is for, and what it asks of the link that all sessions share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rollbook.errors import RollbookError
from rollbook.wire import SessionKind

if TYPE_CHECKING:
    from runtime.gateway.node_session import NodeSession


class SessionSpec(NamedTuple):
    """Who a session is for. ``ip`` is that of the client behind the gateway: limits count against it."""

    client_id: str
    app: str = ""
    agent: str = ""
    ip: str = ""
    kind: SessionKind = "sdk"
    connected_ms: int = 0  # the wall clock when the client has connected


class SessionDesk(Protocol):
    """What a session asks of its link."""

    def has_room(self) -> bool:
        """Whether one more request may be in flight."""

    def now_ms(self) -> int: ...

    def take_number(self, session: NodeSession, above: int) -> int:
        """One that no other session on the connection has: what comes with it is for this session."""

    def drop_number(self, number: int) -> None: ...

    def send(self, payload: bytes) -> None: ...

    def departed(self) -> None:
        """A request is in flight."""

    def landed(self, requests: int) -> None:
        """So many are answered, or will never be."""

    def wait_for_room(self, session: NodeSession) -> None: ...

    def flush_later(self, session: NodeSession, pause_ms: int) -> None: ...

    def session_opened(self, session: NodeSession, body: Any) -> None: ...

    def session_over(self, session: NodeSession, error: RollbookError) -> None:
        """It has ended, for whatever reason; or never opened."""

    def session_redone(self, session: NodeSession) -> None:
        """The node has what it wants."""

    def keeps(self, session: NodeSession, error: RollbookError) -> bool:
        """Whether this one goes on, though the node has ended or refused it: on another connection, then."""

    def doubt(self) -> None:
        """Something was not answered in time: is the node there?"""
