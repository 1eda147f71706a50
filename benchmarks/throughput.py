"""Registrations: one node against a bare loop in alternating pairs, and three nodes that converge."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import cpu_seconds, line_of, median, module, pin, report_of, resident_mib, say
from tests.support.real_cluster import RealCluster, free_base_ports, pause_s

REQUESTS = 40_000
WINDOW = 250  # of the 256 that a node lets a session have in flight
LATENCY_WINDOW = 200
PAIRS = 5
SERVER_CORE, CLIENT_CORE = 0, 1


class Run(NamedTuple):
    per_second: float
    cpu_us: float  # of the server, per registration


class Comparison(NamedTuple):
    bare: Run
    node: Run
    speed_ratio: float
    cpu_ratio: float


def one_node_against_a_bare_loop(folder: Path, *, pinned: bool) -> Comparison:
    """Medians over the pairs; the ratios are medians of the pairs' own ratios.

    Pinned, the server has one core and its client the other in both, so that neither the scheduler's choice of cores
    nor a second core for the library's own thread is measured.
    """
    pairs = [(_bare_run(pinned), _node_run(folder / f"pair-{number}", pinned)) for number in range(PAIRS)]
    return Comparison(
        bare=Run(median([bare.per_second for bare, _ in pairs]), median([bare.cpu_us for bare, _ in pairs])),
        node=Run(median([node.per_second for _, node in pairs]), median([node.cpu_us for _, node in pairs])),
        speed_ratio=median([node.per_second / bare.per_second for bare, node in pairs]),
        cpu_ratio=median([node.cpu_us / bare.cpu_us for bare, node in pairs]),
    )


def _bare_run(pinned: bool) -> Run:
    port = free_base_ports(1)[0] + 2
    with module("bare_loop", str(port)) as server:
        assert line_of(server) == "ready"
        return _load(f"127.0.0.1:{port}", server.pid, pinned)


def _node_run(folder: Path, pinned: bool) -> Run:
    with RealCluster(folder, 1) as cluster:
        node = cluster.nodes[0]
        return _load(node.client_address, node.pid, pinned)


def _load(address: str, pid: int, pinned: bool) -> Run:
    if pinned:
        pin(pid, SERVER_CORE)
    before = cpu_seconds(pid)
    with module("load", address, str(REQUESTS), str(WINDOW)) as client:
        if pinned:
            pin(client.pid, CLIENT_CORE)
        report = report_of(client)
        used = cpu_seconds(pid) - before
    assert report["failures"] == 0, report
    return Run(report["requests"] / report["seconds"], used / report["requests"] * 1e6)


class ClusterRun(NamedTuple):
    per_second: float
    ratio_to_bare: float
    converged_s: float  # from the last answer until all three digests agree


def three_nodes_converging(folder: Path) -> ClusterRun:
    runs = []
    for number in range(3):
        bare = _bare_run(pinned=False)
        with (
            RealCluster(folder / f"run-{number}", 3) as cluster,
            module("load", cluster.addresses[0], str(REQUESTS), str(WINDOW)) as client,
        ):
            report = report_of(client)
            converged_s = cluster.until_digests_agree(30.0)
            say(client)
        per_second = report["requests"] / report["seconds"]
        runs.append(ClusterRun(per_second, per_second / bare.per_second, converged_s))
    return sorted(runs)[1]


class Latencies(NamedTuple):
    lone_p50_ms: float
    window_p99_ms: float


def round_trips(folder: Path) -> Latencies:
    with RealCluster(folder, 1) as cluster:
        address = cluster.addresses[0]
        with module("load", address, "3000", "1", "500") as client:
            lone = report_of(client)
        with module("load", address, str(REQUESTS), str(LATENCY_WINDOW)) as client:
            busy = report_of(client)
    return Latencies(lone["p50_ms"], busy["p99_ms"])


class Idle(NamedTuple):
    resident_mib: float
    cpu_percent: float


def idle_node(folder: Path, seconds: float = 20.0) -> Idle:
    """The hungriest node of three that have nothing to do."""
    with RealCluster(folder, 3) as cluster:
        pause_s(3.0)
        pids = [node.pid for node in cluster]
        before = [cpu_seconds(pid) for pid in pids]
        pause_s(seconds)
        percents = [100 * (cpu_seconds(pid) - start) / seconds for pid, start in zip(pids, before, strict=True)]
        return Idle(max(resident_mib(pid) for pid in pids), max(percents))
