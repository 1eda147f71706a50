"""HTTP clients that come, beat and end at random while nodes crash, leave, stand still and are cut off, one at a time.

Every node that hears a majority lists whoever beats, as healthy, all the time; and when the
faults are over, whoever is silent is gone in its time, and each of the others is kept by one node.
"""

from __future__ import annotations

import random

from actors.base import Role
from rollbook.wire import Done
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.paths import PathFault
from runtime.simulation.scheduler import Turn
from tests.support.beating import BeatingInstance, SimGateways
from tests.support.sim_cluster import instance, sim_cluster
from tests.swarm.turn_checks import TurnChecks

ORDERS = service_of("orders")
SCALE = 5
COUNT = 12
FAULTS = 8
INTERVAL_MS = 5_000 // SCALE
SETTLED_MS = 15_000 // SCALE  # a lease: who was away has heard everything by then
# Its time with a node that has doubted itself for a lease, or the grace of what a dead one has left, and a lease.
GONE_MS = (15_000 + max(30_000, 45_000) + 15_000) // SCALE


class FaultyWorld:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cluster = sim_cluster(3 + 2 * (seed % 2), seed=seed, warm=True, scale=SCALE, invariants_every=20)
        self.cluster.checkers.append(TurnChecks())
        self.gateways = SimGateways(self.cluster)
        self.cluster.run_ms(500)
        self.instances = [
            BeatingInstance(self.gateways, instance(number), "orders", INTERVAL_MS) for number in range(COUNT)
        ]
        self.since_ms: dict[str, int] = {}  # who beats, by ip: since when it is known everywhere
        self.excused_until_ms = dict.fromkeys((node.name for node in self.cluster.nodes), 0)
        self.looked_at = 0
        self.cluster.checkers.append(self._check)

    def come(self, number: int) -> None:
        each = self.instances[number]
        at = self.chance.choice([n for n, session in enumerate(self.gateways.sessions) if session.is_open])
        if isinstance(each.register(at), Done):
            each.begin()
            self.since_ms[each.instance.ip] = self.cluster.now_ms + 500

    def end(self, number: int) -> None:
        each = self.instances[number]
        if each.is_beating:
            each.end()
            del self.since_ms[each.instance.ip]

    def befall(self) -> None:
        """One fault, and what comes after it."""
        number = self.chance.randrange(len(self.cluster.nodes))
        kinds = (self._crash, self._leave, self._pause, self._cut_off, self._cut_link, self._lose, self._slow)
        self.chance.choice(kinds)(number, self.chance.choice((300, 1_500, 4_000, 9_000)))

    def pass_time(self, duration_ms: int) -> None:
        """Clients come and go meanwhile."""
        end_ms = self.cluster.now_ms + duration_ms
        while self.cluster.now_ms < end_ms:
            self.cluster.run_ms(min(700, end_ms - self.cluster.now_ms))
            number = self.chance.randrange(COUNT)
            if self.chance.random() < 0.3:
                (self.end if self.instances[number].is_beating else self.come)(number)

    # -- faults

    def _crash(self, number: int, lasts_ms: int) -> None:
        self.chance.choice((self.cluster.crash, self.cluster.power_off))(number)
        self.pass_time(lasts_ms)
        self.cluster.restart(number)

    def _leave(self, number: int, lasts_ms: int) -> None:
        self.cluster.leave(number)
        self.pass_time(lasts_ms)
        self.cluster.restart(number)

    def _pause(self, number: int, lasts_ms: int) -> None:
        self.cluster.pause(number)
        self._excuse(number, lasts_ms)
        self.pass_time(lasts_ms)
        self.cluster.resume(number)

    def _cut_off(self, number: int, lasts_ms: int) -> None:
        for other in range(len(self.cluster.nodes)):
            if other != number:
                self.cluster.cut(number, other)
        self._excuse(number, lasts_ms)
        self.pass_time(lasts_ms)
        self.cluster.heal()

    def _cut_link(self, number: int, lasts_ms: int) -> None:
        self.cluster.cut(number, (number + 1) % len(self.cluster.nodes))
        self.pass_time(lasts_ms)
        self.cluster.heal()

    def _lose(self, number: int, lasts_ms: int) -> None:
        for other in range(len(self.cluster.nodes)):
            if other != number:
                self.cluster.degrade(number, other, PathFault(loss=0.1, duplicate=0.2))
        self.pass_time(lasts_ms)
        self.cluster.heal()

    def _slow(self, number: int, lasts_ms: int) -> None:
        self.cluster.slow_processing(number, 250_000)
        self._excuse(number, lasts_ms)
        self.pass_time(lasts_ms)
        self.cluster.slow_processing(number, 0)

    def _excuse(self, number: int, lasts_ms: int) -> None:
        name = self.cluster.nodes[number].name
        self.excused_until_ms[name] = self.cluster.now_ms + lasts_ms + 1_000 + SETTLED_MS

    # -- what must hold

    def _check(self, cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        now_ms = cluster.now_ms
        if turn.role is not Role.INDEX or not node.is_ready or now_ms < self.excused_until_ms[node.name]:
            return
        shown = {found.ip: found.healthy for found in node.view(ORDERS)}
        for ip, since_ms in self.since_ms.items():
            if now_ms >= since_ms:
                self.looked_at += 1
                assert shown.get(ip), f"{node.name} lists {ip} as {shown.get(ip)}, and it beats"


def settled(world: FaultyWorld) -> bool:
    wanted = [(ip, True) for ip in sorted(world.since_ms)]
    lists = [[(found.ip, found.healthy) for found in node.view(ORDERS)] for node in world.cluster.nodes]
    return world.cluster.all_ready() and all(shown == wanted for shown in lists)


def test_who_beats_is_listed_and_who_is_silent_goes(seed: int) -> None:
    world = FaultyWorld(seed)
    for number in range(COUNT):
        world.come(number)
    for _ in range(FAULTS):
        world.befall()
        world.pass_time(2_000 + SETTLED_MS)
    cluster = world.cluster
    cluster.until(lambda: settled(world), GONE_MS, "the same everywhere: who beats, and nobody else")
    cluster.run_ms((45_000 + 5_000) // SCALE)
    assert settled(world)
    kept = [len(node.behaviour(Role.BEATS).kept) for node in cluster.nodes]
    assert sum(kept) == len(world.since_ms), "each by one node"
    assert sum(node.live_native() for node in cluster.nodes) == len(world.since_ms), "nothing is left behind"
    assert world.looked_at > 1_000
