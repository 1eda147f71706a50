"""The I/O thread on real sockets: closed connections, descriptors that are used again, limits, and its end.

What it has in common with the simulated I/O is in tests/contracts/.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any, TypeVar

import pytest
import zmq

from actors.base import Role, StatusRequested
from actors.messages.clients import OrdersReceived
from actors.messages.connections import SessionRequested, TransportClosed
from actors.messages.io import AnswerClients, ClientFrame, DialPeers
from actors.messages.members import LinkClosed, LinkOpened
from actors.messages.values import Route
from rollbook.errors import Code
from rollbook.wire import FRAME_BYTES_MAX, OpenSession, Ping, Tag, answer_body, encode, open_envelope
from runtime.edge import IoSettings
from runtime.endpoints import AddressUnusable
from runtime.io_thread import IoThread
from runtime.sockets import CLIENT_MESSAGE_BYTES_MAX
from tests.support.settings import settings_of

WAIT_SECONDS = 5.0
NOTICED_SECONDS = 0.2
Kind = TypeVar("Kind")
Socket = zmq.Socket[bytes]


class IoWorld:
    """One I/O thread, what it tells, and clients that connect to it."""

    def __init__(self, **overrides: Any) -> None:
        self.client_address, self.peer_address = vacant_address(), vacant_address()
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.context: zmq.Context[Socket] = zmq.Context()
        self._dealers: list[Socket] = []
        self.io = IoThread(self.client_address, self.peer_address, settings_of("io", IoSettings, **overrides))
        self.io.start(self._tell, self._tell)

    def _tell(self, _from: object, message: Any) -> None:
        self.told.put(message)

    def next(self, kind: type[Kind]) -> Kind:
        """The next message of this kind; others before it are passed over."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            message = self.told.get(timeout=max(0.0, deadline - time.monotonic()))
            assert not isinstance(message, BaseException), message
            if isinstance(message, kind):
                return message

    def dealer(self) -> Socket:
        dealer = self.context.socket(zmq.DEALER)
        self._dealers.append(dealer)
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.RCVTIMEO, int(WAIT_SECONDS * 1000))
        dealer.connect(f"tcp://{self.client_address}")
        return dealer

    def session(self) -> tuple[Socket, bytes]:
        """A client that has been heard, and its link."""
        dealer = self.dealer()
        dealer.send(encode(Tag.OPEN_SESSION, 1, 1, OpenSession("c1", 1)))
        return dealer, self.next(SessionRequested).route.link

    def counters(self, dealer: Socket, link: bytes) -> dict[str, int]:
        """What the edge and the sockets have counted, as a status question is answered."""
        parts = {"node_id": "n1", "epoch": 1, "seq": 0, "ready": True, "standing": "ready", "preserved": False}
        self.io.put(StatusRequested(link, 1, 9, {**parts, "sessions": 0, "records": 0}))
        counters: dict[str, int] = answer_of(dealer)[1].counters
        return counters

    def close(self) -> None:
        self.context.destroy(linger=0)
        self.io.stop()


def vacant_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def world_with(**overrides: Any) -> Iterator[IoWorld]:
    world = IoWorld(**overrides)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world() -> Iterator[IoWorld]:
    with world_with() as made:
        yield made


def expect_end(raw: socket.socket) -> None:
    """Read until the other side closes; a time-out is an error."""
    with contextlib.suppress(ConnectionResetError):  # it may also be cut off without a farewell
        while raw.recv(4_096):
            continue


def answer_of(dealer: Socket) -> tuple[int, Any]:
    envelope = open_envelope(dealer.recv())
    return envelope.correlation, answer_body(envelope)


def test_a_session_request_carries_the_address_of_its_client(world: IoWorld) -> None:
    world.dealer().send(encode(Tag.OPEN_SESSION, 1, 1, OpenSession("c1", 1)))
    assert world.next(SessionRequested).ip == "127.0.0.1"


def test_a_closed_client_is_noticed_at_once_although_its_descriptor_is_used_again(world: IoWorld) -> None:
    stays, _ = world.session()
    links = []
    for _ in range(5):
        dealer, link = world.session()  # each gets the descriptor that the one before it had
        links.append(link)
        closed = time.monotonic()
        dealer.close()
        assert world.next(TransportClosed) == TransportClosed(link)
        assert time.monotonic() - closed < NOTICED_SECONDS
    assert len(set(links)) == 5
    stays.send(encode(Tag.PING, 2, 1, Ping()))
    assert world.next(OrdersReceived).orders[0].correlation == 2


def test_many_clients_that_close_at_once_are_each_reported_once(world: IoWorld) -> None:
    sessions = [world.session() for _ in range(50)]
    for dealer, _ in sessions:
        dealer.close()
    reported = [world.next(TransportClosed).link for _ in sessions]
    assert sorted(reported) == sorted(link for _, link in sessions)


def test_a_client_that_says_something_and_dies_at_once_is_reported_or_never_heard(world: IoWorld) -> None:
    watcher, watching = world.session()
    for number in range(50):
        dealer = world.dealer()
        dealer.set(zmq.LINGER, 1_000)
        dealer.send(encode(Tag.OPEN_SESSION, 1, number, OpenSession("c1", number)))
        dealer.close()
    asked: list[bytes] = []
    closed: list[bytes] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(closed) + world.counters(watcher, watching).get("client_frames_of_closed_links", 0) < 50:
        assert time.monotonic() < deadline, f"{len(asked)} asked, {len(closed)} closed"
        with contextlib.suppress(queue.Empty):
            message = world.told.get(timeout=0.01)
            asked += [message.route.link] if isinstance(message, SessionRequested) else []
            closed += [message.link] if isinstance(message, TransportClosed) else []
    assert sorted(asked) == sorted(closed)


def test_a_killed_client_process_is_noticed(world: IoWorld) -> None:
    program = (
        "import sys, zmq\n"
        "dealer = zmq.Context().socket(zmq.DEALER)\n"
        f"dealer.connect('tcp://{world.client_address}')\n"
        f"dealer.send(bytes.fromhex('{encode(Tag.OPEN_SESSION, 1, 1, OpenSession('c1', 1)).hex()}'))\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        link = world.next(SessionRequested).route.link
        killed = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        assert world.next(TransportClosed).link == link
        assert time.monotonic() - killed < NOTICED_SECONDS


def test_a_frame_over_the_limit_is_told_so_and_one_far_over_it_costs_only_its_connection(world: IoWorld) -> None:
    stays, _ = world.session()
    dealer, link = world.session()
    dealer.send(b"x" * (FRAME_BYTES_MAX + 1))
    assert answer_of(dealer)[1].code == Code.FRAME_TOO_LARGE
    dealer.send(b"x" * (CLIENT_MESSAGE_BYTES_MAX + 1))
    assert world.next(TransportClosed).link == link
    stays.send(encode(Tag.PING, 2, 1, Ping()))
    assert world.next(OrdersReceived).orders[0].correlation == 2


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 500, b""])
def test_bytes_that_are_no_zeromq_cost_only_their_connection(said: bytes) -> None:
    with world_with(handshake_timeout_ms=100) as world:
        for address in (world.client_address, world.peer_address):
            host, port = address.split(":")
            with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as raw:
                raw.sendall(said)
                if not said.startswith(b"GET"):  # which is a valid greeting of ZeroMQ's oldest protocol
                    expect_end(raw)
        _, link = world.session()
        assert link


def test_clients_wait_while_too_many_requests_are_in_flight(world: IoWorld) -> None:
    with world_with(requests_in_flight_max=4, drain_frames_max=2) as narrow:
        dealer, link = narrow.session()
        for correlation in range(2, 12):
            dealer.send(encode(Tag.PING, correlation, 1, Ping()))
        seen = 1
        while seen < 11:
            batch = narrow.next(OrdersReceived).orders
            seen += len(batch)
            assert len(batch) <= 2
            frames = tuple(ClientFrame(Route(link, 1), encode(Tag.PONG, order.correlation, 1, ())) for order in batch)
            narrow.io.put(AnswerClients(frames))
        assert [open_envelope(dealer.recv()).correlation for _ in range(10)] == list(range(2, 12))


def test_how_a_dialled_link_ended_is_told(world: IoWorld) -> None:
    with world_with() as other:
        world.io.put(DialPeers((other.peer_address,)))
        opened = world.next(LinkOpened)
        assert opened == LinkOpened(f"dial:{other.peer_address}#1", other.peer_address)
    assert world.next(LinkClosed) == LinkClosed(opened.link, other.peer_address, "reset")
    assert world.next(LinkClosed) == LinkClosed("", other.peer_address, "refused")


def test_a_peer_that_only_its_system_answers_for_is_silent() -> None:
    with socket.socket() as stopped, world_with(handshake_timeout_ms=200) as world:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()  # as a stopped process: connections stand, nobody speaks
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        world.io.put(DialPeers((address,)))
        assert world.next(LinkClosed) == LinkClosed("", address, "silent")


def test_a_port_in_use_is_one_clear_sentence(world: IoWorld) -> None:
    with pytest.raises(AddressUnusable, match=f"cannot listen on {world.client_address}: Address already in use"):
        IoThread(world.client_address, vacant_address(), settings_of("io", IoSettings))


def test_what_was_told_before_the_end_still_leaves(world: IoWorld) -> None:
    dealer, link = world.session()
    world.io.put(AnswerClients((ClientFrame(Route(link, 1), b"last words"),)))
    world.io.stop()
    assert dealer.recv() == b"last words"


def test_a_message_that_the_thread_does_not_know_ends_the_process(world: IoWorld) -> None:
    world.io.put("nonsense")
    assert isinstance(world.told.get(timeout=WAIT_SECONDS), TypeError)


def test_a_status_answer_says_which_version_runs(world: IoWorld) -> None:
    dealer, link = world.session()
    parts = {"node_id": "n1", "epoch": 1, "seq": 0, "ready": True, "standing": "ready", "preserved": False}
    world.io.put(StatusRequested(link, 1, 9, {**parts, "sessions": 0, "records": 0}))
    assert answer_of(dealer)[1].version == metadata.version("rollbook")


def test_roles_are_told_apart() -> None:
    told: queue.SimpleQueue[tuple[object, Any]] = queue.SimpleQueue()

    def tell(to: object, message: Any) -> None:
        told.put((to, message))

    io = IoThread(vacant_address(), vacant_address(), settings_of("io", IoSettings))
    io.start(tell, tell)
    nowhere = vacant_address()
    io.put(DialPeers((nowhere,)))
    assert told.get(timeout=WAIT_SECONDS) == (Role.MEMBERS, LinkClosed("", nowhere, "refused"))
    io.stop()
