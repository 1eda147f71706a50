"""The gateway's one connection to its node, and every session on it.

Owns: the connection (node_socket.py), session numbers (unique on it), the window of requests of all sessions together,
the gateway's own session, the patience with a node that is away. What a session wants is its own business
(node_session.py).

A node that restarts is met again: the gateway's own session opens first, which says that the node is ready, then all
others open under higher numbers and redo what they want. A node that stays away for longer than the patience ends them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
from loguru import logger

from rollbook.errors import ClusterUnreachable, RemoteProtocolError, RollbookError
from rollbook.link import Request, Stage, Verdict
from rollbook.orders import CallBody
from rollbook.patience import LinkSettings
from rollbook.wire import (
    ANSWER_LIMITS,
    ANSWERS,
    WIRE_VERSION,
    Ping,
    ServersListed,
    SessionOpened,
    Tag,
    answer_body,
    open_envelope,
)
from runtime.clock import monotonic_ms, system_now
from runtime.gateway.node_session import NodeSession
from runtime.gateway.node_socket import NodeSocket
from runtime.gateway.resumption import Resumption
from runtime.gateway.session_desk import SessionSpec
from runtime.gateway.settings import GatewaySettings
from runtime.gateway.shared_views import SharedViews

_LOG = logger.bind(actor="link")
LOOK_SECONDS = 1.0  # at what nothing else tells of: unanswered requests, a silent node
_NEVER_MS = 1 << 40  # a stream that is idle asks for no sign of life: the gateway's own session does, for all


class _Frame(msgspec.Struct, array_like=True, gc=False):
    """The envelope of rollbook/wire.py with the body as it came."""

    version: int
    tag: int
    correlation: int
    session: int
    body: msgspec.Raw


_FRAMES = msgspec.msgpack.Decoder(_Frame)


class NodeLink:
    """Make it on the loop; ``start``, then ``open`` as many sessions as there are clients, ``stop``.

    ``is_to_own`` node: what becomes of it is news. A link to another member comes and goes with the questions to it.
    """

    def __init__(
        self, endpoint: str, settings: GatewaySettings, chance: random.Random, *, is_to_own: bool = True
    ) -> None:
        self.node: SessionOpened | None = None  # what the node said when it was met last
        self.servers: tuple[str, ...] = ()  # the newest list of client addresses
        self._endpoint = endpoint
        self._is_to_own = is_to_own
        self._settings = settings
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._socket = NodeSocket(endpoint, settings, self)
        self._views = SharedViews(settings.views_kept_max, settings.views_bytes_max)
        self._is_connected = False
        self._is_stopped = False
        self._has_patience = True
        self._patience_timer: asyncio.TimerHandle | None = None
        self._numbers_taken = 0
        self._looked_ms = monotonic_ms()
        self._in_flight = 0
        self._waiting: dict[NodeSession, None] = {}  # for room
        self._unopened: dict[NodeSession, None] = {}  # likewise
        self._sessions: dict[NodeSession, None] = {}  # in order of opening, without the gateway's own
        self._by_number: dict[int, NodeSession] = {}
        self._opening: dict[NodeSession, asyncio.Future[None]] = {}  # whom ``open`` waits for
        self._own_link_settings = LinkSettings()
        self._link_settings = LinkSettings(idle_ms=_NEVER_MS)
        self.on_resumed: Callable[[], None] = _nothing
        self.resumption = Resumption(settings.resume_ms, lambda: self.on_resumed())
        spec = SessionSpec(f"gateway-{chance.getrandbits(128):032x}", agent="rollbook-gateway", kind="gateway")
        self.own = NodeSession(spec, self, self._own_link_settings, settings.http_calls_max, chance)

    @property
    def is_up(self) -> bool:
        """The node is there and ready."""
        return self._is_connected and self.own.is_open

    @property
    def has_given_up(self) -> bool:
        """The node is away for longer than clients should wait."""
        return not self._has_patience

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def start(self) -> None:
        self._begin_to_wait()
        self._socket.connect()
        self._loop.call_later(LOOK_SECONDS, self._look)

    async def open(self, spec: SessionSpec, timeout_ms: int = 0) -> NodeSession:
        """A session of this client, open at the node. Raises Refused, or ClusterUnreachable if the node is away."""
        session = NodeSession(spec, self, self._link_settings, self._settings.calls_per_session_max, self._chance)
        if not self._has_patience:
            raise ClusterUnreachable("the node is away")
        future = self._opening[session] = self._loop.create_future()
        self._sessions[session] = None
        if self.is_up:
            self._open_soon(session)
        try:
            async with asyncio.timeout((timeout_ms or self._settings.request_timeout_ms) / 1000):
                await future
        except BaseException as error:  # perhaps just when it was opened
            session.abandon(ClusterUnreachable("nobody waits for the session any more"))
            if isinstance(error, TimeoutError):
                raise ClusterUnreachable("the node did not open a session in time") from None
            raise
        finally:
            del self._opening[session]
        if session.error is not None:  # likewise
            raise session.error
        return session

    async def ask(self, body: CallBody, timeout_ms: int = 0) -> Any:
        """In the gateway's own session."""
        return await self.own.ask(body, timeout_ms or self._settings.request_timeout_ms)

    async def stop(self) -> None:
        """Say goodbye to the node. Sessions that nobody closed stay there for the grace of their kind."""
        self._is_stopped = True
        if self.is_up:
            await self.own.close("leave")
        for session in [*self._sessions, self.own]:
            session.end(ClusterUnreachable("the gateway ends"))
        self._socket.close()
        self.resumption.stop()
        if self._patience_timer is not None:
            self._patience_timer.cancel()

    # -- what the socket tells

    def socket_opened(self) -> None:
        self._is_connected = True
        self.own.open()

    def socket_lost(self, reason: str) -> None:
        if self.is_up:
            self._tell("WARNING", "the node is lost", reason=reason)
        if self._is_connected:
            self._begin_to_wait()
        self._is_connected = False
        self._in_flight = 0
        self._waiting.clear()
        self._unopened.clear()
        self._by_number.clear()
        self.resumption.begin(session for session in self._sessions if session not in self._opening)
        for session in [*self._sessions, self.own]:
            session.connection_lost()
        if not self._is_stopped:
            self._loop.call_later(self._settings.reconnect_ms / 1000, self._connect_again)

    def frame_received(self, payload: bytes) -> None:
        try:
            frame = _FRAMES.decode(payload)
            if frame.version != WIRE_VERSION:
                raise RemoteProtocolError(f"the node speaks version {frame.version}", field="version")
            self._take(frame, payload)
        except (RemoteProtocolError, msgspec.MsgspecError) as error:
            self._lose(f"not a frame of a node: {error}")

    def _take(self, frame: _Frame, payload: bytes) -> None:
        if self.own.link is not None:
            self.own.link.heard(self.now_ms())
        session = self._by_number.get(frame.session)
        if session is None or frame.tag not in ANSWERS:
            return  # closed meanwhile, or of a later version
        if frame.tag == Tag.PUSH:
            session.pushed(self._views.decode(frame.body))
            return
        if frame.tag == Tag.VIEW:
            body: Any = self._views.decode(frame.body)
        else:
            body = answer_body(open_envelope(payload, ANSWER_LIMITS))
        if isinstance(body, ServersListed):
            self.servers = body.servers
        else:
            session.received(frame.correlation, body)

    # -- what sessions ask for

    def has_room(self) -> bool:
        return self._in_flight < self._settings.requests_in_flight_max

    def now_ms(self) -> int:
        return monotonic_ms()

    def take_number(self, session: NodeSession, above: int) -> int:
        self._numbers_taken = max(self._numbers_taken + 1, system_now().wall_ms)
        number = max(self._numbers_taken, above + 1)
        while number in self._by_number:
            number += 1
        self._by_number[number] = session
        return number

    def drop_number(self, number: int) -> None:
        self._by_number.pop(number, None)

    def send(self, payload: bytes) -> None:
        self._socket.send(payload)

    def departed(self) -> None:
        self._in_flight += 1

    def landed(self, requests: int) -> None:
        self._in_flight -= requests
        while self._waiting and self.has_room():
            session = next(iter(self._waiting))
            del self._waiting[session]
            session.flush()
        self._open_some()

    def wait_for_room(self, session: NodeSession) -> None:
        self._waiting[session] = None

    def flush_later(self, session: NodeSession, pause_ms: int) -> None:
        self._loop.call_later(pause_ms / 1000, session.flush)

    def session_opened(self, session: NodeSession, body: SessionOpened) -> None:
        if session is self.own:
            self._on_node_met(body)
            return
        future = self._opening.get(session)
        if future is not None and not future.done():
            future.set_result(None)

    def session_over(self, session: NodeSession, error: RollbookError) -> None:
        for table in (self._sessions, self._waiting, self._unopened):
            table.pop(session, None)
        self.resumption.redone(session)
        future = self._opening.get(session)
        if future is not None and not future.done():
            future.set_exception(error)

    def session_redone(self, session: NodeSession) -> None:
        self.resumption.redone(session)

    def keeps(self, session: NodeSession, error: RollbookError) -> bool:
        if session is not self.own or self._is_stopped:
            return False
        self._loop.call_soon(self._lose, error.message)
        return True

    def doubt(self) -> None:
        link = self.own.link
        if link is not None and self.own.is_open and not link.is_pinged:
            self.own.ping(Request(Ping(), []))
            link.pinged(self.now_ms())

    # -- the node comes and goes

    def _on_node_met(self, opened: SessionOpened) -> None:
        self.node, self.servers = opened, opened.servers
        self._tell("INFO", "the node is met", node_id=opened.node_id, epoch=opened.epoch)
        self._has_patience = True
        if self._patience_timer is not None:
            self._patience_timer.cancel()
            self._patience_timer = None
        for session in self._sessions:
            self._unopened[session] = None
        self._open_some()
        self.resumption.met()

    def _open_soon(self, session: NodeSession) -> None:
        self._unopened[session] = None
        self._open_some()

    def _open_some(self) -> None:
        while self._unopened and self.has_room():
            session = next(iter(self._unopened))
            del self._unopened[session]
            session.open()

    def _connect_again(self) -> None:
        if not self._is_stopped:
            self._socket.connect()

    def _lose(self, reason: str) -> None:
        if self._is_connected:
            self._socket.disconnect()
            self.socket_lost(reason)

    def _begin_to_wait(self) -> None:
        if self._patience_timer is None:
            self._patience_timer = self._loop.call_later(self._settings.node_patience_ms / 1000, self._give_up)

    def _give_up(self) -> None:
        """Clients go elsewhere now. What they published here stays for the grace of their kind."""
        self._has_patience = False
        level = "ERROR" if self._sessions else "WARNING"
        sentence = "the node stays away: all sessions end" if self.node else "no node answers; it is tried on and on"
        fields = {"sessions": len(self._sessions), "node_patience_ms": self._settings.node_patience_ms}
        self._tell(level, sentence, endpoint=self._endpoint, **fields)
        for session in list(self._sessions):
            session.end(ClusterUnreachable("the node is away"))

    def _tell(self, level: str, sentence: str, **fields: object) -> None:
        """In the log. Whoever asks another member says itself that it does not answer."""
        _LOG.bind(**fields).log(level if self._is_to_own else "DEBUG", sentence)

    def _look(self) -> None:
        """Is the node there, and does it answer everything? A gateway that stood still itself holds nothing against
        it."""
        if self._is_stopped:
            return
        now_ms = self.now_ms()
        has_stalled = now_ms - self._looked_ms > 2 * LOOK_SECONDS * 1000
        self._looked_ms = now_ms
        if has_stalled:
            for session in (self.own, *self._sessions):
                if session.link is not None:
                    session.link.excuse(now_ms)
        elif self._is_connected:
            self._judge(now_ms)
        self._loop.call_later(LOOK_SECONDS, self._look)

    def _judge(self, now_ms: int) -> None:
        own = self.own.link
        if own is not None and own.stage is Stage.OPENING and now_ms >= own.deadline_ms:
            self._lose("the node opens no session")
            return
        for session in (self.own, *self._sessions):
            link = session.link
            if link is None or not (link.in_flight or session is self.own):
                continue
            verdict = link.verdict(now_ms)
            if verdict is Verdict.ASK:
                self.doubt()
            elif verdict is not Verdict.FINE:
                self._lose(verdict.value)
                return


def _nothing() -> None:
    """Nobody wants to know."""
