"""What clients over HTTP cost that beat: as many as one gateway answers; 10,000 instances that beat every five seconds,
at three gateways, and whether anybody ever sees one of them go; and the same beats one in a frame and 100, at one node.

Whose beat comes to which gateway is left to chance, so the nodes have to pass on two of three.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import zmq

from benchmarks.gateways import (
    OTHER_CORE,
    SECONDS,
    GatewayRun,
    cluster_with_gateways,
    gateway_of,
    http_load,
    measured,
)
from benchmarks.load import open_session
from benchmarks.processes import cpu_seconds, has_said, line_of, module, pin, report_of, resident_mib, say
from rollbook.http_clients import Beats, HttpBeat
from rollbook.model import Instance, Service
from rollbook.wire import Tag, answer_body, encode, open_envelope
from tests.support.real_cluster import RealCluster

INSTANCES = 10_000
SERVICES = 500
INTERVAL_S = 5.0
WATCHED_S = 40.0  # longer than the silence after which an instance is gone
PER_FRAME = 100
FRAME_ROUNDS = 200
ANSWER_S_MAX = 10.0
SESSION = 1


def beat_line(number: int) -> str:
    """As SDKs over HTTP write it: all that an instance is, each time."""
    grouped = f"DEFAULT_GROUP@@service-{number % SERVICES}"
    said = {
        "serviceName": grouped,
        "ip": f"10.1.{number // 250}.{number % 250}",
        "port": 8080,
        "weight": 1.0,
        "ephemeral": True,
        "cluster": "DEFAULT",
        "metadata": {"zone": "a", "version": "1.0.0"},
    }
    query = urlencode(
        {"serviceName": grouped, "beat": msgspec.json.encode(said).decode(), "groupName": "DEFAULT_GROUP"}
    )
    return f"PUT /nacos/v1/ns/instance/beat?{query}"


def _written_lines(folder: Path) -> Path:
    folder.mkdir()
    lines = folder / "beats.lines"
    lines.write_text("".join(f"{beat_line(number)}\n" for number in range(INSTANCES)))
    return lines


def beats_over_http(folder: Path) -> GatewayRun:
    """As many as one gateway answers: the first 10,000 register, and all others renew."""
    lines = _written_lines(folder)
    with cluster_with_gateways(folder / "cluster", 1) as cluster:
        node = cluster.nodes[0]
        pin(node.pid, OTHER_CORE)
        return measured(gateway_of(node), *http_load([node.base_port], lines, seconds=2 * SECONDS))


class BeatingCluster(NamedTuple):
    """Shares of a core: of the three nodes together, and of their gateways."""

    beats_per_second: float
    failures: int
    p99_ms: float
    seen: Counter[str]  # by three watchers, one at each node: gone, unhealthy, changed
    healthy: int  # of the node that lists fewest at the end
    gateway_mib: float
    nodes_percent: float
    gateways_percent: float


def beating_over_http(folder: Path) -> BeatingCluster:
    """10,000 instances beat every five seconds over HTTP, each time at any of three gateways."""
    lines = _written_lines(folder)
    with (
        cluster_with_gateways(folder / "cluster", 3) as cluster,
        module("flaps", str(SERVICES), str(INSTANCES), ",".join(cluster.addresses)) as watcher,
    ):
        ports = [node.base_port for node in cluster]
        nodes, gateways = [node.pid for node in cluster], [gateway_of(node) for node in cluster]
        assert line_of(watcher) == "ready"
        while not has_said(watcher):  # it gives up by itself
            _beat(ports, lines, 2 * INTERVAL_S)  # all of them, also on a machine that keeps half of the rhythm
        assert line_of(watcher) == "complete"
        before = _cpu(nodes), _cpu(gateways)
        report = _beat(ports, lines, WATCHED_S)
        after = _cpu(nodes), _cpu(gateways)
        say(watcher)
        found = report_of(watcher)
        memory = max(map(resident_mib, gateways))
    return BeatingCluster(
        report["requests"] / report["seconds"],
        report["failures"],
        report["p99_ms"],
        Counter(found["seen"]),
        min(found["healthy"]),
        memory,
        *(100 * (end - start) / WATCHED_S for start, end in zip(before, after, strict=True)),
    )


def _beat(ports: list[int], lines: Path, seconds: float) -> dict[str, Any]:
    """Each instance in its turn, so many times as there are intervals."""
    with module(*http_load(ports, lines, rate=INSTANCES / INTERVAL_S, seconds=seconds)) as clients:
        assert line_of(clients) == "ready"
        say(clients)
        return report_of(clients)


def _cpu(pids: list[int]) -> float:
    return sum(map(cpu_seconds, pids))


# -- of frames


class FramingCost(NamedTuple):
    """CPU of the node for one beat, in µs."""

    gathered_us: float
    alone_us: float


def gathered_and_alone(folder: Path) -> FramingCost:
    """100 known beats in one frame, and in a frame each."""
    with RealCluster(folder, 1) as cluster, zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        (pid,) = [node.pid for node in cluster]
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://{cluster.addresses[0]}")
        session = BeatSession(socket)
        session.send([beat(number, light=False) for number in range(PER_FRAME)])
        session.settle()
        known = [beat(number, light=True) for number in range(PER_FRAME)]
        costs = []
        for per_frame in (PER_FRAME, 1):
            begun = cpu_seconds(pid)
            for _ in range(FRAME_ROUNDS):
                for first in range(0, PER_FRAME, per_frame):
                    session.send(known[first : first + per_frame])
                session.settle()
            costs.append(1e6 * (cpu_seconds(pid) - begun) / (FRAME_ROUNDS * PER_FRAME))
        assert session.words["renewed"] == 2 * FRAME_ROUNDS * PER_FRAME, session.words
        return FramingCost(*costs)


def beat(number: int, *, light: bool) -> HttpBeat:
    published = Instance(f"10.1.{number // 250}.{number % 250}", 8080, metadata={"zone": "a", "version": "1.0.0"})
    service = Service("public", "DEFAULT_GROUP", f"service-{number % SERVICES}")
    return HttpBeat(service, published.ip, published.port, None if light else published)


class BeatSession:
    """Sends beats as a gateway does, and counts what is said of them."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.words: Counter[str] = Counter()
        self._socket = socket
        self._unanswered = 0
        self._correlation = 1
        open_session(socket, "beats", SESSION)

    def send(self, beats: list[HttpBeat]) -> None:
        self._correlation += 1
        self._unanswered += 1
        self._socket.send(encode(Tag.BEATS, self._correlation, SESSION, Beats(tuple(beats))))

    def settle(self) -> None:
        """Returns when everything is answered."""
        deadline = time.monotonic() + ANSWER_S_MAX
        while self._unanswered:
            assert time.monotonic() < deadline, "no answer"
            if self._socket.poll(100):
                envelope = open_envelope(self._socket.recv())
                if envelope.tag not in (Tag.PROBE, Tag.SERVERS):
                    body: Any = answer_body(envelope)
                    self._unanswered -= 1
                    self.words.update(outcome.word for outcome in body.outcomes)
