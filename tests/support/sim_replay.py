"""One eventful run of a simulated cluster, as a program: it prints the hash of its trace.

It is what tests/simulation/test_replay.py plays again.
"""

from __future__ import annotations

import sys

from tests.support.sim_cluster import instance, sim_cluster


def trace_of(seed: int) -> str:
    """Registrations, subscribers, a crash, a partition, a pause; the hash covers every message and frame of it."""
    cluster = sim_cluster(seed=seed)
    clients = [cluster.client(at=number % 3) for number in range(6)]
    for number, client in enumerate(clients):
        client.subscribe("orders")
        client.publish(f"service-{number % 2}", instance(number))
        client.publish("orders", instance(number))
    cluster.run_ms(1_500)
    clients[0].crash()
    cluster.partition([0], [1, 2])
    clients[1].withdraw("orders")
    cluster.run_ms(5_000)
    cluster.heal()
    cluster.crash(2)
    cluster.run_ms(2_000)
    cluster.restart(2)
    cluster.pause(1)
    cluster.run_ms(8_000)
    cluster.resume(1)
    clients[3].status()
    cluster.run_ms(5_000)
    return cluster.trace_hash


if __name__ == "__main__":
    print(trace_of(int(sys.argv[1])))
