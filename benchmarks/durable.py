"""Persistent instances: how long an acknowledged write takes, how many a node takes, how fast others hear of them, and
the start of a node that has many.

The bare peer of writes is an upsert in sqlite with the same durability, in the same folder and in turns; that of the
start is a node that has nothing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import line_of, median, module, quantile, report_of
from benchmarks.stores import bare_per_second, bare_store, lone_bare_seconds
from rollbook import Instance, NamingClient
from rollbook.durable_bodies import PERSISTENT_PER_ORDER_MAX
from tests.support.real_cluster import RealCluster, pause_s

NOBODY = "127.0.0.9"  # instances are said to be unhealthy there, so no prober has anything to add
LONE_WRITES = 1_000
REQUESTS = 20_000
WINDOW = 250  # of the 256 that a node lets a session have in flight
RUNS = 3
WATCHED = 50
CHANGES = 1_000
KEPT = 100_000
START_S_MAX = 60.0


class LoneWrites(NamedTuple):
    p50_ms: float
    p99_ms: float
    bare_p50_ms: float
    bare_p99_ms: float


class PipelinedWrites(NamedTuple):
    per_second: float
    bare_per_second: float
    ratio: float


class Delays(NamedTuple):
    p50_ms: float
    p99_ms: float


class Starts(NamedTuple):
    empty_s: float
    full_s: float


def lone_writes(folder: Path, nodes: int) -> LoneWrites:
    """One at a time; in a cluster through a node that does not keep the store itself."""
    bare = bare_store(folder / f"bare-{nodes}.sqlite")
    with RealCluster(folder / f"of-{nodes}", nodes) as cluster, NamingClient(cluster.addresses[-1]) as client:
        client.register_instance("lone", NOBODY, 1, healthy=False, ephemeral=False)
        pairs = [(lone_seconds(client, number), lone_bare_seconds(bare, number)) for number in range(LONE_WRITES)]
    bare.close()
    ours, theirs = ([1_000 * pair[side] for pair in pairs] for side in (0, 1))
    return LoneWrites(quantile(ours, 50), quantile(ours, 99), quantile(theirs, 50), quantile(theirs, 99))


def lone_seconds(client: NamingClient, number: int) -> float:
    begun = time.perf_counter()
    client.register_instance("lone", NOBODY, 1, weight=1 + number / 10, healthy=False, ephemeral=False)
    return time.perf_counter() - begun


def pipelined_writes(folder: Path) -> PipelinedWrites:
    """Into a standalone node, and into bare transactions of about as many rows as a session has in flight."""
    bare, runs = bare_store(folder / "bare.sqlite"), []
    for number in range(RUNS):
        theirs = bare_per_second(bare, number)
        with (
            RealCluster(folder / f"run-{number}", 1) as cluster,
            module("load", cluster.addresses[0], str(REQUESTS), str(WINDOW), "0", "durable") as client,
        ):
            report = report_of(client)
        assert report["failures"] == 0, report
        runs.append((report["requests"] / report["seconds"], theirs))
    bare.close()
    ratio = median([ours / theirs for ours, theirs in runs])
    return PipelinedWrites(median([ours for ours, _ in runs]), median([theirs for _, theirs in runs]), ratio)


def written_until_called(folder: Path) -> Delays:
    """In a single home, between two nodes that follow it."""
    with RealCluster(folder, 3) as cluster:
        return delays_until_called(cluster)


def delays_until_called(cluster: RealCluster) -> Delays:
    """From a write through one node until the callback of a subscriber on another."""
    with (
        module("subscriber", str(WATCHED), str(CHANGES), cluster.addresses[2]) as subscriber,
        NamingClient(cluster.addresses[1], app="publisher") as publisher,
    ):
        assert line_of(subscriber) == "ready"
        for number in range(CHANGES):
            metadata, service = {"at_ns": str(time.monotonic_ns())}, f"watched-{number % WATCHED}"
            publisher.register_instance(service, NOBODY, 80, healthy=False, metadata=metadata, ephemeral=False)
            pause_s(0.004)
        delays = json.loads(line_of(subscriber))
    return Delays(quantile(delays, 50), quantile(delays, 99))


def starts(folder: Path) -> Starts:
    """kill -9, then the seconds from the start of the process until the node answers."""
    with RealCluster(folder, 1) as cluster:
        empty_s = median([_restart_s(cluster) for _ in range(RUNS)])
        with NamingClient(cluster.addresses) as client:
            for first in range(0, KEPT, PERSISTENT_PER_ORDER_MAX):
                client.register_instances(f"kept-{first % 6_400}", _instances(first))
            assert len(client.get_all_instances("kept-0", subscribe=False)) > 0
        return Starts(empty_s, median([_restart_s(cluster) for _ in range(RUNS)]))


def _instances(first: int) -> list[Instance]:
    numbers = range(first, min(first + PERSISTENT_PER_ORDER_MAX, KEPT))
    return [
        Instance(f"127.1.{number // 50_000}.9", 1 + number % 50_000, healthy=False, ephemeral=False)
        for number in numbers
    ]


def _restart_s(cluster: RealCluster) -> float:
    (node,) = cluster.nodes
    node.kill()
    begun = time.perf_counter()
    node.start()
    cluster.until_ready(START_S_MAX)
    return time.perf_counter() - begun
