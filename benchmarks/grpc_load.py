"""SDKs that register over gRPC, in a process of their own: so many connections, each with its window full.

    python -m benchmarks.grpc_load HOST:PORT CONNECTIONS WINDOW SECONDS [bare]

It writes and reads HTTP/2 itself, for a client of the gRPC library takes as long for a call as its server. Each
connection signs in on a stream first, unless the server is ``bare``. Every request is a change: the services of a
connection take turns, and each turn has another port. Prints ``ready``, waits for a line, then prints one JSON line:
answers, seconds, failures, quantiles of the latencies in ms.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator

from benchmarks.load import report
from tests.support.sdk_client import PYTHON, instance_body, payload_of

SERVICES = 50  # of each connection
TURNS = 100  # then a service is registered again with the port that it had first: a change all the same
SIGN_IN_SECONDS = 10.0
SUCCESS = b"registerInstance"  # in the answer to a registration, and in its echo; not in a refusal

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW_MAX = 2**31 - 1  # what the server may send before it hears that it may send more: never reached here


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _field(name: bytes, value: bytes) -> bytes:
    """A header that both sides remember from now on."""
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _greeting() -> bytes:
    settings = struct.pack(">HIHI", 2, 0, 4, _WINDOW_MAX)  # no pushes; the window of each stream
    window = struct.pack(">I", _WINDOW_MAX - 65_535)
    return _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(8, 0, 0, window)


def _message(kind: str, body: dict[str, object]) -> bytes:
    encoded = payload_of(kind, {"headers": {}, "requestId": "", "module": "", **body}).SerializeToString()
    return struct.pack(">BI", 0, len(encoded)) + encoded


def _registrations(name: str) -> list[bytes]:
    """Encoded beforehand: the generator shares the machine with the server."""
    return [
        _message(
            "InstanceRequest",
            {
                "namespace": "public",
                "serviceName": f"{name}-{number % SERVICES}",
                "groupName": "DEFAULT_GROUP",
                "type": "registerInstance",
                "instance": instance_body(1_000 + number // SERVICES),
            },
        )
        for number in range(SERVICES * TURNS)
    ]


_PSEUDO = b"\x83\x86"  # :method POST, :scheme http
_COMMON = (
    _field(b":authority", b"localhost") + _field(b"content-type", b"application/grpc") + _field(b"te", b"trailers")
)
_STREAM_PATH = _field(b":path", b"/BiRequestStream/requestBiStream")
_REQUEST_PATH = _field(b":path", b"/Request/request")
_ALL_AGAIN = _PSEUDO + bytes(range(0xC1, 0xBD, -1))  # the four fields, by how many were said since


class SdkConnectionLoad:
    """One connection: requests in flight by stream, and what has come of a frame so far."""

    def __init__(self, address: str, name: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), SIGN_IN_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at: dict[int, float] = {}
        self.failures = 0
        self._bodies = _registrations(name)
        self._sent = 0
        self._stream = 1
        self._unread = b""
        self._succeeded: set[int] = set()
        self._knows_fields = False
        self.socket.sendall(_greeting())

    def sign_in(self) -> None:
        """Returns when the server has said what it can do."""
        setup = _message(
            "ConnectionSetupRequest",
            {"clientVersion": PYTHON, "labels": {"source": "sdk", "module": "naming"}, "abilityTable": {}},
        )
        fields = _PSEUDO + _STREAM_PATH + _COMMON
        stream = self._next_stream()
        self.socket.sendall(_frame(_HEADERS, _END_HEADERS, stream, fields) + _frame(_DATA, 0, stream, setup))
        while not any(kind == _DATA for kind, _, _, _ in self._frames()):
            pass

    def fill(self, window: int) -> None:
        parts = []
        while len(self.sent_at) < window:
            stream = self._next_stream()
            body = self._bodies[self._sent % len(self._bodies)]
            self._sent += 1
            parts.append(_frame(_HEADERS, _END_HEADERS, stream, self._fields()))
            parts.append(_frame(_DATA, _END_STREAM, stream, body))
            self.sent_at[stream] = time.perf_counter()
        self.socket.sendall(b"".join(parts))

    def read(self, latencies: list[float]) -> None:
        """Take what is here."""
        for kind, flags, stream, body in self._frames():
            if kind == _DATA and SUCCESS in body:
                self._succeeded.add(stream)
            if stream in self.sent_at and (kind == _RESET or flags & _END_STREAM):
                latencies.append(time.perf_counter() - self.sent_at.pop(stream))
                self.failures += stream not in self._succeeded
                self._succeeded.discard(stream)

    def _fields(self) -> bytes:
        if self._knows_fields:
            return _ALL_AGAIN
        self._knows_fields = True
        return _PSEUDO + _REQUEST_PATH + _COMMON

    def _next_stream(self) -> int:
        stream, self._stream = self._stream, self._stream + 2
        return stream

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Those that one read completes; what concerns the connection is answered here."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise SystemExit("the server has closed the connection")
        data, start = self._unread + received, 0
        while len(data) - start >= 9:
            end = start + 9 + int.from_bytes(data[start : start + 3], "big")
            if len(data) < end:
                break
            kind, flags, stream = struct.unpack_from(">BBI", data, start + 3)
            body = data[start + 9 : end]
            start = end
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self.socket.sendall(_frame(kind, _ACK, 0, body if kind == _PING else b""))
            elif kind == _GOAWAY:
                raise SystemExit(f"the server ends the connection: {body!r}")
            yield kind, flags, stream, body
        self._unread = data[start:]


def run(address: str, connections: int, window: int, seconds: float, *, is_bare: bool) -> None:
    mark = time.time_ns()
    crowd = [SdkConnectionLoad(address, f"sdk-{mark}-{number}") for number in range(connections)]
    if not is_bare:
        for connection in crowd:
            connection.sign_in()
    print("ready", flush=True)
    sys.stdin.readline()
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        for connection in crowd:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        started = time.perf_counter()
        for connection in crowd:
            connection.fill(window)
        while (elapsed := time.perf_counter() - started) < seconds:
            for key, _ in selector.select(0.1):
                key.data.read(latencies)
                key.data.fill(window)
    print(json.dumps(report(elapsed, latencies, sum(one.failures for one in crowd))), flush=True)
    sys.stdin.readline()  # the connections end when the parent has looked


def main() -> None:
    address, connections, window, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    run(address, connections, window, seconds, is_bare=sys.argv[5:] == ["bare"])


if __name__ == "__main__":
    main()
