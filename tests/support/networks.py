"""Two worlds with the same door: nodes' I/O over real ZeroMQ sockets, and over the simulated network.

A test puts in what actors tell ``Role.IO``, and looks at what the I/O tells the actors. ``World.until`` lets time pass,
real or virtual, until something holds.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import zmq

from actors.base import NodeIdentity, Role
from runtime.edge import IoSettings
from runtime.io_thread import IoThread
from runtime.simulation.cluster import profile_of
from runtime.simulation.hosts import How, SimEnd
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import NodeClock, Scheduler, SimStage
from runtime.simulation.sim_io import SimIo
from tests.support.settings import settings_of

DEADLINE_SECONDS = 5.0
Kind = TypeVar("Kind")


class Side:
    """The I/O of one node, and what it has told its actors."""

    def __init__(self, peer_address: str, client_address: str) -> None:
        self.peer_address = peer_address
        self.client_address = client_address
        self.messages: list[Any] = []

    def told(self, kind: type[Kind]) -> list[Kind]:
        return [message for message in list(self.messages) if isinstance(message, kind)]

    def put(self, message: Any) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError


class WireClient(Protocol):
    """A connection of a client that can say anything."""

    def send(self, payload: bytes) -> None: ...

    def frames(self) -> list[bytes]: ...

    def close(self) -> None: ...


class World(Protocol):
    def side(self, name: str) -> Side:
        """Bind and start the I/O of this node; the same name has the same addresses, also in its next life."""

    def client(self, side: Side) -> WireClient: ...

    def vacant_address(self) -> str:
        """Where nobody listens."""

    def until(self, predicate: Callable[[], bool], what: str) -> None: ...


# -- the real one


class ZmqSide(Side):
    def __init__(self, peer_address: str, client_address: str, settings: IoSettings, world: ZmqWorld) -> None:
        super().__init__(peer_address, client_address)
        self._world = world
        self._io: IoThread | None = IoThread(client_address, peer_address, settings)
        self._io.start(self._tell, self._fail)

    def put(self, message: Any) -> None:
        assert self._io is not None
        self._io.put(message)

    def kill(self) -> None:
        if self._io is not None:
            self._io.stop()
            self._io = None

    def _tell(self, role: Role, message: Any) -> None:
        self.messages.append(message)
        self._world.happened()

    def _fail(self, what: str, failure: BaseException) -> None:
        self.messages.append(failure)
        self._world.happened()


class ZmqWireClient:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.connect(f"tcp://{address}")
        self._frames: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self._socket.send(payload)

    def frames(self) -> list[bytes]:
        while self._socket.poll(0):
            self._frames.append(self._socket.recv())
        return self._frames

    def close(self) -> None:
        self._socket.close()


class ZmqWorld:
    def __init__(self, settings: IoSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._addresses: dict[str, tuple[str, str]] = {}
        self._sides: list[ZmqSide] = []
        self._clients: list[ZmqWireClient] = []
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def side(self, name: str) -> Side:
        addresses = self._addresses.setdefault(name, (self.vacant_address(), self.vacant_address()))
        side = ZmqSide(*addresses, self._settings, self)
        self._sides.append(side)
        return side

    def client(self, side: Side) -> WireClient:
        client = ZmqWireClient(self._context, side.client_address)
        self._clients.append(client)
        return client

    def vacant_address(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"

    def until(self, predicate: Callable[[], bool], what: str) -> None:
        steps = int(DEADLINE_SECONDS / 0.01)
        with self._changed:
            for _ in range(steps):
                if predicate():
                    return
                self._changed.wait(0.01)
        raise AssertionError(f"not {what} within {DEADLINE_SECONDS} s")

    def happened(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for side in self._sides:
            side.kill()
        self._context.term()


@contextmanager
def zmq_world() -> Iterator[World]:
    world = ZmqWorld(settings_of("io", IoSettings))
    try:
        yield world
    finally:
        world.close()


# -- the simulated one


class SimSide(Side):
    def __init__(self, name: str, number: int, world: SimWorld) -> None:
        super().__init__(f"10.0.0.{number}:8851", f"10.0.0.{number}:8850")
        self._world = world
        self._host = world.network.host(name)
        self._stage = SimStage(world.scheduler, NodeClock(world.scheduler), name)
        for role in Role:
            self._stage.on_message[role] = self.messages.append
        self._io = SimIo(world.scheduler, self._stage, world.network, self._host, world.settings)
        self._io.open(NodeIdentity(name, 1, "contract", self.peer_address, self.client_address, 256))

    def _identity(self, name: str, settings: IoSettings) -> NodeIdentity:
        return NodeIdentity(
            node_id=name,
            epoch=1,
            cluster_name="contract",
            peer_address=self.peer_address,
            client_address=self.client_address,
            requests_in_flight_max=settings.requests_in_flight_per_session_max,
        )

    def put(self, message: Any) -> None:
        self._io.tell(message)

    def kill(self) -> None:
        self._stage.end()
        self._world.network.kill(self._host)


class SimWireClient:
    def __init__(self, world: SimWorld, name: str, address: str) -> None:
        self._network = world.network
        self._end: SimEnd | None = None
        self._waiting: list[bytes] = []
        self._frames: list[bytes] = []
        self._network.dial(world.network.host(name), address, self)

    def send(self, payload: bytes) -> None:
        if self._end is None:
            self._waiting.append(payload)
        else:
            self._network.send(self._end, payload)

    def frames(self) -> list[bytes]:
        return self._frames

    def close(self) -> None:
        assert self._end is not None
        self._network.close(self._end)

    def end_opened(self, end: SimEnd) -> None:
        self._end = end
        for payload in self._waiting:
            self._network.send(end, payload)

    def dial_failed(self, address: str, how: How) -> None:
        raise AssertionError(f"{address}: {how}")

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self._frames.append(payload)

    def end_closed(self, end: SimEnd, how: How) -> None:
        self._end = None


class SimWorld:
    def __init__(self, settings: IoSettings, seed: int) -> None:
        self.settings = settings
        self.scheduler = Scheduler(seed)
        self.network = SimNetwork(self.scheduler, profile_of(settings))
        self._numbers: dict[str, int] = {}
        self._clients = 0

    def side(self, name: str) -> Side:
        return SimSide(name, self._numbers.setdefault(name, len(self._numbers) + 1), self)

    def client(self, side: Side) -> WireClient:
        self._clients += 1
        return SimWireClient(self, f"client-{self._clients}", side.client_address)

    def vacant_address(self) -> str:
        self.network.power_on(self.network.host("vacant"))
        self.network.listen(self.network.host("vacant"), "10.0.9.9:1", _Nobody())
        self.network.kill(self.network.host("vacant"))
        return "10.0.9.9:1"

    def until(self, predicate: Callable[[], bool], what: str) -> None:
        end_us = self.scheduler.now_us + int(DEADLINE_SECONDS * 1_000_000)
        while not predicate():
            if self.scheduler.now_us > end_us or not self.scheduler.step():
                raise AssertionError(f"not {what} within {DEADLINE_SECONDS} s")


class _Nobody:
    """Was there once."""

    def end_opened(self, end: SimEnd) -> None:
        raise AssertionError("nobody listens here")

    def dial_failed(self, address: str, how: How) -> None:
        raise AssertionError("nobody dials from here")

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        raise AssertionError("nobody listens here")

    def end_closed(self, end: SimEnd, how: How) -> None:
        raise AssertionError("nobody listens here")


@contextmanager
def sim_world() -> Iterator[World]:
    yield SimWorld(settings_of("io", IoSettings), seed=1)
