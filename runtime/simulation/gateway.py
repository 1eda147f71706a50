"""A gateway process as a script: one connection to its node, and a session for each client behind it.

It speaks the frames of rollbook.wire and does nothing that it is not told to: a client whose gateway or node is gone
comes back through another one when its scenario says so, under a higher session number.
"""

from __future__ import annotations

from typing import Any

from rollbook.model import Instance, View
from rollbook.wire import (
    CloseSession,
    OpenSession,
    Publish,
    SessionOpened,
    Subscribe,
    Tag,
    Withdraw,
    answer_body,
    encode,
    open_envelope,
)
from runtime.simulation.clients import service_of
from runtime.simulation.hosts import Heartbeats, How, SimEnd
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import WALL_START_MS, Scheduler


class SimGateway:
    """Beside one node. ``numbers`` are taken from the clock of the scheduler, as those of real gateways from theirs."""

    def __init__(
        self, scheduler: Scheduler, network: SimNetwork, name: str, address: str, heartbeats: Heartbeats
    ) -> None:
        self.host = network.host(name)
        self.closed: How | None = None
        self.answers: dict[int, Any] = {}  # by correlation
        self.pushes: dict[str, list[View]] = {}  # by client
        self._scheduler = scheduler
        self._network = network
        self._end: SimEnd | None = None
        self._waiting: list[bytes] = []  # for the connection to stand
        self._opening: dict[str, list[bytes]] = {}  # by client: what waits for its session to be open
        self._numbers: dict[str, int] = {}  # by client
        self._clients: dict[int, str] = {}  # by number
        self._correlation = self._number = 0
        network.dial(self.host, address, self, heartbeats)

    def open(self, client_id: str, ip: str = "") -> int:
        """A client that has just connected; ``ip``: empty for one of its own."""
        self._number = max(self._number + 1, self._scheduler.now_ms)
        self._numbers[client_id], self._clients[self._number] = self._number, client_id
        connected_ms = WALL_START_MS + self._scheduler.now_ms
        ip = ip or f"10.9.0.{len(self._numbers)}"
        order = OpenSession(client_id, self._number, "", "sdk", "sdk", ip, connected_ms)
        correlation = self._ask(client_id, Tag.OPEN_SESSION, order)
        self._opening[client_id] = []
        return correlation

    def publish(self, client_id: str, service: str, *instances: Instance) -> int:
        return self._ask(client_id, Tag.PUBLISH, Publish(service_of(service), instances, "replace"))

    def withdraw(self, client_id: str, service: str) -> int:
        return self._ask(client_id, Tag.WITHDRAW, Withdraw(service_of(service)))

    def subscribe(self, client_id: str, service: str) -> int:
        return self._ask(client_id, Tag.SUBSCRIBE, Subscribe(service_of(service)))

    def stream_moved(self, client_id: str) -> int:
        """The client behind it was told to go elsewhere, and has gone."""
        return self._ask(client_id, Tag.CLOSE_SESSION, CloseSession("moved"))

    def stream_closed(self, client_id: str) -> int:
        """The client behind it has gone for good."""
        return self._ask(client_id, Tag.CLOSE_SESSION, CloseSession("leave"))

    def crash(self) -> None:
        """kill -9: its system closes the connection."""
        self._network.kill(self.host)

    # -- what the network tells

    def end_opened(self, end: SimEnd) -> None:
        self._end = end
        for payload in self._waiting:
            self._network.send(end, payload)
        self._waiting.clear()

    def dial_failed(self, address: str, how: How) -> None:
        self.closed = how

    def end_closed(self, end: SimEnd, how: How) -> None:
        self._end, self.closed = None, how

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        envelope = open_envelope(payload)
        body = answer_body(envelope)
        if isinstance(body, SessionOpened):
            for waiting in self._opening.pop(self._clients[envelope.session]):
                self._network.send(end, waiting)
        if envelope.tag == Tag.PUSH:
            self.pushes.setdefault(self._clients[envelope.session], []).append(body)
        elif envelope.correlation:
            self.answers[envelope.correlation] = body

    def _ask(self, client_id: str, tag: Tag, body: object) -> int:
        self._correlation += 1
        payload = encode(tag, self._correlation, self._numbers[client_id], body)
        if client_id in self._opening:
            self._opening[client_id].append(payload)
        elif self._end is None:
            self._waiting.append(payload)
        else:
            self._network.send(self._end, payload)
        return self._correlation
