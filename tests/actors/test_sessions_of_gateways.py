"""ConnectionManager and gateways: one connection, its own session, and those of the clients behind it."""

from __future__ import annotations

from actors.messages.clients import OpenSessionOrdered
from actors.messages.connections import (
    MemberSessions,
    SessionCloseRequested,
    SessionRequested,
    SessionsCompared,
    SessionsShed,
)
from actors.messages.members import SessionsGone
from actors.messages.values import Route
from actors.succession import trail_of
from rollbook.wire import OpenSession
from tests.actors.test_connection_manager import READY, Node, advised, failure, told


def test_a_session_behind_a_gateway_is_opened_with_the_grace_of_its_kind() -> None:
    node = Node()
    order = OpenSession("sdk-1", 9, kind="sdk", ip="10.0.0.7")
    [ordered] = told(node.handle(SessionRequested(Route(b"g", 9), 7, "local", order)), OpenSessionOrdered)
    assert ordered == OpenSessionOrdered(Route(b"g", 9), 7, "sdk-1", 45_000, READY, "sdk", "10.0.0.7")


def test_a_session_of_an_sdk_says_of_which_application_it_is_and_since_when() -> None:
    order = OpenSession("sdk-1", 9, "app", "java", "sdk", "10.0.0.7", 500)
    [ordered] = told(Node().handle(SessionRequested(Route(b"g", 9), 7, "local", order)), OpenSessionOrdered)
    assert ordered.trail == trail_of(order, "10.0.0.7", 1_000)
    assert ordered.trail is not None
    assert ordered.trail.connected_ms == 500


def test_an_ip_without_end_is_named() -> None:
    order = OpenSession("c", 1, kind="sdk", ip="1" * 129)
    assert failure(Node().handle(SessionRequested(Route(b"g", 1), 7, "local", order))).field == "ip"


def test_a_session_behind_a_gateway_counts_against_the_ip_of_its_own_client() -> None:
    node = Node(sessions_per_ip_max=1)
    node.open("g", 1, ip="local", behind="10.0.0.7")
    assert told(node.open("g", 2, ip="local", behind="10.0.0.8"), OpenSessionOrdered)
    assert failure(node.open("g", 3, ip="local", behind="10.0.0.7")).field == "ip"
    assert failure(node.open("a", ip="10.0.0.7")).field == "ip", "whatever way it comes"


def test_a_gateway_is_told_that_its_node_leaves_and_holds_it_up_no_longer_than_its_clients() -> None:
    node = Node()
    node.open("g", 1, kind="gateway")
    node.open("g", 2, behind="10.0.0.7")
    effects = node.handle(SessionsShed(3_500))
    assert advised(effects) == [b"g", b"g"]
    assert told(effects, SessionsGone) == []
    assert told(node.handle(SessionCloseRequested(Route(b"g", 2), 8, "moved")), SessionsGone) == [SessionsGone()]


def test_a_gateways_own_session_is_not_sent_elsewhere_for_the_sake_of_balance() -> None:
    node = Node(rebalance_above_sessions=0, rebalance_step_percent_max=100)
    for number in range(40):
        node.open("g", number + 1, kind="gateway")
    idle = (MemberSessions("127.0.0.1:8860", 0, is_settled=True),)
    assert advised(node.handle(SessionsCompared(idle))) == []
