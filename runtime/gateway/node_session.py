"""One session at the node: what somebody behind the gateway publishes, watches and asks.

Owns: its agenda (rollbook/agenda.py: publications, subscriptions, calls in progress), its window of requests, its end.
The connection is the link's (node_link.py), and so is the choice of numbers. A session outlives connections: on a new
one it opens again under a higher number and redoes what it wants; whoever holds it notices nothing. It ends when it is
closed, when the node ends it, or when the link gives the node up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from loguru import logger

from rollbook.agenda import WANTED_ALWAYS, Agenda, refusal
from rollbook.cache import Snapshot
from rollbook.errors import ClientClosed, Code, RequestTimeout, RollbookError
from rollbook.link import Link, Request, Stage
from rollbook.model import Service, View
from rollbook.orders import Action, CallBody, Called, Deliver, Reject, Report, Resolve
from rollbook.patience import LinkSettings, SessionSettings, growing_pause_ms
from rollbook.session import SESSION_OVER
from rollbook.wire import (
    FRAME_BYTES_MAX,
    CloseSession,
    Failed,
    MoveAdvised,
    OpenSession,
    PushAck,
    SessionEnded,
)
from runtime.gateway.session_calls import SessionCalls
from runtime.gateway.session_desk import SessionDesk, SessionSpec

_LOG = logger.bind(actor="link")
_PATIENCE = SessionSettings()


class NodeSession:
    """Get one from ``NodeLink.open``. Every method is called on the loop."""

    def __init__(
        self, spec: SessionSpec, desk: SessionDesk, link_settings: LinkSettings, calls_max: int, chance: random.Random
    ) -> None:
        self.spec = spec
        self.on_push: Callable[[View], None] = _nothing
        self.on_repeated: Callable[[View], None] = _nothing  # a push of what is known; the node wants to hear of it
        self.on_advice: Callable[[MoveAdvised], None] = _nothing
        self.on_ended: Callable[[RollbookError], None] = _nothing
        self.error: RollbookError | None = None  # why it has ended
        self._desk = desk
        self._link_settings = link_settings
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._actions: list[Action] = []
        self._agenda = Agenda(self._actions, calls_max)
        self._calls = SessionCalls(desk.now_ms, self._expire)
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
        call, future = self._calls.take()
        deadline_ms = self._desk.now_ms() + timeout_ms
        self._calls.expire_by(deadline_ms)
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
        """End it; returns when the node has heard, or takes its time. ``leave`` removes what it publishes: if the node
        is away or busy just now, as soon as it is not."""
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
        if self._goodbye is not None:  # else it is yet to be said, when the node has opened or redone the session
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
        self._goodbye = None

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
        self._calls.stop()
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
        if failed.code == Code.OVER_LIMIT and failed.retryable and isinstance(request.body, WANTED_ALWAYS):
            # What callers of HTTP ask for is not said again: others would wait for it, and they have other servers.
            link.paused_until_ms = self._desk.now_ms() + _PATIENCE.overload_pause_ms
            self._desk.flush_later(self, _PATIENCE.overload_pause_ms)
            successor = self._agenda.again(request)
        else:
            successor = self._agenda.refused(request, failed)
        if successor is not None:
            link.redo_open += successor.redo
            if failed.code == Code.OUTCOME_UNKNOWN:
                self._put_off(link, successor)
            else:
                link.queue.appendleft(successor)
        self._done(link, request)

    def _put_off(self, link: Link, request: Request) -> None:
        """The store has trouble, and so has everybody else who writes to it."""
        request.repeats += 1
        least_ms, most_ms = _PATIENCE.repeat_pause_ms_min, _PATIENCE.repeat_pause_ms_max
        pause_ms = growing_pause_ms(request.repeats, least_ms, most_ms, self._chance)
        link.put_off(request, self._desk.now_ms() + pause_ms)
        self._desk.flush_later(self, pause_ms)

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
        link.fill(requests)
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
        """What would cost the connection, and with it everybody's session, does not leave. It is answered when what
        may be sent now has been, for that may be more of the kind."""
        self._loop.call_soon(self._refused, link, request, Failed(Code.PARAMETER_INVALID, sentence))

    def _refused(self, link: Link, request: Request, failed: Failed) -> None:
        if link is self._link:
            self._on_answer(link, request, failed)
            self._perform()

    def _expire(self) -> None:
        text = "the node did not answer in time" if self._link is not None else "the node is away"
        if self._agenda.expire(self._desk.now_ms(), lambda: RequestTimeout(text)):
            self._desk.doubt()
        self._perform()
        if self._agenda.deadline_ms is not None:
            self._calls.expire_by(self._agenda.deadline_ms)

    def _perform(self) -> None:
        """What the agenda wants done."""
        actions = list(self._actions)
        self._actions.clear()
        for action in actions:
            match action:
                case Resolve(call, value):
                    self._calls.resolve(call, self._shown(value) if isinstance(value, Snapshot) else value)
                case Reject(call, error):
                    self._calls.reject(call, error)
                case Deliver(snapshot):
                    self.on_push(self._shown(snapshot))
                case Report():
                    _LOG.bind(client=self.spec.client_id, report=action.text).log(action.level, "a session reports")

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
