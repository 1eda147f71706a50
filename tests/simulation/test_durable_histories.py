"""Whatever befalls store, nodes and paths: in the end all nodes list what the store holds, and that is what orders
which happened one after the other would have left. An order that was refused has never happened; one of unknown outcome
may have, at any time since.
"""

from __future__ import annotations

from functools import partial

import pytest

from rollbook.wire import Done
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import SimCluster, StoreOf
from tests.support.durable_histories import DurableHistory
from tests.support.sim_cluster import instance, sim_cluster

PLAY_MS = 25_000
DONE_MIN = 15  # a history in which nothing was written shows nothing

EACH_STORE = pytest.mark.parametrize("store", ["home", "etcd"])


@EACH_STORE
def test_what_is_left_is_what_orders_one_after_the_other_would_leave(seed: int, store: StoreOf) -> None:
    history = DurableHistory(seed, store)
    history.play(PLAY_MS)
    history.settle()
    assert history.counts.done >= DONE_MIN, history.counts
    for number in history.unexplained():
        pytest.fail(f"no order of calls explains instance {number}:\n{history.story(number)}")


def acknowledged(cluster: SimCluster, client: RawClient, weight: float) -> None:
    call = client.publish_persistent("orders", instance(1, ephemeral=False, weight=weight))
    cluster.until(partial(client.answer, call), 4_000, "answered")
    assert isinstance(client.answer(call), Done)


@EACH_STORE
def test_an_order_that_was_said_again_elsewhere_is_not_carried_out_later_by_the_first(
    seed: int, store: StoreOf
) -> None:
    cluster = sim_cluster(seed=seed, store=store)
    deployer, other = cluster.client(at=1), cluster.client(at=2)
    cluster.run_ms(200)
    cluster.pause(1)
    deployer.publish_persistent("orders", instance(1, ephemeral=False, weight=1.0))
    cluster.run_ms(2_500)
    cluster.move(deployer, to=2)  # the SDK gives a silent node up and says the order again
    cluster.run_ms(200)
    acknowledged(cluster, deployer, 1.0)
    acknowledged(cluster, other, 2.0)
    cluster.resume(1)
    cluster.run_ms(2_000)
    weights = [node.view(("public", "DEFAULT_GROUP", "orders"))[0].weight for node in cluster.nodes]  # type: ignore[arg-type]
    assert weights == [2.0] * 3
