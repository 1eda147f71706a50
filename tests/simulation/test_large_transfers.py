"""Large registries on their way to a node: slow links, several sources, sources that fail, and copies that rotted.

One short script each. Every turn is followed by the safety checks of tests/support/checkers.py.
"""

from __future__ import annotations

from actors.base import Role
from actors.buckets import bucket_of
from actors.messages.values import RecordKey
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster
from runtime.simulation.paths import PathFault
from tests.support.failure_scripts import native_of
from tests.support.large_registry import Crowd, Traffic
from tests.support.sim_cluster import sim_cluster

MEGABIT = PathFault(bytes_per_ms=125)
SERVICES = 40


def counter(cluster: SimCluster, number: int, name: str) -> int:
    return int(cluster.node(number).behaviour(Role.DISTRO).counters[name])


def lists_all(cluster: SimCluster, number: int, wanted: list[list[str]]) -> bool:
    node = cluster.node(number)
    return [cluster.view(node, f"service-{place}") for place in range(len(wanted))] == wanted


def slowly(cluster: SimCluster, number: int) -> None:
    """All paths of this node carry 1 Mbit/s."""
    for other in range(len(cluster.nodes)):
        if other != number:
            cluster.degrade(number, other, MEGABIT)
            cluster.degrade(other, number, MEGABIT)


def loaded(seed: int, *sizes: int, nodes: int = 3, part: int = 4_096) -> tuple[SimCluster, list[Crowd]]:
    """A cluster in which so many clients publish at the first nodes, and every node knows it."""
    settings = {"distro": {"part_records_max": part}}
    cluster = sim_cluster(nodes, seed, settings=settings, invariants_every=9_973)
    crowds = [Crowd(cluster, number, size) for number, size in enumerate(sizes)]
    cluster.until(cluster.digests_agree, 5_000, "replicated")
    cluster.run_ms(100)  # and indexed
    return cluster, crowds


def test_d22_a_large_registry_over_slow_links_holds_up_no_heartbeat_and_costs_no_live_instance(seed: int) -> None:
    cluster, _ = loaded(seed, 6_000, 6_000)
    wanted = [cluster.view(cluster.node(0), f"service-{place}") for place in range(SERVICES)]
    assert sum(map(len, wanted)) == 12_000
    cluster.crash(2)
    cluster.run_ms(500)
    slowly(cluster, 2)
    cluster.restart(2)
    started_ms = cluster.now_ms
    arriving, others = Traffic(cluster, cluster.node(2)), Traffic(cluster, cluster.node(0))
    while not cluster.node(2).is_ready and cluster.now_ms < started_ms + 60_000:
        cluster.run_ms(500)
        assert all(lists_all(cluster, number, wanted) for number in (0, 1)), "nobody is missed meanwhile"
    assert lists_all(cluster, 2, wanted)
    alone_ms = sum(arriving.bytes.values()) / MEGABIT.bytes_per_ms
    assert alone_ms / 2 < cluster.now_ms - started_ms < alone_ms * 0.6 + 2_000, "two sources, each as fast as its link"
    assert min(arriving.bytes.values()) > 0.45 * sum(arriving.bytes.values()), "half from each"
    assert arriving.chunk_bytes_max <= 256 * 1024
    assert max(arriving.digest_gap_ms_max, others.digest_gap_ms_max) < 3_500, "nobody is even suspected"
    assert arriving.records.total() == 12_000, "nothing came twice"
    cluster.until(cluster.digests_agree, 5_000, "agreed")


def test_of_a_source_that_dies_half_way_another_takes_the_share_and_nothing_else_comes_again(seed: int) -> None:
    cluster, _ = loaded(seed, 3_000, nodes=4, part=1_000)
    slowly(cluster, 3)
    cluster.restart(3)
    arriving = Traffic(cluster, cluster.node(3))
    cluster.until(lambda: arriving.bytes.total() > 400_000, 30_000, "half way")
    busy = [node_id for node_id, size in sorted(arriving.bytes.items()) if size and node_id != "node-0"]
    assert busy, "a relay sends as well"
    cluster.crash(int(busy[0][-1]))
    cluster.until(lambda: cluster.node(3).is_ready, 40_000, "ready")
    assert cluster.digests_agree()
    assert 3_000 <= arriving.records.total() < 3_000 + 1_100, "at most one part of three came twice"


def test_a_source_that_hangs_hands_its_share_over_and_one_that_is_slow_carries_less(seed: int) -> None:
    cluster, _ = loaded(seed, 3_000, nodes=4, part=1_000)
    slowly(cluster, 3)
    cluster.degrade(1, 3, PathFault(bytes_per_ms=60))
    cluster.restart(3)
    arriving = Traffic(cluster, cluster.node(3))
    cluster.until(lambda: arriving.bytes.total() > 200_000, 30_000, "a third of the way")
    (pull,) = cluster.node(3).behaviour(Role.DISTRO)._parts.pulls.values()
    assert sorted(pull.open) == ["node-0", "node-1", "node-2"]
    cluster.pause(2)
    cluster.until(lambda: cluster.node(3).is_ready, 60_000, "ready")
    assert counter(cluster, 3, "pulls_timed_out") >= 1
    assert cluster.view(cluster.node(3), "service-1") == cluster.view(cluster.node(0), "service-1")
    assert arriving.bytes["node-1"] < arriving.bytes["node-0"]


def test_a_path_that_answers_just_within_the_pong_time_out_carries_a_large_change_and_carries_it_once(
    seed: int,
) -> None:
    """At worst a chunk for each round trip: 40 of them, of up to 2.9 s."""
    settings = {"clients": {"chunk_bytes_max": 4_096}}
    cluster = sim_cluster(3, seed, settings=settings, invariants_every=9_973)
    cluster.degrade(0, 2, PathFault(delay_us=2_000_000, jitter_us=900_000))
    cluster.crash(1)
    cluster.run_ms(8_000)
    arriving = Traffic(cluster, cluster.node(0))
    Crowd(cluster, 2, 600)
    cluster.until(cluster.digests_agree, 120_000, "all of it is there")
    assert arriving.records.total() < 2 * 600, "it was hardly ever begun anew"


def test_rot_in_one_bucket_of_ten_thousand_records_is_mended_by_a_256th_of_them(seed: int) -> None:
    cluster, _ = loaded(seed, 10_000)
    cluster.checkers.clear()  # they would not have a record take its own place
    owner = native_of(cluster, 0)
    table = cluster.node(2).behaviour(Role.CLIENTS).tables[owner]
    rotten = RecordKey("crowd-0-77", service_of("service-37"))
    table._uncount(table.records.pop(rotten))  # a bit that fell over in memory
    assert not cluster.digests_agree()
    arriving, other = Traffic(cluster, cluster.node(2)), Traffic(cluster, cluster.node(1))
    cluster.until(cluster.digests_agree, 5_000, "mended")
    records = cluster.node(0).behaviour(Role.CLIENTS).native.records.values()
    bucket = [record for record in records if bucket_of(record.key.client) == bucket_of(rotten.client)]
    assert arriving.records == {"node-0": len(bucket)}
    assert arriving.bytes.total() == sum(len(record.body) for record in bucket)
    assert arriving.bytes.total() < 2 * sum(len(record.body) for record in records) / 256
    assert other.records.total() == 0
    assert counter(cluster, 2, "digest_mismatches") == 1
    cluster.run_ms(3_000)
    assert counter(cluster, 2, "digest_mismatches") == 1


def test_a_node_that_was_away_longer_than_tombstones_are_kept_gets_the_buckets_that_changed(seed: int) -> None:
    cluster, (crowd,) = loaded(seed, 4_000)
    for other in (0, 1):
        cluster.cut(other, 2)
    crowd.withdraw(range(0, 30, 3))
    crowd.change(range(1, 30, 3), "new")
    cluster.run_ms(170_000)
    assert cluster.node(0).behaviour(Role.CLIENTS).native.gc_floor > 0, "nobody remembers the removals"
    arriving = Traffic(cluster, cluster.node(2))
    cluster.heal()
    cluster.until(cluster.digests_agree, 5_000, "agreed")
    assert arriving.records.total() < 800, "at most 20 of 256 buckets"
    wanted = [cluster.view(cluster.node(0), f"service-{place}") for place in range(SERVICES)]
    assert sum(map(len, wanted)) == 3_990
    cluster.until(lambda: lists_all(cluster, 2, wanted), 100, "and listed")
