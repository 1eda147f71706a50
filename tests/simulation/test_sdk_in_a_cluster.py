"""Applications with the real SDK session, against clusters of the real actors, while nodes and links fail."""

from __future__ import annotations

from actors.base import Role
from rollbook.cache import Snapshot
from rollbook.wire import Done
from runtime.simulation.cluster import SimCluster
from runtime.simulation.sdk_client import SdkClient
from tests.support.sim_cluster import instance, shown, sim_cluster


def registered(cluster: SimCluster, *numbers: int, service: str = "orders") -> list[SdkClient]:
    """One application per instance; every node lists all of them."""
    clients = [cluster.sdk_client() for _ in numbers]
    calls = [client.publish(service, instance(number)) for client, number in zip(clients, numbers, strict=True)]
    cluster.until(lambda: listed(cluster, *numbers, service=service), 2_000, "registered")
    cluster.until(lambda: all(call in client.results for client, call in zip(clients, calls, strict=True)), 2_000)
    assert all(isinstance(client.results[call], Done) for client, call in zip(clients, calls, strict=True))
    return clients


def listed(cluster: SimCluster, *numbers: int, service: str = "orders") -> bool:
    wanted = set(shown(*numbers))
    return all(wanted <= set(cluster.view(node, service)) for node in cluster.nodes if node.is_ready)


def agreed(cluster: SimCluster, *numbers: int, service: str = "orders") -> bool:
    return all(view == shown(*numbers) for view in cluster.views(service)) and cluster.digests_agree()


def told(client: SdkClient) -> list[str]:
    """What a subscriber was shown last."""
    last = client.delivered[-1][1] if client.delivered else None
    return sorted(f"{each.ip}:{each.port}" for each in last.instances) if isinstance(last, Snapshot) else []


def test_a_node_crash_leaves_no_gap_for_the_applications_it_served(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    registered(cluster, *range(6))
    cluster.crash(0)
    cluster.always(lambda: listed(cluster, *range(6)), 60_000, "listed")
    assert agreed(cluster, *range(6))


def test_a_rolling_restart_leaves_no_gap_and_no_shrunken_push(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    watcher, *_ = registered(cluster, *range(6))
    watcher.subscribe("orders")
    cluster.until(lambda: told(watcher) == shown(*range(6)), 1_000, "told")
    for number in range(3):
        cluster.leave(number)
        cluster.until(lambda: len(cluster.running) == 2, 5_000, "left")
        cluster.restart(number)
        cluster.until(cluster.all_ready, 5_000, "ready again")
        cluster.always(lambda: listed(cluster, *range(6)), 2_000, "listed")
    cluster.run_ms(30_000)
    assert agreed(cluster, *range(6))
    assert {len(snapshot.instances) for _, snapshot in watcher.delivered} == {6}


def test_an_application_that_closes_is_gone_everywhere_and_its_watchers_know(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    first, second = registered(cluster, 1, 2)
    second.subscribe("orders")
    cluster.until(lambda: told(second) == shown(1, 2), 1_000, "told")
    first.close()
    cluster.until(lambda: agreed(cluster, 2) and told(second) == shown(2), 1_000, "gone")
    assert first.ended is not None


def test_an_application_cut_off_from_its_node_moves_and_stays_listed(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    (client,) = registered(cluster, 1)
    (at,) = [n for n in range(3) if cluster.node(n).live_native()]
    cluster.cut_client(client, at)
    cluster.always(lambda: listed(cluster, 1), 40_000, "listed")
    assert agreed(cluster, 1)


def test_an_isolated_node_gives_its_applications_to_the_majority(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    clients = registered(cluster, *range(6))
    cluster.partition([0], [1, 2])
    cluster.always(
        lambda: set(shown(*range(6))) <= set(cluster.view(cluster.node(1), "orders")), 40_000, "listed by the majority"
    )
    sessions = cluster.node(0).behaviour(Role.CLIENTS).sessions
    assert not any(sessions.has(client.client_id) for client in clients), "nobody stays where no majority is"
    assert listed(cluster, *range(6)), "but they stay listed there"
    cluster.heal()
    cluster.until(lambda: agreed(cluster, *range(6)), 3_000, "agreed")
    cluster.until(lambda: not cluster.node(0).live_native(), 8_000, "their newer sessions have it")
    cluster.until(lambda: agreed(cluster, *range(6)), 1_000, "agreed again")


def test_a_session_outlives_every_address_that_it_was_told_when_it_was_opened(seed: int) -> None:
    """Machine after machine is replaced by one with another address, its own the last."""
    cluster = sim_cluster(seed=seed, warm=True)
    [client] = registered(cluster, 1)
    [own] = [
        number for number in range(3) if cluster.node(number).behaviour(Role.CLIENTS).sessions.has(client.client_id)
    ]
    for number in sorted(range(3), key=lambda number: number == own):
        cluster.restart(number, new_address=True)
        cluster.until(cluster.all_ready, 10_000, "ready again")
        cluster.run_ms(5_000)
    cluster.until(lambda: listed(cluster, 1), 5_000, "registered elsewhere")
    cluster.always(lambda: listed(cluster, 1), 40_000, "still there")
