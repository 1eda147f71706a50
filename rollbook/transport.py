"""The sockets of one client: dials, sends, reads, and says what became of each connection. Decides nothing.

One thread owns all of it, but for ``wake``, which any thread may call. Each connection is a DEALER that never
reconnects by itself, because every session is a new connection; its monitor tells at once when it stands and when it is
gone.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

from rollbook.orders import ConnectionLost, ConnectionOpened, FrameReceived, Input
from rollbook.patience import HEARTBEAT_INTERVAL_MS, HEARTBEAT_PATIENCE_MS, HEARTBEAT_TIMEOUT_MS
from rollbook.wire import ANSWER_BYTES_MAX

DRAIN_FRAMES_MAX = 1_024  # per connection and round, so that no connection starves the others

_OPENED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_CONNECTED = int(zmq.EVENT_CONNECTED)
_LOST = {
    int(zmq.EVENT_CLOSED): "connection refused",
    int(zmq.EVENT_DISCONNECTED): "connection closed",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "no ZeroMQ handshake",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "does not speak ZeroMQ",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "refused the handshake",
}
_EVENTS = _OPENED | _CONNECTED | sum(_LOST)


def dealer(context: zmq.Context[zmq.Socket[bytes]], server: str) -> zmq.Socket[bytes]:
    """A client's socket, with every option it has."""
    made = context.socket(zmq.DEALER)
    made.set(zmq.LINGER, 500)  # a goodbye may leave; a dead node holds up the end for no longer
    made.set(zmq.IMMEDIATE, 1)  # nothing is queued for a connection that does not stand
    made.set(zmq.RECONNECT_IVL, -1)  # a session is one connection
    made.set(zmq.SNDHWM, 4_096)  # a window holds at most 256; the rest is room for acknowledgements of pushes
    # Unlimited, because libzmq ends the process if a connection with pings breaks while its queue is full. What a node
    # sends is bounded by the window of requests and by the pushes in flight.
    made.set(zmq.RCVHWM, 0)
    made.set(zmq.MAXMSGSIZE, ANSWER_BYTES_MAX)
    made.set(zmq.CONNECT_TIMEOUT, 1_000)
    made.set(zmq.HANDSHAKE_IVL, 1_000)
    made.set(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    made.set(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    made.set(zmq.HEARTBEAT_TTL, HEARTBEAT_PATIENCE_MS)
    if server.startswith("["):
        made.set(zmq.IPV6, 1)
    return made


class _Connection:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], number: int, server: str) -> None:
        self.number = number
        self.server = server
        self.descriptor = -1  # of the TCP connection
        self.dealer = dealer(context, server)
        self.monitor = self.dealer.get_monitor_socket(_EVENTS)
        self.monitor.set(zmq.LINGER, 0)

    def close(self) -> None:
        self.dealer.disable_monitor()
        self.monitor.close()
        self.dealer.close()


class Transport:
    """See the module. Made by the thread that uses it."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._connections: dict[int, _Connection] = {}
        self._lost: list[ConnectionLost] = []  # what failed while it was ordered, to be told at the next poll
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._poller.register(self._wake_reader.fileno(), zmq.POLLIN)

    def wake(self) -> None:
        """End the current or the next poll at once. From any thread."""
        with suppress(OSError):  # A full pipe wakes as well, and a closed one has nobody to wake.
            self._wake_writer.send(b"\0")

    def connect(self, number: int, server: str) -> None:
        connection = _Connection(self._context, number, server)
        self._connections[number] = connection
        self._poller.register(connection.dealer, zmq.POLLIN)
        self._poller.register(connection.monitor, zmq.POLLIN)
        try:
            connection.dealer.connect(f"tcp://{server}")
        except zmq.ZMQError as error:
            self._lost.append(ConnectionLost(number, str(error)))

    def send(self, number: int, payload: bytes) -> None:
        connection = self._connections.get(number)
        if connection is None:
            return
        try:
            connection.dealer.send(payload, zmq.NOBLOCK)
        except zmq.Again:
            self._lost.append(ConnectionLost(number, "the node does not read"))

    def disconnect(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._poller.unregister(connection.dealer)
            self._poller.unregister(connection.monitor)
            connection.close()

    def poll(self, timeout_ms: int | None) -> list[Input]:
        """Wait for something to happen; frames come before the loss of their connection."""
        ready = dict(self._poller.poll(0 if self._lost else timeout_ms))
        if self._wake_reader.fileno() in ready:
            self._read_wakes()
        inputs: list[Input] = []
        for connection in self._connections.values():
            if connection.dealer in ready:
                inputs += self._read_frames(connection)
        for connection in self._connections.values():
            if connection.monitor in ready:
                inputs += self._read_events(connection)
        inputs += self._lost
        self._lost.clear()
        return inputs

    def close(self) -> None:
        for number in tuple(self._connections):
            self.disconnect(number)
        self._context.term()
        self._wake_reader.close()
        self._wake_writer.close()

    def abandon_in_child(self) -> None:
        """After a fork, in the child: let go of the parent's descriptors, and never touch its ZeroMQ context.

        Without this the parent's connections would outlive the parent for as long as the child lives.
        """
        self._wake_reader.close()
        self._wake_writer.close()
        for connection in self._connections.values():
            if _is_connected_to(connection.descriptor, connection.server):
                os.close(connection.descriptor)

    def _read_wakes(self) -> None:
        with suppress(BlockingIOError):  # All read.
            while self._wake_reader.recv(4_096):
                pass

    def _read_frames(self, connection: _Connection) -> list[Input]:
        frames: list[Input] = []
        with suppress(zmq.Again):  # All read.
            while len(frames) < DRAIN_FRAMES_MAX:
                parts = connection.dealer.recv_multipart(zmq.NOBLOCK)
                payload = parts[0] if len(parts) == 1 else b""  # A message is one frame; anything else is invalid.
                frames.append(FrameReceived(connection.number, payload))
        return frames

    def _read_events(self, connection: _Connection) -> list[Input]:
        inputs: list[Input] = []
        with suppress(zmq.Again):  # All read.
            while True:
                event = parse_monitor_message(connection.monitor.recv_multipart(zmq.NOBLOCK))
                kind = int(event["event"])
                if kind == _CONNECTED:
                    connection.descriptor = event["value"]
                elif kind == _OPENED:
                    inputs.append(ConnectionOpened(connection.number))
                elif kind in _LOST:
                    connection.descriptor = -1
                    inputs.append(ConnectionLost(connection.number, _LOST[kind]))
        return inputs


def _is_connected_to(descriptor: int, server: str) -> bool:
    """Whether the descriptor is still that connection: libzmq may have closed it since, and the number been reused."""
    if descriptor < 0:
        return False
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            return bool(duplicate.getpeername()[1] == int(server.rpartition(":")[2]))
    except (OSError, IndexError):
        return False
