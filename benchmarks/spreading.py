"""How fast a change spreads: into the index of every node, and into the callbacks of subscribers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import line_of, module, quantile, report_of
from rollbook import NamingClient
from tests.support.real_cluster import RealCluster, pause_s

CHANGES_PER_SECOND = 1_000
WATCHED = 200
ROUNDS = 10


class Delays(NamedTuple):
    p50_ms: float
    p99_ms: float


def register_until_everywhere(folder: Path) -> Delays:
    """At 1,000 changes/s on one node: from the request until its answer says that all three nodes have indexed it.

    That answer includes the acknowledgements' way back, so visibility itself is earlier.
    """
    with RealCluster(folder, 3) as cluster:
        arguments = [cluster.addresses[0], str(10 * CHANGES_PER_SECOND), "250", str(CHANGES_PER_SECOND), "cluster"]
        with module("load", *arguments) as client:
            report = report_of(client)
    assert report["failures"] == 0, report
    return Delays(report["p50_ms"], report["p99_ms"])


def register_until_called(folder: Path) -> Delays:
    """A register on node 1 until the callback of a subscriber on node 2, 200 services with a subscriber each."""
    with RealCluster(folder, 3) as cluster:
        there = cluster.addresses[1]
        with (
            module("subscriber", str(WATCHED), str(WATCHED * ROUNDS), there) as subscriber,
            NamingClient(servers=[cluster.addresses[0]], app="publisher") as publisher,
        ):
            assert line_of(subscriber) == "ready"
            for number in range(WATCHED * ROUNDS):
                service = f"watched-{number % WATCHED}"
                publisher.register_instance(service, "10.0.0.1", 80, metadata={"at_ns": str(time.monotonic_ns())})
                pause_s(0.002)
            delays = json.loads(line_of(subscriber))
    return Delays(quantile(delays, 50), quantile(delays, 99))
