"""The edge towards clients: routing, windows, order, and every kind of bad input."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Role, StatusRequested, Tell
from actors.messages.clients import OrdersReceived
from actors.messages.connections import SessionCloseRequested, SessionRequested
from actors.messages.io import ClientFrame, PushToClients
from actors.messages.push import Acknowledgement, PushesAcknowledged, SubscriberHeard
from actors.messages.values import Order, Route
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import Code
from rollbook.model import Instance, InstanceKey, Service
from rollbook.status import NodeStatus
from rollbook.wire import (
    FRAME_BYTES_MAX,
    WIRE_VERSION,
    CloseSession,
    Failed,
    GetStatus,
    OpenSession,
    Ping,
    Publish,
    PushAck,
    Query,
    Tag,
    answer_body,
    encode,
    open_envelope,
)
from runtime.edge import ClientEdge, IoSettings
from tests.support.settings import settings_of

LINK = b"\x00link"
OTHER = b"\x00othr"
ORDERS = Service("public", "DEFAULT_GROUP", "orders")
PUBLISH = Publish(ORDERS, (Instance("10.0.0.1", 8080),))


def edge_with(**overrides: Any) -> ClientEdge:
    return ClientEdge(settings_of("io", IoSettings, **overrides))


@pytest.fixture
def edge() -> ClientEdge:
    return edge_with()


def receive(edge: ClientEdge, tag: Tag, body: object, *, correlation: int = 7, session: int = 5) -> None:
    edge.receive(LINK, [encode(tag, correlation, session, body)], "10.0.0.9")


def refusals(edge: ClientEdge) -> list[tuple[Route, int, Failed]]:
    """What the edge itself answers, and nothing else told."""
    answers = []
    for tell in edge.drain():
        assert tell.to is Role.IO, f"told {tell}"
        for frame in tell.message.frames:
            envelope = open_envelope(frame.payload)
            assert (envelope.tag, envelope.session) == (Tag.FAILED, frame.route.session)
            answers.append((frame.route, envelope.correlation, answer_body(envelope)))
    return answers


def test_callers_that_wait_for_the_cluster_do_not_keep_others_from_being_read() -> None:
    """A peer that stands still holds up who waits for it, and nobody else."""
    edge = edge_with(requests_in_flight_max=2)
    waiting = Publish(ORDERS, PUBLISH.instances, wait="cluster")
    for correlation in range(3):
        receive(edge, Tag.PUBLISH, waiting, correlation=correlation)
    assert not edge.saturated
    for correlation in range(2):
        receive(edge, Tag.PUBLISH, PUBLISH, correlation=correlation)
    assert edge.saturated


@pytest.mark.parametrize(
    ("tag", "body"),
    [
        (Tag.PUBLISH_PERSISTENT, PublishPersistent(ORDERS, ())),
        (Tag.WITHDRAW_PERSISTENT, WithdrawPersistent(ORDERS, ())),
        (Tag.PUT_SERVICE, PutService(ORDERS, ServiceSettings())),
        (Tag.DELETE_SERVICE, DeleteService(ORDERS)),
        (Tag.PUT_NAMESPACE, PutNamespace(Namespace("shop", "Shop"))),
        (Tag.DELETE_NAMESPACE, DeleteNamespace("shop")),
        (Tag.SET_INTENT, SetIntent(ORDERS, InstanceKey("10.0.0.1", 80), Intent(enabled=False))),
        (Tag.CLEAR_INTENT, ClearIntent(ORDERS, InstanceKey("10.0.0.1", 80))),
    ],
)
def test_callers_that_wait_for_the_store_do_not_keep_others_from_being_read(tag: Tag, body: object) -> None:
    edge = edge_with(requests_in_flight_max=2, waits_in_flight_max=4)
    for correlation in range(3):
        receive(edge, tag, body, correlation=correlation)
    assert not edge.saturated
    receive(edge, tag, body, correlation=3)
    assert edge.saturated, "they have a limit of their own"


@pytest.mark.parametrize(
    ("tag", "body"), [(Tag.GET_SERVICE, GetService(ORDERS)), (Tag.LIST_NAMESPACES, ListNamespaces())]
)
def test_a_question_about_durable_data_waits_for_no_store(tag: Tag, body: object) -> None:
    edge = edge_with(requests_in_flight_max=2)
    for correlation in range(2):
        receive(edge, tag, body, correlation=correlation)
    assert edge.saturated


def test_a_negative_wait_is_refused_by_its_name(edge: ClientEdge) -> None:
    receive(edge, Tag.PUBLISH, Publish(ORDERS, PUBLISH.instances, wait="cluster", wait_ms=-5))
    ((_, correlation, failed),) = refusals(edge)
    assert (correlation, failed.code, failed.field) == (7, Code.PARAMETER_INVALID, "wait_ms")


# -- routing


def test_all_orders_of_one_drain_are_one_message_in_order_of_arrival(edge: ClientEdge) -> None:
    receive(edge, Tag.PUBLISH, PUBLISH, correlation=1)
    receive(edge, Tag.QUERY, Query(ORDERS), correlation=2)
    receive(edge, Tag.PING, Ping(), correlation=3)
    route = Route(LINK, 5)
    orders = (Order(route, 1, PUBLISH), Order(route, 2, Query(ORDERS)), Order(route, 3, Ping()))
    assert edge.drain() == [Tell(Role.CLIENTS, OrdersReceived(orders))]
    assert edge.drain() == []


def test_a_session_is_asked_for_under_the_number_that_it_will_have(edge: ClientEdge) -> None:
    receive(edge, Tag.OPEN_SESSION, OpenSession("c1", 900), session=0)
    wanted = SessionRequested(Route(LINK, 900), 7, "10.0.0.9", OpenSession("c1", 900))
    assert edge.drain() == [Tell(Role.CONNECTIONS, wanted)]


def test_an_order_that_came_before_a_close_is_told_before_it(edge: ClientEdge) -> None:
    receive(edge, Tag.PUBLISH, PUBLISH)
    receive(edge, Tag.CLOSE_SESSION, CloseSession("moved"), correlation=8)
    assert [type(tell.message) for tell in edge.drain()] == [OrdersReceived, SessionCloseRequested]


def test_a_status_question_starts_its_way_at_connection_manager(edge: ClientEdge) -> None:
    receive(edge, Tag.GET_STATUS, GetStatus(), session=0)
    assert edge.drain() == [Tell(Role.CONNECTIONS, StatusRequested(LINK, 0, 7))]


def test_acknowledgements_of_pushes_are_one_message_and_leave_no_window(edge: ClientEdge) -> None:
    for version in (4, 5):
        receive(edge, Tag.PUSH_ACK, PushAck(ORDERS, version), correlation=0)
    acknowledged = tuple(Acknowledgement(Route(LINK, 5), ORDERS, version) for version in (4, 5))
    assert edge.drain() == [Tell(Role.PUSH, PushesAcknowledged(acknowledged))]
    assert status_of(edge).counters["requests_in_flight"] == 0


def test_a_watched_link_is_reported_once_at_its_next_frame(edge: ClientEdge) -> None:
    receive(edge, Tag.PING, Ping())
    edge.drain()
    edge.watch([LINK, OTHER])
    receive(edge, Tag.PUSH_ACK, PushAck(ORDERS, 1))
    receive(edge, Tag.PUSH_ACK, PushAck(ORDERS, 2))
    heard = [tell.message for tell in edge.drain() if isinstance(tell.message, SubscriberHeard)]
    assert heard == [SubscriberHeard(LINK)]


def test_a_req_socket_gets_its_delimiter_back(edge: ClientEdge) -> None:
    edge.receive(LINK, [b"", encode(Tag.PING, 1, 5, Ping())], "10.0.0.9")
    edge.receive(OTHER, [encode(Tag.PING, 1, 5, Ping())], "10.0.0.9")
    assert edge.parts_of(ClientFrame(Route(LINK, 5), b"x")) == [LINK, b"", b"x"]
    assert edge.parts_of(ClientFrame(Route(OTHER, 5), b"x")) == [OTHER, b"x"]


# -- windows


def test_a_request_over_the_window_of_its_session_is_refused_at_once() -> None:
    edge = edge_with(requests_in_flight_per_session_max=2)
    for correlation in (1, 2, 3):
        receive(edge, Tag.PING, Ping(), correlation=correlation)
    receive(edge, Tag.PING, Ping(), correlation=4, session=6)  # another session has a window of its own
    orders, refused = edge.drain()
    assert [order.correlation for order in orders.message.orders] == [1, 2, 4]
    assert isinstance(refused.message, PushToClients)
    (frame,) = refused.message.frames
    envelope = open_envelope(frame.payload)
    failed = answer_body(envelope)
    assert (envelope.correlation, failed.code, failed.retryable) == (3, Code.OVER_LIMIT, True)


def test_an_answer_makes_room_in_the_window() -> None:
    edge = edge_with(requests_in_flight_per_session_max=1)
    receive(edge, Tag.PING, Ping())
    edge.drain()
    edge.answered([ClientFrame(Route(LINK, 5), b"")])
    receive(edge, Tag.PING, Ping())
    assert [type(tell.message) for tell in edge.drain()] == [OrdersReceived]


def test_the_edge_is_saturated_from_the_limit_of_all_sessions_until_an_answer_leaves() -> None:
    edge = edge_with(requests_in_flight_max=2)
    seen = []
    for session in (1, 2):
        receive(edge, Tag.PING, Ping(), session=session)
        seen.append(edge.saturated)
    edge.answered([ClientFrame(Route(LINK, 2), b"")])
    assert [*seen, edge.saturated] == [False, True, False]


def test_a_closed_link_takes_its_requests_along_and_late_answers_change_nothing() -> None:
    edge = edge_with(requests_in_flight_max=2)
    receive(edge, Tag.PING, Ping())
    receive(edge, Tag.PING, Ping())
    edge.close(LINK)
    assert not edge.saturated
    edge.answered([ClientFrame(Route(LINK, 5), b"")])
    assert status_of(edge).counters["requests_in_flight"] == 0


def status_of(edge: ClientEdge) -> NodeStatus:
    """The answer at the end of a status question's way."""
    parts = {"node_id": "n1", "epoch": 1, "seq": 2, "ready": True, "standing": "ready", "preserved": False}
    asked = StatusRequested(OTHER, 0, 9, {**parts, "sessions": 3, "records": 4, "counters": {"orders": 5}})
    (frame,) = edge.answer_status(asked, {"probes": 6}).frames
    assert frame.route == Route(OTHER, 0)
    envelope = open_envelope(frame.payload)
    assert (envelope.tag, envelope.correlation) == (Tag.STATUS, 9)
    status: NodeStatus = answer_body(envelope)
    return status


def test_a_status_answer_carries_what_every_actor_and_the_edge_counted(edge: ClientEdge) -> None:
    edge.receive(LINK, [b"\xc1"], "10.0.0.9")
    status = status_of(edge)
    assert (status.node_id, status.seq, status.records) == ("n1", 2, 4)
    counters = {"client_frames_frame_invalid": 1, "orders": 5, "probes": 6, "requests_in_flight": 0}
    assert status.counters == counters


# -- bad input


def envelope_of(*items: object) -> bytes:
    packed: bytes = msgpack.packb(list(items))
    return packed


_DEEP = b"\x91" * 5_000 + b"\xc0"
_HUGE_MAP = envelope_of(WIRE_VERSION, int(Tag.PUBLISH), 7, 5, [list(ORDERS), [{str(i): i for i in range(2_000)}]])
BAD_FRAMES = {
    "no bytes": (b"", 0, Code.FRAME_INVALID, "frame"),
    "a reserved byte": (b"\xc1", 0, Code.FRAME_INVALID, "frame"),
    "a truncated frame": (encode(Tag.PUBLISH, 7, 5, PUBLISH)[:-3], 0, Code.FRAME_INVALID, "frame"),
    "bytes behind the frame": (encode(Tag.PING, 7, 5, Ping()) + b"\x00", 0, Code.FRAME_INVALID, "frame"),
    "deep nesting": (_DEEP, 0, Code.FRAME_INVALID, "frame"),
    "a huge map": (_HUGE_MAP, 0, Code.FRAME_INVALID, "frame"),
    "a promise of four billion items": (b"\xdd\xff\xff\xff\xff", 0, Code.FRAME_INVALID, "frame"),
    "too many bytes": (b"\xc4" * (FRAME_BYTES_MAX + 1), 0, Code.FRAME_TOO_LARGE, "frame"),
    "text that is not UTF-8": (b"\x95\x01\x07\x07\x05\xa1\xff", 0, Code.FRAME_INVALID, "frame"),
    "an extension type": (envelope_of(1, 7, 7, 5, msgpack.ExtType(4, b"x")), 0, Code.FRAME_INVALID, "frame"),
    "a map instead of an envelope": (msgpack.packb({"a": 1}), 0, Code.FRAME_INVALID, "envelope"),
    "a short envelope": (envelope_of(WIRE_VERSION, 11, 7), 7, Code.FRAME_INVALID, "envelope"),
    "truth instead of a number": (envelope_of(WIRE_VERSION, True, 7, 5, []), 7, Code.FRAME_INVALID, "envelope"),
    "another version": (envelope_of(WIRE_VERSION + 1, 11, 7, 5, []), 7, Code.VERSION_UNSUPPORTED, "version"),
    "an unknown tag": (envelope_of(WIRE_VERSION, 63, 7, 5, []), 7, Code.TAG_UNKNOWN, "tag"),
    "a node's own tag": (envelope_of(WIRE_VERSION, int(Tag.DONE), 7, 5, []), 7, Code.TAG_UNKNOWN, "tag"),
    "a body that is no array": (envelope_of(WIRE_VERSION, int(Tag.QUERY), 7, 5, 3), 7, Code.PARAMETER_INVALID, "body"),
    "text for a port": (
        envelope_of(WIRE_VERSION, int(Tag.PUBLISH), 7, 5, [list(ORDERS), [["10.0.0.1", "8080"]]]),
        7,
        Code.PARAMETER_INVALID,
        "instances[0].port",
    ),
    "an unknown mode": (
        envelope_of(WIRE_VERSION, int(Tag.PUBLISH), 7, 5, [list(ORDERS), [], "swap"]),
        7,
        Code.PARAMETER_INVALID,
        "mode",
    ),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_bad_frame_is_answered_with_its_code_and_field_and_counted(edge: ClientEdge, kind: str) -> None:
    payload, correlation, code, field = BAD_FRAMES[kind]
    edge.receive(LINK, [payload], "10.0.0.9")
    ((_, answered, failed),) = refusals(edge)
    assert (answered, failed.code, failed.field) == (correlation, code, field)
    assert edge.counters == {f"client_frames_{code.name.lower()}": 1}


@pytest.mark.parametrize("parts", [[], [b""] * 100, [b"", b"", b""], [b"x", encode(Tag.PING, 7, 5, Ping())]])
def test_a_message_of_another_number_of_frames_is_refused(edge: ClientEdge, parts: list[bytes]) -> None:
    edge.receive(LINK, parts, "10.0.0.9")
    ((route, correlation, failed),) = refusals(edge)
    assert (route, correlation, failed.code) == (Route(LINK, 0), 0, Code.FRAME_INVALID)


def test_a_link_that_sends_nothing_but_garbage_is_not_read_any_more_and_others_are() -> None:
    edge = edge_with(invalid_frames_per_link_max=3)
    for _ in range(5):
        edge.receive(LINK, [b"\xc1"], "10.0.0.9")
    receive(edge, Tag.PING, Ping())
    edge.receive(OTHER, [encode(Tag.PING, 1, 1, Ping())], "10.0.0.8")
    orders, refused = edge.drain()
    assert [order.route.link for order in orders.message.orders] == [OTHER]
    assert len(refused.message.frames) == 3
    assert edge.counters == {"client_frames_frame_invalid": 3, "client_frames_dropped_unread": 3}


def test_a_bad_frame_costs_no_window(edge: ClientEdge) -> None:
    edge.receive(LINK, [b"\xc1"], "10.0.0.9")
    assert status_of(edge).counters["requests_in_flight"] == 0


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
_ENVELOPES = st.tuples(st.just(WIRE_VERSION), st.integers(0, 80), _PLAIN, _PLAIN, _PLAIN).map(list)
_PAYLOADS = st.binary(max_size=300) | (_PLAIN | _ENVELOPES).map(msgpack.packb)


@given(st.lists(st.lists(_PAYLOADS, max_size=3), max_size=10))
def test_whatever_arrives_nothing_is_raised_and_every_message_is_told_or_counted(messages: list[list[bytes]]) -> None:
    edge = edge_with()
    for parts in messages:
        edge.receive(LINK, parts, "10.0.0.9")
    told = refused = 0
    for tell in edge.drain():
        if isinstance(tell.message, OrdersReceived):
            told += len(tell.message.orders)
        elif isinstance(tell.message, PushesAcknowledged):
            told += len(tell.message.acknowledgements)
        elif isinstance(tell.message, PushToClients):
            refused += len(tell.message.frames)
        else:
            told += 1
    assert refused == sum(edge.counters.values())
    assert told + refused == len(messages)
