"""The socket file where gateways of this machine find their node."""

from __future__ import annotations

import os
import queue
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from actors.messages.connections import SessionRequested, TransportClosed
from actors.messages.io import AnswerClients, ClientFrame
from rollbook.wire import OpenSession, Ping, Pong, Tag, answer_body, encode, open_envelope
from runtime.edge import IoSettings
from runtime.endpoints import AddressUnusable
from runtime.io_thread import IoThread
from runtime.local_socket import FILE_NAME, PATH_BYTES_MAX, LocalSocket
from tests.runtime.test_io_thread import WAIT_SECONDS, vacant_address
from tests.support.settings import settings_of

Socket = zmq.Socket[bytes]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(params=["short", "long"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The path of a socket file is short; a data directory may be deep."""
    made = tmp_path / "f" if request.param == "short" else tmp_path / ("deep" * 30)
    made.mkdir()
    return made


def listening(stack: ExitStack, folder: Path, told: queue.SimpleQueue[Any] | None = None) -> IoThread:
    local = LocalSocket(folder)
    stack.callback(local.close)
    addresses = (vacant_address(), vacant_address())
    io = IoThread(*addresses, settings_of("io", IoSettings), local_endpoint=local.endpoint)
    told = told or queue.SimpleQueue()
    io.start(lambda _, message: told.put(message), lambda _, failure: told.put(failure))
    stack.callback(io.stop)
    return io


def connected(stack: ExitStack, folder: Path) -> Socket:
    """As a gateway, in a process of its own, would connect."""
    local = LocalSocket(folder)
    stack.callback(local.close)
    context: zmq.Context[Socket] = zmq.Context()
    stack.callback(context.destroy, linger=0)
    dealer = context.socket(zmq.DEALER)
    stack.callback(dealer.close, linger=0)
    dealer.set(zmq.RCVTIMEO, int(WAIT_SECONDS * 1000))
    dealer.connect(local.endpoint)
    return dealer


def next_of(told: queue.SimpleQueue[Any], kind: type[Any]) -> Any:
    while not isinstance(message := told.get(timeout=WAIT_SECONDS), kind):
        assert not isinstance(message, BaseException), message
    return message


def test_many_sessions_on_one_connection_are_heard_answered_and_lost_together(stack: ExitStack, folder: Path) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    io = listening(stack, folder, told)
    dealer = connected(stack, folder)
    for number in (1, 2):
        dealer.send(encode(Tag.OPEN_SESSION, 1, number, OpenSession(f"c{number}", number, kind="sdk", ip="10.0.0.9")))
    first, second = next_of(told, SessionRequested), next_of(told, SessionRequested)
    assert first.route.link == second.route.link
    assert (first.order.ip, second.order.client_id) == ("10.0.0.9", "c2")
    io.put(AnswerClients((ClientFrame(second.route, encode(Tag.PONG, 1, 2, Pong())),)))
    assert isinstance(answer_body(open_envelope(dealer.recv())), Pong)
    dealer.close(linger=0)
    assert next_of(told, TransportClosed).link == first.route.link


def test_nobody_else_may_open_it(stack: ExitStack, folder: Path) -> None:
    listening(stack, folder)
    mode = (folder / FILE_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    (folder / "later").touch()
    assert stat.S_IMODE((folder / "later").stat().st_mode) & 0o044, "other files are as they always were"


def test_what_an_earlier_life_left_there_is_replaced(stack: ExitStack, folder: Path) -> None:
    with ExitStack() as earlier:
        listening(earlier, folder)
        left = (folder / FILE_NAME).stat().st_ino
        os.link(folder / FILE_NAME, folder / "kept")
    if not (folder / FILE_NAME).exists():
        os.link(folder / "kept", folder / FILE_NAME)
    listening(stack, folder)
    assert (folder / FILE_NAME).stat().st_ino != left
    dealer = connected(stack, folder)
    dealer.send(encode(Tag.PING, 1, 1, Ping()))


def test_a_queue_to_a_gateway_holds_a_push_to_each_of_its_streams(stack: ExitStack, folder: Path) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    io = listening(stack, folder, told)
    dealer = connected(stack, folder)
    dealer.send(encode(Tag.OPEN_SESSION, 1, 1, OpenSession("c1", 1)))
    route = next_of(told, SessionRequested).route
    frame = ClientFrame(route, encode(Tag.PONG, 1, 1, Pong()))
    io.put(AnswerClients((frame,) * 20_000))
    assert sum(len(dealer.recv_multipart()) for _ in range(20_000)) == 20_000


def test_a_folder_that_cannot_hold_a_socket_file_is_one_line(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    (tmp_path / FILE_NAME / "in the way").touch()
    with pytest.raises(AddressUnusable, match="cannot listen on the socket file"):
        listening(stack, tmp_path)


def test_a_short_path_is_used_as_it_is_and_a_long_one_is_never_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 60)
    deep.mkdir()
    for folder in (tmp_path, deep):
        local = LocalSocket(folder)
        assert len(local.endpoint.removeprefix("ipc://")) <= PATH_BYTES_MAX
        local.close()
