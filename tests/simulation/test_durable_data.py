"""Persistent instances in simulated clusters: in the file of one node that the others follow, and in an etcd."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from actors.base import Role
from rollbook.errors import Code, OutcomeUnknown, Refused
from rollbook.model import Instance
from rollbook.wire import Done
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import SimCluster, StoreOf
from runtime.simulation.sdk_client import SdkClient
from tests.support.failure_scripts import everywhere
from tests.support.sim_cluster import instance, sim_cluster

EACH_STORE = pytest.mark.parametrize("store", ["home", "etcd"])


def kept(number: int, **fields: Any) -> Instance:
    return instance(number, ephemeral=False, **fields)


def asked(cluster: SimCluster, client: SdkClient, call: int, deadline_ms: int = 4_000) -> Any:
    cluster.until(lambda: call in client.results, deadline_ms, "answered")
    return client.results[call]


def write(cluster: SimCluster, client: SdkClient, *numbers: int, service: str = "orders") -> None:
    """Written and acknowledged."""
    answer = asked(cluster, client, client.publish_persistent(service, *map(kept, numbers)))
    assert isinstance(answer, Done), answer


def stale(cluster: SimCluster, number: int) -> bool:
    """Whether this node would say that its list may be old."""
    return bool(cluster.node(number).behaviour(Role.INDEX).index.views.stale_since_ms)


@EACH_STORE
def test_an_acknowledged_instance_is_on_every_node_and_outlives_its_client_and_all_nodes(
    seed: int, store: StoreOf
) -> None:
    cluster = sim_cluster(seed=seed, store=store)
    client = cluster.sdk_client("deployer")
    write(cluster, client, 1, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 500, "on every node")
    client.crash()
    cluster.always(lambda: everywhere(cluster, 1, 2), 20_000, "it needs no session")
    for number in range(3):
        cluster.crash(number)
    cluster.run_ms(5_000)
    for number in (2, 1, 0):
        cluster.restart(number)
        cluster.run_ms(100)
    cluster.until(cluster.all_ready, 20_000, "all ready")
    cluster.until(lambda: everywhere(cluster, 1, 2), 10_000, "as before")


@EACH_STORE
def test_a_later_order_of_one_client_is_never_overtaken_by_an_earlier_one(seed: int, store: StoreOf) -> None:
    cluster = sim_cluster(seed=seed, store=store)
    client = cluster.sdk_client()
    calls = []
    for weight in range(1, 21):
        calls.append(client.publish_persistent("orders", kept(1, weight=float(weight))))
        calls.append(client.withdraw_persistent("orders", kept(2).key))
        calls.append(client.publish_persistent("orders", kept(2)))
    for call in calls:
        assert isinstance(asked(cluster, client, call), Done)
    cluster.until(lambda: everywhere(cluster, 1, 2), 500, "on every node")
    for node in cluster.nodes:
        weights = [found.weight for found in node.view(("public", "DEFAULT_GROUP", "orders"))]  # type: ignore[arg-type]
        assert weights == [20.0, 1.0]


@EACH_STORE
def test_what_a_node_has_acknowledged_is_in_its_next_answer(seed: int, store: StoreOf) -> None:
    cluster = sim_cluster(seed=seed, store=store)
    clients = [cluster.client(at=number) for number in range(3)]
    cluster.run_ms(200)
    for number, client in enumerate(clients * 5):
        done = client.publish_persistent("orders", kept(number))
        cluster.until(partial(has_answer, client, done), 2_000, "acknowledged")
        assert isinstance(client.answer(done), Done)
        looked = client.query("orders")
        cluster.until(partial(has_answer, client, looked), 1_000, "answered")
        assert f"{kept(number).ip}" in {found.ip for found in client.answer(looked).instances}


def test_a_service_is_of_one_kind_wherever_it_was_first(seed: int) -> None:
    cluster = sim_cluster(seed=seed, store="home")
    client = cluster.sdk_client()
    write(cluster, client, 1)
    cluster.until(lambda: everywhere(cluster, 1), 500, "on every node")
    refused = asked(cluster, client, client.publish("orders", instance(2)))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == (Code.KIND_MISMATCH, "ephemeral")
    assert isinstance(asked(cluster, client, client.publish("stock", instance(3))), Done)
    cluster.run_ms(200)
    refused = asked(cluster, client, client.publish_persistent("stock", kept(4)))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == (Code.KIND_MISMATCH, "ephemeral")
    assert isinstance(asked(cluster, client, client.withdraw_persistent("orders", kept(1).key)), Done)
    cluster.run_ms(200)
    assert isinstance(asked(cluster, client, client.publish("orders", instance(2))), Done), "nobody is in its way now"


def test_without_the_home_lists_stay_and_say_so_and_writes_are_refused_at_once(seed: int) -> None:
    cluster = sim_cluster(seed=seed, store="home", warm=True)
    client = cluster.sdk_client("deployer")
    ephemeral = cluster.sdk_client("application")
    write(cluster, client, 1)
    ephemeral.publish("stock", instance(7))
    cluster.until(lambda: everywhere(cluster, 1), 500, "on every node")
    cluster.crash(0)
    cluster.until(lambda: stale(cluster, 1) and stale(cluster, 2), 6_000, "both know that the home is gone")
    for number in (1, 2):
        assert cluster.view(cluster.node(number), "orders") == [f"{kept(1).ip}:80"]
    began_ms = cluster.now_ms
    refused = asked(cluster, client, client.publish_persistent("orders", kept(2)))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retryable) == (Code.STORE_UNAVAILABLE, True)
    assert cluster.now_ms - began_ms < 200, "nothing is queued"
    assert isinstance(asked(cluster, ephemeral, ephemeral.publish("stock", instance(8))), Done)
    cluster.restart(0)
    cluster.until(cluster.all_ready, 10_000, "all ready")
    cluster.until(lambda: not any(stale(cluster, number) for number in range(3)), 6_000, "the store is followed again")
    write(cluster, client, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 500, "on every node")


def test_a_node_that_starts_without_the_store_removes_nothing_from_caches(seed: int) -> None:
    """Its lists of services that it knows nothing of say that there may be more."""
    cluster = sim_cluster(seed=seed, store="etcd", warm=True)
    assert cluster.store is not None
    write(cluster, cluster.sdk_client("deployer"), 1)
    cluster.run_ms(200)
    cluster.store.is_available = False
    cluster.crash(1)
    cluster.restart(1)
    cluster.until(lambda: cluster.node(1).is_ready, 20_000, "it serves all the same")
    reader = cluster.client(at=1)
    looked = reader.query("orders")
    cluster.until(lambda: reader.answer(looked) is not None, 1_000, "answered")
    assert (reader.answer(looked).instances, reader.answer(looked).warming) == ((), True)
    cluster.store.is_available = True
    cluster.until(lambda: everywhere(cluster, 1), 5_000, "read at last")
    looked = reader.query("orders")
    cluster.until(lambda: reader.answer(looked) is not None, 1_000, "answered")
    assert not reader.answer(looked).warming


def test_a_follower_behind_a_bad_path_comes_to_the_same_rows(seed: int) -> None:
    cluster = sim_cluster(seed=seed, store="home")
    client = cluster.client(at=1)
    cluster.run_ms(200)
    for number in range(30):
        written(cluster, client, number)
        if number % 10 == 3:
            cluster.cut(0, 2)
        if number % 10 == 5:
            cluster.reset_links(0, 1)
        if number % 10 == 7:
            cluster.run_ms(6_000)
            cluster.heal()
    cluster.heal()
    cluster.until(lambda: everywhere(cluster, *range(30)), 15_000, "everywhere")


def has_answer(client: RawClient, call: int) -> bool:
    return client.answer(call) is not None


def written(cluster: SimCluster, client: RawClient, number: int) -> None:
    """Said again until it is acknowledged, as the SDK does."""
    answer = None
    for _ in range(20):
        done = client.publish_persistent("orders", kept(number))
        cluster.until(partial(has_answer, client, done), 4_000, "answered")
        answer = client.answer(done)
        if isinstance(answer, Done):
            return
        assert answer.retryable, answer
        cluster.run_ms(300)
    raise AssertionError(f"instance {number} was never written: {answer}")


def test_d30_after_a_restart_lists_are_made_of_the_rows_and_of_nothing_else(seed: int) -> None:
    cluster = sim_cluster(seed=seed, store="etcd")
    assert cluster.store is not None
    client = cluster.sdk_client()
    write(cluster, client, *range(20))
    assert isinstance(asked(cluster, client, client.withdraw_persistent("orders", kept(3).key)), Done)
    cluster.run_ms(200)
    before = [cluster.view(node, "orders") for node in cluster.nodes]
    cluster.store.compact()  # nothing can be replayed
    for number in range(3):
        cluster.crash(number)
        cluster.restart(number)
    cluster.until(cluster.all_ready, 20_000, "all ready")
    cluster.until(lambda: [cluster.view(node, "orders") for node in cluster.nodes] == before, 5_000, "as before")


def test_d31_a_store_that_has_lost_what_it_had_is_named_and_empties_no_list(seed: int) -> None:
    cluster = sim_cluster(seed=seed, store="home")
    assert cluster.store is not None
    client = cluster.sdk_client()
    write(cluster, client, 1, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 500, "on every node")
    cluster.crash(0)
    cluster.store.rows.clear()  # the disk was exchanged
    cluster.store.log.clear()
    cluster.store.index, cluster.store.oldest_index, cluster.store.store_id = 0, 1, "another"
    cluster.restart(0)
    cluster.until(cluster.all_ready, 20_000, "all ready")
    listed = [cluster.view(cluster.node(number), "orders") for number in (1, 2)]
    assert listed == [[f"{kept(1).ip}:80", f"{kept(2).ip}:80"]] * 2
    cluster.run_ms(5_000)
    assert stale(cluster, 1)
    assert stale(cluster, 2)


def test_whoever_has_waited_in_vain_is_told_that_the_outcome_is_unknown(seed: int) -> None:
    cluster = sim_cluster(seed=seed, store="etcd")
    assert cluster.store is not None
    client = cluster.sdk_client()
    write(cluster, client, 1)
    cluster.store.doubt_share = 1.0
    answer = asked(cluster, client, client.publish_persistent("orders", kept(2)), 6_000)
    assert isinstance(answer, OutcomeUnknown)
    cluster.store.doubt_share = 0.0
    cluster.run_ms(10_000)
    write(cluster, client, 3)
    cluster.until(lambda: len({tuple(view) for view in cluster.views("orders")}) == 1, 1_000, "all nodes agree")
