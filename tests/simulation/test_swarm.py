"""Random faults under random work, by seed: safety after every turn, and in the end every node knows the truth."""

from __future__ import annotations

import random
from collections.abc import Callable

from rollbook.cache import Snapshot
from runtime.simulation.cluster import SimCluster
from runtime.simulation.sdk_client import SdkClient
from tests.support.sim_cluster import instance, shown, sim_cluster

NODES = 3
STEPS = 25
SETTLE_MS = 60_000  # the longest grace, a lease and some: whoever died in the last step is gone by then
SERVICES = ("orders", "stock")


class Swarm:
    """A cluster, its applications, and what they want: the truth."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"swarm {seed}")
        self.cluster: SimCluster = sim_cluster(NODES, seed)
        self.wanted: dict[SdkClient, set[tuple[str, int]]] = {}  # (service, instance) of each living application
        self.instances = 0
        self.paused: set[int] = set()

    def step(self) -> None:
        """One event, and a while."""
        deeds: list[Callable[[], None]] = [
            self.come,
            self.publish,
            self.publish,
            self.withdraw,
            self.die,
            self.crash_a_node,
            self.cut_a_pair,
            self.cut_one_way,
            self.reset_links,
            self.pause_a_node,
            self.heal,
            self.heal,
        ]
        self.chance.choice(deeds)()
        self.cluster.run_ms(self.chance.choice([5, 50, 700, 3_000, 9_000]))

    # -- work

    def come(self) -> None:
        client = self.cluster.sdk_client()
        self.wanted[client] = set()
        for service in SERVICES:
            client.subscribe(service)

    def publish(self) -> None:
        if self.wanted:
            client, service = self.chance.choice(list(self.wanted)), self.chance.choice(SERVICES)
            self.instances += 1
            client.publish(service, instance(self.instances))
            self.wanted[client].add((service, self.instances))

    def withdraw(self) -> None:
        published = [(client, each) for client, some in self.wanted.items() for each in sorted(some)]
        if published:
            client, (service, number) = self.chance.choice(published)
            client.withdraw(service, [instance(number).key])
            self.wanted[client].discard((service, number))

    def die(self) -> None:
        if len(self.wanted) > 2:
            client = self.chance.choice(list(self.wanted))
            client.crash()
            del self.wanted[client]

    # -- faults

    def crash_a_node(self) -> None:
        number = self.chance.randrange(NODES)
        self.paused.discard(number)
        self.cluster.restart(number)

    def cut_a_pair(self) -> None:
        one, two = self.chance.sample(range(NODES), 2)
        self.cluster.cut(one, two)

    def cut_one_way(self) -> None:
        one, two = self.chance.sample(range(NODES), 2)
        self.cluster.cut_one_way(one, two)

    def reset_links(self) -> None:
        one, two = self.chance.sample(range(NODES), 2)
        self.cluster.reset_links(one, two)

    def pause_a_node(self) -> None:
        number = self.chance.randrange(NODES)
        if self.cluster.node(number).is_running and number not in self.paused:
            self.paused.add(number)
            self.cluster.pause(number)

    def heal(self) -> None:
        self.cluster.heal()
        for number in sorted(self.paused):
            self.cluster.resume(number)
        self.paused.clear()

    # -- the truth

    def truth(self, service: str) -> list[str]:
        return shown(*(number for some in self.wanted.values() for name, number in some if name == service))

    def agrees(self) -> bool:
        return self.cluster.digests_agree() and all(
            view == self.truth(service) for service in SERVICES for view in self.cluster.views(service)
        )

    def everyone_was_told(self) -> bool:
        return all(last_told(client, service) == self.truth(service) for client in self.wanted for service in SERVICES)


def last_told(client: SdkClient, service: str) -> list[str]:
    """What this application's cache holds of the service."""
    for _, snapshot in reversed(client.delivered):
        if isinstance(snapshot, Snapshot) and snapshot.service.name == service:
            return sorted(f"{each.ip}:{each.port}" for each in snapshot.instances)
    return []


def test_after_any_faults_every_node_and_every_watcher_knows_the_truth(seed: int) -> None:
    swarm = Swarm(seed)
    for _ in range(4):
        swarm.come()
    for _ in range(STEPS):
        swarm.step()
    swarm.heal()
    swarm.cluster.until(swarm.cluster.all_ready, 20_000, "all ready")
    swarm.cluster.until(swarm.agrees, SETTLE_MS, "agreed with the truth")
    swarm.cluster.until(swarm.everyone_was_told, 20_000, "every watcher told")
    assert not [exit_ for node in swarm.cluster.nodes for exit_ in node.exits], "no node ended by itself"


class SingleFaults:
    """Faults that come one after the other, each with its end, and applications that go on living."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"single {seed}")
        self.cluster = sim_cluster(NODES, seed, warm=True)
        self.excused: int | None = None  # a node that was alone: it may be behind until it agrees again
        self.applications = [self.cluster.sdk_client() for _ in range(6)]
        for number, application in enumerate(self.applications):
            application.publish("orders", instance(number))
        self.cluster.until(self.nobody_is_missing, 2_000, "registered")

    def nobody_is_missing(self) -> bool:
        """No node that is ready lacks an instance, nor lists another one."""
        wanted = shown(*range(len(self.applications)))
        nodes = enumerate(self.cluster.nodes)
        good = [node for number, node in nodes if node.is_ready and number != self.excused]
        return all(self.cluster.view(node, "orders") == wanted for node in good)

    def pass_by(self, duration_ms: int, what: str) -> None:
        self.cluster.always(self.nobody_is_missing, duration_ms, f"all listed: {what}")

    def crash(self) -> None:
        number = self.chance.randrange(NODES)
        self.cluster.crash(number)
        self.pass_by(self.chance.choice([0, 300, 2_000, 20_000, 60_000]), f"n{number} is dead")
        self.cluster.restart(number)
        self.pass_by(40_000, f"n{number} is back")

    def cut(self) -> None:
        one, two = self.chance.sample(range(NODES), 2)
        self.cluster.cut(one, two)
        self.pass_by(self.chance.choice([1_000, 5_000, 20_000, 60_000]), f"n{one} and n{two} are cut off")
        self.cluster.heal()
        self.pass_by(40_000, f"n{one} and n{two} are linked again")

    def cut_one_way(self) -> None:
        one, two = self.chance.sample(range(NODES), 2)
        self.cluster.cut_one_way(one, two)
        self.pass_by(self.chance.choice([1_000, 5_000, 20_000, 60_000]), f"n{two} does not hear n{one}")
        self.cluster.heal()
        self.pass_by(40_000, f"n{two} hears n{one} again")

    def reset(self) -> None:
        one, two = self.chance.sample(range(NODES), 2)
        self.cluster.reset_links(one, two)
        self.pass_by(20_000, f"links of n{one} and n{two} were reset")

    def pause(self) -> None:
        number = self.chance.randrange(NODES)
        self.cluster.pause(number)
        self.pass_by(self.chance.choice([500, 2_500, 4_500, 10_000, 40_000]), f"n{number} stands still")
        self.cluster.resume(number)
        self.pass_by(60_000, f"n{number} goes on")

    def isolate(self) -> None:
        number = self.chance.randrange(NODES)
        self.cluster.partition([number], [other for other in range(NODES) if other != number])
        self.excused = number
        self.pass_by(self.chance.choice([1_000, 5_000, 20_000, 60_000]), f"n{number} is isolated")
        self.cluster.heal()
        self.pass_by(3_000, f"n{number} was isolated")
        self.excused = None
        self.pass_by(40_000, f"n{number} is no longer isolated")


def test_one_fault_at_a_time_never_costs_a_live_instance(seed: int) -> None:
    faults = SingleFaults(seed)
    kinds = [faults.crash, faults.cut, faults.cut_one_way, faults.reset, faults.pause, faults.isolate]
    faults.chance.shuffle(kinds)
    for fault in kinds:
        fault()
    assert faults.cluster.digests_agree()
    assert faults.cluster.views("orders") == [shown(*range(6))] * NODES
