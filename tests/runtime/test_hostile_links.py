"""What one connection can cost: old protocols, messages of many parts or without end, connections without number."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from actors.messages.io import ClientFrame
from actors.messages.values import Route
from rollbook.errors import SettingsError
from rollbook.model import Instance, Service
from rollbook.wire import Ping, Publish, Tag, encode
from runtime.connection_watch import ConnectionWatch, connection_info
from runtime.descriptors import descriptor_shares
from runtime.edge import ClientEdge, IoSettings
from runtime.members_file import MEMBERS_MAX, peer_addresses
from runtime.node_store import NodeStore, StoreUnusable
from runtime.sockets import bind_client_router, bind_peer_router, node_context, peer_dealer
from tests.runtime.test_router_port import SETTINGS, WAIT_MS, PortWorld
from tests.support import hostile
from tests.support.settings import settings_of


@pytest.fixture
def world() -> Iterator[PortWorld]:
    made = PortWorld()
    yield made
    made.context.destroy(linger=0)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while not condition():
        assert time.monotonic() < deadline, "not in time"


def port_of(world: PortWorld) -> int:
    return int(world.endpoint.rpartition(":")[2])


def test_a_message_without_a_descriptor_is_dropped_and_counted(world: PortWorld) -> None:
    with hostile.connected(port_of(world)) as raw:
        raw.sendall(hostile.OLD_GREETING + b"\x04\x00abc")
        assert world.router.poll(WAIT_MS)
        assert world.port.receive(world.now_ms) is None
    assert world.port.counters["client_frames_of_old_protocols"] == 1


def test_of_many_parts_few_are_kept_and_the_next_message_is_whole(world: PortWorld) -> None:
    client = world.client(b"many")
    client.send_multipart([b"part"] * 10_000)
    client.send(b"next")
    assert world.router.poll(WAIT_MS)
    arrival = world.port.receive(world.now_ms)
    assert arrival is not None
    assert arrival.parts == [b"part"] * SETTINGS.message_parts_max
    assert world.port.receive(world.now_ms) is None, "the rest is dropped a slice at a time"
    assert world.receive() == (b"many", b"next")


def test_who_sends_very_many_parts_is_cut(world: PortWorld) -> None:
    with hostile.shaken(port_of(world), b"\x01\x00" * (SETTINGS.message_parts_cut_max + 5_000) + b"\x00\x00") as raw:
        world.read_accepted()
        assert world.router.poll(WAIT_MS)
        until(lambda: world.port.receive(world.now_ms) is None and _is_closed(raw))
    assert world.port.counters["client_connections_cut_too_many_parts"] == 1


def _is_closed(raw: socket.socket) -> bool:
    raw.settimeout(0.01)
    try:
        return not raw.recv(4_096)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


class Pairs:
    """Accepted connections on plain sockets, and a watch on them."""

    def __init__(self, open_max: int = 100) -> None:
        self.now_ms = 1_000
        self.memory_bytes = 0
        self.counted: list[str] = []
        self.watch = ConnectionWatch(SETTINGS, open_max, self.counted.append, lambda: self.memory_bytes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.near: list[socket.socket] = []
        self.far: list[socket.socket] = []

    def open(self) -> int:
        self.far.append(socket.create_connection(self._listener.getsockname(), timeout=5))
        self.near.append(self._listener.accept()[0])
        self.watch.opened(self.near[-1].fileno(), self.now_ms, has_spoken=False)
        return self.near[-1].fileno()

    def cut(self) -> list[int]:
        return [number for number, raw in enumerate(self.far) if _is_closed(raw)]

    def close(self) -> None:
        hostile.close_all([*self.near, *self.far, self._listener])


@pytest.fixture
def make_pairs() -> Iterator[Callable[[int], Pairs]]:
    made: list[Pairs] = []

    def make(open_max: int = 100) -> Pairs:
        made.append(Pairs(open_max))
        return made[-1]

    yield make
    for pairs in made:
        pairs.close()


def test_of_too_many_connections_the_oldest_silent_ones_are_cut_first(make_pairs: Callable[[int], Pairs]) -> None:
    pairs = make_pairs(2)
    opened = [pairs.open() for _ in range(4)]
    pairs.watch.spoke(opened[0])
    pairs.watch.make_room()
    pairs.watch.make_room()
    assert pairs.cut() == [1, 2]
    assert pairs.counted == ["connections_cut_too_many"] * 2


def test_who_says_nothing_is_cut_in_time_and_who_has_spoken_is_not(make_pairs: Callable[[int], Pairs]) -> None:
    pairs = make_pairs(100)
    opened = [pairs.open() for _ in range(3)]
    pairs.now_ms += 1
    pairs.open()
    last_ms = pairs.now_ms - 1 + SETTINGS.first_message_ms_max
    pairs.watch.spoke(opened[1])
    pairs.watch.cut_silent(last_ms - 1)
    assert pairs.cut() == []
    pairs.watch.cut_silent(last_ms)
    assert pairs.cut() == [0, 2]
    assert pairs.counted == ["connections_cut_silent"] * 2


def test_a_descriptor_that_is_used_again_is_a_new_connection(make_pairs: Callable[[int], Pairs]) -> None:
    pairs = make_pairs(100)
    descriptor = pairs.open()
    pairs.now_ms += SETTINGS.first_message_ms_max - 1
    pairs.watch.closed(descriptor)
    pairs.watch.opened(descriptor, pairs.now_ms, has_spoken=False)
    pairs.watch.cut_silent(pairs.now_ms + 1)
    assert pairs.counted == []


def test_who_came_last_goes_if_all_have_spoken(make_pairs: Callable[[int], Pairs]) -> None:
    pairs = make_pairs(2)
    for _ in range(3):
        pairs.watch.spoke(pairs.open())
    pairs.watch.make_room()
    assert pairs.cut() == [2]


def test_memory_that_grows_costs_who_sends_without_end_and_nobody_else(make_pairs: Callable[[int], Pairs]) -> None:
    pairs = make_pairs(100)
    endless, busy, _idle = (pairs.open() for _ in range(3))
    for number in (0, 1):
        _pump(pairs, number, SETTINGS.unread_bytes_per_connection_max + 1)
    pairs.memory_bytes = 1
    assert not pairs.watch.is_look_due(0)
    pairs.memory_bytes += SETTINGS.memory_step_bytes_max
    assert pairs.watch.is_look_due(1_000)
    pairs.watch.look({busy})
    assert pairs.cut() == [0]
    assert endless != busy
    assert pairs.counted == ["connections_cut_endless_message"]


def _pump(pairs: Pairs, number: int, count: int) -> None:
    """Send so many bytes, and take them off at the other side, as libzmq does."""
    while count > 0:
        sent = pairs.far[number].send(bytes(min(count, 65_536)))
        count -= sent
        while sent:
            sent -= len(pairs.near[number].recv(sent))


def test_callers_that_wait_for_the_cluster_hold_up_nobody() -> None:
    edge = ClientEdge(settings_of("io", IoSettings, requests_in_flight_max=2))
    service = Service("public", "DEFAULT_GROUP", "x")
    publish = Publish(service, (Instance("10.0.0.1", 80),), wait="cluster")
    seen = []
    for _ in range(5):
        edge.receive(b"link", [encode(Tag.PUBLISH, 1, 5, publish)], "127.0.0.1")
    seen.append(edge.saturated)
    for _ in range(2):
        edge.receive(b"link", [encode(Tag.PING, 1, 5, Ping())], "127.0.0.1")
    seen.append(edge.saturated)
    edge.answered([ClientFrame(Route(b"link", 5), b"")] * 7)
    for _ in range(2):
        edge.receive(b"link", [encode(Tag.PING, 1, 5, Ping())], "127.0.0.1")
    seen.append(edge.saturated)  # what has been answered is forgotten
    edge.close(b"link")
    assert [*seen, edge.saturated] == [False, True, True, False]


@pytest.mark.parametrize("text", ["x" * 1_000_000, "10.0.0.1:" + "9" * 10_000, "*:8848", "a/b:1", "[::1;]:5"])
def test_what_no_socket_could_dial_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        peer_addresses([text])
    assert len(raised.value.message) < 400


def test_a_list_of_more_members_than_a_node_dials_is_refused() -> None:
    with pytest.raises(SettingsError, match="more than"):
        peer_addresses(f"10.0.0.{number % 200}:{number + 1}" for number in range(MEMBERS_MAX + 1))


def test_an_epoch_file_of_very_many_digits_is_one_line_for_the_operator(tmp_path: Path) -> None:
    (tmp_path / "epoch").write_text("9" * 10_000)
    store = NodeStore.open(tmp_path, 1.0)
    with pytest.raises(StoreUnusable, match="does not hold an epoch"):
        store.next_epoch(0, 0)
    store.close()


def test_the_thread_that_serves_peers_serves_no_client() -> None:
    context = node_context()
    clients = bind_client_router(context, "127.0.0.1:0", SETTINGS)
    peers = bind_peer_router(context, "127.0.0.1:0", SETTINGS)
    dialled = peer_dealer(context, "127.0.0.1:1", SETTINGS)
    of_clients, *of_peers = (int(made.get(zmq.AFFINITY)) for made in (clients, peers, dialled))
    for made in (clients, peers, dialled):
        made.close()
    context.term()
    assert [of_clients & mask for mask in of_peers] == [0, 0]
    assert 0 not in (of_clients, *of_peers), "none in particular would be any thread"


def test_few_descriptors_are_shared_out_so_that_some_are_left() -> None:
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 300, hard))
        shares = descriptor_shares(SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    assert shares.limit == used + 300
    assert 0 < shares.sessions < shares.clients
    assert shares.clients + shares.peers + SETTINGS.descriptors_reserved < shares.limit


def _answering(info: bytes, *, unanswered: int, heard_ms: int) -> bytes:
    """What the system would say of the connection after so many unanswered packets."""
    heard = heard_ms.to_bytes(4, sys.byteorder)
    return info[:2] + bytes([unanswered, 0]) + info[4:52] + heard + heard + info[60:]


def test_whose_machine_answers_no_more_is_cut_and_who_is_only_silent_is_not(
    make_pairs: Callable[[int], Pairs],
) -> None:
    pairs = make_pairs(100)
    late_ms = SETTINGS.client_silence_ms + 1
    gone, silent, slow = (pairs.open() for _ in range(3))
    states = {gone: (2, late_ms), silent: (0, 10 * late_ms), slow: (3, late_ms - 1)}

    def info(descriptor: int) -> bytes:
        unanswered, heard_ms = states[descriptor]
        return _answering(connection_info(descriptor), unanswered=unanswered, heard_ms=heard_ms)

    watch = ConnectionWatch(SETTINGS, 100, pairs.counted.append, lambda: 0, info)
    for descriptor in states:
        watch.opened(descriptor, pairs.now_ms, has_spoken=True)
    watch.cut_deaf(pairs.now_ms)
    assert pairs.cut() == [0]
    assert pairs.counted == ["connections_cut_deaf"]
