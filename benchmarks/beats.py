"""What HTTP clients cost the nodes: 10,000 instances that beat every five seconds, over three nodes.

A session at each node stands for its gateway: it gathers beats for a moment and sends them in one frame. Whose beat
comes to which node is left to chance, so two of three have to be passed on. And the same beats one in a frame, at one
node, for what the frame is worth.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from benchmarks.load import open_session
from benchmarks.processes import cpu_seconds, resident_mib
from rollbook.http_clients import Beats, HttpBeat
from rollbook.model import Instance, Service
from rollbook.wire import Tag, answer_body, encode, open_envelope
from tests.support.real_cluster import RealCluster, pause_s

INSTANCES = 10_000
SERVICES = 500
INTERVAL_S = 5.0
GATHERED_S = 0.05
MEASURED_S = 20.0
PER_FRAME = 100
SESSION = 1


class BeatingCost(NamedTuple):
    core_percent: float  # of the busiest node, beyond what it takes when idle
    idle_percent: float
    beats_per_second: float
    words: dict[str, int]
    p99_ms: float
    resident_mib: float


class FramingCost(NamedTuple):
    """CPU of the node for one beat, in µs."""

    gathered_us: float
    alone_us: float


def instance(number: int) -> Instance:
    return Instance(f"10.1.{number // 250}.{number % 250}", 8080, metadata={"zone": "a", "version": "1.0.0"})


def beat(number: int, *, light: bool) -> HttpBeat:
    published = instance(number)
    service = Service("public", "DEFAULT_GROUP", f"service-{number % SERVICES}")
    return HttpBeat(service, published.ip, published.port, None if light else published)


class Gateway:
    """A session that sends beats and counts what is said of them."""

    def __init__(self, socket: zmq.Socket[bytes], name: str) -> None:
        self.words: Counter[str] = Counter()
        self.delays: list[float] = []
        self._socket = socket
        self._sent: dict[int, float] = {}
        self._correlation = 1
        open_session(socket, name, SESSION)

    @property
    def unanswered(self) -> int:
        return len(self._sent)

    def send(self, *beats: HttpBeat) -> None:
        self._correlation += 1
        self._sent[self._correlation] = time.perf_counter()
        self._socket.send(encode(Tag.BEATS, self._correlation, SESSION, Beats(beats)))

    def read(self, wait_ms: int = 0) -> None:
        while self._socket.poll(wait_ms):
            wait_ms = 0
            envelope = open_envelope(self._socket.recv())
            if envelope.tag in (Tag.PROBE, Tag.SERVERS):
                continue
            body: Any = answer_body(envelope)
            self.delays.append(time.perf_counter() - self._sent.pop(envelope.correlation))
            self.words.update(outcome.word for outcome in body.outcomes)

    def settle(self) -> None:
        deadline = time.monotonic() + 10
        while self._sent:
            self.read(100)
            assert time.monotonic() < deadline, "no answer"

    def forget(self) -> None:
        self.words.clear()
        self.delays.clear()


def three_nodes(folder: Path, instances: int = INSTANCES) -> BeatingCost:
    chance = random.Random(1)
    with RealCluster(folder, 3) as cluster, _gateways(cluster.addresses) as gateways:
        pids = [node.pid for node in cluster]
        pause_s(3.0)
        idle = _cores(pids, lambda: pause_s(MEASURED_S))
        for first in range(0, instances, PER_FRAME):
            gateway = chance.choice(gateways)
            gateway.send(*(beat(number, light=False) for number in range(first, first + PER_FRAME)))
            gateway.settle()
        _beat(gateways, instances, INTERVAL_S, chance)
        for gateway in gateways:
            gateway.forget()
        busy = _cores(pids, lambda: _beat(gateways, instances, MEASURED_S, chance))
        words: Counter[str] = sum((gateway.words for gateway in gateways), Counter())
        delays = sorted(delay for gateway in gateways for delay in gateway.delays)
        return BeatingCost(
            core_percent=100 * max(now - before for now, before in zip(busy, idle, strict=True)),
            idle_percent=100 * max(idle),
            beats_per_second=words.total() / MEASURED_S,
            words=dict(words),
            p99_ms=1_000 * delays[len(delays) * 99 // 100],
            resident_mib=max(map(resident_mib, pids)),
        )


def gathered_and_alone(folder: Path, rounds: int = 200) -> FramingCost:
    """100 known beats in one frame, and in a frame each."""
    with RealCluster(folder, 1) as cluster, _gateways(cluster.addresses) as (gateway,):
        (pid,) = [node.pid for node in cluster]
        gateway.send(*(beat(number, light=False) for number in range(PER_FRAME)))
        gateway.settle()
        known = [beat(number, light=True) for number in range(PER_FRAME)]
        costs = []
        for per_frame in (PER_FRAME, 1):
            begun = cpu_seconds(pid)
            for _ in range(rounds):
                for first in range(0, PER_FRAME, per_frame):
                    gateway.send(*known[first : first + per_frame])
                gateway.settle()
            costs.append(1e6 * (cpu_seconds(pid) - begun) / (rounds * PER_FRAME))
        assert gateway.words["renewed"] == 2 * rounds * PER_FRAME
        return FramingCost(*costs)


def _beat(gateways: list[Gateway], instances: int, seconds: float, chance: random.Random) -> None:
    """Each instance once in the interval, wherever chance takes it."""
    begun, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        due = int(passed / INTERVAL_S * instances)
        gathered: dict[int, list[HttpBeat]] = {}
        for number in range(done, due):
            gathered.setdefault(chance.randrange(len(gateways)), []).append(beat(number % instances, light=True))
        done = due
        for place, beats in gathered.items():
            for first in range(0, len(beats), PER_FRAME):
                gateways[place].send(*beats[first : first + PER_FRAME])
        pause_s(GATHERED_S)
        for gateway in gateways:
            gateway.read()
    for gateway in gateways:
        gateway.settle()


def _cores(pids: list[int], act: Any) -> list[float]:
    """Shares of a core that these take meanwhile."""
    begun, before = time.perf_counter(), [cpu_seconds(pid) for pid in pids]
    act()
    seconds = time.perf_counter() - begun
    return [(cpu_seconds(pid) - start) / seconds for pid, start in zip(pids, before, strict=True)]


@contextmanager
def _gateways(addresses: list[str]) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        gateways = []
        for number, address in enumerate(addresses):
            socket = stack.enter_context(context.socket(zmq.DEALER))
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"tcp://{address}")
            gateways.append(Gateway(socket, f"gateway-{number}"))
        yield gateways
