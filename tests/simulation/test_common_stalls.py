"""Nodes that stand still together, as on one machine that sleeps: there is nobody to take their clients meanwhile."""

from __future__ import annotations

import pytest

from tests.support.failure_scripts import everywhere, some_listed
from tests.support.sim_cluster import instance, shown, sim_cluster


@pytest.mark.parametrize("stall_ms", [2_500, 5_000, 15_000])
def test_nodes_that_stand_still_together_lose_no_live_instance(seed: int, stall_ms: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    numbers = range(6)
    for number in numbers:
        cluster.sdk_client().publish("orders", instance(number))
    cluster.until(lambda: everywhere(cluster, *numbers), 2_000, "listed")
    for number in range(3):
        cluster.pause(number)
    cluster.run_ms(stall_ms)
    for number in range(3):
        cluster.resume(number)
    cluster.always(lambda: some_listed(cluster, [*numbers], []), 20_000, "nobody is missed")


def test_the_last_node_that_runs_loses_no_live_instance_by_standing_still(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    numbers = range(6)
    for number in numbers:
        cluster.sdk_client().publish("orders", instance(number))
    cluster.until(lambda: everywhere(cluster, *numbers), 2_000, "listed")
    cluster.crash(1)
    cluster.crash(2)
    cluster.run_ms(20_000)
    cluster.pause(0)
    cluster.run_ms(3_000)
    cluster.resume(0)
    cluster.always(lambda: cluster.views("orders") == [shown(*numbers)], 20_000, "nobody is missed")
