"""Real nodes that run short of descriptors, a disk, a steady clock, or the patience of those who do not read.

Whoever was there before is served all the time, newcomers are served or told in words why not, the node's process
neither dies nor spins nor grows without end, and when the fault ends all is as before. Figures: benchmarks/overload.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.processes import cpu_seconds, line_of, module, report_of, resident_mib
from rollbook import NamingClient
from rollbook.errors import Code
from tests.chaos.clock_shim import ClockShim
from tests.support.crowds import DeafCrowd, flood
from tests.support.real_cluster import RealCluster, RealNode, pause_s, until
from tests.support.watching import PushWatcher, Watcher, watch_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SERVICE = "held"
SESSIONS = 100
CROWD = {"silent": 1_500, "greeting": 500, "handshake-dribbled": 500, "shaken": 1_000, "frame-dribbled": 500}
BASE_MIB = 100  # of a node without a crowd
CONNECTION_KIB_MAX = 40  # of its memory, each
BUSY_MAX = 0.6  # of a core, on average: who spins takes one
CALL_S = 10.0  # generous: other work may load the machine

LIMITED = (
    sys.executable,
    "-c",
    "import os, resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (256, 256)); os.execv(sys.argv[1], sys.argv[1:])",
)


class Busyness:
    """The share of a core that a process has used since this was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu_s = cpu_seconds(pid)
        self._since_s = time.monotonic()

    def share(self) -> float:
        return (cpu_seconds(self._pid) - self._cpu_s) / (time.monotonic() - self._since_s)


def register_once(node: RealNode, port: int) -> None:
    """A new client, as anybody might come."""
    with NamingClient(servers=[node.client_address], timeout=CALL_S) as client:
        client.register_instance("fresh", "10.9.9.9", port)


def work_for(client: NamingClient, seconds: float) -> None:
    """Changes one after the other; each must be answered."""
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        client.register_instance("worked", "10.8.0.1", 1_000 + number % 2)
        pause_s(0.02)


def open_files(node: RealNode) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def counters_of(node: RealNode) -> dict[str, int]:
    status = node.status()
    return status.counters if status is not None else {}


def test_a_crowd_that_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, 2)
    for one in cluster:
        one.launch_with("env", "ROLLBOOK_IO_FIRST_MESSAGE_MS_MAX=2000")
    with cluster, module("holder", SERVICE, str(SESSIONS), cluster.addresses[0]) as holder:
        node, _ = cluster.nodes
        assert line_of(holder) == "ready"
        pid, files = node.pid, open_files(node)
        watcher = watch_complete(cluster.nodes, SERVICE, SESSIONS)
        with (
            NamingClient(servers=[node.client_address], timeout=CALL_S) as early,
            flood(node.base_port + 2, CROWD),
        ):
            busyness = Busyness(pid)
            work_for(early, 4.0)
            early.register_instance("worked", "10.8.0.1", 80, wait="cluster")
            assert busyness.share() < BUSY_MAX
            register_once(node, 1)
            assert counters_of(node)["client_connections_cut_silent"] > 0
            assert resident_mib(pid) < BASE_MIB + sum(CROWD.values()) * CONNECTION_KIB_MAX / 1_024
        until(lambda: open_files(node) <= files + 5, 20, "the crowd's descriptors are free again")
        seen = watcher.stop()
        assert (seen.gaps, seen.answers > 0, node.pid) == ((), True, pid)
        assert not any("peer_connections_cut_silent" in counters_of(one) for one in cluster), "peers speak at once"


def test_without_free_descriptors_nothing_spins_and_the_sessions_stay(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    node.launch_with(*LIMITED)
    with cluster, NamingClient(servers=[node.client_address], timeout=CALL_S) as early:
        early.register_instance(SERVICE, "10.0.0.1", 80)
        pid = node.pid
        with flood(node.base_port + 2, {"silent": 400, "shaken": 400, "frame-dribbled": 200}):
            busyness = Busyness(pid)
            work_for(early, 3.0)
            register_once(node, 1)
            assert busyness.share() < BUSY_MAX
        register_once(node, 2)
        assert [instance.port for instance in early.get_all_instances(SERVICE, subscribe=False)] == [80]
        assert node.pid == pid
        assert counters_of(node)["sessions_lost"] == 0
    words = node.log.read_text()
    assert "allows this process 256 open files" in words
    assert "connections were cut" in words


def test_sessions_that_no_descriptors_are_left_for_are_refused_in_words(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    node.launch_with(*LIMITED)
    with cluster, module("crowd", node.client_address, "120", "1", "1") as crowd:
        report = report_of(crowd)
    assert report["admitted"] > 100
    assert report["sessions_refused"] == {str(int(Code.OVER_LIMIT)): 120 - report["admitted"]}
    assert (report["unanswered"], report["requests_refused"]) == (0, {})


def test_a_node_with_three_times_the_work_it_can_do_loses_nobody(tmp_path: Path) -> None:
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    node.launch_with("env", "ROLLBOOK_CONNECTIONS_SESSIONS_MAX=60")
    with cluster, module("holder", SERVICE, "10", node.client_address) as holder:
        assert line_of(holder) == "ready"
        watcher = Watcher([node], SERVICE, 10)
        with module("crowd", node.client_address, "60", "250", "5") as crowd:
            report = report_of(crowd)
        seen = watcher.stop()
        assert (seen.gaps, seen.answers > 0) == ((), True)
        assert counters_of(node)["sessions_lost"] == counters_of(node)["sessions_discarded"] == 0
    assert 0 < sum(report["sessions_refused"].values()) < 60
    assert set(report["sessions_refused"]) == {str(int(Code.OVER_LIMIT))}
    assert (report["unanswered"], report["requests_refused"]) == (0, {})
    assert report["answered"] > 60 * 250


def test_a_thousand_subscribers_that_stop_reading_cost_little_and_nobody_else(tmp_path: Path) -> None:
    deaf_subscribers, rounds = 1_000, 150
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    node.launch_with("env", "ROLLBOOK_PUSH_SLOW_CONSUMER_MS=3000", "ROLLBOOK_PUSH_ACK_TIMEOUT_MS=500")
    with (
        cluster,
        NamingClient(servers=[node.client_address], timeout=CALL_S) as changing,
        closing(DeafCrowd(node.client_address, "busy", deaf_subscribers)) as crowd,
        closing(PushWatcher([node.client_address], "busy", 1)) as reader,
    ):
        changing.register_instance("busy", "10.0.0.1", 1)
        before_mib = resident_mib(node.pid)
        for number in range(rounds):
            pushes = reader.pushes
            changing.register_instance("busy", "10.0.0.1", 1, metadata={"round": str(number)})
            until(lambda seen=pushes: reader.pushes > seen, CALL_S, "who reads is told of each change")  # type: ignore[misc]
        until(lambda: counters_of(node)["push_subscribers_cut"] == deaf_subscribers, 30, "the deaf are given up")
        counters = counters_of(node)
        assert counters["push_sent"] < 5 * deaf_subscribers + 2 * rounds, "nothing follows what is not acknowledged"
        assert resident_mib(node.pid) - before_mib < 40
        changing.register_instance("busy", "10.0.0.2", 2)
        changing.deregister_instance("busy", "10.0.0.1", 1)
        crowd.read_until(port=2)
        assert counters_of(node)["sessions_lost"] == 0


@pytest.fixture
def own_mounts() -> None:
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounts of its own need root and unshare")


def ended_with_one_line(tmp_path: Path, mounts: str) -> str:
    """Start a node on a disk that was mounted so; what it said at its end."""
    (node,) = RealCluster(tmp_path, 1).nodes
    disk = node.folder / "data"
    disk.mkdir(parents=True)
    node.launch_with("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', str(disk))
    node.start()
    try:
        assert node.wait(20.0) == 2
    finally:
        node.close()
    (words,) = node.log.read_text().splitlines()
    return words


def test_a_node_whose_disk_is_full_says_so_and_ends(tmp_path: Path, own_mounts: None) -> None:
    fill = 'mount -t tmpfs -o size=64k none "$0" && { head -c 100000 /dev/zero > "$0/ballast" || true; } 2>/dev/null'
    words = ended_with_one_line(tmp_path, fill)
    assert words.endswith("cannot be used: No space left on device")


def test_a_node_whose_disk_is_read_only_says_so_and_ends(tmp_path: Path, own_mounts: None) -> None:
    words = ended_with_one_line(tmp_path, 'mount -t tmpfs -o ro none "$0"')
    assert words.endswith("cannot be used: Read-only file system")


def test_a_disk_that_fails_while_the_node_runs_is_not_missed(tmp_path: Path, own_mounts: None) -> None:
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    disk = node.folder / "data"
    disk.mkdir(parents=True)
    node.launch_with("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(disk))
    with cluster:
        cover = f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk}"
        inside = ["nsenter", "--mount", "--target", str(node.pid), "sh", "-c", cover]
        subprocess.run(inside, check=True, capture_output=True)
        register_once(node, 1)
        assert node.terminate() == 0
    words = node.log.read_text()
    assert "cannot be used: Read-only file system" in words
    assert "Traceback" not in words


@pytest.mark.skipif(not ClockShim.is_possible(), reason="no C compiler (cc) to build the clock shim with")
def test_steps_of_the_wall_clock_remove_nobody_and_stop_nothing(tmp_path: Path) -> None:
    hour_ms = 3_600_000
    shim = ClockShim(tmp_path)
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    node.launch_with(*shim.prefix("clock"))
    with (
        cluster,
        NamingClient(servers=[node.client_address], timeout=CALL_S) as client,
        closing(PushWatcher([node.client_address], "stepped", 1)) as reader,
    ):
        client.register_instance(SERVICE, "10.0.0.1", 80)
        watcher = Watcher([node], SERVICE, 1)
        pid, epoch = node.pid, epoch_of(node)
        for port, offset_ms in enumerate((hour_ms, -hour_ms, 0), 1):
            shim.shift("clock", offset_ms)
            pushes = reader.pushes
            client.register_instance("stepped", "10.0.0.1", 80, metadata={"at": str(port)})
            until(lambda seen=pushes: reader.pushes > seen, CALL_S, "changes reach subscribers")  # type: ignore[misc]
            register_once(node, port)
            pause_s(0.5)
        assert (watcher.stop().gaps, node.pid, counters_of(node)["sessions_lost"]) == ((), pid, 0)
        shim.shift("clock", -hour_ms)
        node.kill()
        node.start()
        cluster.until_ready()
        assert epoch_of(node) > epoch, "a life that begins before an earlier one is still the later one"


def epoch_of(node: RealNode) -> int:
    status = node.status()
    assert status is not None
    return status.epoch
