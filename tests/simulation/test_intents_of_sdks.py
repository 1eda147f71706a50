"""What operators decide of SDKs behind gateways: it holds when these come back as other clients, on every node and
without a gap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from actors.durable_rows import read_row
from actors.durable_values import KeptIntent
from rollbook.durable import Intent
from rollbook.durable_bodies import ClearIntent, GetService, SetIntent
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Service
from rollbook.wire import Done, Tag
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import StoreOf
from runtime.simulation.gateway import SimGateway
from runtime.simulation.sim_io import silence_of
from tests.support.sim_cluster import instance, sim_cluster

ORDERS = Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, "orders")
ONE = instance(1)
GRACE_MS = 45_000
BACK_MS = 28_000  # how long the slowest SDK takes


class OperatedGateways:
    """Three nodes with a gateway each, and an operator at the second one, who takes an SDK of the first offline."""

    def __init__(self, seed: int, store: StoreOf = "etcd") -> None:
        self.cluster = sim_cluster(seed=seed, store=store, warm=True, invariants_every=20)
        self.gateways = [self.gateway(number) for number in range(3)]
        self.operator = self.cluster.client(at=1, client_id="operator")
        self.cluster.run_ms(200)

    def gateway(self, at: int, name: str = "gateway") -> SimGateway:
        cluster = self.cluster
        address, heartbeats = cluster.nodes[at].client_address, silence_of(cluster.settings.io)
        return SimGateway(cluster.scheduler, cluster.network, f"{name}-{at}", address, heartbeats)

    def order(self, tag: Tag, body: Any) -> Any:
        call = self.operator.order(tag, body)
        self.cluster.until(partial(has_answer, self.operator, call), 4_000, "answered")
        return self.operator.answer(call)

    def comes(self, name: str, at: int) -> Callable[[], bool]:
        """The application at that address, as the client that its connection is. Whether it has been answered."""
        through = self.gateways[at]
        through.open(name, ip="10.9.0.1")
        call = through.publish(name, "orders", ONE)
        return lambda: isinstance(through.answers.get(call), Done)

    def comes_back(self, name: str, at: int) -> None:
        """Offline as it was, also before it is answered."""
        is_answered = self.comes(name, at)
        self.stays_offline(1_000)
        assert is_answered()

    def taken_offline(self, name: str, at: int) -> None:
        self.cluster.until(self.comes(name, at), 2_000, "published")
        self.cluster.run_ms(300)
        assert isinstance(self.order(Tag.SET_INTENT, SetIntent(ORDERS, ONE.key, Intent(enabled=False))), Done)
        self.cluster.run_ms(10_000)
        assert self.is_offline()

    def serving(self) -> list[bool | None]:
        """By node that runs; None where it is not listed."""
        views = [node.view(ORDERS) for node in self.cluster.running]
        return [view[0].enabled if view else None for view in views]

    def is_offline(self) -> bool:
        return set(self.serving()) == {False}

    def stays_offline(self, for_ms: int) -> None:
        self.cluster.always(self.is_offline, for_ms, "listed and offline everywhere")

    def kept(self) -> KeptIntent:
        """The row of the decision, in the store."""
        assert self.cluster.store is not None
        [row] = [row for key, row in self.cluster.store.rows.items() if key.startswith("intent")]
        read = read_row(row.key, row.value, row.index)
        assert isinstance(read, KeptIntent)
        return read

    def facts(self, of: str) -> list[str]:
        return [fact for node in self.cluster.running for fact in node.facts() if of in fact]


def has_answer(client: RawClient, call: int) -> bool:
    return client.answer(call) is not None


@pytest.mark.parametrize("how", ["gateway dies", "told to move", "node dies"])
def test_who_is_taken_offline_stays_so_when_its_sdk_comes_back_elsewhere(seed: int, how: str) -> None:
    world = OperatedGateways(seed)
    cluster = world.cluster
    world.taken_offline("old", at=0)
    decided = world.kept()
    if how == "told to move":
        world.comes_back("new", at=2)
        world.gateways[0].stream_moved("old")
    else:
        world.gateways[0].crash()
        if how == "node dies":
            cluster.crash(0)
        world.stays_offline(BACK_MS)
        world.comes_back("new", at=2)
    world.stays_offline(GRACE_MS + 5_000)
    moved = world.kept()
    assert moved == msgspec.structs.replace(decided, incarnation="new", index=moved.index), "all else is as it was"
    assert [intent.listed for intent in world.order(Tag.GET_SERVICE, GetService(ORDERS)).intents] == [True]
    assert isinstance(world.order(Tag.CLEAR_INTENT, ClearIntent(ORDERS, ONE.key)), Done)
    cluster.until(lambda: set(world.serving()) == {True}, 1_000, "it serves again")
    assert world.facts("decisions do not hold") == []


def test_a_decision_follows_an_sdk_through_many_moves_in_a_row(seed: int) -> None:
    world = OperatedGateways(seed, store="home")
    world.taken_offline("sdk-0", at=0)
    for number, pause_ms in enumerate((500, 4_000, BACK_MS), 1):
        world.gateways[(number - 1) % 3].crash()
        world.stays_offline(pause_ms)
        world.gateways[(number - 1) % 3] = world.gateway((number - 1) % 3, f"gateway-{number}")
        world.comes_back(f"sdk-{number}", at=number % 3)
        world.stays_offline(pause_ms)
    world.stays_offline(GRACE_MS + 5_000)
    assert world.kept().incarnation == "sdk-3"


def test_a_decision_that_is_cleared_while_its_sdk_moves_stays_cleared(seed: int) -> None:
    world = OperatedGateways(seed)
    cluster = world.cluster
    world.taken_offline("old", at=0)
    world.gateways[0].crash()
    world.comes_back("new", at=2)
    cluster.run_ms(1_000 + 700 * seed)  # before, while and after its row is bound anew
    assert isinstance(world.order(Tag.CLEAR_INTENT, ClearIntent(ORDERS, ONE.key)), Done)
    cluster.until(lambda: set(world.serving()) == {True}, 1_000, "it serves again")
    cluster.always(lambda: set(world.serving()) == {True}, GRACE_MS + 5_000, "and goes on")
    assert cluster.store is not None
    assert not [key for key in cluster.store.rows if key.startswith("intent")]


def test_a_store_that_is_away_for_a_while_learns_of_the_move_when_it_is_back(seed: int) -> None:
    world = OperatedGateways(seed)
    assert world.cluster.store is not None
    world.taken_offline("old", at=0)
    world.cluster.store.is_available = False
    world.gateways[0].crash()
    world.comes_back("new", at=2)
    world.stays_offline(30_000)
    world.cluster.store.is_available = True
    world.stays_offline(GRACE_MS + 5_000)
    assert world.kept().incarnation == "new"


def test_where_the_store_is_away_for_longer_the_decision_ends_and_every_node_says_so(seed: int) -> None:
    world = OperatedGateways(seed)
    cluster = world.cluster
    assert cluster.store is not None
    world.taken_offline("old", at=0)
    cluster.store.is_available = False
    world.gateways[0].crash()
    world.comes_back("new", at=2)
    world.stays_offline(GRACE_MS - 3_000)
    cluster.until(lambda: set(world.serving()) == {True}, 5_000, "it serves")
    cluster.run_ms(2_000)
    assert len(world.facts("decisions do not hold")) == 3


def test_the_next_process_behind_a_gateway_inherits_nothing(seed: int) -> None:
    world = OperatedGateways(seed)
    world.taken_offline("old", at=0)
    world.gateways[0].stream_closed("old")
    world.cluster.run_ms(1_000)
    world.cluster.until(world.comes("new", at=2), 2_000, "published")
    world.cluster.run_ms(300)
    assert set(world.serving()) == {True}
