"""Owners that come back: nobody is shown again, not even briefly, who ended meanwhile or whom others have let go."""

from __future__ import annotations

import random

from rollbook.errors import Code
from rollbook.wire import Failed
from tests.support.failure_scripts import agreed, everywhere, moved, registered, some_listed
from tests.support.sim_cluster import instance, shown, sim_cluster


def test_what_ended_beyond_a_long_cut_is_not_shown_again_when_the_cut_heals(seed: int) -> None:
    cluster = sim_cluster(nodes=5, seed=seed, invariants_every=97)
    clients = [registered(cluster, number, number) for number in range(5)]
    others = cluster.nodes[2:]
    cluster.partition([0, 1], [2, 3, 4])
    cluster.run_ms(random.Random(seed).randrange(16_000, 40_000))  # hidden, or purged already
    assert all(cluster.view(node, "orders") == shown(2, 3, 4) for node in others)
    clients[0].withdraw("orders")
    clients[1].publish("orders", instance(11))
    clients[1].withdraw("orders", [instance(1).key])
    cluster.run_ms(1_000)
    cluster.heal()
    dead = set(shown(0, 1))
    nobody_dead = lambda: not any(dead & set(cluster.view(node, "orders")) for node in others)  # noqa: E731
    cluster.always(nobody_dead, 3_000, "none of the dead shown")
    assert agreed(cluster, 2, 3, 4, 11), "and the living one is shown within 3 s"


def test_a_node_that_restarts_late_does_not_list_its_dead_clients_again(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    dead, _ = registered(cluster, 0, 1), registered(cluster, 1, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 1_000, "listed")
    dead.crash()
    cluster.crash(0)
    cluster.until(lambda: everywhere(cluster, 2), 12_000, "let go by the others")
    cluster.restart(0)
    cluster.always(lambda: some_listed(cluster, [2], []), 20_000, "it stays gone")
    assert cluster.all_ready()


def test_an_isolated_node_does_not_confirm_in_the_name_of_nodes_it_no_longer_hears(seed: int) -> None:
    cluster = sim_cluster(nodes=3, seed=seed)
    client = registered(cluster, 0, 1)
    cluster.partition([0], [1, 2])
    cluster.run_ms(20_000)
    asked = client.publish("orders", instance(2), wait="cluster")
    cluster.until(lambda: client.answer(asked) is not None, 6_000, "answered")
    answer = client.answer(asked)
    assert isinstance(answer, Failed)
    assert (answer.code, answer.nodes) == (Code.NOT_CONFIRMED, ("node-1", "node-2"))


def test_a_client_that_moves_to_a_hidden_owner_stays_listed_where_that_owner_is_still_hidden(seed: int) -> None:
    """What is heard of the owner by its return comes record by record, and the filter ends only after the last."""
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    client, dead = registered(cluster, 2, 1), registered(cluster, 0, 2)
    cluster.until(lambda: everywhere(cluster, 1, 2), 1_000, "listed")
    cluster.partition([0], [1, 2])
    last = cluster.node(2)
    cluster.until(lambda: cluster.view(last, "orders") == shown(1), 20_000, "the owner is hidden")
    cluster.partition([0, 1], [2])
    cluster.run_ms(8_000)
    moved(cluster, client, 0, 1)
    dead.withdraw("orders")
    cluster.run_ms(1_000)
    cluster.heal()
    cluster.cut(0, 2)  # it hears of the owner by the third node
    cluster.always(lambda: cluster.view(last, "orders") == shown(1), 10_000, "the living one listed, and no other")
    assert agreed(cluster, 1)
