"""A dead node that most of a service was connected to: nobody loses more than half of a list to one verdict."""

from __future__ import annotations

import pytest

from runtime.simulation.cluster import SimCluster
from tests.support.failure_scripts import everywhere, moved, registered, some_listed
from tests.support.sim_cluster import instance, sim_cluster

LEASE_MS = 15_000
SLACK_MS = 1_000  # nodes judge at their own beats


def queried(cluster: SimCluster, at: int) -> bool:
    """Whether the answer of this node says that it is guarded."""
    client = cluster.client(at=at)
    asked = client.query("orders")
    cluster.until(lambda: client.answer(asked) is not None, 1_000, "answered")
    return bool(client.answer(asked).guarded)


def test_what_died_with_its_node_is_gone_one_lease_later_where_it_was_most_of_the_service(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    dead = [registered(cluster, 0, number) for number in range(4)]
    registered(cluster, 1, 4)
    registered(cluster, 2, 5)
    lonely = cluster.client(at=0)
    lonely.publish("small", instance(9))
    cluster.until(lambda: everywhere(cluster, *range(6)), 2_000, "listed")
    cluster.crash(0)
    for client in [*dead, lonely]:
        client.crash()
    died_ms = cluster.now_ms
    cluster.until(lambda: cluster.views("small") == [[], []], 15_000, "a small service is not guarded")
    cluster.always(lambda: everywhere(cluster, *range(6)), LEASE_MS - SLACK_MS, "shown one lease longer")
    assert queried(cluster, 1)
    assert queried(cluster, 2)
    left_ms = 15_000 + LEASE_MS - (cluster.now_ms - died_ms)
    cluster.until(lambda: everywhere(cluster, 4, 5), left_ms, "then gone")
    assert not queried(cluster, 1)
    cluster.always(lambda: everywhere(cluster, 4, 5), 30_000, "for good")


def test_clients_that_are_late_to_move_are_not_missed_and_then_nothing_is_guarded(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    clients = [registered(cluster, 0, number) for number in range(6)]
    cluster.until(lambda: everywhere(cluster, *range(6)), 2_000, "listed")
    subscriber = cluster.client(at=1)
    subscriber.subscribe("orders")
    cluster.crash(0)
    cluster.always(lambda: everywhere(cluster, *range(6)), 12_000, "past the verdict nobody is missed")
    assert [view.guarded for _, view in subscriber.pushes] == [True]
    for number, client in enumerate(clients):
        moved(cluster, client, 1 + number % 2, number)
    cluster.always(lambda: everywhere(cluster, *range(6)), 3_000, "nor while they move")
    assert not subscriber.pushes[-1][1].guarded, "the newest list no longer says so"
    assert [len(view.instances) for _, view in subscriber.pushes] == [6] * len(subscriber.pushes)
    cluster.always(lambda: everywhere(cluster, *range(6)), 30_000, "nor when the guard ends")


def test_of_five_nodes_two_that_die_a_second_apart_take_half_of_a_list_at_most_for_a_lease(seed: int) -> None:
    cluster = sim_cluster(nodes=5, seed=seed, warm=True, invariants_every=29)
    clients = [registered(cluster, number // 2, number) for number in range(6)]
    cluster.until(lambda: everywhere(cluster, *range(6)), 2_000, "listed")
    for number in (0, 1):
        cluster.crash(number)
        for client in clients[2 * number : 2 * number + 2]:
            client.crash()
        cluster.run_ms(1_000)
    # A node that judges both at one beat keeps both; one that hid the first before does not bring it back.
    cluster.always(lambda: some_listed(cluster, range(4, 6), range(4)), 4_000 + LEASE_MS, "nothing else is shown")
    assert all(len(view) >= 4 for view in cluster.views("orders")), "half of it is missing at most"
    assert any(queried(cluster, number) for number in (2, 3, 4))
    cluster.until(lambda: everywhere(cluster, 4, 5), 15_000, "then the loss is accepted")


def test_an_owner_that_comes_back_during_the_guard_was_never_missed(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    clients = [registered(cluster, 0, number) for number in range(6)]
    cluster.until(lambda: everywhere(cluster, *range(6)), 2_000, "listed")
    cluster.partition([0], [1, 2])
    cluster.always(lambda: some_listed(cluster, range(6), []), 20_000, "cut off, and judged dead by the others")
    assert queried(cluster, 1)
    cluster.heal()
    cluster.always(lambda: everywhere(cluster, *range(6)), 20_000, "it is back")
    assert not queried(cluster, 1)
    assert all(client.is_open for client in clients)


@pytest.mark.parametrize("cut_ms", [15_000, 23_000])
def test_a_guard_does_not_end_at_a_node_that_cannot_hear_that_the_owner_is_back(seed: int, cut_ms: int) -> None:
    """It was to end at about 27 s: long after the node has noticed that it is alone, or before it says so."""
    cluster = sim_cluster(nodes=5, seed=seed, warm=True, invariants_every=97)
    clients = [registered(cluster, 0, number) for number in range(6)]
    cluster.until(lambda: everywhere(cluster, *range(6)), 2_000, "listed")
    cluster.partition([0], [1, 2, 3, 4])
    cluster.run_ms(cut_ms)
    assert queried(cluster, 4), "judged dead by all others, rightly"
    cluster.heal()
    cluster.partition([0, 1, 2, 3], [4])
    cluster.always(lambda: everywhere(cluster, *range(6)), 40_000, "the owner is back, n4 keeps what it cannot judge")
    assert cluster.node(4).standing.preserved
    cluster.heal()
    cluster.always(lambda: everywhere(cluster, *range(6)), 30_000, "nor does it hide the owner before it hears it")
    assert not queried(cluster, 4)
    assert all(client.is_open for client in clients)
