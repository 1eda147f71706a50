"""May an etcd member without data begin? Only if it never was; otherwise it forgot what it had acknowledged.

etcd itself asks only those whom it reaches: one that lost its directory while the others are away would begin with its
old vote and without its memory. So a seat without data asks every other one where their members listen for their peers,
and meanwhile answers there itself, as etcd does: with the list of the members it knows, which is empty.

It may begin once each other seat has answered so, in this life of its supervisor: whoever has no data cannot have heard
of it. It does begin once each of them has heard its own answer too, or nobody could hear it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from enum import Enum
from urllib.parse import parse_qs, urlsplit

import msgspec

SLICE_SECONDS = 0.3
PAUSE_SECONDS = 0.03
_REQUEST_BYTES_MAX = 4_096
_ANSWER_BYTES_MAX = 262_144
_NOBODY = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
_LISTED = msgspec.json.Decoder(list[dict[str, object]])


class Heard(Enum):
    """What one other seat says."""

    NOTHING = "no answer"
    NO_DATA = "it knows no member at all"
    MEMBERS = "an etcd runs there"


def judge(answer: bytes) -> Heard:
    """``answer``: what came back over the connection so far; a list that is not whole yet is none."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ")[1:2] != [b"200"]:
        return Heard.NOTHING
    try:
        return Heard.MEMBERS if _LISTED.decode(body) else Heard.NO_DATA
    except msgspec.MsgspecError:
        return Heard.NOTHING


class Beginning:
    """Of one seat without data. Addresses are those for peers, host:port."""

    def __init__(self, own: str, listen_address: str, others: Sequence[str]) -> None:
        self._own = own
        self._listen_address = listen_address
        self._others = others
        self._without_data: set[str] = set()  # who said so
        self._knowing: set[str] = set()  # who heard it from this one
        self._now: dict[str, Heard] = {}

    def hear(self) -> None:
        """Ask for a moment, and answer all the while. OSError if the address cannot be listened on."""
        asyncio.run(self._hear())

    def answer(self, request: bytes) -> bytes:
        """As etcd would answer, if it had no members; b"" to whoever does not ask as a seat does."""
        method, _, rest = request.partition(b" ")
        if method != b"GET":
            return b""
        try:
            said = parse_qs(urlsplit(rest.split(b" ")[0].decode("latin-1")).query)
        except ValueError:  # no address at all
            return b""
        if said.get("knows") == ["1"]:
            self._knowing.update(set(said.get("seat", ())).intersection(self._others))
        return _NOBODY

    @property
    def missing(self) -> list[str]:
        """Whose word is still needed."""
        begun = [other for other, what in self._now.items() if what is Heard.MEMBERS]
        return [
            other
            for other in self._others
            if other not in self._without_data or (other not in self._knowing and other not in begun)
        ]

    @property
    def was_there_before(self) -> bool:
        """An etcd runs that did not begin while this seat listened: this one is to join it."""
        return any(what is Heard.MEMBERS and other not in self._without_data for other, what in self._now.items())

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        self._now = {}
        answering: list[_Answering] = []

        def accept() -> _Answering:
            answering.append(_Answering(self))
            return answering[-1]

        async with await loop.create_server(accept, *_split(self._listen_address)):
            deadline = loop.time() + SLICE_SECONDS
            await asyncio.gather(*(self._ask_until(deadline, other) for other in self._others))
            await asyncio.sleep(deadline - loop.time())  # others may have begun to ask later
        await asyncio.sleep(PAUSE_SECONDS)  # those just accepted are there, and answers have left
        for connection in answering:
            connection.end()
        await asyncio.sleep(0)

    async def _ask_until(self, deadline: float, other: str) -> None:
        """Again, so that what was just heard is also said."""
        loop = asyncio.get_running_loop()
        while loop.time() < deadline:
            heard = Heard.NOTHING
            with contextlib.suppress(OSError):  # as good as no answer; a time-out is one
                async with asyncio.timeout_at(deadline):
                    heard = await self._ask(other)
            if heard is not Heard.NOTHING:  # the end of the slice cuts off the last question
                self._now[other] = heard
            if heard is Heard.NO_DATA:
                self._without_data.add(other)
            await asyncio.sleep(min(PAUSE_SECONDS, max(0.0, deadline - loop.time())))

    async def _ask(self, other: str) -> Heard:
        reader, writer = await asyncio.open_connection(*_split(other))
        try:
            knows = int(other in self._without_data)
            writer.write(f"GET /members?seat={self._own}&knows={knows} HTTP/1.0\r\n\r\n".encode())
            answer, heard = b"", Heard.NOTHING
            # Until it is whole: an etcd may take 5 s to close a connection that it has answered.
            while heard is Heard.NOTHING and len(answer) < _ANSWER_BYTES_MAX:
                if not (piece := await reader.read(_ANSWER_BYTES_MAX)):
                    break
                answer += piece
                heard = judge(answer)
            return heard
        finally:
            writer.transport.abort()


class _Answering(asyncio.Protocol):
    """One connection of another seat."""

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        self._request = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._request += data
        if b"\r\n\r\n" in self._request:
            self._transport.write(self._beginning.answer(self._request))
            self._transport.close()
        elif len(self._request) > _REQUEST_BYTES_MAX:
            self._transport.abort()

    def end(self) -> None:
        """Whoever has not asked by now asks again."""
        if self._transport is not None:
            self._transport.abort()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
