"""Real nodes, one of them crowded: its sessions spread, and nobody who asks or subscribes misses an instance."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.processes import line_of, module
from tests.support.real_cluster import RealCluster, pause_s, until
from tests.support.watching import PushWatcher, watch_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SERVICE = "held"
CLIENTS = 60
# So that it takes seconds instead of minutes: a short lease, and a comparison each second.
HASTY = "[connections]\nrebalance_above_sessions = 4\n[members]\nlease_ms = 4000\nrebalance_interval_ms = 1000\n"


def sessions_of(cluster: RealCluster) -> list[int]:
    statuses = [node.status() for node in cluster]
    return [status.sessions for status in statuses if status is not None]


def test_sessions_of_a_crowded_node_move_one_by_one_and_no_instance_is_missed(tmp_path: Path) -> None:
    config = tmp_path / "hasty.toml"
    config.write_text(HASTY)
    with RealCluster(tmp_path, 2, "--config", str(config)) as cluster, ExitStack() as stack:
        process = stack.enter_context(module("holder", SERVICE, str(CLIENTS), cluster.addresses[0]))
        assert line_of(process) == "ready"
        subscriber = PushWatcher([cluster.addresses[1]], SERVICE, CLIENTS)
        stack.callback(subscriber.close)
        subscriber.wait_complete(10)
        watcher = watch_complete(cluster.nodes, SERVICE, CLIENTS)
        crowded = sessions_of(cluster)[0]
        assert crowded >= CLIENTS
        until(lambda: max(sessions_of(cluster)) <= 45, 60, "the sessions have spread")
        pause_s(2)
        watch = watcher.stop()
        assert (watch.gaps, subscriber.shortest) == ((), CLIENTS)
        assert watch.answers > 100
        assert min(sessions_of(cluster)) >= 20
        status = cluster.nodes[0].status()
        assert status is not None
        assert status.counters["sessions_rebalanced"] >= 15
        assert status.counters["sessions_rebalanced"] == status.counters["moves_advised"]
        assert status.counters["sessions_lost"] == 0, "a goodbye has not arrived"
