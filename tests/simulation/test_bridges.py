"""One node alone reaches both sides: what can be judged by nobody's own links is judged all the same, and only then."""

from __future__ import annotations

from runtime.simulation.cluster import SimCluster
from tests.support.failure_scripts import everywhere, registered
from tests.support.sim_cluster import shown, sim_cluster

BRIDGE, HERE, THERE = 0, (1, 2), (3, 4)


def bridged(seed: int) -> SimCluster:
    """Five nodes, of which two know the other two only through the fifth."""
    cluster = sim_cluster(nodes=5, seed=seed, warm=True, invariants_every=97)
    for one in HERE:
        for two in THERE:
            cluster.cut(one, two)
    cluster.run_ms(6_000)
    return cluster


def test_a_node_with_a_minority_of_links_lets_go_of_a_dead_owner_like_those_with_a_majority(seed: int) -> None:
    cluster = bridged(seed)
    dead, _ = registered(cluster, THERE[0], 2), registered(cluster, HERE[0], 1)
    cluster.until(lambda: everywhere(cluster, 1, 2), 5_000, "listed on both sides")
    cluster.crash(THERE[0])
    dead.crash()
    cluster.until(lambda: everywhere(cluster, 1), 15_000, "gone on both sides")
    cluster.always(lambda: everywhere(cluster, 1), 40_000, "and only the dead one")


def test_an_owner_that_was_let_go_behind_a_bridge_and_is_heard_again_stays(seed: int) -> None:
    cluster = bridged(seed)
    owner, neighbour = THERE
    registered(cluster, owner, 2)
    cluster.until(lambda: everywhere(cluster, 2), 5_000, "listed on both sides")
    cluster.cut(BRIDGE, owner)
    cluster.cut(neighbour, owner)
    others = [node for number, node in enumerate(cluster.nodes) if number != owner]
    cluster.until(lambda: not any(cluster.view(node, "orders") for node in others), 15_000, "let go")
    for one, two in ((BRIDGE, owner), (owner, BRIDGE)):
        cluster.restore(one, two)
    cluster.until(lambda: everywhere(cluster, 2), 6_000, "heard again over the bridge")
    cluster.always(lambda: everywhere(cluster, 2), 40_000, "what was said before hides it no more")


def test_of_two_halves_neither_believes_itself_before_thirty_seconds(seed: int) -> None:
    cluster = sim_cluster(nodes=4, seed=seed, warm=True, invariants_every=97)
    for number in range(4):
        registered(cluster, number, number)
    cluster.run_ms(2_000)
    cluster.partition([0, 1], [2, 3])
    cluster.always(lambda: [*cluster.views("orders")] == [shown(*range(4))] * 4, 29_000, "nobody has a majority")
