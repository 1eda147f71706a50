"""Nodes that start in the midst of trouble, and have to judge owners that they have never met."""

from __future__ import annotations

from actors.base import Role
from tests.support.failure_scripts import everywhere, moved, native_of, registered
from tests.support.sim_cluster import shown, sim_cluster


def test_a_node_that_starts_after_an_owner_died_lets_go_of_it_15_s_after_its_death(seed: int) -> None:
    """Nobody can tell it the address of that owner any more; what it is not told it can conclude."""
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    dead = registered(cluster, 0, 2)
    cluster.until(lambda: everywhere(cluster, 2), 1_000, "replicated")
    cluster.crash(0)
    dead.crash()
    died_ms = cluster.now_ms
    cluster.run_ms(4_000)
    cluster.restart(1)
    assert not everywhere(cluster), "it is still shown: nobody has had the time to judge"
    cluster.until(lambda: everywhere(cluster), 15_000 - (cluster.now_ms - died_ms), "gone on both")
    cluster.always(lambda: everywhere(cluster), 30_000, "it stays gone")


def test_a_node_that_starts_in_a_minority_hides_nobody_on_the_other_side(seed: int) -> None:
    cluster = sim_cluster(nodes=5, seed=seed, warm=True, invariants_every=97)
    for number in range(5):
        registered(cluster, number, number)
    cluster.run_ms(2_000)
    cluster.partition([1, 4], [0, 2, 3])
    cluster.run_ms(37_000)  # longer than anybody is waited for, shorter than what is remembered
    cluster.restart(4)
    here = [cluster.node(1), cluster.node(4)]
    cluster.until(lambda: all(node.is_ready for node in here), 10_000, "ready on its side")
    cluster.always(
        lambda: [cluster.view(node, "orders") for node in here] == [shown(*range(5))] * 2, 40_000, "nobody is hidden"
    )
    assert all(node.standing.preserved for node in here), "and both say so"


def test_a_node_that_is_alone_keeps_what_a_restarted_node_has_left_for_its_clients_may_be_anywhere(seed: int) -> None:
    """It hears of the restart, and then nobody: where the client has gone it cannot know."""
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    client, gone = registered(cluster, 0, 2), native_of(cluster, 0)
    cluster.run_ms(1_000)
    cluster.cut(1, 2)
    moved(cluster, client, 1, 2)
    cluster.restart(0)
    alone = cluster.node(2)
    leases = alone.behaviour(Role.MEMBERS)._leases
    cluster.until(lambda: leases.is_orphan(gone), 3_000, "the restart is heard of")
    cluster.partition([0, 1], [2])
    cluster.always(lambda: cluster.view(alone, "orders") == shown(2), 40_000, "still listed")
