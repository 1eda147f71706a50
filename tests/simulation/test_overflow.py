"""More work than a node takes at a time: it is refused with a reason, or waits; it is never lost or reordered."""

from __future__ import annotations

import random

from rollbook.wire import Done, Failed
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster
from tests.support.failure_scripts import agreed
from tests.support.sim_cluster import Overrides, instance, sim_cluster

MAILBOX_MAX = 16
LIMITS: Overrides = {
    "io": {"requests_in_flight_max": MAILBOX_MAX, "requests_in_flight_per_session_max": 6, "drain_frames_max": 4}
}


class Changeable:
    """A client that registers and deregisters one address again and again, faster than its node can follow."""

    def __init__(self, cluster: SimCluster, number: int, chance: random.Random) -> None:
        self.number = number
        self.client = cluster.client(at=0)
        self.wishes: dict[int, bool] = {}  # by order, in order: whether the address is listed after it
        self._chance = chance

    def change_its_mind(self) -> None:
        for _ in range(self._chance.randrange(1, 9)):
            if self._chance.random() < 0.5:
                order = self.client.publish("orders", instance(self.number), replace=True)
                self.wishes[order] = True
            else:
                order = self.client.withdraw("orders")
                self.wishes[order] = False

    @property
    def is_answered(self) -> bool:
        return all(self.client.answer(order) is not None for order in self.wishes)

    @property
    def refused(self) -> list[Failed]:
        answers = [self.client.answer(order) for order in self.wishes]
        return [answer for answer in answers if isinstance(answer, Failed)]

    @property
    def is_listed(self) -> bool:
        """By what was done last; what was refused was not done."""
        done = [wish for order, wish in self.wishes.items() if isinstance(self.client.answer(order), Done)]
        return bool(done) and done[-1]


def test_d25_what_overflows_is_refused_and_may_be_tried_again_and_what_is_taken_stays_in_order(seed: int) -> None:
    cluster = sim_cluster(seed=seed, settings=LIMITS)
    chance = random.Random(seed)
    publishers = [Changeable(cluster, number, chance) for number in range(8)]
    cluster.until(lambda: all(each.client.is_open for each in publishers), 500, "all open")
    cluster.slow(0, 3_000)
    longest = 0
    for _ in range(60):
        chance.choice(publishers).change_its_mind()
        cluster.run_ms(chance.choice([1, 2, 10]))
        longest = max(longest, cluster.node(0).backlog)
    cluster.slow(0, 0)
    cluster.until(lambda: all(each.is_answered for each in publishers), 5_000, "every order is answered")
    listed = [each.number for each in publishers if each.is_listed]
    cluster.until(lambda: agreed(cluster, *listed), 3_000, "everywhere the last order that was done counts")
    refused = [failed for each in publishers for failed in each.refused]
    assert refused, "it did overflow"
    assert all(failed.retryable for failed in refused), refused
    assert longest <= MAILBOX_MAX, f"{longest} messages waited for one actor"


def test_d25_a_node_that_is_full_serves_its_peers_all_the_same(seed: int) -> None:
    cluster = sim_cluster(seed=seed, settings=LIMITS, warm=True)
    crowd = [Changeable(cluster, number, random.Random(f"{seed} {number}")) for number in range(8)]
    elsewhere = cluster.client(at=1)
    cluster.until(lambda: all(each.client.is_open for each in crowd) and elsewhere.is_open, 500, "all open")
    cluster.slow(0, 2_000)
    for turn in range(40):
        for each in crowd:
            each.change_its_mind()
        elsewhere.publish("stock", instance(100 + turn))
        cluster.run_ms(100)
    late = 100 + len(cluster.node(0).view(service_of("stock")))
    assert late >= 138, f"the changes of a peer wait behind those of clients: {late - 100} of 40 are here"
    hidden = [node.name for node in cluster.nodes if node.standing.preserved or node.standing.isolated]
    assert not hidden, "nobody takes a busy node for a dead one"
