"""The SDK's pure session machine (rollbook/session.py) in a client process of the simulation.

It fails over, redoes and moves by itself; a scenario says what the application wants and looks at what it was told.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, assert_never

from rollbook.model import Instance, InstanceKey
from rollbook.orders import (
    Action,
    CallBody,
    Called,
    CloseOrdered,
    Connect,
    ConnectionLost,
    ConnectionOpened,
    Deliver,
    Disconnect,
    Ended,
    Forget,
    FrameReceived,
    Input,
    Moment,
    Reject,
    Report,
    Resolve,
    Send,
    SessionsChanged,
    Ticked,
)
from rollbook.patience import HEARTBEAT_TIMEOUT_MS
from rollbook.session import ClientSession
from rollbook.wire import Publish, Query, Subscribe, Wait, Withdraw
from runtime.simulation.clients import service_of
from runtime.simulation.network import How, SimEnd, SimHost, SimNetwork
from runtime.simulation.scheduler import NodeClock, Scheduler

CALL_TIMEOUT_MS = 3_000
HEARTBEAT_TIMEOUT_US = HEARTBEAT_TIMEOUT_MS * 1_000  # as rollbook/transport.py sets it on its sockets


class SdkClient:
    """One application process with one client in it."""

    def __init__(
        self,
        scheduler: Scheduler,
        network: SimNetwork,
        clock: NodeClock,
        client_id: str,
        servers: Iterable[str],
    ) -> None:
        self.client_id = client_id
        self.host: SimHost = network.host(client_id)
        self.results: dict[int, Any] = {}  # by call: the value or the error it came to
        self.delivered: list[tuple[int, Any]] = []  # (when, snapshot)
        self.reports: list[Report] = []
        self.ended: Exception | None = None
        self.is_dead = False
        self._scheduler = scheduler
        self._network = network
        self._clock = clock
        self._session = ClientSession(client_id, tuple(servers), random.Random(f"{scheduler.seed}/{client_id}"))
        self._connections: dict[int, _SdkConnection] = {}
        self._calls = 0
        self._alarm = 0  # only the newest alarm rings
        self._held: list[Input] = []  # what arrived while the process was stopped
        self._halted = False
        self._feed()

    # -- what the application wants

    def publish(self, service: str, *instances: Instance, wait: Wait = "node") -> int:
        return self._call(Publish(service_of(service), instances, "add", wait))

    def withdraw(self, service: str, keys: Iterable[InstanceKey] = ()) -> int:
        return self._call(Withdraw(service_of(service), tuple(keys)))

    def subscribe(self, service: str) -> int:
        return self._call(Subscribe(service_of(service)))

    def query(self, service: str) -> int:
        return self._call(Query(service_of(service)))

    def close(self) -> None:
        self._calls += 1
        self._take(CloseOrdered(self._calls, self._clock.now().monotonic_ms + CALL_TIMEOUT_MS))

    # -- what happens to its process

    def crash(self) -> None:
        self.is_dead = True
        self._network.kill(self.host)

    def pause(self) -> None:
        self._halted = True
        self._network.halt(self.host)

    def resume(self) -> None:
        """What has arrived meanwhile comes before the clock is looked at, as rollbook/engine.py has it."""
        self._halted = False
        self._network.resume(self.host)
        self._feed()

    # -- how the machine is driven

    def happened(self, connection: int, event: Input) -> None:
        """From the network; connections that were given up have no say."""
        if connection in self._connections and not self.is_dead:
            self._take(event)

    def _call(self, body: CallBody) -> int:
        self._calls += 1
        self._take(Called(self._calls, body, self._clock.now().monotonic_ms + CALL_TIMEOUT_MS))
        return self._calls

    def _take(self, event: Input) -> None:
        self._perform(self._session.handle(event, self._moment()))
        self._feed()

    def _feed(self) -> None:
        """Tick what is due, and set the alarm for what comes next."""
        self._session.check_invariants()
        if self.is_dead or self._halted:
            return
        self._alarm += 1
        wake_at_ms = self._session.wake_at_ms()
        if wake_at_ms is None:
            return
        alarm, wait_ms = self._alarm, wake_at_ms - self._clock.now().monotonic_ms
        self._scheduler.after(self._clock.true_us(max(wait_ms, 0)), lambda: self._ring(alarm))

    def _ring(self, alarm: int) -> None:
        if alarm == self._alarm and not self.is_dead and not self._halted:
            self._take(Ticked())

    def _moment(self) -> Moment:
        now = self._clock.now()
        return Moment(now.monotonic_ms, now.wall_ms)

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Connect(connection, server):
                    link = self._connections[connection] = _SdkConnection(self, self._network, connection)
                    self._network.dial(self.host, server, link, HEARTBEAT_TIMEOUT_US)
                case Send(connection, payload):
                    if connection in self._connections:
                        self._connections[connection].send(payload)
                case Disconnect(connection):
                    if connection in self._connections:
                        self._connections.pop(connection).close()
                case Resolve(call, value):
                    self.results[call] = value
                case Reject(call, error):
                    self.results[call] = error
                case Deliver():
                    self.delivered.append((self._scheduler.now_ms, action.snapshot))
                case Report():
                    self.reports.append(action)
                case Ended():
                    self.ended = action.error
                case Forget() | SessionsChanged():
                    pass
                case _:
                    assert_never(action)


class _SdkConnection:
    """One connection of the client."""

    def __init__(self, client: SdkClient, network: SimNetwork, number: int) -> None:
        self._client = client
        self._network = network
        self._number = number
        self._end: SimEnd | None = None
        self._is_closed = False

    def send(self, payload: bytes) -> None:
        if self._end is not None:
            self._network.send(self._end, payload)

    def close(self) -> None:
        self._is_closed = True
        if self._end is not None:
            self._network.close(self._end)

    def end_opened(self, end: SimEnd) -> None:
        self._end = end
        if self._is_closed:
            self._network.close(end)
        else:
            self._client.happened(self._number, ConnectionOpened(self._number))

    def dial_failed(self, address: str, how: How) -> None:
        self._client.happened(self._number, ConnectionLost(self._number, how))

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self._client.happened(self._number, FrameReceived(self._number, payload))

    def end_closed(self, end: SimEnd, how: How) -> None:
        self._client.happened(self._number, ConnectionLost(self._number, how))
