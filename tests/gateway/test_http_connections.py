"""Connections that are slow, silent, many or speak nonsense: each costs itself, and the others are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_protocol import REQUEST_BYTES_MAX, HttpPatience
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, HttpRoutes
from runtime.gateway.http_server import HttpServer
from runtime.gateway.plan import GatewayPlan
from runtime.gateway.settings import GatewaySettings
from runtime.logs import LogSettings
from tests.support.real_cluster import free_base_ports
from tests.support.sdk_client import until
from tests.support.settings import settings_of

LONG_TEXT = "x" * 8_000_000  # more than sockets hold
SLOW = HttpPatience(head_seconds_max=0.3, request_seconds_max=0.5, unread_seconds_max=0.3)
HEAD = b"POST /nacos/said HTTP/1.1\r\nHost: h\r\n"
ANSWER_SECONDS = 10.0


class Visitor:
    """A connection as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, text: bytes) -> None:
        self.writer.write(text)

    async def status(self) -> bytes:
        """Of the next answer, whose body is left to be read."""
        async with asyncio.timeout(ANSWER_SECONDS):
            line, *_ = (await self.reader.readuntil(b"\r\n\r\n")).splitlines()
        return line[9:12]

    async def is_ended(self) -> bool:
        async with asyncio.timeout(ANSWER_SECONDS):
            with contextlib.suppress(ConnectionError):
                await self.reader.read()
        return True


class QuickPlace:
    """HTTP without a node: two calls, one of which says much."""

    def __init__(self, patience: HttpPatience, **overrides: int) -> None:
        (port,) = free_base_ports(1)
        self.plan = GatewayPlan(
            settings_of("gateway", GatewaySettings, **overrides), settings_of("log", LogSettings), "127.0.0.1", port, 0
        )
        words = AnswerStyle.WORDS
        routes = [HttpRoute("GET POST", "/said", words, self._said), HttpRoute("GET", "/long", words, self._long)]
        self.server = HttpServer(HttpRoutes([routes], _always), self.plan, None, patience)
        self._visitors: list[Visitor] = []

    async def visitor(self) -> Visitor:
        made = Visitor(*await asyncio.open_connection("127.0.0.1", self.plan.http_port))
        self._visitors.append(made)
        return made

    async def close(self) -> None:
        for visitor in self._visitors:
            visitor.writer.close()
        await self.server.stop()

    async def _said(self, call: HttpCall) -> object:
        return call.text("word", default="nothing")

    async def _long(self, _: HttpCall) -> object:
        return LONG_TEXT


def _always(method: str, path: str) -> None:
    """No switch stands in the way of anything."""


@contextlib.asynccontextmanager
async def a_place(patience: HttpPatience, **overrides: int) -> AsyncIterator[QuickPlace]:
    place = QuickPlace(patience, **overrides)
    place.server.start()
    try:
        yield place
    finally:
        await place.close()


def at_a_place(script: Callable[[QuickPlace], Awaitable[None]], **overrides: int) -> None:
    async def run() -> None:
        async with a_place(SLOW, **overrides) as place:
            await script(place)

    asyncio.run(run())


@pytest.mark.parametrize(
    "beginning",
    [b"", b"\r\n\r\n", b"GET /nacos/said HTTP/1.1\r\nX: ", HEAD + b"Content-Length: 9\r\n\r\nwor"],
    ids=["nothing", "empty-lines", "half-a-head", "half-a-body"],
)
def test_a_connection_that_does_not_go_on_is_cut_though_it_asked_before(beginning: bytes) -> None:
    async def script(place: QuickPlace) -> None:
        newcomer = await place.visitor()
        newcomer.say(beginning)
        assert await newcomer.is_ended()
        if beginning:
            regular = await place.visitor()
            regular.say(b"GET /nacos/said HTTP/1.1\r\nHost: h\r\n\r\n")
            assert await regular.status() == b"200"
            regular.say(beginning)
            assert await regular.is_ended()

    at_a_place(script)


def test_a_head_that_comes_in_drops_is_not_waited_for_either() -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        ending = asyncio.ensure_future(visitor.is_ended())
        for letter in b"GET /nacos/said HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 200:
            visitor.say(bytes([letter]))
            if (await asyncio.wait([ending], timeout=0.05))[0]:
                break
        assert ending.done()

    at_a_place(script)


def test_requests_in_one_piece_and_in_many_are_answered_on_one_connection() -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        request = HEAD + b"Content-Length: 6\r\n\r\nword=a"
        for pieces in (
            [request * 3],
            [request * 2 + request[:40], request[40:]],
            [bytes([one]) for one in request * 3],
        ):
            for piece in pieces:
                visitor.say(piece)
                await visitor.writer.drain()
            for _ in range(3):
                assert await visitor.status() == b"200"
                assert await visitor.reader.readexactly(1) == b"a"

    at_a_place(script)


@pytest.mark.parametrize("piece", [b"x: " + b"y" * 4_093 + b"\r\n", b"y" * 4_096], ids=["trailers", "one-trailer"])
def test_what_follows_a_body_is_bounded(piece: bytes) -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        visitor.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nz: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 4 * REQUEST_BYTES_MAX:
                visitor.say(piece)
                sent += len(piece)
                await visitor.writer.drain()
        assert sent < 4 * REQUEST_BYTES_MAX

    at_a_place(script)


def test_a_body_that_was_refused_and_goes_on_for_ever_is_cut() -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        visitor.say(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        assert await visitor.status() == b"413"
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * REQUEST_BYTES_MAX:
                visitor.say(b"x" * 65_536)
                sent += 65_536
                await visitor.writer.drain()
        assert sent < 64 * REQUEST_BYTES_MAX

    at_a_place(script)


def test_an_answer_that_nobody_reads_costs_its_connection() -> None:
    async def script(place: QuickPlace) -> None:
        deaf = await place.visitor()
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        deaf.say(b"GET /nacos/long HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: place.server.connections.total == 1, "it is there")
        await until(lambda: place.server.connections.total == 0, "it is cut")

    at_a_place(script)


def test_a_long_answer_that_is_read_slowly_is_sent_to_its_end() -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        visitor.say(b"GET /nacos/long HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await visitor.status() == b"200"
        received = 0
        loop = asyncio.get_running_loop()
        until_then = loop.time() + 3 * SLOW.unread_seconds_max
        while received < len(LONG_TEXT):
            received += len(await visitor.reader.read(65_536))
            if loop.time() < until_then:
                await asyncio.sleep(0.01)
        assert received == len(LONG_TEXT)

    at_a_place(script)


def test_above_the_limits_a_connection_is_refused_at_once_and_places_are_given_back() -> None:
    async def script(place: QuickPlace) -> None:
        request = b"GET /nacos/said HTTP/1.1\r\nHost: h\r\n\r\n"
        those = [await place.visitor() for _ in range(3)]
        for visitor in those:
            visitor.say(request)
            assert await visitor.status() == b"200"
        fourth = await place.visitor()
        assert await fourth.status() == b"503"
        assert await fourth.is_ended()
        those[0].writer.close()
        await until(lambda: place.server.connections.total == 2, "its place is free")
        fifth = await place.visitor()
        fifth.say(request)
        assert await fifth.status() == b"200"

    at_a_place(script, http_connections_max=3)
    at_a_place(script, http_connections_per_address_max=3)


NONSENSE = [
    b"GET /nacos/\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /nacos/said?word=\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET http://[::1/nacos HTTP/1.1\r\nHost: h\r\n\r\n",
    b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /nacos/said HTTP/9.9\r\nHost: h\r\n\r\n",
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + b"x" * 100,
    b"get /nacos/said HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /nacos/said HTTP/1.1\rHost: h\r\r",
    b"GET /nacos/said HTTP/1.1\r\nX Y: a\r\n\r\n",
    b"GET /nacos/said HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    *(
        HEAD + line + b"\r\n\r\n"
        for line in (
            b"Content-Length: x",
            b"Content-Length: -1",
            b"Content-Length: \xb2",
            b"Content-Length: ",
            b"Content-Length: 99999999999999999999999",
            b"Content-Length: 1\r\nContent-Length: 2",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked\r\n\r\nzz",
            b"Transfer-Encoding: chunked\r\n\r\n-1",
            b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff",
        )
    ),
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_what_is_no_http_is_told_so_and_the_next_one_is_answered(nonsense: bytes) -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        visitor.say(nonsense)
        assert await visitor.status() == b"400"
        assert await visitor.is_ended()
        other = await place.visitor()
        other.say(b"GET /nacos/said HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await other.status() == b"200"

    at_a_place(script)


@pytest.mark.parametrize("query", [b"word=%", b"word=%z1", b"word=%4", b"%=1", b"word=%ff", b"&".join([b"a=b"] * 300)])
def test_parameters_that_are_not_encoded_as_they_should_be_are_refused(query: bytes) -> None:
    async def script(place: QuickPlace) -> None:
        visitor = await place.visitor()
        visitor.say(b"GET /nacos/said?" + query + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await visitor.status() == b"400"
        sender = await place.visitor()
        sender.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(query) + query)
        assert await sender.status() == b"400"

    at_a_place(script)
