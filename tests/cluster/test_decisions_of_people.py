"""What people decide, at real nodes: in force at every node, there after all were killed, and not inherited by whoever
comes to the same address.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rollbook import NamingClient, Refused
from rollbook.checkers import CheckerSettings
from rollbook.errors import Code
from rollbook.model import Instance
from tests.support.real_cluster import RealCluster, RealNode, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

UNPROBED = {"DEFAULT": CheckerSettings("none")}


def client_of(node: RealNode) -> NamingClient:
    return NamingClient(node.client_address, client_id=f"ann@{node.client_address}", timeout=5.0)


def shown(node: RealNode) -> dict[int, tuple[bool, float]]:
    """By port: whether it is enabled, and its weight."""
    with NamingClient(node.client_address, timeout=5.0) as client:
        found = client.get_all_instances("orders", subscribe=False)
        everything: list[Instance] = [*found, *found.disabled]
    return {instance.port: (instance.enabled, instance.weight) for instance in everything}


def until_shown(node: RealNode, wanted: dict[int, tuple[bool, float]]) -> None:
    until(lambda: shown(node) == wanted, 10, f"{node.client_address} shows {wanted}")


def test_decisions_hold_at_every_node_and_outlive_them_all_but_not_the_instance(tmp_path: Path) -> None:
    wanted = {80: (False, 1.0), 81: (True, 0.5)}
    with RealCluster(tmp_path, 3) as cluster:
        first, second, third = cluster
        with client_of(first) as client:
            client.admin.put_namespace("prod", "production", mode="create")
            client.admin.put_service("orders", protection_threshold=0.5, checkers=UNPROBED, mode="create")
            for port in (80, 81):
                client.register_instance("orders", "10.0.0.1", port, ephemeral=False)
        until_shown(second, {80: (True, 1.0), 81: (True, 1.0)})
        with client_of(second) as client:
            client.admin.set_intent("orders", "10.0.0.1", 80, enabled=False)
            client.admin.set_intent("orders", "10.0.0.1", 81, weight=0.5)
        for node in cluster:
            until_shown(node, wanted)
        for node in cluster:
            node.kill()
        for node in cluster:
            node.start()
        cluster.until_ready()
        until_shown(third, wanted)
        with client_of(third) as client:
            kept = client.admin.get_service("orders")
            assert (kept.settings.protection_threshold, kept.settings.checkers) == (0.5, UNPROBED)
            assert [intent.key.port for intent in kept.intents] == [80, 81]
            assert kept.author != kept.intents[0].author
            assert [namespace.id for namespace in client.admin.list_namespaces()] == ["prod", "public"]
            with pytest.raises(Refused) as raised:
                client.admin.delete_service("orders")
            assert raised.value.code == Code.SERVICE_IN_USE
            client.deregister_instance("orders", "10.0.0.1", 80, ephemeral=False)
            client.register_instance("orders", "10.0.0.1", 80, ephemeral=False)
            client.admin.clear_intent("orders", "10.0.0.1", 81)
        for node in cluster:
            until_shown(node, {80: (True, 1.0), 81: (True, 1.0)})
