"""A node goes and comes back at the same address, while its applications take their time or are hard to reach: whoever
lives is listed all the while.

A node that leaves in good order has seconds. Who has not moved by then still has a session there, and finds the
connection closed; so does everybody if the node is killed.
"""

from __future__ import annotations

import pytest

from actors.base import Role
from runtime.simulation.cluster import SimCluster
from runtime.simulation.paths import PathFault
from runtime.simulation.sdk_client import SdkClient
from tests.support.sim_cluster import instance, shown, sim_cluster

APPLICATIONS = 6
LEAVING_MS = 5_000  # SIGTERM ends within it
BACK_MS = 20_000  # beyond the grace of what the earlier life left behind


def served(seed: int) -> tuple[SimCluster, list[SdkClient]]:
    """A cluster whose nodes all list all applications, and those among them that are at node 0."""
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=7)
    clients = [cluster.sdk_client() for _ in range(APPLICATIONS)]
    for number, client in enumerate(clients):
        client.publish("orders", instance(number))
    cluster.until(lambda: listed(cluster), 2_000, "listed")
    sessions = cluster.node(0).behaviour(Role.CLIENTS).sessions
    chosen = [client for client in clients if sessions.has(client.client_id)]
    assert chosen, "a seed that tries nothing"
    return cluster, chosen


def listed(cluster: SimCluster) -> bool:
    """By every node that answers."""
    everything = set(shown(*range(APPLICATIONS)))
    return all(everything <= set(cluster.view(node, "orders")) for node in cluster.nodes if node.is_ready)


def expect_nobody_missed_while_it_goes(cluster: SimCluster, how: str) -> None:
    if how == "SIGTERM":
        cluster.leave(0)
        cluster.always(lambda: listed(cluster), LEAVING_MS, "listed while it leaves")
    else:
        cluster.crash(0)
    assert cluster.node(0) not in cluster.running
    cluster.restart(0)
    cluster.always(lambda: listed(cluster), BACK_MS, "listed after it is back")
    assert cluster.digests_agree()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("blocked_ms", [400, 4_000, 9_000])
def test_applications_that_stand_still_meanwhile_stay_listed(seed: int, blocked_ms: int, how: str) -> None:
    cluster, clients = served(seed)
    for client in clients:
        client.block(blocked_ms)
    expect_nobody_missed_while_it_goes(cluster, how)


@pytest.mark.parametrize("delay_ms", [200, 700, 1_500])
def test_applications_whose_goodbyes_come_late_stay_listed(seed: int, delay_ms: int) -> None:
    """Or are not waited for: the node that leaves sees connections close."""
    cluster, clients = served(seed)
    for client in clients:
        cluster.degrade_client(client, 0, PathFault(delay_us=delay_ms * 1_000))
    expect_nobody_missed_while_it_goes(cluster, "SIGTERM")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("delay_ms", [50, 100])
def test_applications_that_are_far_from_every_node_stay_listed(seed: int, delay_ms: int, how: str) -> None:
    """As far as one can be that opens a connection in a second, which takes several times there and back."""
    cluster, clients = served(seed)
    for client in clients:
        for number in range(3):
            cluster.degrade_client(client, number, PathFault(delay_us=delay_ms * 1_000, jitter_us=delay_ms * 1_000))
    expect_nobody_missed_while_it_goes(cluster, how)
