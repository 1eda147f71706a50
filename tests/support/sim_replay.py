"""One eventful run of a simulated cluster, as a program: it prints the hash of its trace.

It is what tests/simulation/test_replay.py plays again: every kind of fault there is happens in it once.
"""

from __future__ import annotations

import sys

from runtime.simulation.cluster import SimCluster
from runtime.simulation.paths import PathFault
from tests.support.sim_cluster import instance, sim_cluster


def trace_of(seed: int) -> str:
    """The hash covers every message and every frame of the run."""
    cluster = sim_cluster(seed=seed, scale=5)
    _work(cluster)
    _node_faults(cluster)
    _path_faults(cluster)
    _client_faults(cluster)
    _power_and_failpoints(cluster)
    cluster.start_all()
    cluster.heal()
    cluster.run_ms(3_000)
    return cluster.trace_hash


def _work(cluster: SimCluster) -> None:
    for number in range(6):
        client, application = cluster.client(at=number % 3), cluster.sdk_client()
        client.subscribe("orders")
        client.publish(f"service-{number % 2}", instance(number))
        client.publish("orders", instance(number))
        application.subscribe("orders")
        application.publish("orders", instance(10 + number), instance(20 + number))
    cluster.run_ms(700)


def _node_faults(cluster: SimCluster) -> None:
    cluster.clients[0].crash()
    cluster.partition([0], [1, 2])
    cluster.clients[1].withdraw("orders")
    cluster.run_ms(1_500)
    cluster.heal()
    cluster.crash(2)
    cluster.run_ms(500)
    cluster.restart(2, new_address=True)
    cluster.step_clock(2, -5_000)
    cluster.pause(1)
    cluster.run_ms(1_500)
    cluster.resume(1)
    cluster.clients[3].status()
    cluster.slow(0, 2_000)
    cluster.slow_processing(1, 100_000)
    cluster.leave(2)
    cluster.run_ms(1_000)
    cluster.restart(2)
    cluster.slow(0, 0)
    cluster.slow_processing(1, 0)


def _path_faults(cluster: SimCluster) -> None:
    cluster.degrade(0, 1, PathFault(delay_us=20_000, jitter_us=30_000, duplicate=0.5))
    cluster.degrade(1, 0, PathFault(loss=0.4))
    cluster.degrade(1, 2, PathFault(loss=0.2, bytes_per_ms=20))
    cluster.degrade_client(cluster.applications[0], 0, PathFault(loss=0.5))
    cluster.cut_client(cluster.applications[1], 1)
    cluster.refuse_dials(2, 0)
    cluster.reset_links(0, 2)
    cluster.run_ms(2_000)
    cluster.restore(1, 0)
    cluster.cut_one_way(2, 1)
    cluster.run_ms(1_000)
    cluster.heal()


def _client_faults(cluster: SimCluster) -> None:
    _, _, blocked, stopped, gone, closed = cluster.applications
    blocked.block(800)
    stopped.pause()
    gone.vanish()
    closed.close()
    cluster.clients[4].vanish()
    cluster.applications[0].update("orders", instance(10, metadata={"zone": "b"}))
    cluster.applications[1].unsubscribe("orders")
    cluster.run_ms(1_000)
    stopped.resume()
    cluster.list_members([0, 1])
    cluster.run_ms(500)
    cluster.list_members([0, 1, 2])


def _power_and_failpoints(cluster: SimCluster) -> None:
    cluster.power_off(0)
    cluster.failpoints.arm("n1", "distro.*", nth=20, action="pause")
    cluster.failpoints.arm("n2", None, nth=100)
    cluster.run_ms(1_000)
    cluster.failpoints.arm("n0", "disk.after_rename", action="power_off")
    cluster.restart(0)
    cluster.restart(0)
    for fired in cluster.failpoints.fired:
        if fired.action == "pause":
            cluster.resume(1)


if __name__ == "__main__":
    print(trace_of(int(sys.argv[1])))
