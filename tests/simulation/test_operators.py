"""What operators decide, in a simulated cluster: it is on every node, survives all of them, and is bound to what it was
meant for."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest

from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import Code
from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Instance, Service
from rollbook.wire import Done, Failed, Tag
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import SimCluster
from tests.support.sim_cluster import instance, sim_cluster

ORDERS = Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, "orders")
ONE = instance(1)


class OperatedCluster:
    def __init__(self, seed: int, store: Any = "etcd") -> None:
        self.cluster = sim_cluster(seed=seed, store=store, warm=True)
        self.operator = self.cluster.client(at=1, client_id="operator")
        self.cluster.run_ms(200)

    def order(self, tag: Tag, body: Any, client: RawClient | None = None) -> Any:
        asker = client or self.operator
        call = asker.order(tag, body)
        self.cluster.until(partial(has_answer, asker, call), 4_000, "answered")
        return asker.answer(call)

    def publish(self, client_id: str, at: int = 0) -> RawClient:
        client = self.cluster.client(at=at, client_id=client_id)
        self.cluster.run_ms(200)
        call = client.publish("orders", ONE)
        self.cluster.until(partial(has_answer, client, call), 2_000, "published")
        self.cluster.run_ms(200)
        return client


def has_answer(client: RawClient, call: int) -> bool:
    return client.answer(call) is not None


def shown(cluster: SimCluster) -> list[tuple[Instance, ...]]:
    """What the nodes answer."""
    answers = []
    for number, node in enumerate(cluster.nodes):
        assert node.is_ready
        reader = cluster.client(at=number)
        cluster.run_ms(100)
        call = reader.query("orders")
        cluster.until(partial(has_answer, reader, call), 1_000, "answered")
        answers.append(reader.answer(call).instances)
    return answers


def all_show(cluster: SimCluster, **fields: Any) -> bool:
    return all(
        [getattr(found, name) for found in view for name in fields] == list(fields.values()) for view in shown(cluster)
    )


@pytest.mark.parametrize("store", ["home", "etcd"])
def test_who_is_taken_offline_stays_so_through_restarts_of_all_nodes_but_not_for_the_next_process(
    seed: int, store: str
) -> None:
    world = OperatedCluster(seed, store)
    cluster = world.cluster
    first = world.publish("first")
    answer = world.order(Tag.SET_INTENT, SetIntent(ORDERS, ONE.key, Intent(enabled=False, metadata={"why": "hot"})))
    assert isinstance(answer, Done), answer
    cluster.run_ms(300)
    assert all_show(cluster, enabled=False, metadata={"why": "hot"})
    for number in range(3):
        cluster.crash(number)
    for number in range(3):
        cluster.restart(number)
    cluster.until(cluster.all_ready, 20_000, "all ready")
    again = cluster.client(at=2, client_id="first")
    cluster.run_ms(200)
    call = again.publish("orders", ONE)
    cluster.until(partial(has_answer, again, call), 2_000, "published")
    cluster.run_ms(6_000)
    assert all_show(cluster, enabled=False, metadata={"why": "hot"}), "the same process has signed in again"
    again.crash()
    first.crash()
    cluster.run_ms(3_000)
    world.publish("second")
    assert all_show(cluster, enabled=True, metadata={})


def test_an_intent_ends_when_it_is_cleared_and_when_its_time_is_over(seed: int) -> None:
    world = OperatedCluster(seed)
    cluster = world.cluster
    world.publish("first")
    assert isinstance(world.order(Tag.SET_INTENT, SetIntent(ORDERS, ONE.key, Intent(weight=0.0), 60_000)), Done)
    cluster.run_ms(300)
    assert all_show(cluster, weight=0.0)
    assert isinstance(world.order(Tag.CLEAR_INTENT, ClearIntent(ORDERS, ONE.key)), Done)
    cluster.run_ms(300)
    assert all_show(cluster, weight=1.0)
    assert isinstance(world.order(Tag.SET_INTENT, SetIntent(ORDERS, ONE.key, Intent(weight=7.0), 5_000)), Done)
    cluster.run_ms(300)
    assert all_show(cluster, weight=7.0)
    cluster.run_ms(6_000)
    assert all_show(cluster, weight=1.0)
    assert cluster.store is not None
    assert not [key for key in cluster.store.rows if key.startswith("intent")], "nothing of it is left"


def test_two_operators_at_two_nodes_at_once_lose_nothing_and_each_decision_ends_by_itself(seed: int) -> None:
    world = OperatedCluster(seed)
    cluster = world.cluster
    world.publish("first")
    another = cluster.client(at=2, client_id="another")
    cluster.run_ms(200)
    orders = [
        (world.operator, SetIntent(ORDERS, ONE.key, Intent(enabled=False), 5_000)),
        (another, SetIntent(ORDERS, ONE.key, Intent(weight=7.0))),
        (world.operator, SetIntent(ORDERS, ONE.key, Intent(metadata={"why": "hot"}))),
    ]
    calls = [(client, client.order(Tag.SET_INTENT, body)) for client, body in orders]
    for client, call in calls:
        cluster.until(partial(has_answer, client, call), 4_000, "answered")
        assert isinstance(client.answer(call), Done)
    cluster.run_ms(300)
    assert all_show(cluster, enabled=False, weight=7.0, metadata={"why": "hot"})
    listed = world.order(Tag.GET_SERVICE, GetService(ORDERS))
    assert [intent.author for intent in listed.intents] == ["operator", "operator", "another"]
    assert [intent.listed for intent in listed.intents] == [True] * 3
    cluster.run_ms(6_000)
    assert all_show(cluster, enabled=True, weight=7.0, metadata={"why": "hot"})
    assert isinstance(world.order(Tag.CLEAR_INTENT, ClearIntent(ORDERS, ONE.key, ("metadata",)), another), Done)
    cluster.run_ms(300)
    assert all_show(cluster, weight=7.0, metadata={})


def test_what_was_decided_of_a_persistent_instance_goes_with_it_and_one_node_removes_it(seed: int) -> None:
    world = OperatedCluster(seed)
    cluster = world.cluster
    kept = msgspec.structs.replace(ONE, ephemeral=False)
    assert isinstance(world.order(Tag.PUBLISH_PERSISTENT, PublishPersistent(ORDERS, (kept,))), Done)
    assert isinstance(world.order(Tag.SET_INTENT, SetIntent(ORDERS, ONE.key, Intent(False, 7.0))), Done)
    cluster.run_ms(300)
    assert all_show(cluster, enabled=False, weight=7.0)
    assert isinstance(world.order(Tag.WITHDRAW_PERSISTENT, WithdrawPersistent(ORDERS, (ONE.key,))), Done)
    assert isinstance(world.order(Tag.PUBLISH_PERSISTENT, PublishPersistent(ORDERS, (kept,))), Done)
    cluster.run_ms(300)
    assert all_show(cluster, enabled=True, weight=1.0), "another one"
    assert cluster.store is not None
    store = cluster.store
    cluster.until(lambda: not [key for key in store.rows if key.startswith("intent")], 2_000, "nothing of it is left")


def test_an_intent_for_nobody_is_refused(seed: int) -> None:
    world = OperatedCluster(seed)
    answer = world.order(Tag.SET_INTENT, SetIntent(ORDERS, ONE.key, Intent(enabled=False)))
    assert isinstance(answer, Failed)
    assert (answer.code, answer.field) == (Code.INSTANCE_NOT_FOUND, "key")


def test_a_service_of_which_too_few_are_healthy_is_shown_as_healthy_and_says_so(seed: int) -> None:
    world = OperatedCluster(seed)
    cluster = world.cluster
    client = cluster.client(at=0)
    cluster.run_ms(200)
    client.publish("orders", instance(1, healthy=False), instance(2, healthy=False), instance(3))
    cluster.run_ms(300)
    assert [[found.healthy for found in view] for view in shown(cluster)] == [[False, False, True]] * 3
    assert isinstance(world.order(Tag.PUT_SERVICE, PutService(ORDERS, ServiceSettings(0.4))), Done)
    cluster.run_ms(300)
    assert [[found.healthy for found in view] for view in shown(cluster)] == [[True, True, True]] * 3
    call = client.query("orders")
    cluster.until(partial(has_answer, client, call), 1_000, "answered")
    assert client.answer(call).protected


def test_what_is_in_use_is_not_deleted(seed: int) -> None:
    world = OperatedCluster(seed)
    cluster = world.cluster
    world.publish("first")
    for tag, body in (
        (Tag.PUT_SERVICE, PutService(ORDERS, ServiceSettings(0.4))),
        (Tag.PUT_NAMESPACE, PutNamespace(Namespace("shop", "Shop"))),
        (Tag.PUT_SERVICE, PutService(ORDERS._replace(namespace="shop"), ServiceSettings())),
    ):
        assert isinstance(world.order(tag, body), Done)
    for answer in (
        world.order(Tag.DELETE_SERVICE, DeleteService(ORDERS)),
        world.order(Tag.DELETE_NAMESPACE, DeleteNamespace("shop")),
    ):
        assert isinstance(answer, Failed)
        assert answer.code == Code.SERVICE_IN_USE
    assert isinstance(world.order(Tag.DELETE_SERVICE, DeleteService(ORDERS._replace(namespace="shop"))), Done)
    assert isinstance(world.order(Tag.DELETE_NAMESPACE, DeleteNamespace("shop")), Done)
    listed = world.order(Tag.LIST_NAMESPACES, ListNamespaces())
    assert [namespace.id for namespace in listed.namespaces] == ["public"]
    cluster.run_ms(300)
