"""What actors may rely on of the I/O, whichever it is: every test runs over ZeroMQ and over the simulated network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.base import StatusRequested
from actors.messages.clients import BeatPassed, OrdersReceived
from actors.messages.connections import SessionCloseRequested, SessionRequested, TransportClosed
from actors.messages.io import (
    AnswerClients,
    Beat,
    ClientFrame,
    DialPeers,
    PeerFrame,
    PushToClients,
    SendToPeers,
    WatchLinks,
)
from actors.messages.members import LinkClosed, LinkOpened, PeerFrameReceived
from actors.messages.peers import LinkPing, LinkPong, PeerTag
from actors.messages.push import SubscriberHeard
from actors.messages.values import Route
from actors.peer_frames import encode_peer
from rollbook.errors import Code
from rollbook.status import NodeStatus
from rollbook.wire import (
    CloseSession,
    Done,
    Failed,
    OpenSession,
    Ping,
    Tag,
    answer_body,
    encode,
    open_envelope,
)
from tests.support.networks import Side, World, sim_world, zmq_world


@pytest.fixture(params=[sim_world, zmq_world], ids=["simulated", "zeromq"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with request.param() as world:
        yield world


def ping(link: str, number: int) -> SendToPeers:
    return SendToPeers((PeerFrame(link, encode_peer(PeerTag.PING, LinkPing(number))),))


def pings_of(side: Side) -> list[int]:
    return [told.body.number for told in side.told(PeerFrameReceived) if isinstance(told.body, LinkPing)]


def linked(world: World, near: Side, far: Side) -> str:
    """``near`` dials ``far``; the name of the link that stands then."""
    before = len(near.told(LinkOpened))
    near.put(DialPeers((far.peer_address,)))
    world.until(lambda: len(near.told(LinkOpened)) > before, "link opened")
    return near.told(LinkOpened)[-1].link


# -- peers


def test_who_dialled_is_told_that_the_link_stands(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    assert link
    assert [told.address for told in near.told(LinkOpened)] == [far.peer_address]
    assert far.told(LinkOpened) == []


def test_frames_go_both_ways_on_one_link_and_each_side_knows_who_dialled(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    near.put(ping(link, 7))
    world.until(lambda: pings_of(far) == [7], "ping")
    heard = far.told(PeerFrameReceived)[0]
    far.put(SendToPeers((PeerFrame(heard.link, encode_peer(PeerTag.PONG, LinkPong(7))),)))
    world.until(lambda: bool(near.told(PeerFrameReceived)), "pong")
    assert not heard.dialled_here
    assert near.told(PeerFrameReceived)[0] == PeerFrameReceived(link, True, LinkPong(7))


def test_frames_of_one_link_arrive_all_and_in_order(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    for number in range(500):
        near.put(ping(link, number))
    world.until(lambda: len(pings_of(far)) == 500, "all pings")
    assert pings_of(far) == list(range(500))


def test_a_frame_to_an_absent_peer_is_lost_and_harms_nobody(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    near.put(ping("dial:10.9.9.9:1#1", 1))
    near.put(ping("accept:00aabbccdd", 2))
    near.put(ping(link, 3))
    world.until(lambda: bool(pings_of(far)), "the good ping")
    assert pings_of(far) == [3]


def test_what_is_no_peer_frame_is_not_told(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    near.put(SendToPeers((PeerFrame(link, b"\xc1 no msgpack"),)))
    near.put(ping(link, 1))
    world.until(lambda: bool(pings_of(far)), "the good ping")
    assert len(far.told(PeerFrameReceived)) == 1


def test_a_dial_where_nobody_listens_is_refused_again_and_again(world: World) -> None:
    near, vacant = world.side("near"), world.vacant_address()
    near.put(DialPeers((vacant,)))
    world.until(lambda: len(near.told(LinkClosed)) >= 2, "refused twice")
    assert near.told(LinkClosed)[:2] == [LinkClosed("", vacant, "refused")] * 2


def test_both_sides_are_told_when_a_link_ends_and_who_dialled_dials_again(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    far.kill()
    world.until(lambda: bool(near.told(LinkClosed)), "link closed")
    first = near.told(LinkClosed)[0]
    assert (first.link, first.address) == (link, far.peer_address)
    assert first.how != "refused"
    again = world.side("far")
    world.until(lambda: len(near.told(LinkOpened)) == 2, "link opened again")
    newer = near.told(LinkOpened)[1].link
    near.put(ping(newer, 5))
    world.until(lambda: pings_of(again) == [5], "ping")
    assert newer != link


def test_the_side_that_accepted_is_told_by_the_name_it_heard_frames_of(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    near.put(ping(linked(world, near, far), 1))
    world.until(lambda: pings_of(far) == [1], "ping")
    near.kill()
    world.until(lambda: bool(far.told(LinkClosed)), "link closed")
    closed = far.told(LinkClosed)[0]
    assert (closed.link, closed.address) == (far.told(PeerFrameReceived)[0].link, "")
    assert closed.how != "refused"


def test_an_address_that_is_no_longer_wanted_is_hung_up_on(world: World) -> None:
    near, far = world.side("near"), world.side("far")
    link = linked(world, near, far)
    near.put(ping(link, 1))
    world.until(lambda: pings_of(far) == [1], "ping")
    near.put(DialPeers(()))
    world.until(lambda: bool(far.told(LinkClosed)), "link closed over there")
    assert [(closed.link, closed.address) for closed in near.told(LinkClosed)] == [(link, far.peer_address)]


def test_an_address_that_stays_wanted_keeps_its_link(world: World) -> None:
    near, far, third = world.side("near"), world.side("far"), world.side("third")
    link = linked(world, near, far)
    near.put(DialPeers((third.peer_address, far.peer_address)))
    world.until(lambda: len(near.told(LinkOpened)) == 2, "second link")
    near.put(ping(link, 9))
    world.until(lambda: pings_of(far) == [9], "ping on the first link")
    assert near.told(LinkClosed) == []


def test_a_beat_comes_out_at_client_manager(world: World) -> None:
    near = world.side("near")
    near.put(Beat(3))
    world.until(lambda: near.told(BeatPassed) == [BeatPassed(3)], "beat")
    assert near.told(BeatPassed) == [BeatPassed(3)]


# -- clients


def opening(session: int) -> bytes:
    return encode(Tag.OPEN_SESSION, 1, session, OpenSession("someone", session))


def session_of(world: World, side: Side) -> tuple[Route, SessionRequested]:
    world.until(lambda: bool(side.told(SessionRequested)), "session requested")
    asked = side.told(SessionRequested)[-1]
    return asked.route, asked


def test_a_client_is_answered_on_the_route_it_asked_from(world: World) -> None:
    near = world.side("near")
    client = world.client(near)
    client.send(opening(5))
    route, asked = session_of(world, near)
    assert (asked.route.session, asked.correlation, asked.order.client_id, bool(asked.ip)) == (5, 1, "someone", True)
    near.put(AnswerClients((ClientFrame(route, encode(Tag.DONE, 1, 5, Done())),)))
    world.until(lambda: bool(client.frames()), "answer")
    assert client.frames() == [encode(Tag.DONE, 1, 5, Done())]


def test_what_a_client_asks_before_its_goodbye_is_told_before_it(world: World) -> None:
    near = world.side("near")
    client = world.client(near)
    client.send(opening(5))
    for number in range(20):
        client.send(encode(Tag.PING, number, 5, Ping()))
    client.send(encode(Tag.CLOSE_SESSION, 99, 5, CloseSession("leave")))
    world.until(lambda: bool(near.told(SessionCloseRequested)), "goodbye")
    kinds = [type(message) for message in near.messages]
    last_orders = max(number for number, kind in enumerate(kinds) if kind is OrdersReceived)
    assert last_orders < kinds.index(SessionCloseRequested)
    orders = [order.correlation for told in near.told(OrdersReceived) for order in told.orders]
    assert orders == list(range(20))


def test_a_client_that_is_gone_is_noticed_once_without_a_goodbye(world: World) -> None:
    near = world.side("near")
    client = world.client(near)
    client.send(opening(5))
    route, _ = session_of(world, near)
    client.close()
    world.until(lambda: bool(near.told(TransportClosed)), "transport closed")
    near.put(PushToClients((ClientFrame(route, encode(Tag.DONE, 0, 5, Done())),)))
    near.put(Beat(1))
    world.until(lambda: bool(near.told(BeatPassed)), "alive")
    assert near.told(TransportClosed) == [TransportClosed(route.link)]


def test_bad_bytes_are_answered_with_a_typed_error_and_cost_nobody_else_anything(world: World) -> None:
    near = world.side("near")
    bad, good = world.client(near), world.client(near)
    bad.send(b"\xc1")
    world.until(lambda: bool(bad.frames()), "error")
    failed = answer_body(open_envelope(bad.frames()[0]))
    assert isinstance(failed, Failed)
    assert failed.code == Code.FRAME_INVALID
    good.send(opening(1))
    assert session_of(world, near)[0].session == 1


def test_a_watched_link_that_speaks_again_is_told_once(world: World) -> None:
    near = world.side("near")
    client = world.client(near)
    client.send(opening(5))
    route, _ = session_of(world, near)
    near.put(WatchLinks((route.link,)))
    near.put(Beat(1))
    world.until(lambda: bool(near.told(BeatPassed)), "watched")
    client.send(encode(Tag.PING, 2, 5, Ping()))
    client.send(encode(Tag.PING, 3, 5, Ping()))
    world.until(lambda: sum(len(told.orders) for told in near.told(OrdersReceived)) == 2, "both pings")
    assert near.told(SubscriberHeard) == [SubscriberHeard(route.link)]


def test_a_status_question_that_has_passed_all_actors_is_answered_with_the_edges_counters(world: World) -> None:
    near = world.side("near")
    client = world.client(near)
    client.send(b"\xc1")
    client.send(opening(5))
    route, _ = session_of(world, near)
    parts = {
        "node_id": "near",
        "epoch": 1,
        "seq": 0,
        "ready": True,
        "standing": "ready",
        "preserved": False,
        "sessions": 1,
        "records": 0,
        "counters": {"orders": 4},
    }
    near.put(StatusRequested(route.link, 5, 8, parts))
    world.until(lambda: len(client.frames()) == 2, "status")
    status = answer_body(open_envelope(client.frames()[1]))
    assert isinstance(status, NodeStatus)
    assert (status.counters["orders"], status.counters["client_frames_frame_invalid"]) == (4, 1)
