"""Clients over HTTP, in a process of their own: so many connections that stay open, one request at a time on each.

    python -m benchmarks.http_load PORTS CONNECTIONS SECONDS RATE FILE

PORTS with commas between; each has its share of the connections. FILE has a request in each line, ``GET /path?query``,
and they take turns. At RATE 0 each connection asks again when it is answered; at another one so many requests a second
are begun, each on a connection that chance finds idle, and what is late because none was idle counts as slow. Prints
``ready``, waits for a line, then prints one JSON line: answers, seconds, failures, quantiles of the latencies in ms.
"""

from __future__ import annotations

import json
import random
import re
import selectors
import socket
import sys
import time
from itertools import cycle
from pathlib import Path

from benchmarks.load import report

ANSWER_SECONDS_MAX = 5.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_SUCCESS = b"HTTP/1.1 200 "


class HttpLoadConnection:
    """``due``: when the request that is under way should have begun."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.failures = 0
        self._parts: list[bytes] = []
        self._missing = 0  # bytes of a body of which the head is here

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.socket.sendall(request)

    def read(self) -> bool:
        """Whether the answer is complete."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise SystemExit("the server has closed the connection")
        if self._missing:
            self._missing -= len(received)
            return not self._missing
        self._parts.append(received)
        text = b"".join(self._parts)
        end = text.find(_END_OF_HEAD)
        if end < 0:
            return False
        length = _LENGTH.search(text, 0, end + 2)
        if length is None:
            raise SystemExit(f"an answer without a length: {text[:200]!r}")
        self.failures += not text.startswith(_SUCCESS)
        self._parts.clear()
        self._missing = end + len(_END_OF_HEAD) + int(length[1]) - len(text)
        return not self._missing


class HttpLoad:
    def __init__(self, ports: list[int], connections: int, lines: list[str]) -> None:
        self.connections = [HttpLoadConnection(ports[number % len(ports)]) for number in range(connections)]
        self.latencies: list[float] = []
        self._requests = cycle([f"{line} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() for line in lines])
        self._idle = list(self.connections)
        self._chance = random.Random(1)

    @property
    def failures(self) -> int:
        return sum(connection.failures for connection in self.connections)

    def run(self, seconds: float, rate: float) -> float:
        """How long it took until all that was begun was answered."""
        with selectors.DefaultSelector() as selector:
            for connection in self.connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            started = time.perf_counter()
            begun = 0
            while (elapsed := time.perf_counter() - started) < seconds or len(self._idle) < len(self.connections):
                if elapsed < seconds:
                    begun = self._begin(started, begun, elapsed, rate)
                elif elapsed > seconds + ANSWER_SECONDS_MAX:
                    raise SystemExit(f"{len(self.connections) - len(self._idle)} requests have no answer")
                for key, _ in selector.select(0.002 if rate else 0.1):
                    self._read(key.data)
        return elapsed

    def _begin(self, started: float, begun: int, elapsed: float, rate: float) -> int:
        """Whatever is due; how many have begun by now."""
        due = int(elapsed * rate) + 1 if rate else begun + len(self._idle)
        while begun < due and self._idle:
            place = self._chance.randrange(len(self._idle))
            self._idle[place], self._idle[-1] = self._idle[-1], self._idle[place]
            when = started + begun / rate if rate else time.perf_counter()
            self._idle.pop().send(next(self._requests), when)
            begun += 1
        return begun

    def _read(self, connection: HttpLoadConnection) -> None:
        if connection.read():
            self.latencies.append(time.perf_counter() - connection.due)
            self._idle.append(connection)


def main() -> None:
    ports, connections, seconds, rate, lines = sys.argv[1:6]
    load = HttpLoad([int(port) for port in ports.split(",")], int(connections), Path(lines).read_text().splitlines())
    print("ready", flush=True)
    sys.stdin.readline()
    elapsed = load.run(float(seconds), float(rate))
    print(json.dumps(report(elapsed, load.latencies, load.failures)), flush=True)
    sys.stdin.readline()  # the connections end when the parent has looked


if __name__ == "__main__":
    main()
