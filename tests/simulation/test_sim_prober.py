"""HealthChecker and the simulated prober over the simulated network, beside an index that knows nothing."""

from __future__ import annotations

import random
from typing import Any

from actors.base import NodeIdentity, Role
from actors.health_checker import HealthChecker, HealthSettings
from actors.messages.health import HealthJudged, InstancesKept, LivingMembersChanged, VerdictsFound, VerdictsWanted
from rollbook.model import InstanceKey
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import NodeClock, Scheduler, SimStage
from runtime.simulation.sim_prober import SimInstances, SimProber
from tests.support.health_bench import ORDERS
from tests.support.settings import settings_of

ONE, TWO = InstanceKey("10.1.0.1", 80), InstanceKey("10.1.0.1", 81)


class ProbingWorld:
    """One node that probes, and one machine with two instances."""

    def __init__(self, seed: int = 1) -> None:
        self.scheduler = Scheduler(seed)
        self.network = SimNetwork(self.scheduler)
        self.node = self.network.host("n1")
        self.instances = SimInstances(self.network, "machine")
        self.instances.serve(ONE.ip, ONE.port, TWO.port)
        self.said: dict[InstanceKey, bool] = {}
        settings = settings_of("health", HealthSettings)
        self.stage = SimStage(self.scheduler, NodeClock(self.scheduler), "n1")
        self.stage.on_message = {
            Role.PROBER: SimProber(self.stage, self.network, self.node, settings.probe_timeout_ms).tell,
            Role.INDEX: self._answer,
            Role.CLIENTS: self._note,
        }
        identity = NodeIdentity("n1", 1, "test", "127.0.0.1:1", "127.0.0.1:2", 256)
        self.stage.start([HealthChecker(identity, settings, random.Random(seed))])
        self.stage.tell(Role.HEALTH, LivingMembersChanged(("n1",)))
        self.stage.tell(Role.HEALTH, InstancesKept(((ORDERS, ONE, True), (ORDERS, TWO, True))))
        self.run_ms(10_000)

    def run_ms(self, duration_ms: int) -> None:
        self.scheduler.run_until(self.scheduler.now_us + duration_ms * 1_000)

    def _answer(self, question: VerdictsWanted) -> None:
        self.stage.tell(Role.HEALTH, VerdictsFound(tuple((number, None) for number, _, _ in question.targets)))

    def _note(self, judged: HealthJudged) -> None:
        for found in judged.lists:
            self.said.update(found.verdicts)


def test_instances_that_can_be_reached_are_healthy() -> None:
    assert ProbingWorld().said == {}


def test_instances_whose_processes_end_are_refused_and_found_again() -> None:
    world = ProbingWorld()
    world.instances.end_all()
    world.run_ms(1_500)
    assert world.said == {ONE: False, TWO: False}, "at the next probe"
    world.instances.serve(ONE.ip, ONE.port)
    world.run_ms(20_000)
    assert world.said == {ONE: True, TWO: False}


def test_a_machine_that_is_cut_off_is_unhealthy_after_three_probes() -> None:
    world = ProbingWorld()
    world.network.cut(world.node, world.instances.host)
    world.run_ms(2_500)
    assert world.said == {}
    world.run_ms(10_000)
    assert world.said == {ONE: False, TWO: False}
    world.network.heal()
    world.run_ms(20_000)
    assert world.said == {ONE: True, TWO: True}


def trace(seed: int) -> Any:
    world = ProbingWorld(seed)
    world.instances.end_all()
    world.run_ms(5_000)
    return world.scheduler.trace_hash


def test_the_same_seed_gives_the_same_run() -> None:
    assert trace(7) == trace(7)
    assert trace(7) != trace(8)
