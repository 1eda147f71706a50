"""Frames to gateways that find ZeroMQ's queue full: none is lost while there is room, and none overtakes another."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import zmq

from actors.messages.connections import SessionRequested, TransportClosed
from actors.messages.io import ClientFrame, PushToClients
from actors.messages.values import Route
from rollbook.wire import OpenSession, Pong, SessionKind, Tag, encode
from runtime.edge import IoSettings
from runtime.endpoints import endpoint_of
from runtime.io_thread import IoThread
from runtime.router_port import Sending
from runtime.unsent_frames import RETRY_MS_MAX, UnsentFrames
from tests.runtime.test_io_thread import WAIT_SECONDS, vacant_address
from tests.support.settings import settings_of

BURST = 20_000
A, B = b"a", b"b"


class Reader:
    """A socket with so much room for each link."""

    def __init__(self, **room: int) -> None:
        self.room = Counter({link.encode(): number for link, number in room.items()})
        self.read: list[list[bytes]] = []
        self.gone: set[bytes] = set()

    def send(self, parts: list[bytes]) -> Sending:
        if parts[0] in self.gone:
            return Sending.GONE
        if not self.room[parts[0]]:
            return Sending.UNREAD
        self.room[parts[0]] -= 1
        self.read.append(parts)
        return Sending.SENT


def message(link: bytes, number: int) -> list[bytes]:
    return [link, b"%03d" % number]


def test_what_waits_is_sent_in_order_as_there_is_room() -> None:
    reader = Reader(a=2, b=1)
    unsent = UnsentFrames(reader.send, 1_000)
    for number in range(3):
        assert unsent.keep(message(A, number), 10)
        assert unsent.keep(message(B, number), 10)
    unsent.send_some(11)
    assert reader.read == [message(A, 0), message(A, 1), message(B, 0)]
    assert len(unsent) == 3
    reader.room += Counter({A: 9, B: 9})
    unsent.send_some(12)
    assert reader.read[3:] == [message(A, 2), message(B, 1), message(B, 2)]
    assert (len(unsent), A in unsent, unsent.due_ms()) == (0, False, None)


def test_there_is_room_for_so_many_bytes_of_all_together() -> None:
    unsent = UnsentFrames(Reader().send, 8)
    assert [unsent.keep(message(link, 1), 10) for link in (A, B, A)] == [True, True, False]
    unsent.forget(A)
    assert A not in unsent
    assert unsent.keep(message(B, 2), 10), "what is gone takes none"


def test_who_has_gone_takes_what_waited_along() -> None:
    reader = Reader()
    unsent = UnsentFrames(reader.send, 8)
    unsent.keep(message(A, 1), 10)
    reader.gone.add(A)
    unsent.send_some(11)
    assert A not in unsent
    assert unsent.keep(message(B, 1), 11)
    assert unsent.keep(message(B, 2), 11)


def test_who_does_not_read_is_tried_ever_more_rarely_and_at_once_when_it_reads() -> None:
    reader = Reader()
    unsent = UnsentFrames(reader.send, 1_000)
    unsent.keep(message(A, 1), 0)
    unsent.keep(message(A, 2), 0)
    pauses, now_ms = [], 0
    for _ in range(9):
        due_ms = unsent.due_ms()
        assert due_ms is not None
        pauses.append(due_ms - now_ms)
        now_ms = due_ms
        unsent.send_some(now_ms)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, RETRY_MS_MAX, RETRY_MS_MAX]
    reader.room[A] = 1
    unsent.send_some(now_ms)
    assert unsent.due_ms() == now_ms + 1


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Burst:
    """A node's sockets, and one client over TCP that has opened a session of this kind and then reads nothing."""

    def __init__(self, stack: ExitStack, kind: SessionKind, **overrides: Any) -> None:
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        address = vacant_address()
        self.io = IoThread(address, vacant_address(), settings_of("io", IoSettings, **overrides))
        self.io.start(lambda _, each: self.told.put(each), lambda _, failure: self.told.put(failure))
        stack.callback(self.io.stop)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        self.client = context.socket(zmq.DEALER)
        self.client.set(zmq.RCVTIMEO, int(WAIT_SECONDS * 1_000))
        self.client.set(zmq.RCVHWM, 10)
        self.client.connect(endpoint_of(address))
        self.client.send(encode(Tag.OPEN_SESSION, 1, 1, OpenSession("c1", 1, kind=kind)))
        self.route: Route = self.next_of(SessionRequested).route

    def next_of(self, kind: type[Any]) -> Any:
        while not isinstance(each := self.told.get(timeout=WAIT_SECONDS), kind):
            assert not isinstance(each, BaseException), each
        return each

    def push(self, count: int, size: int) -> None:
        """All at once, each with its number."""
        body = encode(Tag.PONG, 1, 1, Pong()) + b"x" * size
        self.io.put(PushToClients(tuple(ClientFrame(self.route, b"%06d" % number + body) for number in range(count))))

    def rest(self) -> int:
        """How many more have come."""
        count = 0
        try:
            while self.client.recv():
                count += 1
        except zmq.Again:
            return count
        raise AssertionError("no frame is empty")

    def numbers(self, count: int) -> list[int]:
        return [int(self.client.recv()[:6]) for _ in range(count)]


def test_a_burst_to_a_gateway_over_tcp_arrives_as_a_whole_and_in_order(stack: ExitStack) -> None:
    burst = Burst(stack, "gateway")
    burst.push(BURST, 1_000)
    assert burst.numbers(BURST) == list(range(BURST))


def test_a_gateway_that_goes_in_the_midst_of_it_is_noticed(stack: ExitStack) -> None:
    burst = Burst(stack, "gateway")
    burst.push(BURST, 1_000)
    assert burst.numbers(10) == list(range(10))
    burst.client.close(linger=0)
    assert burst.next_of(TransportClosed).link == burst.route.link


def test_a_stranger_who_reads_nothing_costs_no_more_than_its_queue(stack: ExitStack) -> None:
    burst = Burst(stack, "native")
    burst.push(BURST, 1_000)
    burst.push(1, 0)
    assert burst.numbers(500) == list(range(500))
    burst.client.set(zmq.RCVTIMEO, 500)
    assert 500 + burst.rest() < BURST
