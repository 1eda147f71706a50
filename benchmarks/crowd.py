"""Many sessions in one process, each keeping its window of registrations full, however late the answers are.

    python -m benchmarks.crowd HOST:PORT SESSIONS WINDOW SECONDS

Opens the sessions first and goes on with those that were admitted. Each request is a change. Prints one JSON line:
how many were admitted, answered and not answered, answers per second, quantiles of their time in ms, and what was
refused, by code: sessions and requests.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any

import msgpack
import zmq

from benchmarks.processes import quantile
from rollbook.model import Instance, Service
from rollbook.wire import OpenSession, Publish, Tag, encode

ANSWER_MS_MAX = 10_000  # to each request; a node that needs longer has left it unanswered
SERVICES = 4_800  # of all sessions together, so that the registry is as large however many they are


class CrowdSession:
    """One connection with one session; ``sent_at`` by correlation id."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, name: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(f"tcp://{address}")
        self._name = name
        self._session = time.time_ns() // 1_000_000
        self._frames: list[bytes] = []
        self._sent = 0
        self._sent_at: dict[int, float] = {}

    @property
    def in_flight(self) -> int:
        return len(self._sent_at)

    def open(self) -> None:
        self.socket.send(encode(Tag.OPEN_SESSION, 1, self._session, OpenSession(self._name, self._session, "crowd")))

    def refusal(self) -> int | None:
        """The code of the answer to ``open``; 0 if it is a session, None if there was no answer."""
        while self.socket.poll(ANSWER_MS_MAX):
            _version, tag, _correlation, _session, body = msgpack.unpackb(self.socket.recv())
            if tag != Tag.PROBE:
                return 0 if tag == Tag.SESSION_OPENED else int(body[0])
        return None

    def prepare(self, services: int, window: int) -> None:
        """Encode the requests beforehand: the generator shares the machine with the node. Each is a change, and no two
        in flight are the same."""
        ports = 2 + window // services
        for number in range(services * ports):
            instance = Instance("10.0.0.1", 1_000 + number // services)
            service = Service("public", "DEFAULT_GROUP", f"{self._name}-{number % services}")
            body = Publish(service, (instance,), "replace", "node")
            self._frames.append(encode(Tag.PUBLISH, number, self._session, body))

    def fill(self, window: int) -> None:
        while len(self._sent_at) < window:
            number = self._sent % len(self._frames)
            self._sent_at[number] = time.perf_counter()
            self.socket.send(self._frames[number])
            self._sent += 1

    def read(self, latencies: list[float], refused: Counter[int]) -> int:
        """Take every answer that is here; how many there were."""
        answered = 0
        while True:
            try:
                payload = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return answered
            _version, tag, correlation, _session, body = msgpack.unpackb(payload)
            if tag == Tag.PROBE:
                continue
            if tag == Tag.FAILED:
                refused[int(body[0])] += 1
            latencies.append(time.perf_counter() - self._sent_at.pop(correlation))
            answered += 1


def run(address: str, sessions: int, window: int, seconds: float) -> dict[str, Any]:
    with zmq.Context() as context:
        context.max_sockets = sessions + 10
        crowd = [CrowdSession(context, address, f"crowd-{time.time_ns()}-{number}") for number in range(sessions)]
        for session in crowd:
            session.open()
        answers = [(session, session.refusal()) for session in crowd]
        admitted = [session for session, code in answers if code == 0]
        for session in admitted:
            session.prepare(SERVICES // len(admitted), window)
        report = _measured(admitted, window, seconds)
        for session in crowd:
            session.socket.close()
    refused = Counter("no answer" if code is None else str(code) for _, code in answers if code != 0)
    return {"admitted": len(admitted), "sessions_refused": dict(refused), **report}


def _measured(crowd: list[CrowdSession], window: int, seconds: float) -> dict[str, Any]:
    poller = zmq.Poller()
    by_socket = {session.socket: session for session in crowd}
    for session in crowd:
        poller.register(session.socket, zmq.POLLIN)
    latencies: list[float] = []
    refused: Counter[int] = Counter()
    started = time.perf_counter()
    answered_in_time = 0
    for session in crowd:
        session.fill(window)
    while (elapsed := time.perf_counter() - started) < seconds:
        for socket, _ in poller.poll(100):
            session = by_socket[socket]
            answered_in_time += session.read(latencies, refused)
            session.fill(window)
    deadline = time.perf_counter() + ANSWER_MS_MAX / 1_000
    while any(session.in_flight for session in crowd) and time.perf_counter() < deadline:
        for socket, _ in poller.poll(100):
            by_socket[socket].read(latencies, refused)
    return {
        "per_second": answered_in_time / elapsed,
        "answered": len(latencies),
        "unanswered": sum(session.in_flight for session in crowd),
        "p50_ms": 1_000 * quantile(latencies, 50) if latencies else 0.0,
        "p99_ms": 1_000 * quantile(latencies, 99) if latencies else 0.0,
        "requests_refused": {str(code): count for code, count in refused.items()},
    }


def main() -> None:
    address, sessions, window, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    print(json.dumps(run(address, sessions, window, seconds)), flush=True)


if __name__ == "__main__":
    main()
