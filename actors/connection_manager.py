"""ConnectionManager: which sessions this node has, over which connection, from where, and how many are too many.

Owns: sessions per link, ip and app; the delay of a lost session; the node's standing as sessions are told of it; the
advice to move, and the news of other servers, in steps (actors/advice.py) and by the rule of actors/rebalance.py.
Accepts: messages/connections.py. Tells: ClientManager (sessions to open and to release, news of servers to pass on),
I/O (refusals, goodbyes, advice), MemberManager (how many sessions there are; that none is left). Every question about
the node's status starts here.

It admits; ClientManager opens. A session counts from its admission until it is released here or discarded there.
"""

from __future__ import annotations

import random
from typing import assert_never

import msgspec

from actors.admissions import Admission, Admissions
from actors.advice import AdvicesGiven, AdviceUnderWay, ServerNews
from actors.base import Effect, Effects, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.messages.clients import NewsPassed, OpenSessionOrdered, ReleaseSession
from actors.messages.connections import (
    SessionCloseRequested,
    SessionDiscarded,
    SessionRequested,
    SessionsCompared,
    SessionsShed,
    StandingChanged,
    TransportClosed,
)
from actors.messages.io import AnswerClients, ClientFrame, PushToClients
from actors.messages.members import SessionsCounted, SessionsGone
from actors.messages.values import Route, Standing
from actors.rebalance import plan
from actors.succession import trail_of
from rollbook.errors import RETRYABLE, Code, InvalidField
from rollbook.model import APP_LENGTH_MAX, IP_LENGTH_MAX, check_client_id
from rollbook.wire import NUMBER_MAX, Done, Failed, OpenSession, Tag, encode

AGENT_LENGTH_MAX = 128  # what is kept of it; nobody is refused for a long one


class ConnectionsSettings(msgspec.Struct, frozen=True):
    sessions_max: int
    sessions_per_ip_max: int
    sessions_per_app_max: int
    lost_delay_ms: int
    native_grace_ms: int
    sdk_grace_ms: int
    shed_sessions_per_step_max: int
    shed_interval_ms: int
    isolation_advice_interval_ms: int
    count_interval_ms: int
    rebalance_above_percent: int
    rebalance_above_sessions: int
    rebalance_step_percent_max: int
    rebalance_memory_ms: int


class _LostDue(msgspec.Struct, frozen=True):
    """The time of these sessions to come back over another connection is over."""

    routes: tuple[Route, ...]


class _AdviceDue(msgspec.Struct, frozen=True):
    """The next step of the advice that began as number ``advice``."""

    advice: int


class _ShedDeadlineDue(msgspec.Struct, frozen=True):
    pass


class _NewsDue(msgspec.Struct, frozen=True):
    """The next step of telling what servers there are."""


class _CountDue(msgspec.Struct, frozen=True):
    """The number of sessions has changed since it was told."""


ConnectionsInput = (
    SessionRequested
    | SessionCloseRequested
    | TransportClosed
    | SessionDiscarded
    | StandingChanged
    | SessionsShed
    | SessionsCompared
    | StatusRequested
    | _LostDue
    | _AdviceDue
    | _ShedDeadlineDue
    | _NewsDue
    | _CountDue
)


class ConnectionManager:
    role = Role.CONNECTIONS

    def __init__(self, identity: NodeIdentity, settings: ConnectionsSettings, chance: random.Random) -> None:
        self.settings = settings
        self._chance = chance
        self.counters = dict.fromkeys(
            (
                "sessions_admitted",
                "sessions_refused",
                "sessions_closed",
                "sessions_lost",
                "sessions_discarded",
                "moves_advised",
                "sessions_rebalanced",
            ),
            0,
        )
        self._sessions = Admissions()
        self._standing = Standing()  # not ready, until MemberManager says so
        self._shedding = False
        self._gone_told = False
        self._advice = AdviceUnderWay(settings.shed_sessions_per_step_max)
        self._rebalanced = AdvicesGiven(settings.rebalance_memory_ms)
        self._news = ServerNews(identity.client_address, settings.shed_sessions_per_step_max)
        self._is_news_due = False
        self._count_told = 0
        self._is_count_due = False

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: ConnectionsInput, now: Now) -> list[Effect]:
        match message:
            case SessionRequested():
                return self._on_session_requested(message, now)
            case SessionCloseRequested():
                return self._on_session_close_requested(message)
            case TransportClosed():
                return self._on_transport_closed(message)
            case SessionDiscarded():
                return self._on_session_discarded(message)
            case StandingChanged():
                return self._on_standing_changed(message)
            case SessionsShed():
                return self._on_sessions_shed(message)
            case SessionsCompared():
                return self._on_sessions_compared(message, now)
            case StatusRequested():
                return self._on_status_requested(message)
            case _LostDue():
                return self._on_lost_due(message)
            case _AdviceDue():
                return self._on_advice_due(message)
            case _ShedDeadlineDue():
                return self._say_gone()
            case _NewsDue():
                return self._on_news_due()
            case _CountDue():
                return self._on_count_due()
            case _:
                assert_never(message)

    # -- sessions come

    def _on_session_requested(self, message: SessionRequested, now: Now) -> list[Effect]:
        route, order = message.route, message.order
        ip = order.ip or message.ip
        failed = self._invalid(route, order) or self._unfit() or self._over_limit(ip, order.app)
        if failed is not None:
            self.counters["sessions_refused"] += 1
            frame = ClientFrame(route, encode(Tag.FAILED, message.correlation, route.session, failed))
            return [Tell(Role.IO, AnswerClients((frame,)))]
        self.counters["sessions_admitted"] += 1
        self._sessions.add(route, Admission(ip, order.app, order.kind))
        grace_ms = self.settings.sdk_grace_ms if order.kind == "sdk" else self.settings.native_grace_ms
        known = (order.client_id, grace_ms, self._standing, order.kind)
        shown = (ip, order.app, order.agent[:AGENT_LENGTH_MAX])
        trail = trail_of(order, ip, now.wall_ms)
        opening = OpenSessionOrdered(route, message.correlation, *known, *shown, trail)
        return [Tell(Role.CLIENTS, opening), *self._count_soon()]

    def _invalid(self, route: Route, order: OpenSession) -> Failed | None:
        try:
            check_client_id(order.client_id)
        except InvalidField as error:
            return Failed(error.code, error.message, field=error.field)
        if len(order.app) > APP_LENGTH_MAX:
            return _invalid_field("app", f"app is longer than {APP_LENGTH_MAX} characters")
        if len(order.ip) > IP_LENGTH_MAX:
            return _invalid_field("ip", f"ip is longer than {IP_LENGTH_MAX} characters")
        if not 0 < order.session <= NUMBER_MAX:
            return _invalid_field("session", f"session must lie between 1 and {NUMBER_MAX}, not {order.session}")
        if order.session != route.session:
            sentence = f"session is {order.session} in the body, but {route.session} in the envelope"
            return _invalid_field("session", sentence)
        if route in self._sessions:
            # Passed on, it would look stale to ClientManager, and the session that stands would be discarded.
            return _invalid_field("session", f"session {route.session} is already open on this connection")
        return None

    def _unfit(self) -> Failed | None:
        if self._shedding or self._standing.leaving:
            return self._elsewhere(Code.NODE_LEAVING, "this node is leaving, try another")
        if not self._standing.ready:
            return self._elsewhere(Code.NOT_READY, "this node is not ready, try another")
        return None

    def _over_limit(self, ip: str, app: str) -> Failed | None:
        settings = self.settings
        if len(self._sessions) >= settings.sessions_max:
            sentence = f"this node has as many sessions as it takes: sessions_max is {settings.sessions_max}"
            return self._elsewhere(Code.OVER_LIMIT, sentence, "session")
        if self._sessions.of_ip(ip) >= settings.sessions_per_ip_max:
            sentence = f"too many sessions from {ip}: sessions_per_ip_max is {settings.sessions_per_ip_max}"
            return self._elsewhere(Code.OVER_LIMIT, sentence, "ip")
        if app and self._sessions.of_app(app) >= settings.sessions_per_app_max:
            sentence = f"too many sessions of app {app}: sessions_per_app_max is {settings.sessions_per_app_max}"
            return self._elsewhere(Code.OVER_LIMIT, sentence, "app")
        return None

    def _elsewhere(self, code: Code, sentence: str, field: str = "") -> Failed:
        return Failed(code, sentence, field=field, retryable=code in RETRYABLE, servers=self._standing.servers)

    # -- sessions go

    def _on_session_close_requested(self, message: SessionCloseRequested) -> list[Effect]:
        """A goodbye for a session that is gone already is as good as done."""
        route = message.route
        effects: list[Effect] = []
        if route in self._sessions:
            self.counters["sessions_closed"] += 1
            self._forget(route)
            effects.append(Tell(Role.CLIENTS, ReleaseSession(route, message.reason)))
            effects += self._count_soon()
        frame = ClientFrame(route, encode(Tag.DONE, message.correlation, route.session, Done()))
        return [*effects, Tell(Role.IO, AnswerClients((frame,))), *self._gone_if_empty()]

    def _on_transport_closed(self, message: TransportClosed) -> list[Effect]:
        """An abrupt close takes effect after a moment, in which the client may be back with a higher session."""
        routes = self._sessions.on(message.link)
        return [Remind(self.settings.lost_delay_ms, _LostDue(routes))] if routes else []

    def _on_lost_due(self, message: _LostDue) -> list[Effect]:
        lost = [route for route in message.routes if route in self._sessions]
        for route in lost:
            self._forget(route)
        self.counters["sessions_lost"] += len(lost)
        released = [Tell(Role.CLIENTS, ReleaseSession(route, "lost")) for route in lost]
        return [*released, *self._gone_if_empty(), *self._count_soon()]

    def _on_session_discarded(self, message: SessionDiscarded) -> list[Effect]:
        if message.route not in self._sessions:
            return []  # closed meanwhile
        self.counters["sessions_discarded"] += 1
        self._forget(message.route)
        return [*self._gone_if_empty(), *self._count_soon()]

    # -- advice to move, in steps: a burst of moves would only shift the load

    def _on_standing_changed(self, message: StandingChanged) -> list[Effect]:
        was_isolated, self._standing = self._standing.isolated, message.standing
        self._news.list(message.standing.servers, self._sessions)
        news = self._tell_news_soon()
        if self._shedding or was_isolated == message.standing.isolated:
            return news
        if message.standing.isolated:
            return news + self._advise_all()
        self._advice.call_off()
        return news

    def _on_sessions_shed(self, message: SessionsShed) -> list[Effect]:
        if self._shedding:
            return []
        self._shedding = True
        advised = self._advise_all()
        return [*advised, Remind(message.deadline_ms, _ShedDeadlineDue()), *self._gone_if_empty()]

    def _on_sessions_compared(self, message: SessionsCompared, now: Now) -> list[Effect]:
        """Some sessions may serve better elsewhere; each of them is asked once in a while at most."""
        if self._shedding or self._standing.isolated or self._advice.is_under_way:
            return []
        callers = self._sessions.of_callers()
        shares = plan(len(callers), message.members, self.settings)
        if not shares:
            return []
        self._rebalanced.forget_old(now.monotonic_ms)
        servers = [(share.server,) for share in shares for _ in range(share.sessions)]
        free = [route for route in callers if route not in self._rebalanced]
        chosen = self._chance.sample(free, min(len(servers), len(free)))
        self._rebalanced.note(chosen, now.monotonic_ms)
        self.counters["sessions_rebalanced"] += len(chosen)
        self._chance.shuffle(servers)  # who falls short of sessions is not always the same
        self._advice.begin("rebalance", zip(chosen, servers, strict=False))
        return self._advise_some()

    def _advise_all(self) -> list[Effect]:
        self._advice.begin("leaving" if self._shedding else "isolated", [(route, ()) for route in self._sessions])
        return self._advise_some()

    def _on_advice_due(self, message: _AdviceDue) -> list[Effect]:
        if message.advice != self._advice.number:
            return []  # of an advice that has been called off
        return self._advise_some() if self._advice.is_under_way else self._advise_all()

    def _advise_some(self) -> list[Effect]:
        """One step, and a reminder of the next; an isolated node begins again, for a session that found no better one
        stays and may try later."""
        frames = self._advice.step(self._sessions, self._standing.servers)
        self.counters["moves_advised"] += len(frames)
        effects: list[Effect] = [Tell(Role.IO, PushToClients(frames))] if frames else []
        if self._advice.is_under_way:
            effects.append(Remind(self.settings.shed_interval_ms, _AdviceDue(self._advice.number)))
        elif self._advice.reason == "isolated":
            effects.append(Remind(self.settings.isolation_advice_interval_ms, _AdviceDue(self._advice.number)))
        return effects

    def _gone_if_empty(self) -> list[Effect]:
        return self._say_gone() if self._shedding and not self._sessions.has_callers else []

    def _say_gone(self) -> list[Effect]:
        if self._gone_told:
            return []
        self._gone_told = True
        return [Tell(Role.MEMBERS, SessionsGone())]

    # -- news of other servers: a session may outlast every node that it has ever heard of

    def _tell_news_soon(self) -> list[Effect]:
        if self._is_news_due or not self._news.is_under_way:
            return []
        self._is_news_due = True
        return [Remind(self.settings.shed_interval_ms, _NewsDue())]

    def _on_news_due(self) -> list[Effect]:
        self._is_news_due = False
        frames = self._news.step(self._sessions, self._standing.servers)
        # Behind the openings that ClientManager has yet to answer: those still say the older list.
        told = [Tell(Role.CLIENTS, NewsPassed(frames))] if frames else []
        return [*told, *self._tell_news_soon()]

    # -- status, counting

    def _count_soon(self) -> list[Effect]:
        if self._is_count_due or len(self._sessions) == self._count_told:
            return []
        self._is_count_due = True
        return [Remind(self.settings.count_interval_ms, _CountDue())]

    def _on_count_due(self) -> list[Effect]:
        self._is_count_due = False
        if len(self._sessions) == self._count_told:
            return []
        self._count_told = len(self._sessions)
        return [Tell(Role.MEMBERS, SessionsCounted(self._count_told))]

    def _on_status_requested(self, message: StatusRequested) -> list[Effect]:
        gateways = {"sessions_of_gateways": self._sessions.of_gateways}
        counters = {**message.parts.get("counters", {}), **self.counters, **gateways}
        return [Tell(Role.CLIENTS, message.with_parts(sessions=len(self._sessions), counters=counters))]

    def _forget(self, route: Route) -> None:
        self._sessions.remove(route)
        self._rebalanced.forget(route)

    def check_invariants(self) -> None:
        self._sessions.check_invariants()
        assert len(self._sessions) <= self.settings.sessions_max, "sessions have a limit"
        assert self._is_news_due or not self._news.is_under_way, "sessions would never hear of other servers"
        assert self._is_count_due or len(self._sessions) == self._count_told, "a number is not told"
        self._rebalanced.check_invariants(self._sessions)


def _invalid_field(field: str, sentence: str) -> Failed:
    return Failed(Code.PARAMETER_INVALID, sentence, field=field)
