"""Every socket of a node, with every option it has, in one place.

Invariants: no send or receive ever blocks the I/O thread, no queue is unbounded, no dead connection waits for TCP's own
back-off, and an absent receiver is an error rather than silence.
"""

from __future__ import annotations

import os

import zmq

from actors.peer_frames import PEER_FRAME_BYTES_MAX
from rollbook.wire import FRAME_BYTES_MAX
from runtime.edge import IoSettings
from runtime.endpoints import AddressUnusable, endpoint_of

CLIENT_MESSAGE_BYTES_MAX = 4 * FRAME_BYTES_MAX  # up to here a frame that is too large is told so; beyond, cut off

# Threads of libzmq, as bits: what a crowd of clients does to theirs, peers do not feel.
_PEERS_THREAD, _CLIENTS_THREAD = 0b01, 0b10

# Not ACCEPT_FAILED: without a free descriptor libzmq tries again and again, and would report millions of failures.
ACCEPT_EVENTS = int(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
DIAL_EVENTS = int(
    zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)


def node_context() -> zmq.Context[zmq.Socket[bytes]]:
    """With the threads that the sockets below are given to."""
    return zmq.Context(io_threads=2)


def bind_client_router(
    context: zmq.Context[zmq.Socket[bytes]], address: str, settings: IoSettings
) -> zmq.Socket[bytes]:
    """Where clients connect."""
    socket = _router(context, address, settings)
    socket.set(zmq.AFFINITY, _CLIENTS_THREAD)
    socket.set(zmq.MAXMSGSIZE, CLIENT_MESSAGE_BYTES_MAX)
    # A session's whole window of answers and three times as many pushes.
    socket.set(zmq.SNDHWM, 4 * settings.requests_in_flight_per_session_max)
    socket.set(zmq.RCVHWM, settings.requests_in_flight_per_session_max)
    _set_silence(socket, settings.client_silence_ms)
    return _bound(socket, address)


def bind_locally(socket: zmq.Socket[bytes], endpoint: str, settings: IoSettings) -> None:
    """Let gateways of this machine connect to the clients' ROUTER too. One connection carries thousands of sessions, so
    its queue is longer; options count for what is bound after them."""
    length = socket.get(zmq.SNDHWM)
    socket.set(zmq.SNDHWM, settings.gateway_frames_queued_max)
    mask = os.umask(0o177)  # nobody else may open the file, not even for a moment
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        path = endpoint.removeprefix("ipc://")
        raise AddressUnusable(f"cannot listen on the socket file {path}: {error.strerror or error}") from None
    finally:
        os.umask(mask)
        socket.set(zmq.SNDHWM, length)


def bind_peer_router(context: zmq.Context[zmq.Socket[bytes]], address: str, settings: IoSettings) -> zmq.Socket[bytes]:
    """Where other nodes connect."""
    socket = _router(context, address, settings)
    _set_peer_options(socket, settings)
    socket.set(zmq.RCVHWM, settings.peer_frames_queued_max)
    _set_silence(socket, settings.peer_heartbeat_timeout_ms)
    return _bound(socket, address)


def peer_dealer(context: zmq.Context[zmq.Socket[bytes]], address: str, settings: IoSettings) -> zmq.Socket[bytes]:
    """One dialled peer. Connect it when its monitor listens."""
    socket = context.socket(zmq.DEALER)
    _set_common_options(socket, address, settings)
    _set_peer_options(socket, settings)
    # Its pings also tell the other side how long to wait for the next. They forbid a limit of unread frames (see
    # _router); members pace what they send by acks.
    socket.set(zmq.HEARTBEAT_IVL, settings.peer_heartbeat_ms)
    socket.set(zmq.HEARTBEAT_TIMEOUT, settings.peer_heartbeat_timeout_ms)
    socket.set(zmq.HEARTBEAT_TTL, settings.peer_heartbeat_timeout_ms)
    socket.set(zmq.RCVHWM, 0)
    # Frames live and die with their connection: nothing waits for one, nothing survives one.
    socket.set(zmq.IMMEDIATE, 1)
    socket.set(zmq.CONNECT_TIMEOUT, settings.peer_connect_timeout_ms)
    socket.set(zmq.RECONNECT_IVL, settings.peer_reconnect_ms)
    socket.set(zmq.RECONNECT_IVL_MAX, settings.peer_reconnect_ms_max)
    return socket


def monitor_of(context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
    """The connection events of a socket. Unbounded, or a burst of them would block libzmq's own thread."""
    endpoint = f"inproc://monitor-{id(socket)}"
    socket.monitor(endpoint, events)
    monitor = context.socket(zmq.PAIR)
    monitor.set(zmq.RCVHWM, 0)
    monitor.set(zmq.LINGER, 0)
    monitor.connect(endpoint)
    return monitor


def _set_silence(socket: zmq.Socket[bytes], silence_ms: int) -> None:
    """Let the system itself ask whether the other machine is there, and end the connection when it does not answer."""
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, 1)
    socket.set(zmq.TCP_KEEPALIVE_INTVL, 1)
    socket.set(zmq.TCP_KEEPALIVE_CNT, max(silence_ms // 1_000 - 1, 1))


def _router(context: zmq.Context[zmq.Socket[bytes]], address: str, settings: IoSettings) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    _set_common_options(socket, address, settings)
    # No pings from here, only the patience that the other side's pings ask for: libzmq (4.3.5) ends the process if its
    # timer for pings goes off after a connection broke whose unread frames had reached RCVHWM. A stranger could do it.
    # No ROUTER_HANDOVER: a connection that claims the routing id of another must not get its answers. So clients leave
    # the choice of the id to ZeroMQ; one that insists on its own is ignored while its last connection still stands.
    socket.set(zmq.ROUTER_MANDATORY, 1)
    socket.set(zmq.BACKLOG, settings.listen_backlog_max)
    return socket


def _set_common_options(socket: zmq.Socket[bytes], address: str, settings: IoSettings) -> None:
    socket.set(zmq.LINGER, settings.linger_ms)
    socket.set(zmq.HANDSHAKE_IVL, settings.handshake_timeout_ms)
    socket.set(zmq.IPV6, int(address.count(":") > 1))


def _set_peer_options(socket: zmq.Socket[bytes], settings: IoSettings) -> None:
    socket.set(zmq.AFFINITY, _PEERS_THREAD)
    socket.set(zmq.MAXMSGSIZE, PEER_FRAME_BYTES_MAX)
    socket.set(zmq.SNDHWM, settings.peer_frames_queued_max)
    socket.set(zmq.TCP_MAXRT, settings.peer_retransmit_ms_max)


def _bound(socket: zmq.Socket[bytes], address: str) -> zmq.Socket[bytes]:
    try:
        socket.bind(endpoint_of(address))
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise AddressUnusable(f"cannot listen on {address}: {error.strerror or error}") from None
    return socket
