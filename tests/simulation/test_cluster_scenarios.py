"""Whole clusters of the real actors, through registrations, crashes, partitions and pauses.

Every turn of every actor is followed by its invariants and by the safety checks of tests/support/checkers.py.
"""

from __future__ import annotations

from rollbook.model import Instance, View
from rollbook.wire import Failed, SessionOpened
from runtime.simulation.clients import RawClient, service_of
from runtime.simulation.cluster import SimCluster
from tests.support.sim_cluster import instance, shown, sim_cluster


def listed(cluster: SimCluster, *numbers: int, service: str = "orders") -> bool:
    """Every ready node lists these instances (and perhaps more)."""
    wanted = set(shown(*numbers))
    return all(wanted <= set(cluster.view(node, service)) for node in cluster.nodes if node.is_ready)


def everywhere(cluster: SimCluster, *numbers: int, service: str = "orders") -> bool:
    """Every running node lists exactly these instances."""
    return all(view == shown(*numbers) for view in cluster.views(service))


def agreed(cluster: SimCluster, *numbers: int) -> bool:
    return everywhere(cluster, *numbers) and cluster.digests_agree()


def published(cluster: SimCluster, at: int, number: int, service: str = "orders") -> RawClient:
    """A client at that node whose instance every running node lists."""
    client = cluster.client(at=at)
    client.publish(service, instance(number))
    cluster.until(lambda: listed(cluster, number, service=service), 1_000, f"instance {number} listed")
    return client


def failed_over(cluster: SimCluster, client: RawClient, to: int, number: int, service: str = "orders") -> None:
    """What the SDK does once its connection is gone: the next session elsewhere, and a redo."""
    cluster.until(lambda: client.closed is not None, 6_000, f"{client.client_id} notices")
    cluster.move(client, to)
    order = client.publish(service, instance(number), replace=True)
    cluster.until(lambda: client.answer(order) is not None, 4_000, f"{client.client_id} is back")


def test_three_nodes_become_ready(seed: int) -> None:
    cluster = sim_cluster(seed=seed, ready=False)
    assert not any(node.is_ready for node in cluster.nodes)
    assert cluster.until(cluster.all_ready, 3_000, "all ready") < 3_000


def test_a_registration_on_one_node_is_in_all_views_within_50_ms(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = cluster.client(at=0)
    cluster.until(lambda: client.is_open, 1_000)
    order = client.publish("orders", instance(1))
    assert cluster.until(lambda: everywhere(cluster, 1), 1_000) <= 50
    cluster.until(lambda: client.answer(order) is not None, 50, "answered")


def test_a_subscriber_on_another_node_is_told(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    subscriber = cluster.client(at=1)
    subscriber.subscribe("orders")
    cluster.until(lambda: subscriber.is_open, 1_000)
    cluster.run_ms(10)
    published(cluster, at=0, number=1)
    cluster.until(lambda: bool(subscriber.pushes), 100, "pushed")
    assert [i.ip for i in subscriber.pushes[-1][1].instances] == [instance(1).ip]


def test_a_client_that_is_killed_is_gone_everywhere_within_a_second(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = published(cluster, at=0, number=1)
    client.crash()
    assert cluster.until(lambda: agreed(cluster), 1_000, "gone") >= 300


def test_a_client_whose_machine_vanishes_is_gone_within_6_seconds(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = published(cluster, at=0, number=1)
    client.vanish()
    cluster.until(lambda: agreed(cluster), 6_000, "gone")
    assert cluster.node(0).is_ready


def test_an_owner_crash_removes_its_dead_clients_in_time_and_none_that_moved(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    dead, mover = published(cluster, at=0, number=1), published(cluster, at=0, number=2)
    cluster.crash(0)
    dead.crash()
    crashed_ms = cluster.now_ms
    cluster.always(lambda: listed(cluster, 1, 2), 5_000, "listed while their clients could move")
    failed_over(cluster, mover, to=1, number=2)
    cluster.until(lambda: everywhere(cluster, 2), 15_000 - (cluster.now_ms - crashed_ms), "dead instance gone")
    cluster.always(lambda: listed(cluster, 2), 60_000, "the moved one is listed")
    assert agreed(cluster, 2)


def test_a_client_that_moves_leaves_no_gap_and_its_newer_record_wins(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = published(cluster, at=0, number=1)
    cluster.move(client, to=1)
    order = client.publish("orders", instance(1, metadata={"version": "2"}), replace=True)
    cluster.until(lambda: client.answer(order) is not None, 1_000)
    client.leave_old()
    cluster.always(lambda: listed(cluster, 1), 40_000, "listed")
    assert {view_of(cluster, node).metadata["version"] for node in range(3)} == {"2"}


def view_of(cluster: SimCluster, node: int) -> Instance:
    """The only instance that this node lists."""
    (only,) = cluster.node(node).view(service_of("orders"))
    return only


def test_deregistrations_on_both_sides_of_a_partition_are_everywhere_3_s_after_it(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    clients = [published(cluster, at=number % 3, number=number) for number in range(6)]
    cluster.partition([0], [1, 2])
    cluster.run_ms(10_000)
    clients[0].withdraw("orders")
    clients[1].withdraw("orders")
    clients[2].publish("orders", instance(8))
    cluster.run_ms(500)
    assert not everywhere(cluster, 2, 3, 4, 5, 8)
    cluster.heal()
    cluster.until(lambda: agreed(cluster, 2, 3, 4, 5, 8), 3_000, "agreed")


def test_nodes_that_cannot_reach_each_other_agree_through_a_third(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    left, right = published(cluster, at=0, number=1), published(cluster, at=1, number=2)
    cluster.cut(0, 1)
    cluster.run_ms(8_000)
    left.publish("orders", instance(3))
    right.withdraw("orders")
    cluster.until(lambda: agreed(cluster, 1, 3), 5_000, "agreed")
    cluster.always(lambda: listed(cluster, 1, 3), 60_000, "listed")


def test_a_restart_at_the_same_address_never_hides_a_live_instance(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client, other = published(cluster, at=0, number=1), published(cluster, at=1, number=2)
    cluster.crash(0)
    cluster.always(lambda: listed(cluster, 1, 2), 1_000, "listed")
    cluster.restart(0)
    cluster.always(lambda: listed(cluster, 1, 2), 3_000, "listed")
    failed_over(cluster, client, to=0, number=1)
    cluster.always(lambda: listed(cluster, 1, 2), 60_000, "listed")
    assert agreed(cluster, 1, 2)
    assert other.is_open


def test_a_node_that_stands_still_for_40_s_costs_no_live_instance(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    mover, dead, other = (published(cluster, at=at, number=number) for at, number in ((0, 1), (0, 2), (1, 3)))
    cluster.pause(0)
    dead.crash()
    failed_over(cluster, mover, to=2, number=1)
    cluster.always(lambda: listed(cluster, 1, 3), 40_000, "listed")
    cluster.resume(0)
    cluster.always(lambda: listed(cluster, 1, 3), 20_000, "listed after the pause")
    cluster.until(lambda: agreed(cluster, 1, 3), 40_000, "agreed")
    assert other.is_open


def test_two_of_three_restarted_within_a_second_never_answer_an_empty_list(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    stays, mover = published(cluster, at=0, number=1), published(cluster, at=1, number=2)
    for number in (1, 2):
        cluster.crash(number)
        cluster.run_ms(300)
    for number in (1, 2):
        cluster.restart(number)
        asker = cluster.client(at=number)
        asker.query("orders")
        cluster.always(lambda: listed(cluster, 1, 2), 200, "listed")
        assert all(len(answer.body.instances) == 2 for answer in asker.answers if isinstance(answer.body, View))
    failed_over(cluster, mover, to=0, number=2)
    cluster.until(cluster.all_ready, 3_000, "all ready")
    cluster.always(lambda: listed(cluster, 1, 2), 40_000, "listed")
    assert stays.is_open


def test_a_node_that_loads_says_so_and_opens_no_session(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    published(cluster, at=0, number=1)
    cluster.crash(2)
    cluster.partition([2], [0, 1])
    cluster.restart(2)
    asker = cluster.client(at=2)
    asker.query("orders")
    cluster.run_ms(3_000)
    assert [type(answer.body) for answer in asker.answers] == [Failed]
    cluster.heal()
    cluster.until(cluster.all_ready, 4_000, "all ready")
    asker.open(cluster.node(2).client_address)
    order = asker.query("orders")
    cluster.until(lambda: asker.answer(order) is not None, 1_000)
    assert [each.ip for each in asker.answer(order).instances] == [instance(1).ip]


def test_a_node_that_joins_late_loads_10_000_instances_in_chunks_before_it_is_ready() -> None:
    cluster = sim_cluster(invariants_every=97)
    clients = [cluster.client(at=number % 3) for number in range(10)]
    for number, client in enumerate(clients):
        for service in range(100):
            several = [instance(number * 1_000 + service * 10 + each) for each in range(10)]
            client.publish(f"service-{service}", *several)
    cluster.until(lambda: all(len(client.answers) == 101 for client in clients), 5_000, "all published")
    cluster.run_ms(1_000)  # a new node loads what the others had at their last beat
    late = cluster.add_node()
    cluster.list_members(range(4))
    late.start()
    cluster.until(lambda: late.is_ready, 5_000, "ready")
    assert sum(len(cluster.view(late, f"service-{service}")) for service in range(100)) == 10_000
    cluster.until(cluster.digests_agree, 2_000)


def test_a_node_that_leaves_in_good_order_hands_its_clients_on_without_a_gap(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = published(cluster, at=0, number=1)
    cluster.leave(0)
    cluster.run_ms(100)
    cluster.move(client, to=1)
    client.publish("orders", instance(1), replace=True)
    cluster.until(lambda: client.is_open, 1_000)
    client.leave_old()
    cluster.always(lambda: listed(cluster, 1), 60_000, "listed")
    assert [(order.exit_code, node) for node in range(3) for order in cluster.node(node).exits] == [(0, 0)]
    assert agreed(cluster, 1)


def test_a_client_that_is_advised_elsewhere_can_open_a_session_there(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = cluster.client(at=0)
    cluster.until(lambda: client.is_open, 1_000)
    opened = client.answers[0].body
    assert isinstance(opened, SessionOpened)
    assert sorted(opened.servers) == sorted(node.client_address for node in cluster.nodes)
