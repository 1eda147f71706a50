"""A message that is lost, and contents that look alike: no change stays unknown to anybody.

One short script each. Every turn is followed by the invariants and by the safety checks of tests/support/checkers.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.base import Role
from actors.messages.values import RecordKey
from actors.records import make_record
from runtime.simulation.clients import RawClient, service_of
from runtime.simulation.cluster import SimCluster
from tests.support.failure_scripts import agreed, native_of, registered
from tests.support.sim_cluster import instance, sim_cluster


def java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFF_FFFF
    return value


def versions(cluster: SimCluster) -> list[list[str]]:
    """The metadata that each node lists."""
    return [[each.metadata.get("v", "") for each in node.view(service_of("orders"))] for node in cluster.nodes]


def lose_what_leaves(cluster: SimCluster, number: int, change: Callable[[], None]) -> None:
    """Something changes at this node; what it sends of it to the others breaks on its way."""
    owner = native_of(cluster, number)
    others = [other for other in range(3) if other != number]
    before = cluster.node(number).holdings()[owner][0]
    known = [cluster.node(other).holdings().get(owner) for other in others]
    change()
    cluster.until(lambda: cluster.node(number).holdings()[owner][0] > before, 20_000, "changed")
    for other in others:
        cluster.reset_links(number, other)
    cluster.run_ms(20)
    assert [cluster.node(other).holdings().get(owner) for other in others] == known, "it was lost"


@pytest.mark.parametrize(("one", "other"), [("Aa", "BB"), ("AaAa", "BBBB"), ("v-Aa", "v-BB")])
def test_d11_a_lost_change_between_two_contents_that_a_simple_hash_takes_for_one_is_corrected(
    seed: int, one: str, other: str
) -> None:
    assert java_hash(one) == java_hash(other)
    cluster = sim_cluster(seed=seed)
    client = registered(cluster, 0, 1)
    client.publish("orders", instance(1, metadata={"v": one}), replace=True)
    cluster.until(lambda: versions(cluster) == [[one]] * 3, 1_000, "listed")
    cluster.run_ms(1_500)
    lose_what_leaves(cluster, 0, lambda: _publish(client, other))
    cluster.until(lambda: versions(cluster) == [[other]] * 3, 2_500, "within two digests")


def _publish(client: RawClient, version: str) -> None:
    client.publish("orders", instance(1, metadata={"v": version}), replace=True)


def test_d11_a_copy_that_turned_into_its_twin_by_itself_is_mended(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = registered(cluster, 0, 1)
    client.publish("orders", instance(1, metadata={"v": "Aa"}), replace=True)
    cluster.until(lambda: versions(cluster) == [["Aa"]] * 3, 1_000, "listed")
    cluster.run_ms(1_500)
    cluster.checkers.clear()  # they would not have a record take its own place
    owner, key = native_of(cluster, 0), RecordKey(client.client_id, service_of("orders"))
    table = cluster.node(2).behaviour(Role.CLIENTS).tables[owner]
    right = table.records[key]
    wrong = (instance(1, metadata={"v": "BB"}),)
    table._put(make_record(owner, key, right.session, right.seq, right.stamp, right.grace_ms, wrong), 0)
    assert not cluster.digests_agree()
    cluster.until(cluster.digests_agree, 3_500, "two digests and a pull")
    assert table.records[key] == right
    assert versions(cluster) == [["Aa"]] * 3


def _update(cluster: SimCluster, client: RawClient) -> None:
    client.publish("orders", instance(1, metadata={"v": "2"}), replace=True)


def _add(cluster: SimCluster, client: RawClient) -> None:
    client.publish("orders", instance(2))


def _withdraw_one(cluster: SimCluster, client: RawClient) -> None:
    client.withdraw("orders", [instance(1).key])


def _withdraw(cluster: SimCluster, client: RawClient) -> None:
    client.withdraw("orders")


def _leave(cluster: SimCluster, client: RawClient) -> None:
    client.close()


def _die(cluster: SimCluster, client: RawClient) -> None:
    client.crash()


@pytest.mark.parametrize(
    ("change", "listed"),
    [
        (_update, [1, 3]),
        (_add, [1, 2, 3]),
        (_withdraw_one, [3]),
        (_withdraw, [3]),
        (_leave, [3]),
        (_die, [3]),
    ],
)
def test_d12_whatever_the_change_was_losing_the_message_of_it_leaves_no_node_behind(
    seed: int, change: Callable[[SimCluster, RawClient], None], listed: list[int]
) -> None:
    cluster = sim_cluster(seed=seed)
    client = registered(cluster, 0, 1)
    registered(cluster, 1, 3)
    cluster.until(lambda: agreed(cluster, 1, 3), 1_000, "listed")
    cluster.run_ms(1_500)
    lose_what_leaves(cluster, 0, lambda: change(cluster, client))
    cluster.until(lambda: agreed(cluster, *listed), 3_000, "everybody knows")
    cluster.until(lambda: versions(cluster) == [versions(cluster)[0]] * 3, 100, "all of it")
    cluster.always(lambda: agreed(cluster, *listed), 20_000, "and stays with it")


def _move(cluster: SimCluster, client: RawClient) -> None:
    cluster.move(client, 1)
    client.publish("orders", instance(1, metadata={"v": "moved"}), replace=True)


def test_d12_a_move_whose_messages_are_lost_on_both_sides_leaves_no_node_behind(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = registered(cluster, 0, 1)
    cluster.until(lambda: agreed(cluster, 1), 1_000, "listed")
    cluster.run_ms(1_500)
    lose_what_leaves(cluster, 1, lambda: _move(cluster, client))
    client.leave_old()
    cluster.until(lambda: versions(cluster) == [["moved"]] * 3, 3_000, "everybody knows where it is")
    lose_what_leaves(cluster, 0, lambda: None)  # what the old session left behind goes when its grace has passed
    cluster.until(lambda: cluster.digests_agree() and versions(cluster) == [["moved"]] * 3, 3_000, "agreed")
