"""The SDK's pure session machine (rollbook/session.py) in a client process of the simulation.

It fails over, redoes and moves by itself; a scenario says what the application wants and looks at what it was told.
Connections are libzmq's business: they open, close and answer heartbeats while the application is blocked, but not
while the whole process is stopped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, assert_never

from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
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
from rollbook.patience import HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS, SessionSettings
from rollbook.session import ClientSession
from rollbook.wire import Publish, Query, Subscribe, Unsubscribe, Wait, Withdraw
from runtime.simulation.clients import service_of
from runtime.simulation.hosts import Heartbeats, How, SimEnd, SimHost
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import NodeClock, Scheduler


class SdkPatience(NamedTuple):
    """How long an application and its connections wait; by default what rollbook ships."""

    session: SessionSettings = SessionSettings()
    heartbeats: Heartbeats = Heartbeats(HEARTBEAT_INTERVAL_MS * 1_000, HEARTBEAT_TIMEOUT_MS * 1_000)
    call_timeout_ms: int = 3_000


class SdkClient:
    """One application process with one client in it."""

    def __init__(
        self,
        scheduler: Scheduler,
        network: SimNetwork,
        clock: NodeClock,
        client_id: str,
        servers: Iterable[str],
        patience: SdkPatience,
    ) -> None:
        self.client_id = client_id
        self.host: SimHost = network.host(client_id)
        self.results: dict[int, Any] = {}  # by call: the value or the error it came to
        self.delivered: list[tuple[int, Any]] = []  # (when, snapshot)
        self.reports: list[Report] = []
        self.ended: Exception | None = None
        self.is_dead = False
        self.on_action: Callable[[Action], None] = lambda _: None  # who wants to see what the session does
        self._scheduler = scheduler
        self._network = network
        self.clock = clock
        self.patience = patience
        chance = random.Random(f"{scheduler.seed}/{client_id}")
        self._session = ClientSession(client_id, tuple(servers), chance, settings=patience.session)
        self._connections: dict[int, _SdkConnection] = {}
        self._calls = 0
        self._rings_at_ms: int | None = None  # by its own clock, the next look at what time alone has changed
        self._held: deque[Input] = deque()  # what came while the session did not run
        self._halted = False
        self._blocked_until_us = 0
        self._feed()

    # -- what the application wants

    def publish(self, service: str, *instances: Instance, wait: Wait = "node") -> int:
        """Add instances, one or many in one order; one with a key that stands takes its place."""
        return self._call(Publish(service_of(service), instances, "add", wait))

    def withdraw(self, service: str, keys: Iterable[InstanceKey] = (), wait: Wait = "node") -> int:
        return self._call(Withdraw(service_of(service), tuple(keys), wait))

    def publish_persistent(self, service: str, *instances: Instance) -> int:
        return self._call(PublishPersistent(service_of(service), instances))

    def withdraw_persistent(self, service: str, *keys: InstanceKey) -> int:
        return self._call(WithdrawPersistent(service_of(service), keys))

    def order(self, body: CallBody) -> int:
        """Anything that the SDK can ask for."""
        return self._call(body)

    def subscribe(self, service: str) -> int:
        return self._call(Subscribe(service_of(service)))

    def update(self, service: str, *instances: Instance) -> int:
        """What was published before, with other weight or metadata."""
        return self.publish(service, *instances)

    def unsubscribe(self, service: str) -> int:
        return self._call(Unsubscribe(service_of(service)))

    def query(self, service: str) -> int:
        return self._call(Query(service_of(service)))

    def close(self) -> None:
        self._calls += 1
        self._take(CloseOrdered(self._calls, self.clock.now().monotonic_ms + self.patience.call_timeout_ms))

    # -- what happens to its process

    def crash(self) -> None:
        """kill -9: its system closes the sockets."""
        self.is_dead = True
        self._network.kill(self.host)

    def vanish(self) -> None:
        """Its machine is gone without a word: the connections are half open."""
        self.is_dead = True
        self._network.power_off(self.host)

    def block(self, duration_ms: int) -> None:
        """The application holds everything up but libzmq: heartbeats go on, the session does not."""
        until_us = self._scheduler.now_us + duration_ms * 1_000
        if until_us > self._blocked_until_us:
            self._blocked_until_us = until_us
            self._scheduler.after(duration_ms * 1_000, self._go_on)

    def pause(self) -> None:
        """SIGSTOP: neither the session nor its connections say or hear anything."""
        self._halted = True
        self._network.halt(self.host)

    def resume(self) -> None:
        self._halted = False
        self._network.resume(self.host)
        self._go_on()

    # -- how the machine is driven

    def happened(self, connection: int, event: Input) -> None:
        """From the network; connections that were given up have no say."""
        if connection in self._connections and not self.is_dead:
            self._take(event)

    @property
    def is_stopped(self) -> bool:
        return self._halted or self._scheduler.now_us < self._blocked_until_us

    def _call(self, body: CallBody) -> int:
        self._calls += 1
        self._take(Called(self._calls, body, self.clock.now().monotonic_ms + self.patience.call_timeout_ms))
        return self._calls

    def _take(self, event: Input) -> None:
        if self.is_stopped:
            self._held.append(event)
        elif not self.is_dead:
            self._perform(self._session.handle(event, self._moment()))
            self._feed()

    def _go_on(self) -> None:
        """What has come meanwhile goes before the clock is looked at, as rollbook/engine.py has it."""
        while self._held and not self.is_stopped:
            self._take(self._held.popleft())
        self._feed()

    def _feed(self) -> None:
        """Set the alarm for what comes next; one that is set for an earlier moment will do."""
        self._session.check_invariants()
        wake_at_ms = None if self.is_dead or self.is_stopped else self._session.wake_at_ms()
        if wake_at_ms is None or (self._rings_at_ms is not None and self._rings_at_ms <= wake_at_ms):
            return
        self._rings_at_ms = wake_at_ms
        wait_ms = max(wake_at_ms - self.clock.now().monotonic_ms, 0)
        self._scheduler.after(self.clock.true_us(wait_ms), self._ring, wake_at_ms)

    def _ring(self, rings_at_ms: int) -> None:
        if rings_at_ms != self._rings_at_ms:
            return  # an earlier one was set since
        self._rings_at_ms = None
        if self.is_dead or self.is_stopped:
            return
        wake_at_ms = self._session.wake_at_ms()
        if wake_at_ms is not None and wake_at_ms <= self.clock.now().monotonic_ms:
            self._take(Ticked())
        else:
            self._feed()

    def _moment(self) -> Moment:
        now = self.clock.now()
        return Moment(now.monotonic_ms, now.wall_ms)

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self.on_action(action)
            match action:
                case Connect(connection, server):
                    link = self._connections[connection] = _SdkConnection(self, self._network, connection)
                    self._network.dial(self.host, server, link, self.patience.heartbeats)
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
