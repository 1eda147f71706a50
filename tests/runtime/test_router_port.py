"""Who is gone, by descriptor, routing table and time: real sockets, but the test decides what is read when."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq

from runtime.edge import IoSettings
from runtime.router_port import RouterPort
from runtime.sockets import ACCEPT_EVENTS, monitor_of
from tests.support.settings import settings_of

WAIT_MS = 5_000
Socket = zmq.Socket[bytes]
SETTINGS = settings_of("io", IoSettings)


class PortWorld:
    """A ROUTER with its port, clients, and a clock that the test turns."""

    def __init__(self) -> None:
        self.context: zmq.Context[Socket] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.set(zmq.ROUTER_MANDATORY, 1)
        self.router.set(zmq.LINGER, 0)
        self.monitor = monitor_of(self.context, self.router, ACCEPT_EVENTS)
        self.endpoint = f"tcp://127.0.0.1:{self.router.bind_to_random_port('tcp://127.0.0.1')}"
        self.port = RouterPort("client", self.router, self.monitor, b"probe", SETTINGS, connections_max=1_000)
        self.now_ms = 1_000
        self.clients: list[Socket] = []

    def client(self, identity: bytes = b"") -> Socket:
        client = self.context.socket(zmq.DEALER)
        self.clients.append(client)
        client.set(zmq.LINGER, WAIT_MS)
        if identity:
            client.set(zmq.IDENTITY, identity)
        client.connect(self.endpoint)
        return client

    def receive(self) -> tuple[bytes, bytes]:
        """Link and payload of the next message that counts."""
        while True:
            assert self.router.poll(WAIT_MS), "nothing has come"
            if (arrival := self.port.receive(self.now_ms)) is not None:
                return arrival.link, arrival.parts[0]

    def wait_for_event(self) -> None:
        """Something was opened or closed, and nothing has read it yet."""
        assert self.monitor.poll(WAIT_MS), "no event"

    def come_back(self, identity: bytes) -> Socket:
        """Connect under an identity that was just given up: ZeroMQ ignores connections while it is still taken."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while True:
            client = self.client(identity)
            client.send(b"back")
            if self.router.poll(50):
                assert self.receive() == (identity, b"back")
                return client
            assert time.monotonic() < deadline, f"{identity!r} is still taken"
            client.close(linger=0)

    def probe_until_closed(self, count: int) -> list[bytes]:
        """Let milliseconds pass until so many links have turned out to be closed."""
        closed: list[bytes] = []
        deadline = time.monotonic() + WAIT_MS / 1000
        while len(closed) < count:
            assert time.monotonic() < deadline, f"only {closed}"
            self.port.read_monitor(self.now_ms)
            closed += self.port.probe_suspects(self.now_ms)
            self.now_ms += 1
        return closed

    def read_accepted(self) -> None:
        """Take note of a connection that was just opened."""
        self.wait_for_event()
        self.port.read_monitor(self.now_ms)


@pytest.fixture
def world() -> Iterator[PortWorld]:
    made = PortWorld()
    yield made
    made.context.destroy(linger=0)


def speak(world: PortWorld, identity: bytes) -> Socket:
    """A client that has been heard."""
    client = world.client(identity)
    client.send(b"first")
    assert world.receive() == (identity, b"first")
    return client


def test_of_all_links_that_spoke_on_a_descriptor_only_the_dead_one_is_closed(world: PortWorld) -> None:
    """The next client has the descriptor before anyone has read that the last one closed."""
    alive = []
    for number in range(9, 0, -1):  # the dead one is the last in order of names
        dead = speak(world, b"z-%d" % number)
        world.port.read_monitor(world.now_ms)
        dead.close()
        world.wait_for_event()
        alive.append(speak(world, b"a-%d" % number))
        assert world.probe_until_closed(1) == [b"z-%d" % number]
    for client in alive:
        client.send(b"still here")
    assert len({world.receive()[0] for _ in alive}) == len(alive)


def test_a_frame_that_is_read_after_its_connection_closed_opens_nothing_for_ever(world: PortWorld) -> None:
    client = world.client(b"brief")
    client.send(b"only")
    assert world.router.poll(WAIT_MS)
    world.read_accepted()
    client.close()
    world.wait_for_event()
    world.port.read_monitor(world.now_ms)  # the close is known before the first frame is read
    heard = [arrival.link for arrival in [world.port.receive(world.now_ms)] if arrival is not None]
    assert world.probe_until_closed(len(heard)) == heard
    dropped = world.port.counters.get("client_frames_of_closed_links", 0)
    assert len(heard) + dropped == 1


def test_a_frame_left_behind_by_a_closed_link_does_not_open_it_again(world: PortWorld) -> None:
    client = speak(world, b"old")
    client.send(b"left behind")
    assert world.router.poll(WAIT_MS)
    client.close()
    assert world.probe_until_closed(1) == [b"old"]
    fresh = world.client(b"new")  # its descriptor is that of the old one, and known to be open
    world.read_accepted()
    fresh.send(b"first")
    assert world.receive() == (b"new", b"first")
    assert world.port.counters["client_frames_of_closed_links"] == 1


def test_a_link_that_came_back_on_another_descriptor_is_watched_there(world: PortWorld) -> None:
    speak(world, b"me").close()
    placeholder = speak(world, b"other")  # takes the descriptor
    second = world.come_back(b"me")  # nobody has read that the first was closed
    world.port.read_monitor(world.now_ms)
    for _ in range(3):
        assert world.port.probe_suspects(world.now_ms) == []
        world.now_ms += SETTINGS.probe_ms_max
    for client, link in ((placeholder, b"other"), (second, b"me")):
        client.send(b"again")
        assert world.receive() == (link, b"again")
    assert world.port.next_probe_ms() is None  # both are tied to where they are, and nobody is in doubt
    second.close()
    assert world.probe_until_closed(1) == [b"me"]


def test_a_link_in_doubt_is_probed_fast_at_first_and_slowly_for_as_long_as_it_is_silent(world: PortWorld) -> None:
    speak(world, b"me").close()
    world.come_back(b"me")
    world.port.read_monitor(world.now_ms)
    assert world.port.probe_suspects(world.now_ms) == []
    assert world.port.next_probe_ms() == world.now_ms + SETTINGS.probe_interval_ms
    late_ms = world.now_ms + SETTINGS.probe_ms_max
    world.port.probe_suspects(late_ms)
    assert world.port.next_probe_ms() == late_ms + SETTINGS.slow_probe_interval_ms


def test_a_link_that_does_not_read_is_not_taken_for_a_closed_one(world: PortWorld) -> None:
    world.router.set(zmq.SNDHWM, 1)
    client = world.client(b"slow")
    client.set(zmq.RCVHWM, 1)
    client.send(b"first")
    assert world.receive()[0] == b"slow"
    big = b"x" * 1_000_000
    while world.port.send([b"slow", big]):
        continue
    assert world.port.counters["client_frames_dropped_unread_by_receiver"] == 1
    assert world.port.probe_suspects(world.now_ms) == []


def test_a_frame_for_a_link_that_is_gone_is_counted_and_not_raised(world: PortWorld) -> None:
    assert not world.port.send([b"nobody", b"x"])
    assert world.port.counters == {"client_frames_dropped_for_closed_links": 1}


def test_closed_links_are_not_remembered_for_ever(world: PortWorld) -> None:
    for number in range(3):
        speak(world, b"%d" % number).close()
        world.probe_until_closed(1)
        world.now_ms += SETTINGS.closed_link_memory_ms + 1
    assert len(world.port._closed_at) == 1
