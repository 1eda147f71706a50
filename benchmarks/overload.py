"""What a node gives when more is asked of it than it has: work, connections, subscribers that do not read."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import cpu_seconds, line_of, median, module, pin, quantile, report_of, resident_mib
from rollbook import NamingClient
from rollbook.errors import Code
from tests.support.crowds import DeafCrowd, FloodProcess, flood
from tests.support.real_cluster import RealCluster, RealNode, pause_s, until
from tests.support.watching import PushWatcher, Watcher

WINDOW = 250
SATURATING = 16  # sessions with full windows: 4,000 requests, as many as a node takes in at a time
PAIRS = 3
NODE_CORE, CROWD_CORE = 0, 1
SERVICE, HELD = "held", 100
# Of each of two processes: 20,000 together, of every way to be a nuisance without saying a word.
CROWD = {"silent": 4_000, "greeting": 2_000, "handshake-dribbled": 2_000, "shaken": 1_000, "frame-dribbled": 1_000}
SETTLING_S = 5.0  # a crowd that has just come is a burst; measured is what it costs while it lasts
DEAF = 1_000


class Load(NamedTuple):
    per_second: float
    cpu_us: float  # of the node, per answer
    p99_ms: float
    failures: int  # requests without an answer, or with one that says no


class Overload(NamedTuple):
    peak: Load
    overloaded: Load  # of which the failures are the sum, the p99 is the worst
    goodput: float  # the median of the pairs' own ratios, as is the next
    cpu_ratio: float
    missing: int  # live instances missing from an answer
    answers: int
    refused: int  # new sessions, with OVER_LIMIT
    refused_otherwise: int


def three_times_the_work(folder: Path) -> Overload:
    """One node, alternately with as many sessions as saturate it and with three times as many, a minute in all."""
    three = 3 * SATURATING
    cluster = RealCluster(folder, 1)
    (node,) = cluster.nodes
    node.launch_with("env", f"ROLLBOOK_CONNECTIONS_SESSIONS_MAX={three + 10 + 5}")  # and the held, and those who look
    pairs: list[tuple[Load, Load]] = []
    refusals: Counter[str] = Counter()
    with cluster, module("holder", SERVICE, "10", node.client_address) as holder:
        assert line_of(holder) == "ready"
        pin(node.pid, NODE_CORE)
        watcher = Watcher([node], SERVICE, 10)
        for _ in range(PAIRS):
            pairs.append((_load(node, SATURATING, 10.0, None), _load(node, three, 20.0, refusals)))
        seen = watcher.stop()
    typed = refusals[str(int(Code.OVER_LIMIT))]
    return Overload(
        _typical([peak for peak, _ in pairs]),
        _typical([overloaded for _, overloaded in pairs]),
        median([overloaded.per_second / peak.per_second for peak, overloaded in pairs]),
        median([overloaded.cpu_us / peak.cpu_us for peak, overloaded in pairs]),
        *(seen.missing, seen.answers, typed, refusals.total() - typed),
    )


def _load(node: RealNode, sessions: int, seconds: float, refusals: Counter[str] | None) -> Load:
    """So many sessions with full windows; in the middle of it 20 more try to open theirs, if they are to be counted."""
    until(lambda: _sessions(node) < SATURATING, 10, "the crowd before has gone")
    before = cpu_seconds(node.pid)
    with module("crowd", node.client_address, str(sessions), str(WINDOW), str(seconds)) as crowd:
        pin(crowd.pid, CROWD_CORE)
        if refusals is not None:
            pause_s(seconds / 2)
            with module("crowd", node.client_address, "20", "1", "1") as late:
                refusals.update(report_of(late)["sessions_refused"])
        report = report_of(crowd)
    assert report["admitted"] == sessions, report
    cpu_us = 1e6 * (cpu_seconds(node.pid) - before) / report["answered"]
    failures = report["unanswered"] + sum(report["requests_refused"].values())
    return Load(report["per_second"], cpu_us, report["p99_ms"], failures)


def _sessions(node: RealNode) -> int:
    status = node.status()
    return status.sessions if status is not None else SATURATING


def _typical(loads: list[Load]) -> Load:
    return Load(
        median([load.per_second for load in loads]),
        median([load.cpu_us for load in loads]),
        max(load.p99_ms for load in loads),
        sum(load.failures for load in loads),
    )


class Flooded(NamedTuple):
    alone_p99_ms: float
    flooded_p99_ms: float  # of registrations that both nodes have, with the crowd at the client port
    cpu_percent: float
    opened_per_second: float  # connections of the crowd: it opens again what was cut
    resident_mib: float
    missing: int
    recovered_s: float  # until its descriptors are free again


def idle_crowd(folder: Path) -> Flooded:
    """20,000 connections that say nothing, half of a handshake, or a byte a second, at a node with 100 sessions."""
    with RealCluster(folder, 2) as cluster, module("holder", SERVICE, str(HELD), cluster.addresses[0]) as holder:
        assert line_of(holder) == "ready"
        node = cluster.nodes[0]
        pause_s(1.0)
        alone = _paced(node)
        watcher = Watcher(cluster.nodes, SERVICE, HELD)
        with flood(node.base_port + 2, CROWD, processes=2) as crowd:
            pause_s(SETTLING_S)
            before, opened, since_s = cpu_seconds(node.pid), _opened(crowd), time.monotonic()
            flooded = _paced(node)
            seconds = time.monotonic() - since_s
            cpu_percent = 100 * (cpu_seconds(node.pid) - before) / seconds
            opened_per_second = (_opened(crowd) - opened) / seconds
            resident = resident_mib(node.pid)
        recovered_s = until(lambda: _open_files(node) < HELD + 200, 60, "descriptors are free again")
        seen = watcher.stop()
    return Flooded(
        *(alone["p99_ms"], flooded["p99_ms"], cpu_percent, opened_per_second, resident, seen.missing, recovered_s)
    )


def _opened(crowd: list[FloodProcess]) -> int:
    return sum(one.report()["opened"] for one in crowd)


def _paced(node: RealNode) -> dict[str, float]:
    """200 changes a second for 10 s, each until both nodes have it."""
    with module("load", node.client_address, "2000", "250", "200", "cluster") as client:
        report: dict[str, float] = report_of(client)
    assert report["failures"] == 0, report
    return report


def _open_files(node: RealNode) -> int:
    return sum(1 for _ in Path(f"/proc/{node.pid}/fd").iterdir())


class Deaf(NamedTuple):
    alone_p99_ms: float
    deaf_p99_ms: float  # until a subscriber that reads was called
    grown_mib: float
    fresh: int  # of those who read again


def deaf_subscribers(folder: Path, changes: int = 300) -> Deaf:
    """1,000 subscribers of a service that changes, none of which reads, and one that does."""
    with RealCluster(folder, 1) as cluster, ExitStack() as stack:
        node = cluster.nodes[0]
        changing = stack.enter_context(NamingClient(servers=[node.client_address], timeout=10.0))
        changing.register_instance("busy", "10.0.0.1", 1)
        reader = stack.enter_context(closing(PushWatcher([node.client_address], "busy", 1)))
        alone = _called(changing, reader, changes)
        crowd = stack.enter_context(closing(DeafCrowd(node.client_address, "busy", DEAF)))
        before = resident_mib(node.pid)
        deaf = _called(changing, reader, changes)
        grown = resident_mib(node.pid) - before
        until(lambda: _cut(node) == DEAF, 90, "all are given up")
        changing.register_instance("busy", "10.0.0.2", 2)
        changing.deregister_instance("busy", "10.0.0.1", 1)
        crowd.read_until(port=2)  # raises if one is not told
    return Deaf(quantile(alone, 99), quantile(deaf, 99), grown, DEAF)


def _called(changing: NamingClient, reader: PushWatcher, changes: int) -> list[float]:
    """Milliseconds from a change until the subscriber that reads has been called, pushes 60 ms apart."""
    times: list[float] = []
    for number in range(changes):
        pushes = reader.pushes
        changing.register_instance("busy", "10.0.0.1", 1, metadata={"at": f"{number}-{id(times)}"})
        times.append(1_000 * until(lambda seen=pushes: reader.pushes > seen, 10, "it is called"))  # type: ignore[misc]
        pause_s(0.06)
    return times


def _cut(node: RealNode) -> int:
    status = node.status()
    return status.counters["push_subscribers_cut"] if status is not None else 0
