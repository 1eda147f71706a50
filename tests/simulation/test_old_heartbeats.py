"""A heartbeat from before a pause that comes after it: it proves that its node lived then, not that it does now."""

from __future__ import annotations

from tests.support.failure_scripts import agreed, everywhere, registered
from tests.support.sim_cluster import shown, sim_cluster


def test_a_counter_that_was_raised_before_a_pause_and_told_after_it_shows_nobody_again(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    dead, living = registered(cluster, 0, 1), registered(cluster, 1, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 1_000, "listed")
    cluster.partition([0], [1, 2])
    cluster.run_ms(8_000)  # longer than links hold: its heart beats on, and nobody hears it
    cluster.pause(0)
    cluster.heal()
    dead.crash()
    others = cluster.nodes[1:]
    gone = [shown(2)] * 2
    cluster.until(lambda: [cluster.view(node, "orders") for node in others] == gone, 16_000, "hidden")
    cluster.run_ms(2_000)
    cluster.resume(0)
    cluster.always(lambda: [cluster.view(node, "orders") for node in others] == gone, 10_000, "it stays gone")
    assert agreed(cluster, 2)
    assert living.is_open
