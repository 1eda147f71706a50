"""ConnectionManager: who may open a session, what becomes of one that ends, and who is told to move."""

from __future__ import annotations

import random
from typing import Any, TypeVar

import msgspec
import pytest

from actors.base import Effect, Effects, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.connection_manager import ConnectionManager, ConnectionsSettings
from actors.messages.clients import NewsPassed, OpenSessionOrdered, ReleaseSession
from actors.messages.connections import (
    SessionCloseRequested,
    SessionDiscarded,
    SessionRequested,
    SessionsShed,
    StandingChanged,
    TransportClosed,
)
from actors.messages.io import AnswerClients, PushToClients
from actors.messages.members import SessionsGone
from actors.messages.values import Route, Standing
from rollbook.errors import Code
from rollbook.wire import Done, Failed, MoveAdvised, OpenSession, ServersListed, SessionKind, answer_body, open_envelope
from tests.support.settings import settings_of

T = TypeVar("T")
READY = Standing(ready=True, servers=("127.0.0.1:8860",))
ISOLATED = msgspec.structs.replace(READY, majority=False, isolated=True)


class Node:
    """A ConnectionManager with a clock and the reminders it asked for; every turn ends with its invariants."""

    def __init__(self, standing: Standing | None = READY, **overrides: Any) -> None:
        identity = NodeIdentity("n1", 5, "test", "127.0.0.1:8851", "127.0.0.1:8850", 256)
        settings = settings_of("connections", ConnectionsSettings, **overrides)
        self.actor = ConnectionManager(identity, settings, random.Random(1))
        self.ms = 1_000
        self.reminders: list[tuple[int, Any]] = []
        self._perform(self.actor.start(Now(self.ms, self.ms)))
        if standing is not None:
            self.handle(StandingChanged(standing))

    def handle(self, message: Any) -> Effects:
        return self._perform(self.actor.handle(message, Now(self.ms, self.ms)))

    def pass_time(self, ms: int) -> Effects:
        """Let time go by; what the reminders on the way brought about."""
        until = self.ms + ms
        effects: list[Effect] = []
        while self.reminders and min(self.reminders, key=lambda due: due[0])[0] <= until:
            due = min(self.reminders, key=lambda due: due[0])
            self.reminders.remove(due)
            self.ms = due[0]
            effects += self.handle(due[1])
        self.ms = until
        return effects

    def open(
        self,
        link: str,
        session: int = 1,
        ip: str = "10.0.0.1",
        app: str = "",
        client: str = "c",
        kind: SessionKind = "native",
        behind: str = "",
    ) -> Effects:
        order = OpenSession(client, session, app, kind="sdk" if behind else kind, ip=behind)
        return self.handle(SessionRequested(Route(link.encode(), session), 7, ip, order))

    def sessions(self) -> int:
        [status] = told(self.handle(StatusRequested(b"x", 1, 1)), StatusRequested)
        return int(status.parts["sessions"])

    def _perform(self, effects: Effects) -> Effects:
        self.reminders += [(self.ms + item.delay_ms, item.message) for item in effects if isinstance(item, Remind)]
        self.actor.check_invariants()
        return effects


def told(effects: Effects, kind: type[T], to: Role | None = None) -> list[T]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Tell) and isinstance(effect.message, kind) and to in (None, effect.to)
    ]


def answers(
    effects: Effects, kind: type[AnswerClients | PushToClients] = AnswerClients
) -> list[tuple[Route, int, Any]]:
    """(route, correlation, body) of every frame to clients."""
    found = []
    for batch in told(effects, kind, Role.IO):
        for frame in batch.frames:
            envelope = open_envelope(frame.payload)
            assert envelope.session == frame.route.session
            found.append((frame.route, envelope.correlation, answer_body(envelope)))
    return found


def failure(effects: Effects) -> Failed:
    [(_, correlation, body)] = answers(effects)
    assert correlation == 7
    assert isinstance(body, Failed)
    assert told(effects, OpenSessionOrdered) == []
    return body


def advised(effects: Effects) -> list[bytes]:
    """Links whose sessions are advised to move."""
    return [route.link for route, _, body in answers(effects, PushToClients) if isinstance(body, MoveAdvised)]


def test_an_admitted_session_is_opened_by_client_manager_with_the_standing_and_the_grace() -> None:
    node = Node()
    [ordered] = told(node.open("a", 9, client="me"), OpenSessionOrdered, Role.CLIENTS)
    assert ordered == OpenSessionOrdered(Route(b"a", 9), 7, "me", 15_000, READY, ip="10.0.0.1")
    assert node.sessions() == 1


def test_a_node_that_is_not_ready_names_others() -> None:
    node = Node(standing=None)
    assert failure(node.open("a")).code == Code.NOT_READY
    node.handle(StandingChanged(Standing(servers=("127.0.0.1:8860",))))
    failed = failure(node.open("a"))
    assert (failed.retryable, failed.servers) == (True, ("127.0.0.1:8860",))
    assert node.sessions() == 0


def test_a_leaving_node_names_others() -> None:
    node = Node(msgspec.structs.replace(READY, leaving=True))
    failed = failure(node.open("a"))
    assert (failed.code, failed.servers) == (Code.NODE_LEAVING, READY.servers)


@pytest.mark.parametrize(
    ("order", "field"),
    [
        (OpenSession("", 1), "client_id"),
        (OpenSession("c", 1, "a" * 129), "app"),
        (OpenSession("c", 0), "session"),
        (OpenSession("c", 2), "session"),  # the envelope says 1
    ],
)
def test_a_bad_field_is_named(order: OpenSession, field: str) -> None:
    node = Node()
    route = Route(b"a", 1 if order.session else 0)
    failed = failure(node.handle(SessionRequested(route, 7, "10.0.0.1", order)))
    assert (failed.code, failed.field, failed.retryable) == (Code.PARAMETER_INVALID, field, False)
    assert node.sessions() == 0


def test_a_second_open_on_the_same_route_is_refused_and_leaves_the_first_alone() -> None:
    node = Node()
    node.open("a")
    assert failure(node.open("a")).field == "session"
    assert node.sessions() == 1


@pytest.mark.parametrize(
    ("setting", "field", "second"),
    [
        ("sessions_max", "session", {"ip": "10.0.0.2", "app": "other"}),
        ("sessions_per_ip_max", "ip", {"ip": "10.0.0.1", "app": "other"}),
        ("sessions_per_app_max", "app", {"ip": "10.0.0.2", "app": "shop"}),
    ],
)
def test_a_limit_is_named_and_frees_up_again(setting: str, field: str, second: dict[str, Any]) -> None:
    limit: dict[str, Any] = {setting: 1}
    node = Node(READY, **limit)
    node.open("a", app="shop")
    failed = failure(node.open("b", **second))
    assert (failed.code, failed.field, failed.retryable, failed.servers) == (
        Code.OVER_LIMIT,
        field,
        True,
        READY.servers,
    )
    assert f"{setting} is 1" in failed.message
    node.handle(SessionDiscarded(Route(b"a", 1)))
    assert told(node.open("b", **second), OpenSessionOrdered)


def test_other_ips_and_apps_are_not_held_to_account() -> None:
    node = Node(sessions_per_ip_max=1, sessions_per_app_max=1)
    node.open("a", ip="10.0.0.1", app="shop")
    assert told(node.open("b", ip="10.0.0.2", app="bank"), OpenSessionOrdered)


def test_sessions_without_an_app_do_not_count_as_one_app() -> None:
    node = Node(sessions_per_app_max=1)
    node.open("a")
    assert told(node.open("b"), OpenSessionOrdered)


def test_a_goodbye_releases_before_it_is_answered() -> None:
    node = Node()
    node.open("a")
    effects = node.handle(SessionCloseRequested(Route(b"a", 1), 8, "moved"))
    assert effects[0] == Tell(Role.CLIENTS, ReleaseSession(Route(b"a", 1), "moved"))
    assert answers(effects[1:]) == [(Route(b"a", 1), 8, Done())]
    assert node.sessions() == 0


def test_a_goodbye_for_a_session_that_is_gone_is_done_and_releases_nothing() -> None:
    node = Node()
    effects = node.handle(SessionCloseRequested(Route(b"a", 1), 8, "leave"))
    assert answers(effects) == [(Route(b"a", 1), 8, Done())]
    assert told(effects, ReleaseSession) == []


def test_an_abrupt_close_releases_every_session_of_the_link_after_the_delay() -> None:
    node = Node()
    node.open("a", 2)
    node.open("a", 1)
    node.open("b", 1)
    assert told(node.handle(TransportClosed(b"a")), ReleaseSession) == []
    assert told(node.pass_time(299), ReleaseSession) == []
    assert told(node.pass_time(1), ReleaseSession, Role.CLIENTS) == [
        ReleaseSession(Route(b"a", 1), "lost"),
        ReleaseSession(Route(b"a", 2), "lost"),
    ]
    assert node.sessions() == 1


def test_a_close_after_a_goodbye_needs_no_delay_and_no_second_release() -> None:
    node = Node()
    node.open("a")
    node.handle(SessionCloseRequested(Route(b"a", 1), 8, "leave"))
    assert node.handle(TransportClosed(b"a")) == []


def test_a_session_that_was_superseded_within_the_delay_is_not_released_again() -> None:
    node = Node()
    node.open("a", 1)
    node.handle(TransportClosed(b"a"))
    node.open("b", 2)
    node.handle(SessionDiscarded(Route(b"a", 1)))
    assert told(node.pass_time(1_000), ReleaseSession) == []
    assert node.sessions() == 1


def test_a_session_that_opens_on_the_link_after_the_close_is_not_lost_with_the_old_ones() -> None:
    node = Node()
    node.open("a", 1)
    node.handle(TransportClosed(b"a"))
    node.open("a", 2)
    assert told(node.pass_time(300), ReleaseSession) == [ReleaseSession(Route(b"a", 1), "lost")]


def test_a_discarded_session_counts_once() -> None:
    node = Node()
    node.open("a")
    node.open("b")
    node.handle(SessionDiscarded(Route(b"a", 1)))
    node.handle(SessionDiscarded(Route(b"a", 1)))
    assert node.sessions() == 1


def test_an_isolated_node_advises_in_steps_and_again_after_a_while() -> None:
    node = Node(shed_sessions_per_step_max=2)
    for link in "abc":
        node.open(link)
    first = node.handle(StandingChanged(ISOLATED))
    assert advised(first) == [b"a", b"b"]
    assert answers(first, PushToClients)[0] == (Route(b"a", 1), 0, MoveAdvised("isolated", READY.servers))
    assert advised(node.pass_time(49)) == []
    assert advised(node.pass_time(1)) == [b"c"]
    assert advised(node.pass_time(9_999)) == []
    assert advised(node.pass_time(1)) == [b"a", b"b"]


def test_an_isolated_node_says_it_once_though_its_standing_changes_otherwise() -> None:
    node = Node()
    node.open("a")
    node.handle(StandingChanged(ISOLATED))
    assert advised(node.handle(StandingChanged(msgspec.structs.replace(ISOLATED, preserved=True)))) == []


def test_advice_is_called_off_when_the_node_is_back() -> None:
    node = Node(shed_sessions_per_step_max=1)
    node.open("a")
    node.open("b")
    node.handle(StandingChanged(ISOLATED))
    node.handle(StandingChanged(READY))
    assert advised(node.pass_time(30_000)) == []
    assert advised(node.handle(StandingChanged(ISOLATED))) == [b"a"], "and begins afresh the next time"


def test_a_session_that_went_between_two_steps_is_not_advised() -> None:
    node = Node(shed_sessions_per_step_max=1)
    for link in "abc":
        node.open(link)
    node.handle(StandingChanged(ISOLATED))
    node.handle(SessionDiscarded(Route(b"b", 1)))
    assert advised(node.pass_time(50)) == [b"c"]


def listed(effects: Effects) -> list[tuple[bytes, tuple[str, ...]]]:
    """Who is to be told by ClientManager which servers there are."""
    frames = [frame for news in told(effects, NewsPassed, Role.CLIENTS) for frame in news.frames]
    bodies = [answer_body(open_envelope(frame.payload)) for frame in frames]
    assert all(isinstance(body, ServersListed) for body in bodies)
    return [(frame.route.link, body.servers) for frame, body in zip(frames, bodies, strict=True)]


def with_servers(*servers: str) -> StandingChanged:
    return StandingChanged(msgspec.structs.replace(READY, servers=servers))


def test_sessions_are_told_in_steps_when_the_members_have_other_addresses() -> None:
    node = Node(shed_sessions_per_step_max=2)
    for link in "abc":
        node.open(link)
    node.handle(with_servers("10.0.0.9:8850"))
    own = "127.0.0.1:8850"
    assert listed(node.pass_time(50)) == [(link, (own, "10.0.0.9:8850")) for link in (b"a", b"b")]
    assert listed(node.pass_time(50)) == [(b"c", (own, "10.0.0.9:8850"))]
    assert listed(node.pass_time(10_000)) == []


def test_neither_which_member_fares_better_nor_that_one_is_gone_is_news() -> None:
    node = Node(msgspec.structs.replace(READY, servers=("a:1", "b:1")))
    node.open("a")
    node.handle(with_servers("b:1", "a:1"))
    node.handle(with_servers("b:1"))
    assert listed(node.pass_time(1_000)) == []
    node.handle(with_servers("b:1", "c:1"))
    assert [link for link, _ in listed(node.pass_time(1_000))] == [b"a"]


def test_who_opens_a_session_after_a_change_is_told_by_that_alone() -> None:
    node = Node(shed_sessions_per_step_max=1)
    node.open("a")
    node.open("b")
    node.handle(with_servers("c:1"))
    [opening] = told(node.open("late"), OpenSessionOrdered)
    assert opening.standing.servers == ("c:1",)
    assert [link for link, _ in listed(node.pass_time(1_000))] == [b"a", b"b"]


def test_a_change_amid_the_steps_is_told_to_all_once_more() -> None:
    node = Node(shed_sessions_per_step_max=1)
    node.open("a")
    node.open("b")
    node.handle(with_servers("c:1"))
    node.pass_time(50)
    node.handle(with_servers("d:1"))
    own = "127.0.0.1:8850"
    assert listed(node.pass_time(1_000)) == [(b"a", (own, "d:1")), (b"b", (own, "d:1"))]


def test_a_leaving_node_advises_all_refuses_new_ones_and_says_when_the_last_is_gone() -> None:
    node = Node(shed_sessions_per_step_max=1)
    node.open("a")
    node.open("b")
    first = node.handle(SessionsShed(3_000))
    assert answers(first, PushToClients) == [(Route(b"a", 1), 0, MoveAdvised("leaving", READY.servers))]
    assert advised(node.pass_time(50)) == [b"b"]
    assert failure(node.open("c")).code == Code.NODE_LEAVING
    assert told(node.handle(SessionCloseRequested(Route(b"a", 1), 8, "moved")), SessionsGone) == []
    node.handle(TransportClosed(b"b"))
    assert told(node.pass_time(300), SessionsGone, Role.MEMBERS) == [SessionsGone()]
    assert told(node.pass_time(5_000), SessionsGone) == [], "once"


def test_a_leaving_node_waits_no_longer_than_the_deadline() -> None:
    node = Node()
    node.open("a")
    node.handle(SessionsShed(3_000))
    assert told(node.pass_time(2_999), SessionsGone) == []
    assert told(node.pass_time(1), SessionsGone) == [SessionsGone()]
    assert told(node.handle(SessionDiscarded(Route(b"a", 1))), SessionsGone) == []


def test_a_leaving_node_without_sessions_says_so_at_once() -> None:
    assert told(Node().handle(SessionsShed(3_000)), SessionsGone) == [SessionsGone()]


def test_leaving_takes_the_place_of_the_advice_of_an_isolated_node() -> None:
    node = Node(shed_sessions_per_step_max=1)
    node.open("a")
    node.open("b")
    node.handle(StandingChanged(ISOLATED))
    node.handle(SessionsShed(60_000))
    reasons = [body.reason for _, _, body in answers(node.pass_time(30_000), PushToClients)]
    assert reasons == ["leaving"]
    assert advised(node.handle(StandingChanged(READY))) == []


def test_a_node_that_does_not_leave_says_nothing_when_its_last_session_goes() -> None:
    node = Node()
    node.open("a")
    assert told(node.handle(SessionCloseRequested(Route(b"a", 1), 8, "leave")), SessionsGone) == []


def test_a_leaving_node_that_becomes_isolated_does_not_begin_again() -> None:
    node = Node()
    node.open("a")
    node.handle(SessionsShed(3_000))
    assert advised(node.handle(StandingChanged(ISOLATED))) == []


def test_an_app_of_the_greatest_length_is_admitted() -> None:
    assert told(Node().open("a", app="a" * 128), OpenSessionOrdered)


def test_what_became_of_sessions_is_counted() -> None:
    node = Node()
    for link in "abc":
        node.open(link)
    node.handle(StandingChanged(ISOLATED))
    node.handle(SessionCloseRequested(Route(b"a", 1), 8, "leave"))
    node.handle(SessionDiscarded(Route(b"b", 1)))
    node.handle(TransportClosed(b"c"))
    node.pass_time(300)
    assert node.actor.counters == {
        "sessions_admitted": 3,
        "sessions_refused": 0,
        "sessions_closed": 1,
        "sessions_lost": 1,
        "sessions_discarded": 1,
        "moves_advised": 3,
        "sessions_rebalanced": 0,
    }


def test_status_begins_here_with_sessions_and_counters() -> None:
    node = Node()
    node.open("a")
    node.open("a")
    asked = StatusRequested(b"x", 1, 3, {"counters": {"frames": 4}})
    [status] = told(node.handle(asked), StatusRequested, Role.CLIENTS)
    assert status.parts["sessions"] == 1
    assert status.parts["counters"]["frames"] == 4
    assert status.parts["counters"]["sessions_admitted"] == 1
    assert status.parts["counters"]["sessions_refused"] == 1
