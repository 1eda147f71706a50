"""Persistent instances whose data is in an etcd of three members, the children of three nodes.

The bare peer is a client of the same etcd's gateway that only writes (bare_gateway.py): one put after the other, or
transactions over as many connections as a node has. The two take turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.bare_gateway import GatewayLane
from benchmarks.durable import (
    NOBODY,
    REQUESTS,
    WINDOW,
    Delays,
    LoneWrites,
    PipelinedWrites,
    delays_until_called,
    lone_seconds,
)
from benchmarks.processes import median, module, quantile, report_of
from rollbook import NamingClient
from rollbook.errors import RollbookError
from runtime.local_node import ETCD_PORT_OFFSETS
from runtime.settings import load_settings
from tests.support.real_cluster import RealCluster, RealNode, until

LONE_WRITES = 500
PAIRS = 3
START_S_MAX = 30.0


def lone_writes(folder: Path) -> LoneWrites:
    """One at a time, through the node whose member was started last."""
    with _cluster(folder) as cluster, NamingClient(cluster.addresses[-1]) as client:
        bare = GatewayLane(_member(cluster.nodes[-1]))
        pairs = [(lone_seconds(client, number), bare.put(number)) for number in range(LONE_WRITES)]
        bare.close()
    ours, theirs = ([1_000 * pair[side] for pair in pairs] for side in (0, 1))
    return LoneWrites(quantile(ours, 50), quantile(ours, 99), quantile(theirs, 50), quantile(theirs, 99))


def pipelined_writes(folder: Path) -> PipelinedWrites:
    """The bare client's transactions have as many puts as come on each connection of what is in flight here."""
    lanes = load_settings().etcd.write_lanes_max
    runs: list[tuple[float, float]] = []
    with _cluster(folder) as cluster:
        arguments = (_member(cluster.nodes[0]), str(lanes), str(REQUESTS), str(WINDOW // lanes))
        for _ in range(PAIRS):
            with module("bare_gateway", *arguments) as client:
                theirs = report_of(client)
            with module("load", cluster.addresses[0], str(REQUESTS), str(WINDOW), "0", "durable") as client:
                ours = report_of(client)
            assert ours["failures"] == 0, ours
            runs.append((ours["requests"] / ours["seconds"], theirs["rows"] / theirs["seconds"]))
    ratio = median([ours / theirs for ours, theirs in runs])
    return PipelinedWrites(median([ours for ours, _ in runs]), median([theirs for _, theirs in runs]), ratio)


def written_until_called(folder: Path) -> Delays:
    with _cluster(folder) as cluster:
        return delays_until_called(cluster)


@contextmanager
def _cluster(folder: Path) -> Iterator[RealCluster]:
    """All three take persistent instances: their members have elected, and each node has read what there is."""
    with RealCluster(folder, 3, engine="etcd") as cluster:
        for node in cluster:
            until(partial(_takes_instances, node), START_S_MAX, "a node takes persistent instances")
        yield cluster


def _takes_instances(node: RealNode) -> bool:
    with NamingClient(servers=[node.client_address], timeout=3.0) as client:
        try:
            client.register_instance("first", NOBODY, 1, healthy=False, ephemeral=False)
        except RollbookError:
            return False
    return True


def _member(node: RealNode) -> str:
    return f"127.0.0.1:{node.base_port + ETCD_PORT_OFFSETS[0]}"
