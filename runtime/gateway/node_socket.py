"""The connection to the node, on an asyncio loop: dials, sends, reads, and says what became of it. Decides nothing.

Each connection is a DEALER of its own that never reconnects by itself; its monitor tells when it stands and when it is
gone. Frames leave in order, at once or in groups (frame_pace.py). ZeroMQ signals only that something has changed, not
that something waits, so after every send it is looked again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import zmq

from rollbook.transport import dealer
from runtime.gateway.frame_pace import FramePace
from runtime.gateway.settings import GatewaySettings
from runtime.monitor import read_events

FRAMES_PER_LOOK_MAX = 256  # then the loop has its turn; streams and HTTP live on it too
EVENTS_PER_LOOK_MAX = 16

_OPENED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_LOST = {
    int(zmq.EVENT_CLOSED): "connection refused",
    int(zmq.EVENT_DISCONNECTED): "connection closed",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "no ZeroMQ handshake",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "does not speak ZeroMQ",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "refused the handshake",
}


class SocketListener(Protocol):
    """Who is told what becomes of the connection. Nothing is told within a call of the socket's own methods."""

    def socket_opened(self) -> None: ...

    def frame_received(self, payload: bytes) -> None: ...

    def socket_lost(self, reason: str) -> None: ...


class NodeSocket:
    """One connection at a time. Every method is called on the loop."""

    def __init__(self, endpoint: str, settings: GatewaySettings, listener: SocketListener) -> None:
        self._endpoint = endpoint
        self._frames_queued_max = settings.frames_queued_max
        self._pace = FramePace(settings.node_gather_ms / 1000, settings.node_gather_above)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connection: _NodeConnection | None = None

    def connect(self) -> None:
        """Answered by ``socket_opened`` or ``socket_lost``."""
        self.disconnect()
        connection = self._connection = _NodeConnection(self._context, self._endpoint, self._frames_queued_max)
        self._loop.add_reader(connection.frames_descriptor, self._look, connection)
        self._loop.add_reader(connection.events_descriptor, self._look_at_events, connection)
        try:
            connection.dealer.connect(self._endpoint)
        except zmq.ZMQError as error:
            self._loop.call_soon(self._lost, connection, error.strerror or str(error))
        self._look_soon(connection)
        self._loop.call_soon(self._look_at_events, connection)  # they are signalled only to whoever has found none

    def send(self, payload: bytes) -> None:
        """What does not fit into the queue costs the connection: the other side does not read."""
        connection = self._connection
        if connection is None:
            return
        connection.gathered.append(payload)
        delay = self._pace.delay(self._loop.time())
        if len(connection.gathered) == 1:
            self._loop.call_later(delay, self._send_gathered, connection)

    def disconnect(self) -> None:
        """Close it once what was sent has left. Nothing more is told of it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.send_gathered()
            self._loop.remove_reader(connection.frames_descriptor)
            self._loop.remove_reader(connection.events_descriptor)
            connection.close()

    def close(self) -> None:
        self.disconnect()
        self._context.term()

    def _send_gathered(self, connection: _NodeConnection) -> None:
        if connection is not self._connection:
            return
        if not connection.send_gathered():
            self._lost(connection, "the node does not read")
        self._look_soon(connection)

    def _look_soon(self, connection: _NodeConnection) -> None:
        if not connection.is_look_due:
            connection.is_look_due = True
            self._loop.call_soon(self._look, connection)

    def _look(self, connection: _NodeConnection) -> None:
        connection.is_look_due = False
        if not self._read_frames(connection):
            self._look_soon(connection)

    def _look_at_events(self, connection: _NodeConnection) -> None:
        """Frames before the loss of their connection."""
        if not self._read_frames(connection):
            self._loop.call_soon(self._look_at_events, connection)
            return
        events = list(read_events(connection.monitor, EVENTS_PER_LOOK_MAX)) if connection is self._connection else []
        if len(events) == EVENTS_PER_LOOK_MAX:
            self._loop.call_soon(self._look_at_events, connection)
        for event in events:
            if connection is not self._connection:
                return
            if event.kind == _OPENED:
                self._listener.socket_opened()
            elif event.kind in _LOST:
                self._lost(connection, _LOST[event.kind])

    def _read_frames(self, connection: _NodeConnection) -> bool:
        """False if more may wait."""
        receive = connection.dealer.recv
        for _ in range(FRAMES_PER_LOOK_MAX):
            if connection is not self._connection:
                return True
            try:
                payload = receive(zmq.NOBLOCK)
            except zmq.Again:
                return True
            self._listener.frame_received(payload)
        return False

    def _lost(self, connection: _NodeConnection, reason: str) -> None:
        if connection is self._connection:
            self.disconnect()
            self._listener.socket_lost(reason)


class _NodeConnection:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, frames_queued_max: int) -> None:
        self.dealer = dealer(context, endpoint.partition("://")[2])
        self.dealer.set(zmq.SNDHWM, frames_queued_max)
        self.monitor = self.dealer.get_monitor_socket(_OPENED | sum(_LOST))
        self.monitor.set(zmq.LINGER, 0)
        self.frames_descriptor = int(self.dealer.get(zmq.FD))
        self.events_descriptor = int(self.monitor.get(zmq.FD))
        self.is_look_due = False
        self.gathered: list[bytes] = []  # to be sent together

    def send_gathered(self) -> bool:
        """False if they do not fit into the queue."""
        frames, self.gathered = self.gathered, []
        try:
            for frame in frames:
                self.dealer.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self.dealer.disable_monitor()
        self.monitor.close()
        self.dealer.close()
