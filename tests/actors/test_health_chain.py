"""Nodes that share instances: what their views show while members come, go, die and come back. Real actors, no network.

Every 50 ms the records of each node that can be heard are copied to every other one, as Distro would.
"""

from __future__ import annotations

import random

import pytest

from actors.base import Role
from actors.client_manager import ClientManager, ClientsSettings
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.clients import ApplyDelta, GetRecordRange, OwnersPurged
from actors.messages.distro import RecordRange
from actors.messages.health import HealthJudged, InstancesKept, VerdictsFound
from actors.messages.index import OwnersVisible, RecordsChanged
from actors.messages.values import Origin
from rollbook.model import Instance, InstanceKey
from tests.support.client_manager_bench import copied
from tests.support.health_bench import ORDERS, WALL_MS, HealthBench, place
from tests.support.registry import record, told
from tests.support.settings import settings_of

STORE = Origin("store", 1)
STEP_MS = 50
KEYS = [place(number) for number in range(60)]
DOWN = KEYS[::3]


class ChainNode:
    """HealthChecker, ClientManager and IndexManager of one life of one node."""

    def __init__(self, node_id: str, epoch: int, ms: int) -> None:
        self.health = HealthBench(node_id)
        self.health.ms = ms
        self.health.outcomes = dict.fromkeys((key.ip for key in DOWN), "refused")
        self.health.on_judged = self._on_judged
        self.health.on_question = lambda question: self._index(question)[0]
        identity = self.health.identity(epoch)
        self.clients = ClientManager(identity, settings_of("clients", ClientsSettings), random.Random(0))
        self.index = IndexManager(identity, settings_of("index", IndexSettings), random.Random(0))
        stored = (Instance(*key, ephemeral=False) for key in KEYS)
        self._index(RecordsChanged((record("store", *stored, origin=STORE),)))

    def hear(self, other: ChainNode) -> None:
        for change in told(copied(other.clients, self.clients, other.health.node_id, self.health.ms), RecordsChanged):
            self._index(change)

    def hear_orphans(self, other: ChainNode, origin: Origin) -> None:
        """What is left of an ended life, from a node that holds it."""
        (part,) = told(other.clients.handle(GetRecordRange(origin, 0, False, 0, ("l",)), other.health.now), RecordRange)
        bodies = tuple(body for chunk in part.chunks for body in chunk)
        delta = ApplyDelta("l", origin, 0, part.upper, False, 0, part.gc_floor, 0, True, bodies)
        for change in told(self.clients.handle(delta, self.health.now), RecordsChanged):
            self._index(change)

    def lose(self, origin: Origin) -> None:
        """Its lease is over: first it is hidden, then purged."""
        self._index(OwnersVisible(((origin, 15_000),)))
        for change in told(self.clients.handle(OwnersPurged((origin,)), self.health.now), RecordsChanged):
            self._index(change)
        self._index(OwnersVisible(()))

    def unhealthy(self) -> set[InstanceKey]:
        entry = self.index.index.entries[ORDERS]
        view = self.index.index.views.of(entry, WALL_MS + self.health.ms)
        return {instance.key for instance in view.instances if not instance.healthy}

    def keep(self) -> None:
        self.health.tell(InstancesKept(tuple((ORDERS, key, True) for key in KEYS)))

    def _on_judged(self, judged: HealthJudged) -> None:
        for change in told(self.clients.handle(judged, self.health.now), RecordsChanged, Role.INDEX):
            self._index(change)
        self.clients.check_invariants()

    def _index(self, message: object) -> list[VerdictsFound]:
        effects = self.index.handle(message, self.health.now)  # type: ignore[arg-type]
        self.index.check_invariants()
        return told(effects, VerdictsFound)


class Chain:
    def __init__(self, *node_ids: str) -> None:
        self.ms = 1_000_000
        self.nodes = {node_id: self.begin(node_id, 1) for node_id in node_ids}
        self.expected: set[InstanceKey] | None = None

    def begin(self, node_id: str, epoch: int) -> ChainNode:
        node = ChainNode(node_id, epoch, self.ms)
        node.keep()
        return node

    def living(self, *node_ids: str) -> None:
        """All that live hear of it in the same moment, and of each other's records a little later."""
        for node_id in node_ids:
            self.nodes[node_id].health.living(*node_ids)
            self.check()

    def share_records(self) -> None:
        for node in self.nodes.values():
            for other in self.nodes.values():
                if other is not node:
                    node.hear(other)
                    self.check()

    def pass_time(self, delay_ms: int) -> None:
        for _ in range(delay_ms // STEP_MS):
            self.ms += STEP_MS
            for node in self.nodes.values():
                node.health.pass_time(STEP_MS)
                self.check()
            self.share_records()

    def check(self) -> None:
        """No view ever shows anything else, once it has been found."""
        if self.expected is not None:
            for node_id, node in self.nodes.items():
                assert node.unhealthy() == self.expected, f"the view of {node_id} has flipped"


@pytest.fixture
def three() -> Chain:
    chain = Chain("n1", "n2", "n3")
    chain.living("n1", "n2", "n3")
    chain.pass_time(1_000)
    chain.expected = set(DOWN)
    chain.check()
    return chain


def test_each_node_says_only_what_it_has_found_itself(three: Chain) -> None:
    said = [set(node.health.verdicts()) for node in three.nodes.values()]
    assert set().union(*said) == set(DOWN)
    assert sum(map(len, said)) == len(DOWN)
    assert all(said)


def test_no_view_flips_when_a_node_dies(three: Chain) -> None:
    del three.nodes["n3"]
    three.pass_time(4_000)
    three.living("n1", "n2")
    three.pass_time(2_000)
    for node in three.nodes.values():
        node.lose(Origin("n3", 1))
        three.check()
    three.pass_time(10_000)
    assert sum(len(node.health.verdicts()) for node in three.nodes.values()) == len(DOWN)


def test_no_view_flips_when_a_node_joins(three: Chain) -> None:
    three.nodes["n4"] = three.begin("n4", 1)
    three.expected = None
    three.share_records()
    three.expected = set(DOWN)
    three.living("n1", "n2", "n3", "n4")
    three.pass_time(10_000)
    assert three.nodes["n4"].health.verdicts()
    assert sum(len(node.health.verdicts()) for node in three.nodes.values()) == len(DOWN)


def test_no_view_flips_when_a_node_restarts_between_two_looks(three: Chain) -> None:
    del three.nodes["n3"]
    three.pass_time(1_000)
    before = three.nodes["n1"].clients.tables[Origin("n3", 1)]
    assert before.live
    three.nodes["n3"] = three.begin("n3", 2)
    three.expected = None
    three.share_records()
    reborn = three.nodes["n3"]
    reborn.hear_orphans(three.nodes["n1"], Origin("n3", 1))
    three.expected = set(DOWN)
    three.living("n1", "n2", "n3")
    three.pass_time(2_000)
    for node in three.nodes.values():
        node.lose(Origin("n3", 1))
        three.check()
    three.pass_time(10_000)
    assert reborn.health.verdicts()


def test_a_flip_reaches_every_view_and_only_by_its_prober(three: Chain) -> None:
    three.expected = None
    up = KEYS[1]
    for node in three.nodes.values():
        node.health.outcomes[up.ip] = "refused"
    three.pass_time(6_000)
    assert all(node.unhealthy() == {*DOWN, up} for node in three.nodes.values())
    assert sum(up in node.health.verdicts() for node in three.nodes.values()) == 1
