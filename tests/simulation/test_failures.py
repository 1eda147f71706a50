"""Nodes that die, come back, are cut off, slow or paused: ways in which registries of this kind have failed.

One short script each. Every turn is followed by the invariants and by the safety checks of tests/support/checkers.py.
"""

from __future__ import annotations

import pytest

from actors.base import Role
from actors.messages.values import Origin
from tests.support.failure_scripts import agreed, everywhere, moved, native_of, registered, some_listed
from tests.support.sim_cluster import instance, shown, sim_cluster

# Owners die and come back.


def test_d1_of_60_clients_of_a_dead_owner_none_that_moves_is_missed_and_none_that_died_stays(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=97)
    clients = [registered(cluster, 0, number) for number in range(60)]
    cluster.run_ms(100)
    cluster.crash(0)
    died_ms = cluster.now_ms
    for number in range(30, 60):
        clients[number].crash()
    for number in range(30):
        moved(cluster, clients[number], 1 + number % 2, number)
        cluster.run_ms(100)
    cluster.always(lambda: some_listed(cluster, range(30), range(30, 60)), 500, "the living are listed")
    left_ms = 15_000 - (cluster.now_ms - died_ms)
    cluster.until(lambda: everywhere(cluster, *range(30)), left_ms, "the dead are gone")
    cluster.always(lambda: everywhere(cluster, *range(30)), 60_000, "they stay gone")
    assert cluster.digests_agree()


def test_d2_after_a_restart_at_the_same_address_nothing_is_left_of_the_earlier_life(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    clients = [registered(cluster, 0, number) for number in range(4)]
    cluster.until(lambda: everywhere(cluster, 0, 1, 2, 3), 1_000, "listed")
    identity = cluster.node(0).identity
    assert identity is not None
    cluster.crash(0)
    clients[3].crash()
    cluster.run_ms(1_000)
    cluster.restart(0)
    cluster.until(cluster.all_ready, 5_000, "all ready")
    for number in range(3):
        moved(cluster, clients[number], 0, number)
    cluster.always(lambda: some_listed(cluster, range(3), [3]), 1_000, "the living are listed")
    cluster.until(lambda: agreed(cluster, 0, 1, 2), 15_000, "the dead one is gone")
    earlier = Origin(identity.node_id, identity.epoch)
    cluster.until(lambda: all(earlier not in node.holdings() for node in cluster.nodes), 60_000, "and its epoch")
    cluster.always(lambda: agreed(cluster, 0, 1, 2), 5_000, "agreed")


def test_d3_no_zombie_outlives_its_owner_however_often_nodes_are_restarted(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=29)
    living, dead = cluster.sdk_client("living"), registered(cluster, 0, 2)
    living.publish("orders", instance(1))
    cluster.until(lambda: everywhere(cluster, 1, 2), 2_000, "listed")
    cluster.crash(0)
    dead.crash()
    died_ms = cluster.now_ms
    for restarted in (1, 2):  # while the zombie is still shown: nobody may give it a new lease
        cluster.run_ms(3_000)
        cluster.restart(restarted)
    cluster.until(lambda: everywhere(cluster, 1), 15_000 - (cluster.now_ms - died_ms), "gone")
    for restarted in (0, 1, 2, 0, 1, 2):
        cluster.restart(restarted)
        cluster.always(lambda: some_listed(cluster, [1], []), 20_000, "the zombie stays gone, the living is listed")
    cluster.until(lambda: agreed(cluster, 1), 5_000, "agreed")  # each forgets its earlier lives in its own time


# Nodes cannot hear each other.


def test_d4_what_changes_on_both_sides_of_a_long_cut_is_agreed_3_s_after_it(seed: int) -> None:
    cluster = sim_cluster(nodes=5, seed=seed, invariants_every=29)
    clients = [registered(cluster, number % 5, number) for number in range(10)]
    cluster.partition([0, 1], [2, 3, 4])
    cluster.run_ms(8_000)
    for number in (0, 1, 2, 3):  # one of each node of either side
        clients[number].withdraw("orders")
    clients[5].publish("orders", instance(15))
    clients[7].publish("orders", instance(17))
    cluster.run_ms(22_000)
    cluster.heal()
    cluster.until(lambda: agreed(cluster, 4, 5, 6, 7, 8, 9, 15, 17), 3_000, "agreed")


def test_d5_changes_get_past_a_path_that_carries_one_way_only(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    here, there = registered(cluster, 0, 1), registered(cluster, 1, 2)
    cluster.cut_one_way(0, 1)
    cluster.run_ms(6_000)
    here.publish("orders", instance(3))
    there.withdraw("orders")
    cluster.until(lambda: agreed(cluster, 1, 3), 3_000, "agreed")
    cluster.always(lambda: everywhere(cluster, 1, 3), 60_000, "nobody is hidden")


def test_d6_nodes_with_only_one_in_common_agree_during_the_fault(seed: int) -> None:
    cluster = sim_cluster(nodes=4, seed=seed, invariants_every=29)
    clients = [registered(cluster, number, number) for number in range(4)]
    for one, two in ((1, 2), (1, 3), (2, 3)):
        cluster.cut(one, two)
    cluster.run_ms(6_000)
    for number, client in enumerate(clients):
        client.publish("orders", instance(number + 10))
    clients[1].withdraw("orders", [instance(1).key])
    cluster.until(lambda: agreed(cluster, 0, 2, 3, 10, 11, 12, 13), 5_000, "agreed")
    cluster.always(lambda: everywhere(cluster, 0, 2, 3, 10, 11, 12, 13), 60_000, "nobody is hidden")


def test_d7_nodes_with_different_member_lists_agree_through_whom_they_share(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    addresses = [node.peer_address for node in cluster.nodes]
    cluster.node(0).list_members(addresses[:2])
    cluster.node(2).list_members(addresses[1:])
    cluster.run_ms(2_000)
    clients = [registered(cluster, number, number) for number in range(3)]
    cluster.until(lambda: agreed(cluster, 0, 1, 2), 3_000, "agreed")
    clients[0].withdraw("orders")
    cluster.until(lambda: agreed(cluster, 1, 2), 3_000, "agreed again")
    cluster.always(lambda: everywhere(cluster, 1, 2), 60_000, "nobody is hidden")


def test_d27_a_member_that_is_listed_and_unlisted_again_and_again_loses_nobody(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=29)
    clients = [registered(cluster, number, number) for number in range(3)]
    cluster.until(lambda: agreed(cluster, 0, 1, 2), 1_000, "agreed")
    for turn in range(4):
        cluster.list_members([0, 1] if turn % 2 == 0 else [0, 1, 2])
        cluster.always(lambda: some_listed(cluster, [0, 1, 2], [10, 12]), 7_000, "all listed")
        if turn == 0:
            clients[0].publish("orders", instance(10))
            clients[2].publish("orders", instance(12))
    cluster.until(lambda: agreed(cluster, 0, 1, 2, 10, 12), 3_000, "agreed")


# Slow nodes, wrong clocks, pauses.


def test_d8_a_peer_that_hardly_runs_costs_the_others_neither_time_nor_memory(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=97)
    client = registered(cluster, 0, 0)
    outgoing = cluster.node(0).behaviour(Role.DISTRO)._outgoing
    for number in range(1, 400):
        if number % 100 == 1:
            cluster.pause(2)
        if number % 100 == 99:
            cluster.resume(2)
        client.publish("orders", instance(number % 200, metadata={"round": str(number)}))
        cluster.run_ms(10)
        assert sum(delta.sent - delta.progressed for delta in outgoing.deltas.values()) <= 2 * 8
        sent = max(record.seq for record in cluster.node(0).behaviour(Role.CLIENTS).native.records.values())
        assert sent - cluster.node(1).holdings()[native_of(cluster, 0)][0] <= 10, "the fast peer lags a moment at most"
    cluster.until(lambda: agreed(cluster, *range(200)), 5_000, "agreed")


def test_d9_steps_of_a_wall_clock_change_no_view_and_no_order(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    clients = [registered(cluster, number, number) for number in range(3)]
    subscriber = cluster.client(at=1)
    subscriber.subscribe("orders")
    cluster.until(lambda: agreed(cluster, 0, 1, 2), 1_000, "agreed")
    cluster.run_ms(200)
    subscriber.pushes.clear()  # what it was told of the registrations
    for step_ms in (3_600_000, -7_200_000, 3_600_000):
        cluster.node(1).clock.step_wall(step_ms)
        cluster.always(lambda: everywhere(cluster, 0, 1, 2), 40_000, "nothing has changed")
    assert subscriber.pushes == []
    cluster.node(1).clock.step_wall(-3_600_000)
    clients[1].publish("orders", instance(5))
    cluster.until(lambda: bool(subscriber.pushes), 1_000, "told in spite of the clock")
    cluster.until(lambda: agreed(cluster, 0, 1, 2, 5), 1_000, "agreed")


@pytest.mark.parametrize("pause_ms", [14_000, 25_000, 60_000])
def test_d10_whoever_died_while_its_node_stood_still_is_not_seen_again(seed: int, pause_ms: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=29)
    dead, living = registered(cluster, 0, 1), registered(cluster, 1, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 1_000, "listed")
    cluster.pause(0)
    dead.crash()
    cluster.run_ms(pause_ms)
    others = cluster.nodes[1:]
    cluster.resume(0)
    only_the_living = [shown(2)] * 2
    cluster.always(
        lambda: [cluster.view(node, "orders") for node in others] == only_the_living, 10_000, "it stays gone"
    )
    assert agreed(cluster, 2)
    assert living.is_open
