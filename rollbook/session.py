"""One client's session with the cluster, as a pure state machine.

Owns: the connections (one serves; in a move a second one is opened while the first still stands, then the first
retires), the choice of the next server (servers.py, moves.py), the end. What the client wants is in agenda.py, what is
said for it on a connection in conversation.py. Accepts inputs and returns actions of orders.py, to perform in order.

Every session is a new connection with a higher number, and is filled from the agenda. A session that another process
opened with this client's id ends this one for good. Time is judged by Ticked alone: a driver hands in what has arrived
first, so that after a pause of its own nothing that waits in a buffer counts as missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, assert_never

from rollbook import wire
from rollbook.agenda import Agenda
from rollbook.conversation import Conversation
from rollbook.errors import ClientClosed, ClientIdInUse, ClusterUnreachable, Code, RemoteProtocolError, RollbookError
from rollbook.link import Link, Request, Stage
from rollbook.links import Links
from rollbook.model import View
from rollbook.moves import Moves
from rollbook.numbers import SUPERSEDED
from rollbook.orders import (
    Action,
    Called,
    Chance,
    CloseOrdered,
    ConnectionLost,
    ConnectionOpened,
    Disconnect,
    Ended,
    FrameReceived,
    Input,
    Moment,
    Reject,
    Report,
    Resolve,
    Ticked,
)
from rollbook.patience import SessionSettings
from rollbook.servers import ServerList
from rollbook.wire import (
    CloseSession,
    Failed,
    MoveAdvised,
    PushAck,
    ServersListed,
    SessionEnded,
    SessionOpened,
    Tag,
)

SESSION_OVER = SUPERSEDED | {Code.SESSION_REQUIRED, Code.NOT_READY}


class _Closing(NamedTuple):
    call: int
    deadline_ms: int


class ClientSession:
    """See the module. Not thread-safe: one driver feeds it."""

    def __init__(
        self,
        client_id: str,
        servers: Sequence[str],
        chance: Chance,
        *,
        app: str = "",
        agent: str = "",
        settings: SessionSettings | None = None,
    ) -> None:
        self._client_id = client_id
        self._settings = settings or SessionSettings()
        self._servers = ServerList(servers, chance, self._settings.pause_ms_min, self._settings.pause_ms_max)
        self._moves = Moves(chance, self._settings)
        self._actions: list[Action] = []
        self._agenda = Agenda(self._actions, self._settings.calls_max)
        self._talk = Conversation(self._actions, self._agenda, chance, self._settings)
        self._links = Links(self._actions, (client_id, app, agent), self._settings)
        self._dial_at_ms = 0
        self._closing: _Closing | None = None
        self._goodbye: Request | None = None  # whose answer ends the session
        self._ended: RollbookError | None = None

    def handle(self, event: Input, now: Moment) -> list[Action]:
        """One turn."""
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
                self._on_ticked(now)
            case _:
                assert_never(event)
        actions = list(self._actions)
        self._actions.clear()
        return actions

    def wake_at_ms(self) -> int | None:
        """When to tick, if nothing happens before; None once the session has ended."""
        if self._ended is not None:
            return None
        wakes = [link.wake_at_ms() for link in (self._links.current, self._links.candidate) if link is not None]
        wakes += [link.deadline_ms for link in self._links.parting]
        wakes += [] if self._agenda.deadline_ms is None else [self._agenda.deadline_ms]
        wakes += [] if self._closing is None else [self._closing.deadline_ms]
        if self._links.current is None and self._links.candidate is None:
            wakes.append(self._dial_at_ms)
        return min(wakes)

    def check_invariants(self) -> None:
        """Raise AssertionError if the tables contradict each other."""
        self._agenda.check_invariants()
        self._links.check_invariants()
        assert not self._moves.reason or self._links.current is not None, "only a serving session moves"
        assert self._ended is None or self._links.current is None, "the end closes everything"
        assert not self._actions

    # Calls

    def _on_called(self, event: Called, now: Moment) -> None:
        if self._closing is not None:
            self._actions.append(Reject(event.call, ClientClosed("the client is closing")))
            return
        request = self._agenda.take(event, connected=self._links.current is not None)
        if request is not None and self._links.current is not None:
            self._talk.say(self._links.current, request, now)

    # Connections

    def _on_connection_opened(self, event: ConnectionOpened, now: Moment) -> None:
        link = self._links.find(event.connection)
        if link is not None and link.stage is Stage.DIALLING:
            self._links.open(link, now)

    def _on_connection_lost(self, event: ConnectionLost, now: Moment) -> None:
        link = self._links.find(event.connection)
        if link is not None:
            self._drop(link, event.reason, now)

    def _drop(self, link: Link, reason: str, now: Moment) -> None:
        """This connection is over, whatever it was good for."""
        self._actions.append(Disconnect(link.connection))
        if link is self._links.candidate:
            self._links.candidate = None
            self._on_candidate_failed(link, reason, now)
        elif link is self._links.retiring:
            self._links.retiring = None
            self._links.tell_sessions()
        elif link in self._links.parting:
            self._links.parting.remove(link)
        else:
            self._on_current_lost(link, reason, now)

    def _on_candidate_failed(self, link: Link, reason: str, now: Moment) -> None:
        pause_ms = self._servers.failed(link.server, reason)
        if self._links.current is not None:
            self._move_on(now)
        else:
            self._dial_at_ms = now.monotonic_ms + pause_ms

    def _on_current_lost(self, link: Link, reason: str, now: Moment) -> None:
        self._report("WARNING", f"session {link.session} at {link.server} is lost: {reason}")
        self._links.current = None
        self._moves.end()  # A candidate of the move goes on, as the reconnect.
        self._links.retire(now)
        self._links.tell_sessions()
        pause_ms = self._servers.failed(link.server, reason)
        steady = now.monotonic_ms - link.opened_ms >= self._settings.steady_ms
        if steady:
            self._servers.steady()
        self._dial_at_ms = now.monotonic_ms + (0 if steady else pause_ms)
        if self._closing is not None:
            self._withdraw_or_finish()

    def _on_session_opened(self, link: Link, opened: SessionOpened, now: Moment) -> None:
        if link is not self._links.candidate or opened.session != link.session:
            return
        link.in_flight.clear()
        self._servers.opened(link.server)
        self._servers.learn(opened.servers)
        if not self._moves.accepts(majority=opened.majority):
            self._links.candidate = None
            self._links.say_moved(link, now)  # Nothing was published in it, so nothing happens to what stands.
            self._move_on(now)
            return
        self._moves.end()
        link.serve(opened.requests_in_flight_max, now.monotonic_ms)
        self._links.promote(link)
        self._report("INFO", f"session {link.session} at {link.server} is open")
        self._begin(link, now)

    def _begin(self, link: Link, now: Moment) -> None:
        """Fill the session. From now on orders go here, behind the redo."""
        self._talk.begin(link, now)
        self._settle(link, now)

    def _settle(self, link: Link, now: Moment) -> None:
        if link.redo_open == 0 and link is self._links.current:
            self._links.retire(now)
            if self._closing is not None:
                self._leave(link, now)

    # Frames

    def _on_frame(self, event: FrameReceived, now: Moment) -> None:
        link = self._links.find(event.connection)
        if link is None:
            return
        if link in self._links.parting:
            self._links.heard_parting(link, event.payload)
            return
        link.heard(now.monotonic_ms)
        try:
            envelope = wire.open_envelope(event.payload, wire.ANSWER_LIMITS)
            is_known = envelope.tag in wire.ANSWERS  # A later version may say more; that is no fault.
            if is_known and envelope.session in (0, link.session):
                self._on_message(link, envelope, wire.answer_body(envelope), now)
        except RemoteProtocolError as error:
            self._drop(link, error.message, now)

    def _on_message(self, link: Link, envelope: wire.Envelope, body: Any, now: Moment) -> None:
        match body:
            case SessionOpened():
                self._on_session_opened(link, body, now)
            case SessionEnded():
                self._on_session_over(link, body, now)
            case View() if envelope.tag == Tag.PUSH:
                self._agenda.pushed(body, link.session)  # First: who is told of the ack may trust that callers have it.
                self._actions.append(link.tell(PushAck(body.service, body.version)))
            case MoveAdvised():
                self._on_move_advised(link, body, now)
            case ServersListed():
                self._servers.learn(body.servers)
            case Failed() if link is self._links.candidate:
                self._on_open_refused(link, body, now)
            case _ if link is self._links.current:  # The successor asks again what a retiring session was asked.
                self._on_answer(link, link.in_flight.pop(envelope.correlation, None), body, now)

    def _on_answer(self, link: Link, request: Request | None, body: Any, now: Moment) -> None:
        if isinstance(body, Failed) and body.code in SESSION_OVER:
            self._on_session_over(link, body, now)
        elif request is None:
            return  # Advice, or an answer to what a close has given up.
        elif request is self._goodbye:
            self._finish()
        elif isinstance(body, Failed):
            self._on_failed(link, request, body, now)
        else:
            self._agenda.answered(request, body, link.session)
            self._talk.done(link, request, now)
            self._settle(link, now)

    def _on_failed(self, link: Link, request: Request, failed: Failed, now: Moment) -> None:
        if failed.code == Code.NODE_LEAVING:  # The next session will bring what this one no longer takes.
            self._on_move_advised(link, MoveAdvised("leaving", failed.servers), now)
        else:
            self._talk.refused(link, request, failed, now)
            self._settle(link, now)

    def _on_session_over(self, link: Link, ended: SessionEnded | Failed, now: Moment) -> None:
        """The node has ended this session, or does not have it."""
        if self._links.numbers.is_stranger(ended):
            self._end(ClientIdInUse(f"another process opened a session as client {self._client_id!r}"))
        elif self._goodbye is not None and link is self._links.current:
            self._finish()
        else:
            if isinstance(ended, Failed):
                self._servers.hint(ended.servers)
            self._drop(link, ended.message, now)

    def _on_open_refused(self, link: Link, failed: Failed, now: Moment) -> None:
        if failed.code == Code.CLIENT_ID_IN_USE:
            self._on_session_over(link, failed, now)
        elif failed.code == Code.SESSION_STALE and link.stale_answers < self._settings.stale_answers_max:
            link.stale_answers += 1
            self._links.open_above(link, failed.session, now)
        else:
            hinted = self._links.current is None and self._servers.hint(failed.servers)
            self._drop(link, failed.message, now)
            self._dial_at_ms = now.monotonic_ms if hinted else self._dial_at_ms

    # Moves

    def _on_move_advised(self, link: Link, advice: MoveAdvised, now: Moment) -> None:
        if link is not self._links.current or self._links.candidate or self._links.retiring or self._closing:
            return
        if self._moves.follow(advice, link.server, self._servers.known, now.monotonic_ms):
            self._move_on(now)
        else:
            self._report("WARNING", f"advised to leave {link.server} ({advice.reason}) too often lately; staying")

    def _move_on(self, now: Moment) -> None:
        reason = self._moves.reason
        server = self._moves.next()
        if server is not None:
            self._links.dial(server, now)
        else:
            self._report("WARNING", f"advised to move ({reason}), but found no better node; staying")

    # Time

    def _on_ticked(self, now: Moment) -> None:
        wake_at_ms = self.wake_at_ms()
        if self._links.current is not None and wake_at_ms is not None:
            if now.monotonic_ms - wake_at_ms >= self._settings.stall_ms:
                self._links.current.excuse(now.monotonic_ms)
            reason = self._talk.watch(self._links.current, now)
            if reason:
                self._drop(self._links.current, reason, now)
        if self._links.candidate is not None and now.monotonic_ms >= self._links.candidate.deadline_ms:
            self._drop(self._links.candidate, f"silent for {self._settings.open_ms} ms", now)
        self._links.part_overdue(now)
        self._talk.expire(self._links.current, now, self._unreachable)
        if self._closing is not None and now.monotonic_ms >= self._closing.deadline_ms:
            self._finish()
        elif self._links.current is None and self._links.candidate is None and now.monotonic_ms >= self._dial_at_ms:
            self._links.dial(self._servers.next(), now)

    def _unreachable(self) -> ClusterUnreachable:
        where = "not connected" if self._links.current is None else f"connected to {self._links.current.server}"
        return ClusterUnreachable(f"no answer in time; {where}; {self._servers.describe()}")

    # The end

    def _on_close_ordered(self, event: CloseOrdered, now: Moment) -> None:
        if self._closing is not None:
            self._actions.append(Resolve(event.call, None))
            return
        self._closing = _Closing(event.call, event.deadline_ms)
        self._agenda.reject_everything(lambda: ClientClosed("the client was closed during the call"))
        link = self._links.current
        if link is not None and self._links.candidate is not None:
            self._actions.append(Disconnect(self._links.candidate.connection))
            self._links.candidate = None
            self._moves.end()
        if link is not None and link.redo_open == 0:
            self._leave(link, now)
            return
        self._withdraw_or_finish()
        if link is not None and self._ended is None:
            for request in link.in_flight.values():
                request.redo = False
            self._begin(link, now)

    def _withdraw_or_finish(self) -> None:
        """What an earlier session published stands somewhere; only a newer session can withdraw it."""
        self._goodbye = None
        if self._agenda.leaves_traces:
            self._agenda.leave()
        else:
            self._finish()

    def _leave(self, link: Link, now: Moment) -> None:
        """What was sent before is carried out before; what waits in the queue nobody wants any more."""
        link.fill(())
        if self._goodbye is None:
            self._goodbye = Request(CloseSession("leave"), [])
            self._actions.append(link.ask(self._goodbye, now.monotonic_ms))

    def _finish(self) -> None:
        assert self._closing is not None
        self._actions.append(Resolve(self._closing.call, None))
        self._end(ClientClosed("the client is closed"))

    def _end(self, error: RollbookError) -> None:
        if self._closing is not None and isinstance(error, ClientIdInUse):
            self._actions.append(Resolve(self._closing.call, None))
        self._ended = error
        self._agenda.reject_everything(lambda: type(error)(error.message))
        self._moves.end()
        self._links.hang_up()
        self._actions.append(Ended(error))

    def _answer_after_the_end(self, event: Input) -> list[Action]:
        assert self._ended is not None
        match event:
            case Called():
                return [Reject(event.call, type(self._ended)(self._ended.message))]
            case CloseOrdered():
                return [Resolve(event.call, None)]
            case _:
                return []  # What was on its way when the end came.

    def _report(self, level: Any, text: str) -> None:
        self._actions.append(Report(level, text))
