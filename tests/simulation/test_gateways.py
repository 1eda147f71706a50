"""Gateways and nodes that die: what the clients behind them publish stays until they are back, and no longer than the
grace of their kind."""

from __future__ import annotations

import pytest

from rollbook.wire import Done
from runtime.simulation.cluster import SimCluster
from runtime.simulation.gateway import SimGateway
from runtime.simulation.sim_io import silence_of
from tests.support.sim_cluster import instance, shown, sim_cluster

GRACE_MS = 45_000
LEASE_MS = 15_000
NOTICED_MS = 1_000
STREAMS = 50
ALL = range(1, STREAMS + 1)


def gateway(cluster: SimCluster, at: int, name: str = "gateway") -> SimGateway:
    heartbeats = silence_of(cluster.settings.io)
    return SimGateway(cluster.scheduler, cluster.network, name, cluster.nodes[at].client_address, heartbeats)


def published(cluster: SimCluster, through: SimGateway, *numbers: int) -> None:
    """A client for each, behind this gateway."""
    for number in numbers:
        through.open(f"sdk-{number}")
        order = through.publish(f"sdk-{number}", "orders", instance(number))
    cluster.until(lambda: isinstance(through.answers.get(order), Done), 2_000, "answered")


def everywhere(cluster: SimCluster, *numbers: int) -> bool:
    return all(view == shown(*numbers) for view in cluster.views("orders"))


def lasts(cluster: SimCluster, for_ms: int, *numbers: int) -> None:
    """Every running node lists at least these, at every moment."""
    wanted = set(shown(*numbers))
    until_ms = cluster.scheduler.now_ms + for_ms
    while cluster.scheduler.now_ms < until_ms:
        cluster.run_ms(min(250, until_ms - cluster.scheduler.now_ms))
        for node in cluster.running:
            assert wanted <= set(cluster.view(node, "orders")), f"an instance is missing at {cluster.scheduler.now_ms}"


def gone(cluster: SimCluster, within_ms: int) -> None:
    cluster.until(lambda: everywhere(cluster), within_ms, "gone everywhere")


def test_what_is_published_behind_a_gateway_that_dies_stays_for_its_grace_and_then_goes(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    through = gateway(cluster, at=0)
    published(cluster, through, *ALL)
    cluster.until(lambda: everywhere(cluster, *ALL), 1_000, "listed")
    through.crash()
    lasts(cluster, GRACE_MS, *ALL)
    gone(cluster, NOTICED_MS)


def test_only_streams_that_a_gateway_reports_closed_are_removed(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    through = gateway(cluster, at=0)
    published(cluster, through, *ALL)
    through.stream_closed("sdk-1")
    cluster.until(lambda: everywhere(cluster, *ALL[1:]), 1_000, "the closed one is gone")
    through.crash()
    lasts(cluster, GRACE_MS // 3, *ALL[1:])
    assert everywhere(cluster, *ALL[1:])


def test_clients_that_come_back_through_another_gateway_take_over_without_a_gap(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    through = gateway(cluster, at=0)
    published(cluster, through, *ALL)
    cluster.until(lambda: everywhere(cluster, *ALL), 1_000, "listed")
    through.crash()
    lasts(cluster, 28_000, *ALL)
    elsewhere = gateway(cluster, at=1, name="gateway-2")
    published(cluster, elsewhere, *ALL[:40])
    lasts(cluster, GRACE_MS, *ALL[:40])
    assert everywhere(cluster, *ALL[:40]), "the ten that did not come back are gone"
    elsewhere.withdraw("sdk-7", "orders")
    cluster.until(lambda: everywhere(cluster, *ALL[:6], *ALL[7:40]), 1_000, "and what leaves there leaves")


def test_when_the_owner_dies_with_its_gateway_its_records_stay_for_their_grace(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    native = cluster.client(at=0)
    native.publish("other", instance(99))
    through = gateway(cluster, at=0)
    published(cluster, through, *ALL)
    cluster.until(lambda: everywhere(cluster, *ALL), 1_000, "listed")
    cluster.crash(0)
    through.crash()
    lasts(cluster, GRACE_MS - 2_000, *ALL)
    assert cluster.views("other") == [[], []], "the grace of a native client is shorter"
    gone(cluster, 5_000 + LEASE_MS)  # all of a service at once: the shrink guard waits one lease longer


def test_clients_whose_node_has_died_are_never_missed_if_they_are_back_in_30_seconds(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    through = gateway(cluster, at=0)
    published(cluster, through, *ALL)
    cluster.until(lambda: everywhere(cluster, *ALL), 1_000, "listed")
    cluster.crash(0)
    lasts(cluster, 30_000, *ALL)
    published(cluster, gateway(cluster, at=2, name="gateway-2"), *ALL)
    lasts(cluster, 2 * GRACE_MS, *ALL)
    assert everywhere(cluster, *ALL)


def test_a_node_that_stands_still_while_its_gateway_dies_removes_nothing_of_live_clients(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    through = gateway(cluster, at=0)
    published(cluster, through, *ALL)
    cluster.until(lambda: everywhere(cluster, *ALL), 1_000, "listed")
    cluster.pause(0)
    cluster.run_ms(3_000)
    through.crash()
    cluster.run_ms(2_000)
    cluster.resume(0)
    lasts(cluster, 20_000, *ALL)
    published(cluster, gateway(cluster, at=1, name="gateway-2"), *ALL)
    lasts(cluster, GRACE_MS, *ALL)


def comes_back(cluster: SimCluster, through: SimGateway, name: str, ip: str = "10.9.0.1") -> None:
    """The application at that address, as the client that its new connection is."""
    through.open(name, ip)
    order = through.publish(name, "orders", instance(1))
    cluster.until(lambda: isinstance(through.answers.get(order), Done), 2_000, "published again")


def conflicts(cluster: SimCluster) -> list[str]:
    return [fact for node in cluster.running for fact in node.facts() if "several clients" in fact]


@pytest.mark.parametrize("how", ["gateway dies", "told to move", "node dies"])
def test_what_an_sdk_withdraws_soon_after_it_has_moved_is_gone(seed: int, how: str) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    first, second = gateway(cluster, at=0), gateway(cluster, at=1, name="gateway-2")
    comes_back(cluster, first, "old")
    second.open("watcher")
    second.subscribe("watcher", "orders")
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    cluster.run_ms(10_000)
    if how == "told to move":
        comes_back(cluster, second, "new")
        first.stream_moved("old")
    else:
        first.crash()
        if how == "node dies":
            cluster.crash(0)
        lasts(cluster, 200, 1)
        comes_back(cluster, second, "new")
    lasts(cluster, 1_000, 1)
    second.withdraw("new", "orders")
    gone(cluster, 15_000 if how == "node dies" else NOTICED_MS)
    cluster.always(lambda: everywhere(cluster), 2 * GRACE_MS, "it stays away")
    assert conflicts(cluster) == []


def test_two_applications_at_one_address_are_a_conflict(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    first, second = gateway(cluster, at=0), gateway(cluster, at=1, name="gateway-2")
    second.open("watcher")
    second.subscribe("watcher", "orders")
    comes_back(cluster, first, "one", ip="10.9.0.1")
    comes_back(cluster, second, "two", ip="10.9.0.2")
    cluster.until(lambda: len(conflicts(cluster)) == 1, 1_000, "said")


def test_of_two_processes_at_one_address_the_one_that_withdraws_takes_nothing_from_the_other(seed: int) -> None:
    """Both lose their gateway; one is back and gone again before the other has noticed."""
    cluster = sim_cluster(seed=seed, invariants_every=20)
    first, second = gateway(cluster, at=0), gateway(cluster, at=1, name="gateway-2")
    comes_back(cluster, first, "old-1")
    comes_back(cluster, first, "old-2")
    lasts(cluster, 10_000, 1)
    first.crash()
    comes_back(cluster, second, "new-1")
    second.stream_closed("new-1")
    lasts(cluster, 28_000, 1)
    comes_back(cluster, second, "new-2")
    lasts(cluster, 2 * GRACE_MS, 1)
    second.withdraw("new-2", "orders")
    cluster.until(lambda: everywhere(cluster), NOTICED_MS, "both have withdrawn")
    assert conflicts(cluster) == []


def test_a_process_that_was_there_before_takes_nothing_from_one_that_lost_its_gateway(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=20)
    first, second = gateway(cluster, at=0), gateway(cluster, at=1, name="gateway-2")
    comes_back(cluster, first, "lost")
    comes_back(cluster, second, "other")
    lasts(cluster, 10_000, 1)
    first.crash()
    cluster.run_ms(1_000)
    second.withdraw("other", "orders")
    lasts(cluster, GRACE_MS - 5_000, 1)
    assert everywhere(cluster, 1)
