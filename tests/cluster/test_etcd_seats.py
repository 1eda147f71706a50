"""A member of the etcd beside nodes is replaced: its disk was lost, or its seat goes to a node at another address."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.members_file import ETCD_PEER_PORT_OFFSET
from tests.cluster.test_etcd_children import until_all_list, write
from tests.support.etcd_beside import leader_of, members_of, until_members_hold_the_same
from tests.support.etcd_installed import NEEDS_ETCD
from tests.support.real_cluster import RealCluster, RealNode, free_base_ports, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120), NEEDS_ETCD]

BEFORE = list(range(1, 6))


def with_list(folder: Path, base_port: int, base_ports: list[int]) -> RealNode:
    return RealNode(folder, base_port, [f"127.0.0.1:{port}" for port in base_ports], (), "etcd")


def test_a_seat_goes_to_a_node_at_another_address_with_a_changed_list_and_a_rolling_restart(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 3, engine="etcd") as cluster:
        first, second, gone = cluster.nodes
        for port in BEFORE:
            write(second, port)
        gone.kill()  # its machine, for good
        base_ports = [first.base_port, second.base_port, *free_base_ports(1)]
        new = cluster.nodes[2] = with_list(tmp_path / "node-4", base_ports[2], base_ports)
        new.start()
        leader_of(cluster.nodes)  # the new member votes, though both others have the old list still
        for number, node in enumerate((first, second)):
            write(node, 11 + number)
            assert node.terminate() == 0
            changed = cluster.nodes[number] = with_list(node.folder, node.base_port, base_ports)
            changed.start()
            cluster.until_ready() if number else until(changed.is_ready, 30, "it is ready with the new list")
            leader_of(cluster.nodes)
        until_all_list(cluster.nodes, [*BEFORE, 11, 12])
        urls = {f"http://127.0.0.1:{port + ETCD_PEER_PORT_OFFSET}" for port in base_ports}
        assert {url for member in members_of(new) for url in member.peer_urls} == urls
        until_members_hold_the_same(cluster.nodes)
        cluster.nodes[0].kill()  # now the new one is needed for each majority
        write(cluster.nodes[1], 13)
        until_all_list(cluster.nodes[1:], [*BEFORE, 11, 12, 13])
