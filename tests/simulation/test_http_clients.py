"""HTTP clients in a cluster: beats at any node keep them, whatever happens to the nodes; silence ends them on all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actors.base import Role
from rollbook.errors import Code
from rollbook.model import Instance
from rollbook.wire import Done, Failed, Tag
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn
from tests.support.beating import BeatingInstance, SimGateways
from tests.support.sim_cluster import instance, sim_cluster

ORDERS = service_of("orders")
COUNT = 12
SCALE = 5  # beats every second, unhealthy after 3, gone after 6


class BeatenWorld:
    """A cluster and instances that beat at random nodes of it."""

    def __init__(self, seed: int, nodes: int = 3, count: int = COUNT) -> None:
        self.cluster = sim_cluster(nodes, seed=seed, warm=True, scale=SCALE)
        self.gateways = SimGateways(self.cluster)
        self.cluster.run_ms(500)
        self.instances = [
            BeatingInstance(self.gateways, instance(number), "orders", 5_000 // SCALE) for number in range(count)
        ]

    def begin(self) -> None:
        for number, each in enumerate(self.instances):
            assert isinstance(each.register(number % len(self.gateways.sessions)), Done)
            each.begin()
        self.cluster.until(lambda: self.shows(*range(len(self.instances))), 1_000, "registered everywhere")

    def shows(self, *numbers: int, healthy: bool = True) -> bool:
        """Every node that is ready shows just these, all of this health."""
        wanted = sorted((instance(number).ip, healthy) for number in numbers)
        return all(
            sorted((found.ip, found.healthy) for found in node.view(ORDERS)) == wanted
            for node in self.cluster.nodes
            if node.is_ready
        )

    def stands(self, duration_ms: int, what: str, *nodes: int) -> None:
        """All are listed and healthy all the time, at these nodes, or at every one that is ready."""
        looked = 0
        wanted = sorted((instance(number).ip, True) for number in range(len(self.instances)))

        def check(cluster: SimCluster, node: SimNode, turn: Turn) -> None:
            nonlocal looked
            is_watched = cluster.nodes.index(node) in nodes if nodes else node.is_ready
            if turn.role is Role.INDEX and is_watched:
                looked += 1
                shown = sorted((found.ip, found.healthy) for found in node.view(ORDERS))
                assert shown == wanted, f"{node.name}: {what}; {sorted(set(shown) ^ set(wanted))}"

        self.cluster.checkers.append(check)
        self.cluster.run_ms(duration_ms)
        self.cluster.checkers.remove(check)
        assert looked >= duration_ms // 1_000

    def heard(self, *words: str) -> int:
        return sum(each.told[word] for each in self.instances for word in words)

    def owners(self) -> list[int]:
        """How many each running node keeps."""
        return [node.live_native() for node in self.cluster.running]


Fault = Callable[[SimCluster, int], None]


def crash(cluster: SimCluster, number: int) -> None:
    cluster.crash(number)


def power_off(cluster: SimCluster, number: int) -> None:
    cluster.power_off(number)


def leave(cluster: SimCluster, number: int) -> None:
    cluster.leave(number)


@pytest.mark.parametrize("fault", [crash, power_off, leave])
def test_nobody_is_missing_or_unhealthy_because_a_node_ends(seed: int, fault: Fault) -> None:
    world = BeatenWorld(seed)
    world.begin()
    cluster = world.cluster
    fault(cluster, seed % 3)
    world.stands(25_000, "they beat at the others")
    assert world.heard("unknown", "unheard") == 0
    assert sum(world.owners()) == COUNT
    cluster.restart(seed % 3)
    world.stands(15_000, "nor because it comes back")
    assert world.heard("unknown", "unheard") == 0


def test_nobody_is_missing_or_unhealthy_because_a_node_stands_still(seed: int) -> None:
    world = BeatenWorld(seed)
    world.begin()
    cluster = world.cluster
    for pause_ms in (400, 2_000, 9_000):
        cluster.pause(seed % 3)
        world.stands(pause_ms, "beats go on")
        cluster.resume(seed % 3)
        world.stands(8_000, "it has been away, not they")
    assert world.heard("unknown", "unheard") == 0


def test_nobody_is_missing_or_unhealthy_because_a_node_is_cut_off(seed: int) -> None:
    world = BeatenWorld(seed)
    world.begin()
    cluster, away = world.cluster, seed % 3
    for other in {0, 1, 2} - {away}:
        cluster.cut(away, other)
    world.stands(20_000, "the majority hears them all", *({0, 1, 2} - {away}))
    cluster.heal()
    world.stands(15_000, "and goes on when it is back")
    assert world.heard("unknown", "unheard") == 0


def test_a_link_between_two_nodes_that_is_cut_is_gone_around(seed: int) -> None:
    world = BeatenWorld(seed)
    world.begin()
    world.cluster.cut(0, 1)
    world.stands(20_000, "the third node passes beats on")
    assert world.heard("unknown", "unheard", "no answer") == 0
    taken = sum(node.behaviour(Role.BEATS).counters["http_taken_over"] for node in world.cluster.nodes)
    assert taken <= COUNT


def test_a_silent_client_is_unhealthy_and_then_gone_on_all_nodes(seed: int) -> None:
    world = BeatenWorld(seed)
    world.begin()
    cluster, ended = world.cluster, world.instances[3]
    cluster.run_ms(2_000)
    others = [number for number in range(COUNT) if number != 3]
    ended.end()
    unhealthy_ms = cluster.until(lambda: not any(is_healthy(cluster, 3)), 5_000, "unhealthy")
    assert 2_000 - 500 <= unhealthy_ms <= 4_000 + 500, "15 s after its last beat, at a fifth"
    gone_ms = unhealthy_ms + cluster.until(lambda: world.shows(*others), 5_000, "gone")
    assert 5_000 - 500 <= gone_ms <= 7_000 + 500, "30 s after it"
    cluster.always(lambda: world.shows(*others), 5_000, "for good")


def test_one_that_is_back_in_time_is_healthy_again(seed: int) -> None:
    world = BeatenWorld(seed)
    world.begin()
    cluster, away = world.cluster, world.instances[3]
    away.end()
    cluster.until(lambda: not any(is_healthy(cluster, 3)), 6_000, "unhealthy")
    away.begin()
    cluster.until(lambda: world.shows(*range(COUNT)), 1_500, "healthy with its next beat")
    assert world.heard("unknown") == 0


def is_healthy(cluster: SimCluster, number: int) -> list[bool]:
    return [found.healthy for node in cluster.running for found in node.view(ORDERS) if found.ip == instance(number).ip]


def test_registered_at_one_node_beaten_at_another_withdrawn_at_a_third(seed: int) -> None:
    world = BeatenWorld(seed, count=1)
    cluster, (client,) = world.cluster, world.instances
    for first in range(3):
        second, third = (first + 1) % 3, (first + 2) % 3
        done = client.register(first)
        assert isinstance(done, Done)
        assert done.seq
        assert shown_at(cluster, first) == [instance(0)], "whoever was told of it sees it there"
        assert client.beat_at(second).outcomes[0].word == "renewed"
        changed = instance(0, weight=2.0, metadata={"zone": "b"})
        assert isinstance(client.update(third, changed), Done)
        assert shown_at(cluster, third) == [changed]
        assert isinstance(client.patch(second, enabled=False), Done)
        assert shown_at(cluster, second) == [msgspec.structs.replace(changed, enabled=False)]
        assert isinstance(client.withdraw(third), Done)
        assert shown_at(cluster, third) == []
        assert client.beat_at(first).outcomes[0].word == "unknown"
        failed = client.patch(first, enabled=True)
        assert isinstance(failed, Failed)
        assert failed.code == Code.INSTANCE_NOT_FOUND
        cluster.until(lambda: world.shows(), 200, "gone everywhere")


def shown_at(cluster: SimCluster, number: int) -> list[Instance]:
    return list(cluster.nodes[number].view(ORDERS))


def test_of_two_nodes_that_take_a_client_over_at_once_one_stays(seed: int) -> None:
    world = BeatenWorld(seed)
    world.begin()
    cluster = world.cluster
    for each in world.instances:
        each.end()
    cluster.crash(0)
    answers: list[Any] = []
    for number in (1, 2):  # neither has heard of the other's
        for each in world.instances:
            world.gateways.ask(number, Tag.BEATS, each.beats(), answers.append)
    cluster.until(lambda: len(answers) == 2 * COUNT, 4_000, "answered")
    assert all(answer.outcomes[0].word == "renewed" for answer in answers), answers
    cluster.until(cluster.digests_agree, 3_000, "the same everywhere")
    for each in world.instances:
        each.begin()
    world.stands(15_000, "and kept by one")
    assert sum(world.owners()) == COUNT, "the other has let go"


def test_two_gateways_that_get_the_first_beats_of_a_client_at_once_agree(seed: int) -> None:
    world = BeatenWorld(seed)
    cluster = world.cluster
    answers: list[Any] = []
    for each in world.instances:
        for number in range(3):
            world.gateways.ask(number, Tag.BEATS, each.beats(light=False), answers.append)
    cluster.until(lambda: len(answers) == 3 * COUNT, 2_000, "answered")
    words = [answer.outcomes[0].word for answer in answers]
    assert (words.count("registered"), words.count("renewed")) == (COUNT, 2 * COUNT), answers
    assert world.shows(*range(COUNT))
    assert sum(world.owners()) == COUNT
    assert all(world.owners()), "each node keeps some"
