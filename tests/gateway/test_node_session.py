"""One session of a gateway without a node: what it says on its connection, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from rollbook.durable import Namespace
from rollbook.durable_bodies import PutNamespace
from rollbook.errors import Code, Refused, RollbookError
from rollbook.http_clients import HttpPublish
from rollbook.model import Instance, Service, View
from rollbook.patience import LinkSettings
from rollbook.wire import (
    CloseSession,
    Done,
    Failed,
    ListServices,
    OpenSession,
    Publish,
    Query,
    SessionOpened,
    Subscribe,
    Withdraw,
    open_envelope,
    request_body,
)
from runtime.clock import monotonic_ms
from runtime.gateway.node_session import NodeSession
from runtime.gateway.session_desk import SessionSpec
from tests.support.sdk_client import until

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
ASK_MS = 20_000
CALLS_MAX = 2_000


class _Said(NamedTuple):
    correlation: int
    body: Any


class NodeSessionBench:
    """The link of one session, and the node behind it."""

    def __init__(self) -> None:
        self.said: list[_Said] = []  # by the session, on all connections
        self.is_over = False
        self._numbers = 0
        self._in_flight = 0
        self.session = NodeSession(SessionSpec("sdk-1"), self, LinkSettings(), CALLS_MAX, random.Random(1))

    def has_room(self) -> bool:
        return self._in_flight < CALLS_MAX

    def now_ms(self) -> int:
        return monotonic_ms()

    def take_number(self, session: NodeSession, above: int) -> int:
        self._numbers = max(self._numbers, above) + 1
        return self._numbers

    def drop_number(self, number: int) -> None: ...

    def send(self, payload: bytes) -> None:
        envelope = open_envelope(payload)
        self.said.append(_Said(envelope.correlation, request_body(envelope)))

    def departed(self) -> None:
        self._in_flight += 1

    def landed(self, requests: int) -> None:
        self._in_flight -= requests

    def wait_for_room(self, session: NodeSession) -> None: ...

    def flush_later(self, session: NodeSession, pause_ms: int) -> None:
        asyncio.get_running_loop().call_later(pause_ms / 1000, session.flush)

    def session_opened(self, session: NodeSession, body: Any) -> None: ...

    def session_over(self, session: NodeSession, error: RollbookError) -> None:
        self.is_over = True

    def session_redone(self, session: NodeSession) -> None: ...

    def keeps(self, session: NodeSession, error: RollbookError) -> bool:
        return False

    def doubt(self) -> None: ...

    # -- the node's side

    def bodies(self, kind: type[Any]) -> list[Any]:
        return [said.body for said in self.said if isinstance(said.body, kind)]

    def answer(self, kind: type[Any], body: Any) -> None:
        """The last request of this kind."""
        asked = next(said for said in reversed(self.said) if isinstance(said.body, kind))
        self.session.received(asked.correlation, body)

    def answer_opening(self) -> None:
        self.answer(OpenSession, SessionOpened("n1", 1, self._numbers, 1_000))

    def connect(self) -> None:
        self.session.open()
        self.answer_opening()

    def reconnect(self) -> None:
        self.session.connection_lost()
        self._in_flight = 0
        self.said.clear()
        self.session.open()


def run(script: Callable[[NodeSessionBench], Awaitable[None]]) -> None:
    async def inner() -> None:
        await script(NodeSessionBench())

    asyncio.run(inner())


async def begun(asking: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(asking)
    await asyncio.sleep(0)
    return task


async def published(bench: NodeSessionBench) -> None:
    asked = await begun(bench.session.ask(Publish(ORDERS, (Instance("10.0.0.1", 80),), "replace"), ASK_MS))
    bench.answer(Publish, Done(1, 1, 1))
    await asked


def test_an_order_of_unknown_outcome_is_said_again_after_a_pause_that_grows_and_holds_up_nothing_else() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.connect()
        asked = await begun(bench.session.ask(PutNamespace(Namespace("n", "n")), ASK_MS))
        for times in range(1, 4):
            bench.answer(PutNamespace, Failed(Code.OUTCOME_UNKNOWN, "the store is away", retryable=True))
            assert len(bench.bodies(PutNamespace)) == times, "not at once"
            question = await begun(bench.session.ask(Query(ORDERS), ASK_MS))
            bench.answer(Query, View(ORDERS, times))
            await question
            expected = times + 1
            await until(lambda: len(bench.bodies(PutNamespace)) == expected, "it is said again")  # noqa: B023
        bench.answer(PutNamespace, Done(1, 1, 1))
        await asked

    run(script)


def test_a_caller_for_whom_there_is_no_room_is_told_and_nobody_else_waits_for_it() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.connect()
        asked = await begun(bench.session.ask(HttpPublish(ORDERS, Instance("10.0.0.1", 80)), ASK_MS))
        bench.answer(HttpPublish, Failed(Code.OVER_LIMIT, "as many as it may keep", retryable=True))
        question = await begun(bench.session.ask(Query(ORDERS), ASK_MS))
        assert len(bench.bodies(Query)) == 1
        assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], Refused)
        bench.answer(Query, View(ORDERS, 1))
        await question
        assert len(bench.bodies(HttpPublish)) == 1

    run(script)


def test_what_the_client_itself_publishes_is_said_again_when_there_may_be_room() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.connect()
        asked = await begun(bench.session.ask(Publish(ORDERS, (Instance("10.0.0.1", 80),), "replace"), ASK_MS))
        bench.answer(Publish, Failed(Code.OVER_LIMIT, "too much at once", retryable=True))
        assert len(bench.bodies(Publish)) == 1, "not at once"
        await until(lambda: len(bench.bodies(Publish)) == 2, "it is said again")
        bench.answer(Publish, Done(1, 1, 1))
        await asked

    run(script)


def test_a_thousand_requests_that_cannot_be_said_are_refused_when_the_node_is_back() -> None:
    async def script(bench: NodeSessionBench) -> None:
        order = ListServices("public", "DEFAULT_GROUP", 1 << 70, 10)
        asked = [await begun(bench.session.ask(order, ASK_MS)) for _ in range(1_000)]
        bench.connect()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Refused}
        assert bench.session.is_open

    run(script)


def test_a_subscription_that_was_refused_is_not_wanted_any_more() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.connect()
        asked = await begun(bench.session.ask(Subscribe(ORDERS), ASK_MS))
        bench.answer(Subscribe, Failed(Code.OVER_LIMIT, "too many", "service", retryable=False))
        assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], Refused)
        bench.reconnect()
        bench.answer_opening()
        assert bench.bodies(Subscribe) == []

    run(script)


def test_a_session_that_is_closed_while_it_opens_says_goodbye_however_late_the_node_answers() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.session.open()
        await bench.session.close("leave")
        bench.answer_opening()
        assert bench.bodies(CloseSession) == [CloseSession("leave")]
        bench.answer(CloseSession, Done())
        assert bench.is_over

    run(script)


def test_what_a_closed_session_published_is_withdrawn_however_late_the_node_opens_it_again() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.connect()
        await published(bench)
        bench.reconnect()
        await bench.session.close("leave")
        bench.answer_opening()
        assert bench.bodies(Withdraw) == [Withdraw(ORDERS)]
        bench.answer(Withdraw, Done(1, 2, 2))
        assert bench.bodies(CloseSession) == [CloseSession("leave")]

    run(script)


def test_a_goodbye_that_was_lost_with_its_connection_is_said_on_the_next_one() -> None:
    async def script(bench: NodeSessionBench) -> None:
        bench.connect()
        await published(bench)
        bench.session.connection_lost()
        await bench.session.close("leave")
        for _ in range(2):
            bench.reconnect()
            bench.answer_opening()
            bench.answer(Withdraw, Done(1, 2, 2))
            assert bench.bodies(CloseSession) == [CloseSession("leave")]
        bench.answer(CloseSession, Done())
        assert bench.is_over

    run(script)
