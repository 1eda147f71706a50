"""Messages in another order, twice, late, lost or forged, and clients that move or contradict each other.

One short script each. Every turn is followed by the invariants and by the safety checks of tests/support/checkers.py.
"""

from __future__ import annotations

import random

import pytest

from actors.base import Role
from actors.messages.distro import DeltaReceived
from actors.messages.peers import Delta
from actors.messages.values import Record, RecordKey
from actors.records import make_record
from rollbook.errors import Code
from rollbook.model import View
from rollbook.wire import Failed
from runtime.simulation.clients import service_of
from tests.support.failure_scripts import Wiretap, agreed, everywhere, moved, native_of, registered
from tests.support.sim_cluster import instance, shown, sim_cluster

# Messages in another order, twice, late, lost or forged.


def test_d14_deltas_in_any_order_and_number_leave_the_same_state(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    wiretap = Wiretap(cluster, cluster.node(1))
    client = registered(cluster, 0, 0)
    for number in range(1, 15):
        client.publish("orders", instance(number))
        cluster.run_ms(30)
        if number % 3 == 0:
            client.withdraw("orders", [instance(number).key])
            cluster.run_ms(30)
    wanted = [number for number in range(15) if number == 0 or number % 3]
    cluster.until(lambda: agreed(cluster, *wanted), 1_000, "agreed")
    again = [message for message in wiretap.heard for _ in range(3)]
    random.Random(seed).shuffle(again)
    for message in again:
        cluster.node(1).tell(Role.DISTRO, message)
    cluster.always(lambda: agreed(cluster, *wanted), 5_000, "nothing has changed")


def test_d15_a_change_that_comes_after_the_removal_brings_nobody_back(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    wiretap = Wiretap(cluster, cluster.node(1))
    client = registered(cluster, 0, 1)
    cluster.until(lambda: agreed(cluster, 1), 1_000, "listed")
    (late,) = [message for message in wiretap.heard if message.delta.bodies]
    client.crash()
    cluster.until(lambda: agreed(cluster), 1_000, "gone")
    cluster.run_ms(5_000)
    cluster.node(1).tell(Role.DISTRO, late)
    cluster.always(lambda: agreed(cluster), 20_000, "it stays gone")


def test_d16_a_removal_is_not_lost_behind_the_retry_of_a_change(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    cluster.run_ms(1_000)
    cluster.cut(0, 1)
    cluster.cut(0, 2)
    client = registered(cluster, 0, 1)
    cluster.run_ms(1_500)  # the change is under way, and is not confirmed
    client.crash()
    cluster.run_ms(1_000)
    cluster.heal()
    owner, gone = native_of(cluster, 0), cluster.node(0).holdings()[native_of(cluster, 0)]
    cluster.until(
        lambda: all(node.holdings().get(owner) == gone for node in cluster.nodes), 3_000, "all know of the removal"
    )
    cluster.run_ms(10)
    cluster.always(lambda: agreed(cluster), 20_000, "it stays gone")


def test_d17_the_retry_of_a_removal_takes_nobody_who_is_back(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    wiretap = Wiretap(cluster, cluster.node(1))
    client = registered(cluster, 0, 1)
    cluster.run_ms(1_000)
    client.withdraw("orders")
    cluster.until(lambda: agreed(cluster), 1_000, "gone")
    removal = wiretap.heard[-1]
    client.publish("orders", instance(1))
    cluster.until(lambda: agreed(cluster, 1), 1_000, "back")
    cluster.node(1).tell(Role.DISTRO, removal)
    cluster.always(lambda: agreed(cluster, 1), 20_000, "it stays")


def test_d18_nobody_removes_what_another_node_owns(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = registered(cluster, 0, 1)
    own, key = native_of(cluster, 0), RecordKey(client.client_id, service_of("orders"))
    removal = make_record(own, key, client.session + 1, 50, 1 << 60, 15_000, ())
    link = cluster.node(0).behaviour(Role.DISTRO)._peers.peers["node-1"].link
    cluster.node(0).tell(Role.DISTRO, DeltaReceived(link, delta_of(removal)))
    cluster.always(lambda: cluster.view(cluster.node(0), "orders") == shown(1), 5_000, "not touched")
    assert cluster.node(0).behaviour(Role.DISTRO).counters["foreign_claims"] == 1
    assert client.is_open
    assert agreed(cluster, 1)


def delta_of(record: Record) -> Delta:
    owner, epoch = record.origin
    return Delta(owner, epoch, 0, record.seq, False, 0, 0, 0, True, 0, (record.body,))


def test_d19_a_thousand_changes_a_second_cause_neither_pulls_nor_repeats(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=997)
    clients = [registered(cluster, number, number) for number in range(3)]
    cluster.run_ms(2_000)
    before = [dict(node.behaviour(Role.DISTRO).counters) for node in cluster.nodes]
    for number in range(900):
        clients[number % 3].publish(f"service-{number}", instance(number))
        cluster.run_ms(1)
    cluster.until(cluster.digests_agree, 1_000, "agreed")
    cluster.run_ms(2_000)
    for node, counters in zip(cluster.nodes, before, strict=True):
        after = node.behaviour(Role.DISTRO).counters
        records = node.behaviour(Role.CLIENTS).native.records.values()
        assert after["pulls_sent"] == counters["pulls_sent"]
        assert after["digest_mismatches"] == 0
        assert after["delta_bytes_sent"] - counters["delta_bytes_sent"] <= 2 * 2 * sum(len(r.body) for r in records)


def test_d20_what_changes_while_a_node_loads_is_neither_undone_nor_lost(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=97, settings={"clients": {"chunk_bytes_max": 500}})
    clients = [registered(cluster, number % 2, number) for number in range(60)]
    cluster.restart(2)
    gone: list[int] = []
    for number in range(0, 60, 6):
        cluster.run_ms(20)
        clients[number].withdraw("orders")
        gone.append(number)
    wanted = [number for number in range(60) if number not in gone]
    cluster.until(cluster.all_ready, 4_000, "all ready")
    cluster.until(lambda: agreed(cluster, *wanted), 3_000, "agreed")


def test_d21_no_subscriber_sees_a_shorter_list_while_two_of_three_restart(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=29)
    watcher, publishers = cluster.sdk_client("watcher"), [cluster.sdk_client() for _ in range(6)]
    watcher.subscribe("orders")
    for number, publisher in enumerate(publishers):
        publisher.publish("orders", instance(number))
    cluster.until(lambda: everywhere(cluster, *range(6)), 2_000, "registered")
    cluster.run_ms(1_000)
    seen = len(watcher.delivered)
    for number in (1, 2):
        cluster.crash(number)
        cluster.run_ms(400)
        cluster.restart(number)
    cluster.run_ms(30_000)
    lists = [len(snapshot.instances) for _, snapshot in watcher.delivered[seen:] if hasattr(snapshot, "instances")]
    assert all(length == 6 for length in lists), lists
    assert everywhere(cluster, *range(6))
    cluster.until(cluster.digests_agree, 10_000, "the earlier lives are forgotten everywhere")


def test_d21_a_node_does_not_start_cold_because_the_only_ready_one_falls_silent(seed: int) -> None:
    cluster = sim_cluster(seed=seed, settings={"clients": {"chunk_bytes_max": 300}})
    for number in range(40):
        registered(cluster, 0, number)
    for number in (1, 2):
        cluster.crash(number)
    cluster.run_ms(500)
    for number in (1, 2):
        cluster.restart(number)
    loading = cluster.nodes[1:]
    sights = [node.behaviour(Role.MEMBERS)._roster for node in loading]
    cluster.until(lambda: all(sight.reached == 3 for sight in sights) or cluster.all_ready(), 5_000, "all are reached")
    cluster.pause(0)
    cluster.run_ms(9_000)
    assert all(len(cluster.view(node, "orders")) == 40 for node in loading if node.is_ready)


@pytest.mark.parametrize("slow_us", [0, 300, 1_000, 2_000])
def test_d21_a_node_that_starts_between_two_who_were_alone_is_ready_when_it_knows_what_both_know(
    seed: int, slow_us: int
) -> None:
    """The first that tells it something makes a majority with it."""
    cluster = sim_cluster(seed=seed, warm=True)
    cluster.crash(2)
    cluster.partition([0], [1])
    cluster.run_ms(40_000)
    registered(cluster, 0, 1)
    registered(cluster, 1, 2)
    cluster.restart(2)
    cluster.slow(1, slow_us)
    fresh = cluster.node(2)
    both = set(shown(1, 2))
    cluster.always(lambda: not fresh.is_ready or both <= set(cluster.view(fresh, "orders")), 1_500, "ready with both")
    assert fresh.is_ready, "long before it would have waited in vain"


def test_d21_beside_the_only_one_that_is_left_a_node_is_ready_in_3_s(seed: int) -> None:
    """That one has been alone, and this is the majority that it had missed."""
    cluster = sim_cluster(seed=seed, warm=True)
    registered(cluster, 0, 1)
    for number in (1, 2):
        cluster.crash(number)
    cluster.run_ms(40_000)
    cluster.restart(2)
    fresh = cluster.node(2)
    cluster.until(lambda: fresh.is_ready, 3_000, "ready")
    assert cluster.view(fresh, "orders") == shown(1)


# Clients.


def test_d23_a_client_whose_old_connection_is_half_open_has_one_entry_and_can_end_it(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = registered(cluster, 0, 1)
    cluster.run_ms(100)
    cluster.cut_client(client, 0)
    moved(cluster, client, 1, 1, version="2")
    cluster.run_ms(50)
    versions = [[each.metadata for each in node.view(service_of("orders"))] for node in cluster.nodes]
    assert versions == [[{"version": "2"}]] * 3
    client.withdraw("orders")
    cluster.until(lambda: everywhere(cluster), 1_000, "gone")
    cluster.always(lambda: everywhere(cluster), 200_000, "for good, also when the tombstone is dropped")
    assert cluster.digests_agree()


def test_d24_of_two_clients_with_one_address_every_node_shows_the_same_and_counts_it(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    first, second = cluster.client(at=0), cluster.client(at=1)
    first.publish("orders", instance(1, metadata={"from": "first"}))
    cluster.run_ms(200)
    second.publish("orders", instance(1, metadata={"from": "second"}))
    cluster.run_ms(1_000)
    asker = cluster.client(at=2)
    query = asker.query("orders")
    cluster.until(lambda: isinstance(asker.answer(query), View), 1_000, "answered")
    assert {each.metadata["from"] for node in cluster.nodes for each in node.view(service_of("orders"))} == {"second"}
    assert cluster.node(2).behaviour(Role.INDEX).index.views.conflicts_count == 1
    second.crash()
    cluster.run_ms(1_000)
    assert {each.metadata["from"] for node in cluster.nodes for each in node.view(service_of("orders"))} == {"first"}


def test_d26_a_thousand_equal_registrations_change_nothing_and_cost_no_message(seed: int) -> None:
    cluster = sim_cluster(seed=seed, invariants_every=97)
    client = registered(cluster, 0, 1)
    cluster.run_ms(2_000)
    before = cluster.node(0).behaviour(Role.DISTRO).counters["deltas_sent"]
    asked = []
    for _ in range(1_000):
        asked.append(client.publish("orders", instance(1)))
        cluster.run_ms(1)
    cluster.run_ms(10)
    assert {client.answer(each).seq for each in asked} == {1}
    assert cluster.node(0).behaviour(Role.DISTRO).counters["deltas_sent"] == before
    cluster.always(lambda: agreed(cluster, 1), 300_000, "it does not expire")


def test_a_session_below_one_that_another_node_knows_is_told_the_highest(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = cluster.client().open(cluster.node(0).client_address, session=20)
    client.publish("orders", instance(1))
    cluster.until(lambda: everywhere(cluster, 1), 1_000, "listed")
    stale = cluster.client(client_id=client.client_id).open(cluster.node(1).client_address, session=19)
    cluster.until(lambda: bool(stale.answers), 1_000, "answered")
    failed = stale.answers[0].body
    assert isinstance(failed, Failed)
    assert (failed.code, failed.session) == (Code.SESSION_STALE, 20)


def test_a_client_at_its_limit_can_redo_what_its_older_session_published_at_the_same_node(seed: int) -> None:
    cluster = sim_cluster(seed=seed, settings={"clients": {"publications_per_session_max": 1}})
    client = registered(cluster, 0, 1)
    moved(cluster, client, 0, 1, version="2")
    client.leave_old()
    cluster.until(lambda: agreed(cluster, 1), 1_000, "agreed")
    cluster.always(lambda: everywhere(cluster, 1), 40_000, "it stays")
