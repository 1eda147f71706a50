"""One session at the node: what somebody behind the gateway publishes, watches and asks.

Owns: its agenda (rollbook/agenda.py: publications, subscriptions, calls in progress), its window of requests, its end.
The connection is the link's (node_link.py), and so is the choice of numbers. A session outlives connections: on a new
one it opens again under a higher number and redoes what it wants; whoever holds it notices nothing. It ends when it is
closed, when the node ends it, or when the link gives the node up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
from loguru import logger

from rollbook.agenda import Agenda, refusal
from rollbook.cache import Snapshot
from rollbook.errors import ClientClosed, Code, RequestTimeout, RollbookError
from rollbook.link import Link, Request, Stage
from rollbook.model import Service, View
from rollbook.orders import Action, CallBody, Called, Deliver, Reject, Report, Resolve
from rollbook.patience import LinkSettings, SessionSettings
from rollbook.session import SESSION_OVER
from rollbook.wire import (
    FRAME_BYTES_MAX,
    CloseSession,
    Failed,
    MoveAdvised,
    OpenSession,
    PushAck,
    SessionEnded,
    SessionKind,
)

_LOG = logger.bind(actor="link")
_PATIENCE = SessionSettings()


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


class NodeSession:
    """Get one from ``NodeLink.open``. Every method is called on the loop."""

    def __init__(self, spec: SessionSpec, desk: SessionDesk, link_settings: LinkSettings, calls_max: int) -> None:
        self.spec = spec
        self.on_push: Callable[[View], None] = _nothing
        self.on_repeated: Callable[[View], None] = _nothing  # a push of what is known; the node wants to hear of it
        self.on_advice: Callable[[MoveAdvised], None] = _nothing
        self.on_ended: Callable[[RollbookError], None] = _nothing
        self.error: RollbookError | None = None  # why it has ended
        self._desk = desk
        self._link_settings = link_settings
        self._loop = asyncio.get_running_loop()
        self._actions: list[Action] = []
        self._agenda = Agenda(self._actions, calls_max)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._calls_taken = 0
        self._expiry: asyncio.TimerHandle | None = None  # one for all calls: most are answered long before
        self._expiry_ms = 0
        self._link: Link | None = None  # None: no connection to the node stands
        self._last_view: View | None = None
        self._closing: Literal["leave", "moved"] | None = None
        self._goodbye: Request | None = None  # whose answer ends the session
        self._closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        return self._link is not None and self._link.stage is Stage.SERVING

    # -- for whoever holds it

    async def ask(self, body: CallBody, timeout_ms: int) -> Any:
        """What the node answers: a View, or the body of its answer.

        Raises what FAILED says (Refused, NotConfirmed, OutcomeUnknown), RequestTimeout, or why the session has ended.
        What publishes, withdraws or subscribes holds beyond a timeout, until the node refuses it.
        """
        if self.error is not None or self._closing:
            raise self._why_over()
        self._calls_taken += 1
        call = self._calls_taken
        future: asyncio.Future[Any] = self._loop.create_future()
        deadline_ms = self._desk.now_ms() + timeout_ms
        self._calls[call] = future
        self._expire_by(deadline_ms)
        request = self._agenda.take(Called(call, body, deadline_ms), connected=self._link is not None)
        if request is not None and self._link is not None:
            self._link.queue.append(request)
            self.flush()
        self._perform()
        return await future

    def acknowledge(self, service: Service, version: int) -> None:
        """Whoever is behind the gateway has this list."""
        if self._link is not None and self.is_open:
            self._desk.send(self._link.tell(PushAck(service, version)).payload)

    async def close(self, reason: Literal["leave", "moved"] = "leave") -> None:
        """End it; returns when the node has heard, or cannot. ``leave`` removes what it publishes: if the node is away
        just now, as soon as it is back."""
        if self.error is not None or self._closing:
            return
        self._closing = reason
        self._agenda.reject_everything(lambda: ClientClosed("the session was closed during the call"))
        self._perform()
        link = self._link
        leaves_traces = reason == "leave" and self._agenda.leaves_traces
        if link is None:
            if leaves_traces:
                self._agenda.leave()
            else:
                self._finish()
            return
        if leaves_traces and (link.redo_open or not self.is_open):
            self._agenda.leave()  # what an older session published only a withdrawal by this one removes
            self._begin(link)
        elif self.is_open:
            self._say_goodbye(link)
        await asyncio.wait((self._closed,), timeout=_PATIENCE.goodbye_ms / 1000)
        self._finish()

    # -- for the link

    def open(self) -> None:
        """A connection stands: ask for the session."""
        number = self._desk.take_number(self, 0)
        deadline_ms = self._desk.now_ms() + _PATIENCE.open_ms
        self._link = Link(0, "", number, deadline_ms, self._link_settings)
        self._link.stage = Stage.OPENING
        self._ask_to_open(self._link)

    def connection_lost(self) -> None:
        self._link = None

    def ping(self, request: Request) -> None:
        """Beyond the window: its reserve is for this."""
        if self._link is not None:
            self._send(self._link, request)

    @property
    def link(self) -> Link | None:
        return self._link

    def abandon(self, error: RollbookError) -> None:
        """Nobody waits for it to open any more. The node may have opened it meanwhile."""
        if self._link is not None:
            self._desk.send(self._link.tell(CloseSession("leave")).payload)
        self.end(error)

    def end(self, error: RollbookError) -> None:
        """From outside or by the node: every call is told, and so is who holds it."""
        if self.error is not None:
            return
        self.error = error
        link, self._link = self._link, None
        if link is not None:
            self._desk.drop_number(link.session)
            self._desk.landed(len(link.in_flight))
        self._agenda.reject_everything(self._why_over)
        self._perform()
        if self._expiry is not None:
            self._expiry.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        self._desk.session_over(self, error)
        if not self._closing:
            self.on_ended(error)

    def flush(self) -> None:
        """Send what may leave now, in order."""
        link = self._link
        if link is None or not self.is_open:
            return
        if not self._desk.has_room():
            if link.queue:
                self._desk.wait_for_room(self)
            return
        for request in link.sendable(self._desk.now_ms()):
            if self._agenda.is_wanted(request):
                self._send(link, request)
            if not self._desk.has_room():
                self._desk.wait_for_room(self)
                break

    def pushed(self, view: View) -> None:
        """The node tells what a subscribed service is like."""
        if self._link is not None:
            self._last_view = view
            self._agenda.pushed(view, self._link.session)
            is_news = any(isinstance(action, Deliver) for action in self._actions)
            self._perform()
            if not is_news:
                self.on_repeated(view)

    def received(self, correlation: int, body: Any) -> None:
        """Everything else that the node says to this session."""
        link = self._link
        if link is None:
            return
        match body:
            case SessionEnded():
                self._ended_by_node(RollbookError(body.message, code=body.code, retryable=True))
            case MoveAdvised():
                self.on_advice(body)
            case _:
                request = link.in_flight.pop(correlation, None)
                if request is not None:
                    self._desk.landed(1)
                    self._on_answer(link, request, body)
                    self._perform()

    # -- answers

    def _on_answer(self, link: Link, request: Request, body: Any) -> None:
        if isinstance(request.body, OpenSession):
            self._on_opening_answered(link, body)
        elif request is self._goodbye:
            self._finish()
        elif isinstance(body, Failed):
            self._on_failed(link, request, body)
        else:
            self._last_view = body if isinstance(body, View) else self._last_view
            self._agenda.answered(request, body, link.session)
            self._done(link, request)

    def _on_opening_answered(self, link: Link, body: Any) -> None:
        if isinstance(body, Failed):
            self._on_opening_refused(link, body)
            return
        link.serve(body.requests_in_flight_max, self._desk.now_ms())
        self._begin(link)
        self._desk.session_opened(self, body)

    def _on_opening_refused(self, link: Link, failed: Failed) -> None:
        if failed.code == Code.SESSION_STALE and link.stale_answers < _PATIENCE.stale_answers_max:
            link.stale_answers += 1
            self._desk.drop_number(link.session)
            link.session = self._desk.take_number(self, failed.session)
            self._ask_to_open(link)
        else:
            self._ended_by_node(refusal(failed))

    def _on_failed(self, link: Link, request: Request, failed: Failed) -> None:
        if failed.code in SESSION_OVER:
            self._ended_by_node(refusal(failed))
            return
        if failed.code == Code.OVER_LIMIT and failed.retryable:
            link.paused_until_ms = self._desk.now_ms() + _PATIENCE.overload_pause_ms
            self._desk.flush_later(self, _PATIENCE.overload_pause_ms)
            successor = self._agenda.again(request)
        else:
            successor = self._agenda.refused(request, failed)
        if successor is not None:
            link.redo_open += successor.redo
            link.queue.appendleft(successor)
        self._done(link, request)

    def _done(self, link: Link, request: Request) -> None:
        link.redo_open -= request.redo
        self.flush()
        self._settle(link)

    # -- beginning and end

    def _ask_to_open(self, link: Link) -> None:
        spec = self.spec
        who = (spec.app, spec.agent, spec.kind, spec.ip, spec.connected_ms)
        order = OpenSession(spec.client_id, link.session, *who)
        self._send(link, Request(order, []))

    def _begin(self, link: Link) -> None:
        """Fill the session: from now on orders go here, behind the redo."""
        for request in link.in_flight.values():
            request.redo = False
        requests = self._agenda.redo()
        link.redo_open = sum(request.redo for request in requests)
        link.queue = deque(requests)
        self._perform()
        self.flush()
        self._settle(link)

    def _settle(self, link: Link) -> None:
        if self.is_open and link.redo_open == 0:
            self._desk.session_redone(self)
        if self._closing and self.is_open and link.redo_open == 0 and self._goodbye is None:
            self._say_goodbye(link)

    def _say_goodbye(self, link: Link) -> None:
        link.queue.clear()
        self._goodbye = Request(CloseSession(self._closing or "leave"), [])
        self._send(link, self._goodbye)

    def _ended_by_node(self, error: RollbookError) -> None:
        if not self._desk.keeps(self, error):
            self.end(error)

    def _finish(self) -> None:
        self.end(ClientClosed("the session is closed"))

    def _why_over(self) -> RollbookError:
        error = self.error or ClientClosed("the session is closed")
        return type(error)(error.message, code=error.code, retryable=error.retryable)

    # -- details

    def _send(self, link: Link, request: Request) -> None:
        now_ms = self._desk.now_ms()
        if getattr(request.body, "wait", "node") != "node":
            deadline_ms = self._agenda.deadline_of(request)
            if deadline_ms is not None:
                wait_ms = max(1, deadline_ms - now_ms - _PATIENCE.cluster_wait_margin_ms)
                request.body = msgspec.structs.replace(request.body, wait_ms=wait_ms)
        try:
            frame = link.ask(request, now_ms)
        except (OverflowError, UnicodeError) as error:
            self._refuse(link, request, f"this cannot be said to a node: {error}")
            return
        if len(frame.payload) > FRAME_BYTES_MAX:
            link.in_flight.popitem()
            self._refuse(link, request, f"this takes {len(frame.payload)} bytes, and a node takes {FRAME_BYTES_MAX}")
            return
        self._desk.send(frame.payload)
        self._agenda.sent(request)
        self._desk.departed()

    def _refuse(self, link: Link, request: Request, sentence: str) -> None:
        """What would cost the connection, and with it everybody's session, does not leave."""
        self._on_failed(link, request, Failed(Code.PARAMETER_INVALID, sentence))
        self._perform()

    def _expire_by(self, deadline_ms: int) -> None:
        if self._expiry is not None:
            if self._expiry_ms <= deadline_ms:
                return
            self._expiry.cancel()
        self._expiry_ms = deadline_ms
        self._expiry = self._loop.call_later((deadline_ms + 1 - self._desk.now_ms()) / 1000, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        text = "the node did not answer in time" if self._link is not None else "the node is away"
        if self._agenda.expire(self._desk.now_ms(), lambda: RequestTimeout(text)):
            self._desk.doubt()
        self._perform()
        if self._agenda.deadline_ms is not None:
            self._expire_by(self._agenda.deadline_ms)

    def _perform(self) -> None:
        """What the agenda wants done; callers may have given up."""
        actions = list(self._actions)
        self._actions.clear()
        for action in actions:
            match action:
                case Resolve(call, value):
                    self._resolve(call, self._shown(value) if isinstance(value, Snapshot) else value)
                case Reject(call, error):
                    self._reject(call, error)
                case Deliver(snapshot):
                    self.on_push(self._shown(snapshot))
                case Report():
                    _LOG.bind(client=self.spec.client_id, report=action.text).log(action.level, "a session reports")

    def _resolve(self, call: int, value: Any) -> None:
        future = self._calls.pop(call)
        if not future.done():
            future.set_result(value)

    def _reject(self, call: int, error: RollbookError) -> None:
        future = self._calls.pop(call)
        if not future.done():
            future.set_exception(error)

    def _shown(self, snapshot: Snapshot) -> View:
        """The view that the snapshot was made of, if nothing was carried over into it: shared by all who got it."""
        view = self._last_view
        if view is not None and snapshot.instances is view.instances and snapshot.version == view.version:
            return view
        return View(
            snapshot.service,
            snapshot.version,
            snapshot.instances,
            snapshot.warming,
            snapshot.preserved,
            snapshot.guarded,
            snapshot.stale_since_ms,
            snapshot.protected,
        )


def _nothing(_: Any) -> None:
    """Nobody wants to know."""
