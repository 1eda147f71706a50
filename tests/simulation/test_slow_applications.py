"""Nodes that leave in good order, with applications that take their time or are hard to reach: nobody is missed.

A node that leaves has seconds. Who has not moved by then still has a session there, and finds its connection closed.
"""

from __future__ import annotations

import pytest

from actors.base import Role
from runtime.simulation.cluster import SimCluster
from runtime.simulation.paths import PathFault
from runtime.simulation.sdk_client import SdkClient
from tests.support.sim_cluster import instance, shown, sim_cluster

APPLICATIONS = 6


def served(seed: int) -> tuple[SimCluster, list[SdkClient]]:
    """A cluster, and the applications that are at node 0; there are others, and all nodes list all."""
    cluster = sim_cluster(seed=seed, warm=True)
    clients = [cluster.sdk_client() for _ in range(APPLICATIONS)]
    for number, client in enumerate(clients):
        client.publish("orders", instance(number))
    cluster.until(lambda: listed(cluster), 2_000, "listed")
    sessions = cluster.node(0).behaviour(Role.CLIENTS).sessions
    return cluster, [client for client in clients if sessions.has(client.client_id)]


def listed(cluster: SimCluster) -> bool:
    """Every node that answers lists all."""
    everything = set(shown(*range(APPLICATIONS)))
    return all(everything <= set(cluster.view(node, "orders")) for node in cluster.nodes if node.is_ready)


def leave_and_come_back(cluster: SimCluster) -> None:
    """Node 0, the same address, as a rolling restart does it; nobody is missed at any time."""
    cluster.leave(0)
    cluster.always(lambda: listed(cluster), 5_000, "listed while it leaves")
    assert cluster.node(0) not in cluster.running
    cluster.restart(0)
    cluster.always(lambda: listed(cluster), 40_000, "listed after it is back")
    assert cluster.digests_agree()


@pytest.mark.parametrize("blocked_ms", [400, 2_000, 4_000, 9_000])
def test_applications_that_stand_still_while_their_node_leaves_stay_listed(seed: int, blocked_ms: int) -> None:
    cluster, clients = served(seed)
    for client in clients:
        client.block(blocked_ms)
    leave_and_come_back(cluster)


@pytest.mark.parametrize("delay_ms", [200, 700, 1_500])
def test_applications_far_away_from_the_node_that_leaves_stay_listed(seed: int, delay_ms: int) -> None:
    """Their goodbyes come late or are not waited for: the node sees connections close."""
    cluster, clients = served(seed)
    for client in clients:
        cluster.degrade_client(client, 0, PathFault(delay_us=delay_ms * 1_000))
    leave_and_come_back(cluster)


@pytest.mark.parametrize("delay_ms", [200, 700])
def test_applications_for_which_every_node_is_slow_stay_listed_when_theirs_leaves(seed: int, delay_ms: int) -> None:
    cluster, clients = served(seed)
    for client in clients:
        for number in range(3):
            cluster.degrade_client(client, number, PathFault(delay_us=delay_ms * 500, jitter_us=delay_ms * 500))
    leave_and_come_back(cluster)
