"""What its client withdrew elsewhere while a node stood still, when nobody remembers the removal any more."""

from __future__ import annotations

import pytest

from tests.support.failure_scripts import everywhere, moved, registered
from tests.support.sim_cluster import instance, sim_cluster


@pytest.mark.parametrize("scale", [1, 5])
def test_what_was_withdrawn_while_its_node_stood_still_is_not_shown_again_when_the_removal_is_forgotten(
    seed: int, scale: int
) -> None:
    """The removal is purged with the owner that knew of it, within the grace of what the older session has left."""
    cluster = sim_cluster(nodes=5, seed=seed, scale=scale, warm=True, invariants_every=97)
    client = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 2_000, "listed")
    cluster.pause(0)
    cluster.run_ms(5_000 // scale)
    moved(cluster, client, 1, 1)
    client.withdraw("orders")
    cluster.run_ms(1_000)
    cluster.crash(1)
    cluster.move(client, 2)
    client.publish("payments", instance(1))
    cluster.run_ms(19_000 // scale)
    cluster.resume(0)
    others = [cluster.node(number) for number in (2, 3, 4)]
    nobody_lists = lambda: not any(cluster.view(node, "orders") for node in others)  # noqa: E731
    cluster.always(nobody_lists, 40_000 // scale, "nobody shows it again")
    assert everywhere(cluster)


def test_what_was_superseded_at_a_dead_node_is_not_shown_again_when_that_one_is_given_up(seed: int) -> None:
    """The client died with the node that it had moved to; the one it had left stands still and is back after that."""
    cluster = sim_cluster(nodes=5, seed=seed, warm=True, invariants_every=97)
    client = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 2_000, "listed")
    cluster.pause(0)
    cluster.run_ms(3_000)
    moved(cluster, client, 1, 1)
    cluster.run_ms(1_000)
    cluster.crash(1)
    client.crash()
    others = [cluster.node(number) for number in (2, 3, 4)]
    nobody_lists = lambda: not any(cluster.view(node, "orders") for node in others)  # noqa: E731
    cluster.until(nobody_lists, 15_000, "hidden with its owner")
    cluster.always(nobody_lists, 6_000, "hidden")
    cluster.resume(0)
    cluster.always(nobody_lists, 30_000, "nobody shows it again")
    cluster.until(lambda: everywhere(cluster), 15_000, "gone")


def test_what_was_withdrawn_elsewhere_is_not_listed_by_a_node_that_starts_when_tombstones_are_too_many(
    seed: int,
) -> None:
    """It pulls the older session's record, which its owner keeps for its grace, and has seen no removal."""
    few = {"clients": {"tombstones_max": 0, "collect_interval_ms": 500}}
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=97, settings=few)
    client = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 2_000, "listed")
    cluster.crash(2)
    moved(cluster, client, 1, 1)
    client.leave_old()
    client.withdraw("orders")
    cluster.run_ms(1_000)
    cluster.restart(2)
    nobody_lists = lambda: not any(cluster.view(node, "orders") for node in cluster.nodes if node.is_ready)  # noqa: E731
    cluster.always(nobody_lists, 20_000, "nobody lists it")
    assert cluster.all_ready()
