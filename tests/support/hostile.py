"""What no client of ours would send: raw TCP that speaks ZMTP by hand, as far as the trial wants it to."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
OLD_GREETING = b"\x01\x00"  # ZMTP 1: an anonymous peer, then frames
WAIT_S = 3.0


def ready(identity: bytes = b"") -> bytes:
    """The command that ends the handshake of a DEALER."""

    def named(name: bytes, value: bytes) -> bytes:
        return bytes([len(name)]) + name + struct.pack("!I", len(value)) + value

    body = b"\x05READY" + named(b"Socket-Type", b"DEALER") + named(b"Identity", identity)
    return b"\x04" + bytes([len(body)]) + body


def zmtp_frame(data: bytes, *, more: bool = False) -> bytes:
    if len(data) < 256:
        return bytes([more, len(data)]) + data
    return bytes([more | 2]) + struct.pack("!Q", len(data)) + data


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def shaken(port: int, *frames: bytes) -> socket.socket:
    """A connection with a complete handshake that has sent this."""
    raw = connected(port)
    raw.sendall(GREETING + ready())
    answer = b""
    while len(answer) <= len(GREETING):  # the other side's greeting, and the first of its own command
        piece = raw.recv(4_096)
        assert piece, "the handshake was refused"
        answer += piece
    raw.sendall(b"".join(frames))
    return raw


def send_until_cut(raw: socket.socket, data: bytes, deadline_s: float) -> int:
    """Send this again and again until the other side closes the connection; how many bytes left."""
    sent = 0
    deadline = time.monotonic() + deadline_s
    with contextlib.suppress(ConnectionError, TimeoutError):
        while time.monotonic() < deadline:
            sent += raw.send(data)
        raise AssertionError(f"not cut within {deadline_s:g} s and {sent} bytes")
    return sent


def send_unread(raw: socket.socket, data: bytes, seconds: float) -> None:
    """Send for so long, and read nothing."""
    raw.settimeout(0.1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            raw.send(data)


def silent_connections(port: int, count: int) -> list[socket.socket]:
    """Connections that say nothing; some may be refused."""
    opened = []
    for _ in range(count):
        raw = socket.socket()
        raw.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            raw.connect(("127.0.0.1", port))
        opened.append(raw)
    return opened


def close_all(sockets: Iterable[socket.socket]) -> None:
    for raw in sockets:
        raw.close()
