"""wait="subscribers": a withdrawal returns once every subscriber on every living node knows, or names who does not."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from actors.base import Role
from rollbook.cache import Snapshot
from rollbook.errors import Code, NotConfirmed
from rollbook.wire import Done, Failed
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import SimCluster
from runtime.simulation.hosts import SimNetworkProfile
from runtime.simulation.paths import WELL, PathFault
from tests.support.failure_scripts import everywhere, registered
from tests.support.sim_cluster import instance, shown, sim_cluster


def subscribed(cluster: SimCluster, at: int, service: str = "orders") -> RawClient:
    client = cluster.client(at=at)
    asked = client.subscribe(service)
    cluster.until(lambda: client.answer(asked) is not None, 1_000, "subscribed")
    return client


def last_list(client: RawClient) -> list[str]:
    """What it was pushed last."""
    _, view = client.pushes[-1]
    return sorted(f"{each.ip}:{each.port}" for each in view.instances)


def node_id(cluster: SimCluster, number: int) -> str:
    return cluster.node(number).node_id


def drained(cluster: SimCluster, client: RawClient, deadline_ms: int = 1_000) -> int:
    """Withdraw and wait until it is proved; how long that took."""
    order = client.withdraw("orders", wait="subscribers")
    cluster.until(lambda: client.answer(order) is not None, deadline_ms, "answered")
    assert isinstance(client.answer(order), Done), client.answer(order)
    return client.answers[-1].at_ms


def failed(cluster: SimCluster, client: RawClient, order: int, deadline_ms: int) -> Failed:
    cluster.until(lambda: client.answer(order) is not None, deadline_ms, "answered")
    answer = client.answer(order)
    assert isinstance(answer, Failed)
    assert (answer.code, answer.retryable) == (Code.NOT_CONFIRMED, True)
    return answer


def test_a_drain_returns_once_the_slowest_subscriber_on_another_node_has_acknowledged(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    subscribers = [subscribed(cluster, at) for at in (0, 1, 2, 2)]
    slowest = subscribers[-1]
    slowest.acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers")
    cluster.until(lambda: all(client.pushes for client in subscribers), 1_000, "pushed")
    assert [last_list(client) for client in subscribers] == [[]] * 4
    cluster.always(lambda: publisher.answer(order) is None, 1_500, "one has not acknowledged")
    slowest.acknowledges = True  # the retry of the push finds it reading again
    cluster.until(lambda: publisher.answer(order) is not None, 3_000, "answered")
    assert isinstance(publisher.answer(order), Done)


def test_a_drain_with_quick_subscribers_takes_milliseconds(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    for at in (0, 1, 2):
        subscribed(cluster, at)
    started_ms = cluster.now_ms
    assert drained(cluster, publisher) - started_ms < 100


def test_without_subscribers_a_drain_waits_for_the_nodes_alone(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    subscribed(cluster, 1, "stock").acknowledges = False
    started_ms = cluster.now_ms
    assert drained(cluster, publisher) - started_ms < 100
    assert everywhere(cluster)


def test_who_does_not_read_is_named_with_its_node_and_nobody_else(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    readers = [subscribed(cluster, at) for at in (0, 1, 2)]
    deaf = [subscribed(cluster, at) for at in (0, 2)]
    for client in deaf:
        client.acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers", wait_ms=2_000)
    answer = failed(cluster, publisher, order, 2_500)
    assert answer.nodes == tuple(sorted([node_id(cluster, 0), node_id(cluster, 2)]))
    assert sorted(answer.subscribers) == sorted(
        f"{client.client_id}@{node_id(cluster, at)}" for client, at in zip(deaf, (0, 2), strict=True)
    )
    assert all(last_list(client) == [] for client in readers)
    assert everywhere(cluster), "it is withdrawn all the same"


def test_a_caller_that_subscribes_to_its_own_service_waits_for_itself_and_is_answered(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    asked = publisher.subscribe("orders")
    cluster.until(lambda: publisher.answer(asked) is not None, 1_000, "subscribed")
    drained(cluster, publisher)
    assert last_list(publisher) == []


@pytest.mark.parametrize("how", ["crash", "vanish", "unsubscribe"])
def test_a_subscriber_that_ends_during_the_wait_holds_nobody_up(seed: int, how: str) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    deaf = subscribed(cluster, 2)
    deaf.acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers", wait_ms=10_000)
    cluster.always(lambda: publisher.answer(order) is None, 300, "it has not acknowledged")
    if how == "unsubscribe":
        deaf.close()
    else:
        deaf.crash() if how == "crash" else deaf.vanish()
    cluster.until(lambda: publisher.answer(order) is not None, 8_000, "answered")
    assert isinstance(publisher.answer(order), Done)


def test_a_node_that_crashes_during_the_wait_is_waited_for_until_it_is_given_up(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    subscribed(cluster, 2).acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers", wait_ms=30_000)
    cluster.run_ms(200)
    cluster.crash(2)
    cluster.until(lambda: publisher.answer(order) is not None, 29_000, "answered")
    assert isinstance(publisher.answer(order), Done)


def test_a_node_that_restarts_during_the_wait_must_say_so_in_its_new_life(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    subscribed(cluster, 2).acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers", wait_ms=30_000)
    cluster.run_ms(200)
    cluster.crash(2)
    cluster.restart(2)
    cluster.until(lambda: publisher.answer(order) is not None, 10_000, "answered")
    assert isinstance(publisher.answer(order), Done)


def test_a_cut_off_node_is_named_and_after_the_heal_the_drain_can_be_proved(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    subscriber = subscribed(cluster, 2)
    cluster.partition((0, 1), (2,))
    order = publisher.withdraw("orders", wait="subscribers", wait_ms=3_000)
    assert failed(cluster, publisher, order, 3_500).nodes == (node_id(cluster, 2),)
    assert subscriber.pushes == []
    cluster.heal()
    again = publisher.withdraw("orders", wait="subscribers", wait_ms=20_000)
    cluster.until(lambda: publisher.answer(again) is not None, 19_000, "answered")
    assert isinstance(publisher.answer(again), Done)
    assert last_list(subscriber) == []


def test_a_subscriber_that_is_cut_for_not_reading_counts_as_told(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, settings={"push": {"slow_consumer_ms": 4_000}}, invariants_every=7)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    subscribed(cluster, 1).acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers", wait_ms=10_000)
    cluster.always(lambda: publisher.answer(order) is None, 3_500, "not yet")
    cluster.until(lambda: publisher.answer(order) is not None, 1_000, "answered")
    assert isinstance(publisher.answer(order), Done)
    assert cluster.node(1).behaviour(Role.PUSH).counters["push_subscribers_cut"] == 1


@pytest.mark.parametrize("fault", [WELL, PathFault(delay_us=2_000, jitter_us=20_000, loss=0.1, duplicate=0.2)])
def test_no_drain_returns_while_any_subscriber_still_has_the_instance(seed: int, fault: PathFault) -> None:
    """Publishers come and go while others change and acknowledgements are missing; each proof is held against the
    lists."""
    profile = SimNetworkProfile(delay_us=3_000, jitter_us=4_000)
    cluster = sim_cluster(seed=seed, warm=True, profile=profile, invariants_every=31)
    chance = random.Random(seed)
    publishers = [registered(cluster, number % 3, number) for number in range(6)]
    for source, target in permutations(range(3), 2):
        cluster.degrade(source, target, fault)
    subscribers = [subscribed(cluster, number % 3) for number in range(9)]
    seen = {client.client_id: shown(*range(6)) for client in subscribers}
    for _ in range(12):
        for client in subscribers:
            client.acknowledges = chance.random() < 0.8
        number = chance.randrange(6)
        publisher = publishers[number]
        order = publisher.withdraw("orders", wait="subscribers", wait_ms=8_000)
        other = chance.choice([other for other in range(6) if other != number])
        publishers[other].publish("orders", instance(other, metadata={"round": str(cluster.now_ms)}))
        cluster.run_ms(chance.randrange(200))
        for client in subscribers:
            client.acknowledges = True
        cluster.until(lambda: publisher.answer(order) is not None, 7_000, "answered")  # noqa: B023 - at once
        assert isinstance(publisher.answer(order), Done)
        for client in subscribers:
            assert shown(number)[0] not in (last_list(client) if client.pushes else seen[client.client_id])
        done = publisher.publish("orders", instance(number), wait="subscribers")
        cluster.until(lambda: publisher.answer(done) is not None, 4_000, "listed again")  # noqa: B023 - at once
        assert all(shown(number)[0] in last_list(client) for client in subscribers)


def test_an_application_with_the_sdk_drains_and_is_told_who_does_not_read(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher, reader = cluster.sdk_client(), cluster.sdk_client()
    published = publisher.publish("orders", instance(1), wait="subscribers")
    reader.subscribe("orders")
    cluster.until(lambda: published in publisher.results and everywhere(cluster, 1), 2_000, "listed")
    deaf = subscribed(cluster, 1)
    deaf.acknowledges = False
    order = publisher.withdraw("orders", wait="subscribers")
    cluster.until(lambda: order in publisher.results, 3_000, "answered before its own time-out")
    error = publisher.results[order]
    assert isinstance(error, NotConfirmed)
    assert error.subscribers == (f"{deaf.client_id}@{node_id(cluster, 1)}",)
    assert error.nodes == (node_id(cluster, 1),)
    last = reader.delivered[-1][1]
    assert isinstance(last, Snapshot)
    assert last.instances == ()
    deaf.crash()
    again = publisher.withdraw("orders", wait="subscribers")
    cluster.until(lambda: again in publisher.results, 2_500, "answered")
    assert isinstance(publisher.results[again], Done)


def test_the_histogram_says_how_long_changes_took_to_reach_everyone(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    publisher = registered(cluster, 0, 1)
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    deaf = subscribed(cluster, 1)
    deaf.acknowledges = False
    cluster.run_ms(60)  # one change in 50 ms is timed
    changed_ms = cluster.now_ms
    publisher.publish("orders", instance(1, metadata={"round": "2"}))
    cluster.run_ms(700)
    deaf.acknowledges = True
    asked = publisher.status()
    cluster.until(lambda: publisher.answer(asked) is not None, 1_000, "status")
    applied, told = publisher.answer(asked).convergence
    assert (applied.stage, sum(applied.counts)) == ("applied", 2)
    assert sum(told.counts) == 1, "the second change is not told yet"
    cluster.until(lambda: len(deaf.pushes) > 1, 5_000, "pushed again")
    cluster.run_ms(100)
    took_ms = deaf.pushes[-1][0] - changed_ms
    asked = publisher.status()
    cluster.until(lambda: publisher.answer(asked) is not None, 1_000, "status")
    _, told = publisher.answer(asked).convergence
    place = next(place for place, bound_ms in enumerate(told.bounds_ms) if took_ms < bound_ms)
    assert told.counts[place] == 1, (told, took_ms)
