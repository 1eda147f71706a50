"""Persistent instances at real nodes: written by one command, there after every process was killed, removed by another.

Commands are processes of their own, as an operator types them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_cluster import ROOT, RealCluster, RealNode, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

INSTANCES = {80: "a", 81: "b", 82: "c"}  # by port: the metadata


def typed(node: RealNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rollbook.cli", "--server", node.client_address, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def rollbook(node: RealNode, *arguments: str) -> tuple[int, Any]:
    """The exit code, and what was said as JSON; none if nothing was."""
    done = typed(node, "--json", *arguments)
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def write(node: RealNode, port: int, zone: str) -> None:
    code, said = rollbook(
        node, "register", "orders", f"10.0.0.1:{port}", "--persistent", "--weight", "2.5", "--metadata", f"zone={zone}"
    )
    assert (code, said["event"]) == (0, "registered")


def listed(node: RealNode) -> dict[int, str]:
    """The same as INSTANCES, as this node has it; it must not have any doubt."""
    _, said = rollbook(node, "instances", "orders")
    assert not said["stale_since_ms"]
    assert all((shown["ephemeral"], shown["weight"]) == (False, 2.5) for shown in said["instances"])
    return {shown["port"]: shown["metadata"]["zone"] for shown in said["instances"]}


def until_listed(node: RealNode, wanted: dict[int, str]) -> None:
    until(lambda: listed(node) == wanted, 10, f"{node.client_address} lists {sorted(wanted)}")


def kill_and_start(cluster: RealCluster) -> None:
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.until_ready()


def test_a_node_that_was_killed_lists_what_was_written_and_not_what_was_removed(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 1) as cluster:
        [node] = cluster
        for port, zone in INSTANCES.items():
            write(node, port, zone)
        kill_and_start(cluster)
        assert listed(node) == INSTANCES
        assert rollbook(node, "deregister", "orders", "10.0.0.1:81")[0] == 0
        kill_and_start(cluster)
        assert listed(node) == {80: "a", 82: "c"}
        for port in (80, 82):
            assert rollbook(node, "deregister", "orders", f"10.0.0.1:{port}")[0] == 0
        code, said = rollbook(node, "instances", "orders")
        assert (code, said["instances"]) == (1, [])


def test_a_cluster_of_which_every_node_was_killed_lists_at_each_what_was_written_at_any(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 3) as cluster:
        for node, (port, zone) in zip(cluster, INSTANCES.items(), strict=True):
            write(node, port, zone)
        kill_and_start(cluster)
        for node in cluster:
            until_listed(node, INSTANCES)
        assert rollbook(cluster.nodes[2], "deregister", "orders", "10.0.0.1:80")[0] == 0
        assert listed(cluster.nodes[2]) == {81: "b", 82: "c"}, "whoever was answered sees it at once"
        for node in cluster:
            until_listed(node, {81: "b", 82: "c"})


def test_while_the_node_that_keeps_the_data_is_away_lists_say_since_when_and_nothing_is_written(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 3) as cluster:
        home, other, _ = cluster
        write(other, 80, "a")
        home.kill()
        until(lambda: rollbook(other, "instances", "orders")[1]["stale_since_ms"], 10, "the list says that it is old")
        shown = typed(other, "instances", "orders")
        assert shown.returncode == 0
        assert shown.stdout.splitlines()[2].split()[:2] == ["10.0.0.1:80", "persistent"]
        assert re.search(r"persistent instances are as they were \d+ s ago\n", shown.stderr)
        refused = typed(other, "register", "orders", "10.0.0.1:81", "--persistent")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "nothing was written" in refused.stderr
        assert "(code 31017)" in refused.stderr
        home.start()
        until(lambda: not rollbook(other, "instances", "orders")[1]["stale_since_ms"], 30, "the list is fresh again")
        write(other, 81, "b")
        assert listed(other) == {80: "a", 81: "b"}
