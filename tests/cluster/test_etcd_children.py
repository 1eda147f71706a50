"""etcd beside three real nodes: what was acknowledged outlives any one machine, all of them, and a lost directory."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollbook import NamingClient
from rollbook.errors import RollbookError
from runtime.local_durable import Durable
from runtime.members_file import PEER_PORT_OFFSET
from runtime.processes import is_running, send_signal
from tests.cluster.test_local_cluster import Operator, free_run_of_base_ports
from tests.cluster.test_persistent_nodes import typed
from tests.support.etcd_installed import NEEDS_ETCD
from tests.support.real_cluster import RealCluster, RealNode, until

SERVICE = "kept"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(180),
    NEEDS_ETCD,
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with RealCluster(tmp_path, 3, engine="etcd") as running:
        until(lambda: all(len(node.etcd_members()) == 1 for node in running), 20, "an etcd runs beside each node")
        yield running


def write(node: RealNode, port: int) -> None:
    """Returns once it is on disk; until then a store that elects, or has yet to start, may refuse."""
    refusals: list[RollbookError] = []

    def done() -> bool:
        with NamingClient(servers=[node.client_address], timeout=3.0) as client:
            try:
                client.register_instance(SERVICE, "10.0.0.1", port, ephemeral=False)
            except RollbookError as error:
                refusals.append(error)
                return False
        return True

    until(done, 30, f"{node.client_address} takes a persistent instance")
    assert all(refusal.retryable for refusal in refusals), refusals


def listed(node: RealNode) -> list[int]:
    with NamingClient(servers=[node.client_address], timeout=1.0) as client:
        try:
            return sorted(instance.port for instance in client.get_all_instances(SERVICE, subscribe=False))
        except RollbookError:
            return []  # the caller polls until its deadline


def until_all_list(nodes: list[RealNode], ports: list[int]) -> None:
    until(lambda: all(listed(node) == ports for node in nodes), 30, f"every node lists {ports}")


def until_said(node: RealNode, *words: str) -> None:
    """By ``rollbook nodes``, of the durable data."""

    def is_said() -> bool:
        text = typed(node, "nodes").stdout
        return all(word in text for word in words)

    until(is_said, 20, f"rollbook nodes says {words}")


def test_writes_go_on_without_one_whole_node_and_it_comes_back_with_all_of_them(cluster: RealCluster) -> None:
    first, second, third = cluster.nodes
    write(first, 1)
    first.kill()
    write(second, 2)
    write(third, 3)
    first.start()
    until_all_list(cluster.nodes, [1, 2, 3])


def test_everything_is_there_after_everything_was_killed(cluster: RealCluster) -> None:
    for port, node in enumerate(cluster.nodes, 1):
        write(node, port)
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.start()
    until_all_list(cluster.nodes, [1, 2, 3])
    write(cluster.nodes[2], 4)
    until_all_list(cluster.nodes, [1, 2, 3, 4])


def test_a_member_that_lost_its_directory_joins_again_and_votes(cluster: RealCluster) -> None:
    first, second, third = cluster.nodes
    write(first, 1)
    until_said(first, "in etcd of 3 members", "it bears the loss of 1 more")
    second.kill()
    until_said(first, "it bears the loss of no more", f"{second.base_port + PEER_PORT_OFFSET} does not answer")
    shutil.rmtree(second.folder / "data" / "etcd")
    second.start()
    until(lambda: "has caught up and votes" in second.log.read_text(), 30, "it has a vote again")
    until_said(first, "in etcd of 3 members", "it bears the loss of 1 more")
    third.kill()  # now the one that was empty is needed for each majority
    write(first, 2)
    until_all_list([first, second], [1, 2])


def test_a_member_that_lost_its_directory_waits_for_a_majority_that_remembers(cluster: RealCluster) -> None:
    first, second, third = cluster.nodes
    write(first, 1)
    for node in cluster.nodes:
        node.kill()
    shutil.rmtree(second.folder / "data" / "etcd")
    second.start()
    until(lambda: "that it never had" in second.log.read_text(), 20, "it asks the others")
    third.start()
    until(lambda: "joins once a majority of the others answers" in second.log.read_text(), 20, "it says what it needs")
    assert second.etcd_members() == []
    first.start()
    until_all_list(cluster.nodes, [1])
    until(lambda: "has caught up and votes" in second.log.read_text(), 30, "it has a vote again")


def test_a_member_that_dies_is_started_again_and_one_that_outlived_its_node_is_taken_over(cluster: RealCluster) -> None:
    node = cluster.nodes[0]
    (member,) = node.etcd_members()
    send_signal(member, signal.SIGKILL)
    until(lambda: node.etcd_members() not in ([], [member]), 10, "another one runs")
    assert "the etcd member ended; starting it again in" in node.log.read_text()

    (member,) = node.etcd_members()
    pid = node.pid
    os.kill(node.supervisor_pid, signal.SIGKILL)
    node.wait(5)
    until(lambda: not Path(f"/proc/{pid}").exists(), 10, "the node noticed")
    node.start()
    until(lambda: "still ran and is taken over" in node.log.read_text(), 10, "it is taken over")
    assert node.etcd_members() == [member]
    until(node.is_ready, 20, "the node is ready")
    assert node.terminate() == 0
    assert not is_running(member)


def test_without_etcd_on_the_path_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with RealCluster(tmp_path, 3, ready=False, engine="etcd") as nowhere:
        assert [node.wait(10) for node in nowhere] == [2, 2, 2]
        (line,) = nowhere.nodes[0].log.read_text().splitlines()
        assert "apt install etcd-server" in line


def test_one_command_starts_three_nodes_with_etcd_and_one_stops_it_all(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "var", free_run_of_base_ports(3), "auto")
    try:
        started = operator.cluster("start", "3")
        assert started.code == 0, started.err
        assert Durable.CHILDREN.sentence in started.out
        with NamingClient(servers=operator.servers.split(","), timeout=10.0) as client:
            client.register_instance(SERVICE, "10.0.0.1", 1, ephemeral=False)
        assert "durable data: in etcd" in operator.rollbook("nodes").out
        running = operator.processes()
        assert len(running) == 9
        assert operator.cluster("stop").code == 0
        assert not any(is_running(mark) for mark in running)
        fewer = operator.cluster("start", "2")
        assert (fewer.code, "durable data lies in etcd beside 3 nodes" in fewer.err) == (2, True)
        assert operator.cluster("start", "3").code == 0
        with NamingClient(servers=operator.servers.split(","), timeout=10.0) as client:
            assert [instance.port for instance in client.get_all_instances(SERVICE)] == [1]
    finally:
        operator.cluster("stop")
    assert operator.processes() == []
