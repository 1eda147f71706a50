"""Many sessions on one link to a real node: what they publish and are told, and what becomes of them when the node
restarts, stands still or goes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from rollbook.errors import ClientClosed, ClusterUnreachable, Code, Refused, RequestTimeout, RollbookError
from rollbook.model import Instance, Service, View
from rollbook.patience import LinkSettings
from rollbook.wire import (
    GetStatus,
    OpenSession,
    Ping,
    Pong,
    Publish,
    Query,
    SessionOpened,
    Subscribe,
    Tag,
    Withdraw,
    encode,
    open_envelope,
    request_body,
)
from runtime.clock import system_now
from runtime.endpoints import endpoint_of
from runtime.gateway.node_link import NodeLink
from runtime.gateway.node_session import NodeSession
from runtime.gateway.session_desk import SessionSpec
from runtime.gateway.settings import GatewaySettings
from runtime.local_socket import LocalSocket
from tests.support.bare_node import BareNode
from tests.support.settings import settings_of

pytestmark = pytest.mark.cluster

WAIT_SECONDS = 30.0
ASK_MS = 10_000
ORDERS = Service("public", "DEFAULT_GROUP", "orders")
OPENED = SessionOpened("n1", 1, 1, 1_000)
SETTINGS = settings_of("gateway", GatewaySettings, request_timeout_ms=ASK_MS, node_patience_ms=60_000)


def instance(number: int, weight: float = 1.0) -> Instance:
    return Instance("10.0.0.1", 1_000 + number, weight=weight)


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


class World:
    """One node and one link to it."""

    def __init__(self, node: BareNode) -> None:
        self.node = node
        self._local: LocalSocket | None = None
        self._links: list[NodeLink] = []

    async def link(self, endpoint: str = "", **overrides: Any) -> NodeLink:
        """One that is up."""
        if not endpoint:
            self._local = self._local or LocalSocket(self.node.data)
            endpoint = self._local.endpoint
        settings = msgspec.structs.replace(SETTINGS, **overrides)
        link = NodeLink(endpoint, settings, random.Random(len(self._links)))
        self._links.append(link)
        link.start()
        await until(lambda: link.is_up, "the link is up")
        return link

    async def shown(self, link: NodeLink, service: Service = ORDERS) -> list[int]:
        """The ports that the node lists."""
        view = await link.ask(Query(service))
        return [each.port for each in view.instances]

    async def close(self) -> None:
        for link in self._links:
            await link.stop()
        if self._local is not None:
            self._local.close()


def in_world(node: BareNode, script: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World(node)
        try:
            await script(world)
        finally:
            await world.close()

    asyncio.run(run())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[BareNode]:
    made = BareNode(tmp_path)
    made.data.mkdir(parents=True)
    made.start()
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def raw_client(node: BareNode) -> Iterator[zmq.Socket[bytes]]:
    """A native client that does nothing by itself."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.set(zmq.LINGER, 0)
        dealer.connect(endpoint_of(node.client_address))
        yield dealer


async def publisher(link: NodeLink, number: int, service: Service = ORDERS) -> NodeSession:
    session = await link.open(SessionSpec(f"sdk-{number}", ip="10.0.0.9"))
    await session.ask(Publish(service, (instance(number),), "replace"), ASK_MS)
    return session


def test_many_sessions_share_one_connection_and_each_has_what_it_publishes(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        sessions = await asyncio.gather(*(publisher(link, number) for number in range(50)))
        assert await world.shown(link) == [1_000 + number for number in range(50)]
        await sessions[7].ask(Publish(ORDERS, (instance(90),), "replace"), ASK_MS)
        await sessions[8].ask(Withdraw(ORDERS), ASK_MS)
        await sessions[9].close("leave")
        shown = await world.shown(link)
        assert len(shown) == 48
        assert {1_007, 1_008, 1_009}.isdisjoint(shown)
        assert 1_090 in shown
        assert link.sessions == 49

    in_world(node, script)


def test_what_several_sessions_are_told_is_decoded_once_and_acknowledged_by_each(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        told: list[tuple[int, View]] = []
        watchers = [await link.open(SessionSpec(f"watcher-{number}")) for number in (0, 1)]
        for number, watcher in enumerate(watchers):
            watcher.on_push = lambda view, number=number: told.append((number, view))  # type: ignore[misc]
            assert (await watcher.ask(Subscribe(ORDERS), ASK_MS)).instances == ()
        told.clear()
        publishing = asyncio.create_task(
            watchers[0].ask(Publish(ORDERS, (instance(1),), "replace", "subscribers"), ASK_MS)
        )
        await until(lambda: len(told) == 2, "both are told")
        assert not publishing.done(), "nobody has acknowledged"
        assert sorted(number for number, _ in told) == [0, 1]
        assert told[0][1] is told[1][1]
        for number, view in told:
            watchers[number].acknowledge(view.service, view.version)
        await publishing

    in_world(node, script)


def test_sessions_notice_nothing_of_a_restart_of_their_node(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        ended: list[RollbookError] = []
        told: list[View] = []
        sessions = await asyncio.gather(*(publisher(link, number) for number in range(20)))
        for session in sessions:
            session.on_ended = ended.append
        await sessions[0].ask(Subscribe(ORDERS), ASK_MS)
        sessions[0].on_push = told.append
        await sessions[3].ask(Withdraw(ORDERS), ASK_MS)
        assert link.node is not None
        before = link.node.epoch
        node.kill()
        await until(lambda: not link.is_up, "the link is lost")
        node.start()
        asked = asyncio.create_task(sessions[5].ask(Publish(ORDERS, (instance(80),), "replace"), ASK_MS))
        await until(lambda: link.is_up, "the link is up again")
        await asked
        expected = sorted([1_000 + number for number in range(20) if number not in (3, 5)] + [1_080])
        await until(lambda: told and [each.port for each in told[-1].instances] == expected, "all is as it was")
        assert await world.shown(link) == expected
        assert ended == []
        assert link.node.epoch > before

    in_world(node, script)


def test_a_node_that_stays_away_ends_the_sessions_and_takes_new_ones_when_it_is_back(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link(node_patience_ms=300)
        ended: list[RollbookError] = []
        session = await publisher(link, 1)
        session.on_ended = ended.append
        node.kill()
        waiting = asyncio.create_task(session.ask(Query(ORDERS), ASK_MS))
        await until(lambda: ended, "the session ends")
        assert isinstance(ended[0], ClusterUnreachable)
        with pytest.raises(ClusterUnreachable):
            await waiting
        with pytest.raises(ClusterUnreachable):
            await link.open(SessionSpec("sdk-2"))
        with pytest.raises(ClusterUnreachable):
            await session.ask(Query(ORDERS), ASK_MS)
        node.start()
        await until(lambda: link.is_up, "the link is up again")
        await publisher(link, 2)
        assert await world.shown(link) == [1_002]

    in_world(node, script)


def test_what_was_published_stays_when_the_gateway_dies(node: BareNode) -> None:
    async def script(world: World) -> None:
        dying, other = await world.link(), await world.link(endpoint_of(node.client_address))
        await asyncio.gather(*(publisher(dying, number) for number in range(50)))
        await dying.stop()  # it says goodbye for itself, and for none of its sessions
        await asyncio.sleep(1.0)  # three times the time after which a native session is gone
        assert len(await world.shown(other)) == 50
        taken_over = await publisher(other, 7)
        assert len(await world.shown(other)) == 50
        await taken_over.close("leave")
        assert len(await world.shown(other)) == 49

    in_world(node, script)


def test_a_session_that_is_closed_while_the_node_is_away_withdraws_when_it_is_back(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        session, _ = await publisher(link, 1), await publisher(link, 2)
        node.pause()
        await until(lambda: not link.is_up, "the link is lost")
        await session.close("leave")
        with pytest.raises(ClientClosed):
            await session.ask(Query(ORDERS), ASK_MS)
        node.resume()
        await until(lambda: link.is_up and link.sessions == 1, "it has said goodbye")
        assert await world.shown(link) == [1_002]

    in_world(node, script)


def test_a_question_to_a_node_that_stands_still_ends_in_time(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        session = await publisher(link, 1)
        node.pause()
        with pytest.raises(RequestTimeout):
            await session.ask(Query(ORDERS), 200)
        node.resume()
        assert (await session.ask(Query(ORDERS), ASK_MS)).instances == (instance(1),)

    in_world(node, script)


def test_a_narrow_link_answers_everything_in_its_time(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link(requests_in_flight_max=3)
        sessions = await asyncio.gather(*(publisher(link, number) for number in range(10)))
        questions = [session.ask(Query(ORDERS), ASK_MS) for session in sessions for _ in range(30)]
        answers = await asyncio.gather(*questions)
        assert {len(view.instances) for view in answers} == {10}
        assert len({id(view) for view in answers}) == 1, "the same bytes are one list"

    in_world(node, script)


def test_nothing_is_kept_of_a_question_beyond_the_time_that_it_had(node: BareNode) -> None:
    async def script(world: World) -> None:
        session = await publisher(await world.link(), 1)
        for timeout_ms in (ASK_MS, 300):
            await asyncio.gather(*(session.ask(Query(ORDERS), timeout_ms) for _ in range(20)))
        noted = session._agenda._deadlines
        assert len(noted) >= 40, "an answer alone removes none"
        await until(lambda: len(noted) <= 21, "those whose time is over are gone, and the others are not")
        assert session._agenda.deadline_ms is not None

    in_world(node, script)


def test_what_the_node_refuses_is_told_and_costs_nothing_else(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        session = await publisher(link, 1)
        with pytest.raises(Refused) as refused:
            await session.ask(Publish(ORDERS, (Instance("10.0.0.1", 70_000),), "replace"), ASK_MS)
        assert refused.value.code == Code.INSTANCE_INVALID
        with pytest.raises(Refused) as refused:
            await link.open(SessionSpec("with space"))
        assert refused.value.field == "client_id"
        assert await world.shown(link) == [1_001]
        assert link.sessions == 1

    in_world(node, script)


def test_a_leaving_node_advises_every_session_to_move_and_the_gateway_decides(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link(node_patience_ms=500)
        advised: list[str] = []
        ended: list[RollbookError] = []
        sessions = await asyncio.gather(*(publisher(link, number) for number in range(3)))
        for session in (*sessions, link.own):
            session.on_advice = lambda advice: advised.append(advice.reason)
            session.on_ended = ended.append
        node.leave()
        await until(lambda: len(advised) == 4, "all are told, the gateway too")
        assert set(advised) == {"leaving"}
        await asyncio.gather(*(session.close("moved") for session in sessions))
        assert ended == [], "who closes a session is not told that it ends"
        assert await asyncio.to_thread(node.wait) == 0, "it does not wait for the gateway's own session"

    in_world(node, script)


def test_a_client_that_had_a_higher_number_elsewhere_is_opened_above_it(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        ahead = system_now().wall_ms + 10_000_000
        with raw_client(node) as client:
            client.send(encode(Tag.OPEN_SESSION, 1, ahead, OpenSession("sdk-1", ahead)))
            assert await asyncio.to_thread(client.poll, 10_000)
            session = await publisher(link, 1)
        assert session.link is not None
        assert session.link.session > ahead
        after = await publisher(link, 3)
        assert after.link is not None
        assert after.link.session < ahead, "nobody else's number runs ahead because of that"
        assert await world.shown(link) == [1_001, 1_003]

    in_world(node, script)


def test_a_session_that_nobody_waits_for_any_more_is_closed_at_the_node(node: BareNode) -> None:
    async def script(world: World) -> None:
        link = await world.link()
        node.pause()
        opening = asyncio.create_task(link.open(SessionSpec("sdk-1")))
        await asyncio.sleep(0.05)
        opening.cancel()
        await asyncio.wait((opening,))
        assert link.sessions == 0
        node.resume()
        await until(lambda: link.is_up, "the link stands")
        status = await link.ask(GetStatus())
        assert status.sessions == 1, "the gateway's own"

    in_world(node, script)


def test_the_node_ends_a_session_whose_client_has_a_newer_one(node: BareNode) -> None:
    async def script(world: World) -> None:
        link, other = await world.link(), await world.link()
        ended: list[RollbookError] = []
        session = await publisher(link, 1)
        session.on_ended = ended.append
        newer = await publisher(other, 1)
        await until(lambda: ended, "the older one ends")
        assert ended[0].code == Code.SESSION_SUPERSEDED
        assert await world.shown(link) == [1_001]
        assert newer.is_open

    in_world(node, script)


def test_a_session_is_not_left_to_whoever_has_given_up_just_when_it_opened() -> None:
    async def script() -> None:
        link = NodeLink("ipc://nowhere", SETTINGS, random.Random(1))
        opening = asyncio.create_task(link.open(SessionSpec("sdk-1")))
        await asyncio.sleep(0)
        (session,) = link._opening
        link.session_opened(session, OPENED)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert link.sessions == 0
        await link.stop()

    asyncio.run(script())


def test_a_session_that_the_node_ends_just_when_it_opened_is_given_to_nobody() -> None:
    async def script() -> None:
        link = NodeLink("ipc://nowhere", SETTINGS, random.Random(1))
        opening = asyncio.create_task(link.open(SessionSpec("sdk-1")))
        await asyncio.sleep(0)
        (session,) = link._opening
        link.session_opened(session, OPENED)
        session.end(RollbookError("superseded", code=Code.SESSION_SUPERSEDED))
        with pytest.raises(RollbookError, match="superseded"):
            await opening
        await link.stop()

    asyncio.run(script())


def test_a_connection_on_which_a_session_is_never_opened_is_given_up() -> None:
    async def script() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.set(zmq.LINGER, 0)
            port = router.bind_to_random_port("tcp://127.0.0.1")
            link = NodeLink(f"tcp://127.0.0.1:{port}", SETTINGS, random.Random(1))
            link._link_settings = LinkSettings(idle_ms=1 << 40, answer_ms=200, check_ms=50)
            link.start()
            opened = await answer_openings_of_gateways(router, 1)
            opening = asyncio.create_task(link.open(SessionSpec("sdk-1")))
            opened += await answer_openings_of_gateways(router, 1)
            assert len(opened) == 2, "it has connected anew"
            opening.cancel()
            await asyncio.wait((opening,))
            await link.stop()

    asyncio.run(script())


async def answer_openings_of_gateways(router: zmq.Socket[bytes], count: int) -> list[OpenSession]:
    """A node that opens no other sessions, and answers every sign of life."""
    opened: list[OpenSession] = []
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while len(opened) < count:
        assert asyncio.get_running_loop().time() < deadline, "the gateway does not come"
        if not router.poll(0):
            await asyncio.sleep(0.01)
            continue
        route, payload = router.recv_multipart()
        envelope = open_envelope(payload)
        body = request_body(envelope)
        if isinstance(body, OpenSession) and body.kind == "gateway":
            opened.append(body)
            answer = encode(Tag.SESSION_OPENED, envelope.correlation, envelope.session, OPENED)
            router.send_multipart([route, answer])
        elif isinstance(body, Ping):
            router.send_multipart([route, encode(Tag.PONG, envelope.correlation, envelope.session, Pong())])
    return opened
