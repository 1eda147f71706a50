"""What it costs one node to probe thousands of instances: HealthChecker in its actor and the prober on its thread.

The instances are a few hundred listening sockets of another process, each registered many times over; so every probe is
a real connection. A bare loop that does nothing but connect and close, as often, in the same run, says what is ours.
"""

from __future__ import annotations

import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from actors.base import Effects, NodeIdentity, Now, Role, Tell
from actors.health_checker import HealthChecker
from actors.messages.health import InstancesKept, LivingMembersChanged, VerdictsFound, VerdictsWanted
from benchmarks.processes import ROOT
from rollbook.model import InstanceKey, Service
from runtime.prober import ProberThread
from runtime.settings import load_settings
from runtime.threads import ThreadStage

INSTANCES = 5_000
SERVERS = 250
SETTLE_SECONDS = 12.0  # by then every instance has come down to the shortest pause
MEASURED_SECONDS = 10.0
SERVER = """
import selectors, socket, sys
servers = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(int(sys.argv[1]))]
selector = selectors.DefaultSelector()
for server in servers:
    server.setblocking(False)
    selector.register(server, selectors.EVENT_READ)
print(*(server.getsockname()[1] for server in servers), flush=True)
while True:
    for key, _ in selector.select():
        try:
            while True:
                key.fileobj.accept()[0].close()
        except OSError:
            continue
"""


class ProbingCost(NamedTuple):
    core_percent: float
    probes_per_second: float
    us_per_probe: float
    bare_us_per_probe: float
    turned: int


class _Index:
    """Stands where IndexManager does: nobody has said anything before."""

    role = Role.INDEX

    def start(self, now: Now) -> Effects:
        return []

    def handle(self, message: VerdictsWanted, now: Now) -> Effects:
        return [Tell(Role.HEALTH, VerdictsFound(tuple((number, None) for number, _, _ in message.targets)))]

    def check_invariants(self) -> None:
        """It has no tables."""


def one_node_probing(instances: int = INSTANCES) -> ProbingCost:
    with _servers(SERVERS) as ports:
        bare_us = _bare_us(ports)
        return _probing(ports, instances, bare_us)


def _probing(ports: list[int], instances: int, bare_us: float) -> ProbingCost:
    settings = load_settings(environment={}).health
    checker = HealthChecker(NodeIdentity("n1", 1, "c", "a:1", "a:2", 256), settings, random.Random(1))
    failures: list[BaseException] = []
    prober = ProberThread(settings, settings.probes_in_flight_max)
    stage = ThreadStage("n1", {Role.PROBER: prober.put})
    prober.start(stage.tell, lambda _, failure: failures.append(failure))
    stage.start([_Index(), checker])
    stage.tell(Role.HEALTH, LivingMembersChanged(("n1",)))
    stage.tell(Role.HEALTH, InstancesKept(tuple(_instances(ports, instances))))
    time.sleep(SETTLE_SECONDS)
    probes, begun, cpu = checker.counters["probes"], time.monotonic(), _cpu_seconds()
    time.sleep(MEASURED_SECONDS)
    probes, seconds, cpu = checker.counters["probes"] - probes, time.monotonic() - begun, _cpu_seconds() - cpu
    stage.stop()
    prober.close()
    assert not failures, failures
    return ProbingCost(
        core_percent=100 * cpu / seconds,
        probes_per_second=probes / seconds,
        us_per_probe=1e6 * cpu / probes,
        bare_us_per_probe=bare_us,
        turned=checker.counters["verdicts_turned"],
    )


def _instances(ports: list[int], count: int) -> Iterator[tuple[Service, InstanceKey, bool]]:
    for number in range(count):
        service = Service("public", "DEFAULT_GROUP", f"service-{number // len(ports)}")
        yield service, InstanceKey("127.0.0.1", ports[number % len(ports)]), True


def _bare_us(ports: list[int], count: int = 20_000) -> float:
    """CPU of a connection that is begun and reset at once, and of nothing else."""
    cpu = _cpu_seconds()
    for number in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.connect_ex(("127.0.0.1", ports[number % len(ports)]))
        connection.close()
    return 1e6 * (_cpu_seconds() - cpu) / count


@contextmanager
def _servers(count: int) -> Iterator[list[int]]:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(count)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout is not None
        yield [int(port) for port in server.stdout.readline().split()]
    finally:
        server.kill()
        server.communicate()


def _cpu_seconds() -> float:
    used: Any = resource.getrusage(resource.RUSAGE_SELF)
    return float(used.ru_utime + used.ru_stime)


if __name__ == "__main__":
    print(one_node_probing())
