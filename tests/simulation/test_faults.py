"""What each fault of a simulated cluster does, and what the cluster does about it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest

from actors.base import Role
from rollbook.cache import Snapshot
from rollbook.errors import Code
from rollbook.wire import Done, Failed
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster
from runtime.simulation.paths import PathFault
from runtime.simulation.sdk_client import SdkClient
from tests.support.sim_cluster import instance, shown, sim_cluster

SCALE = 5


def registered(cluster: SimCluster, count: int) -> list[SdkClient]:
    """One application per instance, all of them listed by every node."""
    clients = [cluster.sdk_client() for _ in range(count)]
    for number, client in enumerate(clients):
        client.publish("orders", instance(number))
    cluster.until(lambda: agreed(cluster, *range(count)), 3_000, "registered")
    return clients


def agreed(cluster: SimCluster, *numbers: int) -> bool:
    return all(view == shown(*numbers) for view in cluster.views("orders")) and cluster.digests_agree()


def listed(cluster: SimCluster, *numbers: int) -> bool:
    """No node that is ready lacks one."""
    wanted = set(shown(*numbers))
    return all(wanted <= set(cluster.view(node, "orders")) for node in cluster.nodes if node.is_ready)


def paths(nodes: int) -> Iterator[tuple[int, int]]:
    return permutations(range(nodes), 2)


def last_told(client: SdkClient) -> list[str]:
    snapshots = [told for _, told in client.delivered if isinstance(told, Snapshot)]
    return sorted(f"{each.ip}:{each.port}" for each in snapshots[-1].instances) if snapshots else []


def frames_of_a_second(cluster: SimCluster) -> int:
    before = cluster.network.counters["frames"]
    cluster.run_ms(1_000)
    return cluster.network.counters["frames"] - before


def zones(cluster: SimCluster, number: int) -> set[str]:
    """What this node says of instances that say where they are."""
    return {each.metadata["zone"] for each in cluster.node(number).view(service_of("orders")) if each.metadata}


def home_of(cluster: SimCluster, client: SdkClient) -> int:
    """The node that this application's newest connection goes to."""
    newest = max(client.host.ends.values(), key=lambda end: end.number)
    return next(number for number, node in enumerate(cluster.nodes) if node.client_address == newest.address)


# -- paths


def test_frames_that_come_twice_change_nothing(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    once = frames_of_a_second(cluster)
    for source, target in paths(3):
        cluster.degrade(source, target, PathFault(duplicate=1.0))
    assert frames_of_a_second(cluster) > 1.5 * once
    clients = registered(cluster, 6)
    clients[0].withdraw("orders")
    cluster.always(lambda: listed(cluster, *range(1, 6)), 5_000, "listed")
    assert agreed(cluster, *range(1, 6))
    assert not [end for node in cluster.nodes for end in node.exits]


def test_loss_between_nodes_delays_what_they_tell_each_other_and_loses_nothing(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    for source, target in paths(3):
        cluster.degrade(source, target, PathFault(loss=0.2, delay_us=2_000, jitter_us=10_000))
    registered(cluster, 9)
    cluster.always(lambda: listed(cluster, *range(9)), 10_000, "listed")
    assert cluster.network.counters["retransmissions"] > 50
    cluster.heal()
    cluster.until(lambda: agreed(cluster, *range(9)), 1_000, "agreed")


def test_an_application_on_a_lossy_path_stays_listed(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    client, *_ = registered(cluster, 4)
    for number in range(3):
        cluster.degrade_client(client, number, PathFault(loss=0.2))
    cluster.always(lambda: listed(cluster, 1, 2, 3), 10_000, "listed")
    cluster.heal()
    cluster.until(lambda: agreed(cluster, 0, 1, 2, 3), 2_000, "agreed")


def test_a_pair_whose_dials_are_lost_is_linked_as_long_as_nothing_breaks(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    cluster.refuse_dials(0, 1)
    cluster.refuse_dials(1, 0)
    opened = cluster.network.counters["connections"]
    cluster.run_ms(3_000)
    assert cluster.network.counters["connections"] == opened
    cluster.reset_links(0, 1)
    cluster.run_ms(3_000)
    assert not [end for end in cluster.node(0).host.ends.values() if end.other.host is cluster.node(1).host]
    cluster.restore(0, 1)
    linked = cluster.node(0).host.ends
    cluster.until(lambda: any(end.other.host is cluster.node(1).host for end in linked.values()), 1_000, "linked")


# -- nodes


def test_a_node_whose_turns_are_slow_holds_up_nobody_else(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    cluster.slow(2, 50_000)
    client = cluster.client(at=0)
    call = client.publish("orders", instance(1))
    cluster.until(lambda: isinstance(client.answer(call), Done), 50, "acknowledged")
    cluster.until(lambda: cluster.view(cluster.node(1), "orders") == shown(1), 50, "replicated")
    assert cluster.view(cluster.node(2), "orders") == []
    cluster.slow(2, 0)
    cluster.until(lambda: agreed(cluster, 1), 3_000, "agreed")


def test_a_node_that_looks_at_everything_late_loses_no_instance(seed: int) -> None:
    cluster = sim_cluster(5, seed, invariants_every=29)
    registered(cluster, 10)
    cluster.slow_processing(1, 2_000_000)
    cluster.always(lambda: listed(cluster, *range(10)), 20_000, "listed")
    late = cluster.client(at=1)
    assert cluster.until(lambda: late.is_open, 2_100, "open") >= 2_000
    cluster.slow_processing(1, 0)
    cluster.until(lambda: agreed(cluster, *range(10)), 3_000, "agreed")


def test_a_wall_clock_that_is_set_back_takes_no_epoch_and_no_session_back(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    clients = registered(cluster, 3)
    before = [node.identity for node in cluster.nodes]
    for client in clients:
        client.clock.step_wall(-3_600_000)
    for number in range(3):
        cluster.step_clock(number, -3_600_000)
        cluster.restart(number)
        cluster.until(cluster.all_ready, 5_000, "ready again")
    for earlier, node in zip(before, cluster.nodes, strict=True):
        assert earlier is not None
        assert node.identity is not None
        assert node.identity.epoch > earlier.epoch
    cluster.until(lambda: agreed(cluster, 0, 1, 2), 5_000, "agreed")


def test_a_machine_without_power_is_noticed_by_silence_and_comes_back_as_itself(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    registered(cluster, 6)
    before = cluster.node(0).identity
    cluster.power_off(0)
    cluster.always(lambda: listed(cluster, *range(6)), 5_000, "listed")
    assert len(cluster.running) == 2
    cluster.restart(0)
    cluster.until(lambda: cluster.all_ready() and agreed(cluster, *range(6)), 2_000, "agreed")
    after = cluster.node(0).identity
    assert before is not None
    assert after is not None
    assert after.node_id == before.node_id
    assert after.epoch > before.epoch


def test_a_node_that_comes_back_at_another_address_is_the_same_node(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    registered(cluster, 6)
    old_address, node_id = cluster.node(1).peer_address, cluster.node(1).node_id
    cluster.restart(1, new_address=True)
    assert cluster.node(1).peer_address != old_address
    cluster.until(lambda: cluster.all_ready() and agreed(cluster, *range(6)), 5_000, "agreed")
    assert cluster.node(1).node_id == node_id
    cluster.always(lambda: listed(cluster, *range(6)), 8_000, "listed")


# -- failpoints


def test_a_crash_at_a_failpoint_happens_before_half_way_or_after_the_turn() -> None:
    """Half way: the tables have changed, and of what follows from it only the first part is told."""
    seen = {}
    for moment in ("before", "mid", "after"):
        cluster = sim_cluster(seed=1)
        cluster.failpoints.arm("n0", f"clients.OrdersReceived.{moment}")
        turns = cluster.failpoints.turns[Role.CLIENTS]
        taken = sum(count for kind, count in turns.items() if kind.__name__ == "OrdersReceived")
        cluster.client(at=0).publish("orders", instance(1))
        cluster.until(lambda cluster=cluster: not cluster.node(0).is_running, 100, "dead")  # type: ignore[misc]
        orders = [turn for turn in cluster.turns if type(turn.message).__name__ == "OrdersReceived"]
        told = [
            turn for turn in cluster.turns if turn.place == "n0" and type(turn.message).__name__ == "RecordsChanged"
        ]
        seen[moment] = (len(orders) - taken, len(told))
        assert [(fired.place, fired.name) for fired in cluster.failpoints.fired] == [
            ("n0", f"clients.OrdersReceived.{moment}")
        ]
    assert (seen["before"][0], seen["mid"][0], seen["after"][0]) == (0, 1, 1)
    assert seen["after"][1] == 0


def test_failpoints_fire_once_at_the_nth_moment_and_only_where_they_are_armed() -> None:
    cluster = sim_cluster()
    beats = cluster.failpoints.hits.get("verify.VerifyDue.after", 0)
    cluster.failpoints.arm("n1", "verify.VerifyDue.after", nth=3)
    cluster.until(lambda: not cluster.node(1).is_running, 4_000, "dead")
    assert [node.name for node in cluster.running] == ["n0", "n2"]
    assert cluster.failpoints.hits["verify.VerifyDue.after"] - beats >= 7
    cluster.failpoints.arm("", None, nth=1_000_000)
    cluster.failpoints.disarm()
    cluster.restart(1)
    cluster.run_ms(2_000)
    assert len(cluster.failpoints.fired) == 1


@pytest.mark.parametrize("moment", ["before", "mid", "after"])
def test_a_process_that_stands_still_at_a_failpoint_goes_on_where_it_was(moment: str, seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = cluster.client(at=0)
    cluster.until(lambda: client.is_open, 100, "open")
    cluster.failpoints.arm("n0", f"clients.OrdersReceived.{moment}", action="pause")
    call = client.publish("orders", instance(1))
    cluster.until(lambda: bool(cluster.failpoints.fired), 100, "standing still")
    cluster.run_ms(500)
    assert client.answer(call) is None
    cluster.resume(0)
    cluster.until(lambda: isinstance(client.answer(call), Done), 100, "acknowledged")
    cluster.until(lambda: agreed(cluster, 1), 1_000, "agreed")


@pytest.mark.parametrize("step", ["before_fsync", "after_fsync", "after_rename", "after_directory_fsync"])
def test_power_that_goes_while_the_epoch_is_written_costs_no_identity(step: str, seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    before = cluster.node(0).identity
    cluster.crash(0)
    cluster.step_clock(0, -60_000)
    cluster.failpoints.arm("n0", f"disk.{step}", action="power_off")
    cluster.restart(0)
    assert not cluster.node(0).is_running
    assert not cluster.node(0).has_power
    cluster.restart(0)
    after = cluster.node(0).identity
    assert before is not None
    assert after is not None
    assert after.node_id == before.node_id
    assert after.epoch > before.epoch
    cluster.until(cluster.all_ready, 5_000, "ready")


def test_wherever_a_node_dies_its_applications_stay_listed(seed: int) -> None:
    """A crash at any moment of any turn: what was told by half must not matter."""
    cluster = sim_cluster(seed=seed, scale=SCALE, warm=True)
    clients = registered(cluster, 6)
    for number, client in enumerate(clients):
        client.publish("orders", instance(10 + number))
    cluster.failpoints.arm("n0", None, nth=40 + 97 * seed)
    wanted = [*range(6), *range(10, 16)]
    cluster.until(lambda: not cluster.node(0).is_running, 5_000, "dead")
    cluster.until(lambda: listed(cluster, *wanted), 2_000, "listed")
    cluster.always(lambda: listed(cluster, *wanted), 5_000, "still listed")
    cluster.start_all()
    cluster.until(lambda: cluster.all_ready() and agreed(cluster, *wanted), 3_000, "agreed")


def test_an_eventful_run_passes_many_failpoints() -> None:
    cluster = sim_cluster(scale=SCALE)
    clients = registered(cluster, 6)
    for client in clients:
        client.subscribe("orders")
    clients[0].close()
    clients[1].crash()
    cluster.run_ms(500)
    cluster.leave(0)
    cluster.run_ms(1_000)
    cluster.restart(0)
    cluster.crash(1)
    cluster.run_ms(3_000)
    hits = cluster.failpoints.hits
    assert len(hits) >= 100
    assert {"disk.before_fsync", "disk.after_rename", "io.SendToPeers.before", "clients.ApplyDelta.mid"} <= hits.keys()


# -- applications


def test_one_order_publishes_many_instances_and_another_changes_one(seed: int) -> None:
    cluster = sim_cluster(seed=seed)
    client = cluster.sdk_client()
    client.publish("orders", *(instance(number) for number in range(20)))
    cluster.until(lambda: agreed(cluster, *range(20)), 2_000, "agreed")
    call = client.update("orders", instance(3, metadata={"zone": "b"}))
    cluster.until(lambda: isinstance(client.results.get(call), Done), 100, "acknowledged")
    cluster.until(lambda: all(zones(cluster, number) == {"b"} for number in range(3)), 500, "changed everywhere")
    assert agreed(cluster, *range(20))


def test_who_unsubscribes_is_told_nothing_more(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True)
    watcher, other = cluster.sdk_client(), cluster.sdk_client()
    watcher.subscribe("orders")
    other.publish("orders", instance(1))
    cluster.until(lambda: last_told(watcher) == shown(1), 1_000, "told")
    call = watcher.unsubscribe("orders")
    cluster.until(lambda: call in watcher.results, 100, "unsubscribed")
    told = len(watcher.delivered)
    other.publish("orders", instance(2))
    cluster.until(lambda: agreed(cluster, 1, 2), 1_000, "agreed")
    cluster.run_ms(1_000)
    assert len(watcher.delivered) == told


def test_an_application_that_is_blocked_stays_listed_and_then_learns_what_it_missed(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE, warm=True)
    blocked, other = registered(cluster, 2)
    blocked.subscribe("orders")
    cluster.until(lambda: last_told(blocked) == shown(0, 1), 1_000, "told")
    blocked.block(6_000)
    other.publish("orders", instance(2))
    cluster.always(lambda: listed(cluster, 0, 1), 5_900, "listed")
    assert last_told(blocked) == shown(0, 1)
    cluster.until(lambda: last_told(blocked) == shown(0, 1, 2), 500, "told after all")
    assert blocked.ended is None


def test_a_stopped_application_is_dropped_and_comes_back_when_it_runs_again(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    stopped, _ = registered(cluster, 2)
    stopped.pause()
    cluster.until(lambda: agreed(cluster, 1), 3_000, "dropped")
    call = stopped.publish("orders", instance(2))
    cluster.run_ms(1_000)
    assert call not in stopped.results
    stopped.resume()
    cluster.until(lambda: agreed(cluster, 0, 1, 2), 3_000, "back, with what it wanted meanwhile")


def test_an_application_whose_machine_vanishes_is_dropped_after_the_heartbeats(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE)
    gone, _ = registered(cluster, 2)
    gone.vanish()
    cluster.always(lambda: listed(cluster, 0, 1), 700, "listed: nobody can know yet")
    cluster.until(lambda: agreed(cluster, 1), 1_000, "dropped")


# -- limits


def test_beyond_its_window_a_session_is_refused_with_a_reason_and_what_is_taken_stays_in_order(seed: int) -> None:
    limits = {"io": {"requests_in_flight_max": 16, "requests_in_flight_per_session_max": 4}}
    cluster = sim_cluster(seed=seed, settings=limits)
    clients = [cluster.client(at=0) for _ in range(8)]
    cluster.until(lambda: all(client.is_open for client in clients), 100, "open")
    cluster.slow(0, 5_000)
    calls = [
        [client.publish("orders", instance(n, metadata={"n": str(turn)})) for turn in range(10)]
        for n, client in enumerate(clients)
    ]
    cluster.until(
        lambda: all(
            client.answer(call) is not None for client, some in zip(clients, calls, strict=True) for call in some
        ),
        20_000,
        "all answered",
    )
    refused = 0
    for number, (client, some) in enumerate(zip(clients, calls, strict=True)):
        answers = [client.answer(call) for call in some]
        assert all(isinstance(each, Done) or each.code == Code.OVER_LIMIT for each in answers), answers
        refused += sum(isinstance(each, Failed) for each in answers)
        answered = [each.correlation for each in client.answers if isinstance(each.body, Done)]
        assert answered == sorted(answered), "orders are delayed, never reordered"
        last = max(turn for turn, each in enumerate(answers) if isinstance(each, Done))
        (found,) = [each for each in cluster.node(0).view(service_of("orders")) if each.ip == instance(number).ip]
        assert found.metadata == {"n": str(last)}
    assert refused > 0


def test_applications_get_through_a_node_that_takes_little_at_a_time(seed: int) -> None:
    limits = {"io": {"requests_in_flight_max": 2, "requests_in_flight_per_session_max": 4}}
    cluster = sim_cluster(seed=seed, settings=limits)
    clients = [cluster.sdk_client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.publish("orders", instance(number))
        client.publish("orders", instance(100 + number))
    wanted = [*range(20), *range(100, 120)]
    cluster.until(lambda: agreed(cluster, *wanted), 5_000, "agreed")


# -- shorter lives


def test_scaled_down_a_dead_machine_is_missed_by_nobody_and_its_dead_are_gone_in_time(seed: int) -> None:
    """The chain of docs/adr/0007 at a fifth: the living are elsewhere before their records are hidden."""
    cluster = sim_cluster(seed=seed, scale=SCALE, warm=True)
    clients = registered(cluster, 6)
    victim = home_of(cluster, clients[0])
    dead = [number for number, client in enumerate(clients) if home_of(cluster, client) == victim][:1]
    for number in dead:
        clients[number].vanish()
    cluster.power_off(victim)
    alive = [number for number in range(6) if number not in dead]
    cluster.until(lambda: agreed(cluster, *alive), 30_000 // SCALE, "the dead gone")
    cluster.always(lambda: listed(cluster, *alive), 60_000 // SCALE, "the living listed")


def test_scaled_down_a_minute_holds_many_lives_of_a_lease(seed: int) -> None:
    cluster = sim_cluster(seed=seed, scale=SCALE, warm=True)
    registered(cluster, 6)
    for turn in range(6):
        cluster.crash(turn % 3)
        cluster.always(lambda: listed(cluster, *range(6)), 4_000, "listed")
        cluster.restart(turn % 3)
        cluster.until(lambda: cluster.all_ready() and agreed(cluster, *range(6)), 3_000, "agreed")
    assert cluster.now_ms < 60_000
