"""Servers that probes connect to: every kind that a real network has, on loopback; and a prober to look at them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from actors.base import Role
from actors.health_checker import HealthSettings
from actors.messages.health import InstanceProbe, Outcome, ProbeResult, ProbesDone, ProbesOrdered
from runtime.prober import ProberThread
from tests.support.settings import settings_of

SECONDS = 10.0


class ProberBench:
    """A real prober; ``look`` orders probes and waits for what came of them."""

    def __init__(self, connections_max: int = 512, **overrides: Any) -> None:
        self._results: SimpleQueue[ProbeResult] = SimpleQueue()
        self.failures: list[BaseException] = []
        self.prober = ProberThread(settings_of("health", HealthSettings, **overrides), connections_max)
        self.prober.start(self._take, lambda _, failure: self.failures.append(failure))

    def look(self, *probes: InstanceProbe) -> dict[int, ProbeResult]:
        self.prober.put(ProbesOrdered(probes))
        found = [self._results.get(timeout=SECONDS) for _ in probes]
        assert not self.failures
        return {result.number: result for result in found}

    def outcome(self, port: int, host: str = "127.0.0.1", request: bytes = b"", expected_status: int = 200) -> Outcome:
        return self.look(InstanceProbe(1, host, port, request, expected_status))[1].outcome

    def _take(self, role: Role, message: Any) -> None:
        assert role is Role.HEALTH
        assert isinstance(message, ProbesDone)
        for result in message.results:
            self._results.put(result)


@contextmanager
def probers(connections_max: int = 512, **overrides: Any) -> Iterator[ProberBench]:
    bench = ProberBench(connections_max, **overrides)
    try:
        yield bench
    finally:
        bench.prober.close()
    assert not bench.failures


@contextmanager
def listening(family: socket.AddressFamily = socket.AF_INET, backlog: int = 16) -> Iterator[socket.socket]:
    """Connections stand without anybody accepting them."""
    server = socket.socket(family, socket.SOCK_STREAM)
    server.bind(("::1" if family is socket.AF_INET6 else "127.0.0.1", 0))
    server.listen(backlog)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def deaf_port() -> Iterator[int]:
    """The backlog is full, so the system drops what comes: nobody answers at all."""
    fillers = []
    with listening(backlog=0) as server:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
            fillers.append(filler)
        try:
            yield server.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


@contextmanager
def answering(answer: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """Calls ``answer`` with each connection and the request that came over it."""
    with listening() as server:
        thread = threading.Thread(target=_serve, args=(server, answer), daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)
    assert not thread.is_alive()


def free_port() -> int:
    """One that nobody listens at."""
    with listening() as server:
        return int(server.getsockname()[1])


def _serve(server: socket.socket, answer: Callable[[socket.socket, bytes], None]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(SECONDS)
            try:
                answer(connection, connection.recv(8_192))
            except OSError:
                continue  # a prober resets what it is done with, whatever a server still has to say
