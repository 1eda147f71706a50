"""Health of persistent instances in a simulated cluster: found by one node, shown by all, whoever dies."""

from __future__ import annotations

from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Service
from rollbook.wire import Done
from runtime.simulation.cluster import SimCluster
from runtime.simulation.sim_prober import SimInstances
from tests.support.sim_cluster import instance, sim_cluster

ORDERS = Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, "orders")
COUNT = 12


def healths(cluster: SimCluster) -> list[list[bool]]:
    """Of each running node, in order of the instances."""
    return [[found.healthy for found in node.view(ORDERS)] for node in cluster.running]


def all_say(cluster: SimCluster, *healthy: bool) -> bool:
    return all(shown == list(healthy) * (COUNT // len(healthy)) for shown in healths(cluster))


class ServedWorld:
    """A cluster, and persistent instances on two machines, in turn."""

    def __init__(self, seed: int) -> None:
        self.cluster = sim_cluster(seed=seed, store="etcd", warm=True)
        self.machines = [SimInstances(self.cluster.network, f"machine-{number}") for number in range(2)]
        self.serve(0)
        self.serve(1)
        client = self.cluster.sdk_client("deployer")
        kept = [instance(number, ephemeral=False) for number in range(COUNT)]
        call = client.publish_persistent("orders", *kept)
        self.cluster.until(lambda: isinstance(client.results.get(call), Done), 2_000, "kept")
        self.cluster.until(lambda: all_say(self.cluster, True), 1_000, "all healthy")

    def serve(self, machine: int) -> None:
        for number in range(machine, COUNT, 2):
            self.machines[machine].serve(instance(number).ip, 80)


def test_an_instance_that_ends_is_unhealthy_on_every_node_and_healthy_again_when_it_is_back(seed: int) -> None:
    world = ServedWorld(seed)
    cluster = world.cluster
    cluster.always(lambda: all_say(cluster, True), 20_000, "who serves is healthy")
    world.machines[1].end_all()
    cluster.until(lambda: all_say(cluster, True, False), 8_000, "refused connections are noticed")
    world.serve(1)
    cluster.until(lambda: all_say(cluster, True), 25_000, "three good probes later")


def test_no_verdict_turns_because_a_node_dies_or_comes_back(seed: int) -> None:
    world = ServedWorld(seed)
    cluster = world.cluster
    world.machines[1].end_all()
    cluster.until(lambda: all_say(cluster, True, False), 8_000, "noticed")
    cluster.crash(2)
    cluster.always(lambda: all_say(cluster, True, False), 40_000, "the others go on from its last word")
    cluster.restart(2)
    cluster.always(
        lambda: all(
            [found.healthy for found in node.view(ORDERS)] == [True, False] * (COUNT // 2)
            for node in cluster.nodes
            if node.is_ready
        ),
        40_000,
        "and so it does itself",
    )
    assert cluster.all_ready()


def test_health_goes_on_without_the_store(seed: int) -> None:
    world = ServedWorld(seed)
    cluster = world.cluster
    assert cluster.store is not None
    cluster.store.is_available = False
    cluster.run_ms(5_000)
    world.machines[0].end_all()
    cluster.until(lambda: all_say(cluster, False, True), 8_000, "no verdict is ever stored")
