"""Clusters above ten members: who is suspected how soon, who is never hidden, and what that costs each node.

ROLLBOOK_LARGE_MINUTES says how many virtual minutes the long watch lasts (scripts/large_cluster.sh runs the hour).
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import pytest

from actors.base import Role, Tell
from actors.messages.index import OwnersVisible
from actors.messages.io import SendToPeers
from actors.messages.peers import PeerTag
from actors.peer_frames import PEER_LIMITS
from rollbook.codec import unpack
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.paths import PathFault
from runtime.simulation.scheduler import Turn
from tests.support.sim_cluster import instance, shown, sim_cluster

COLD_START_MS = 18_000  # nobody hears directly from every member, so a cold cluster waits its whole time
MINUTES = float(os.environ.get("ROLLBOOK_LARGE_MINUTES", "0.5"))
PROBES = {PeerTag.PING, PeerTag.PONG, PeerTag.PROBE_ASKED, PeerTag.PROBE_ANSWERED}


def large_cluster(nodes: int, seed: int) -> SimCluster:
    """Without the checks that look at every client after every turn: here they would cost more than the nodes."""
    cluster = sim_cluster(nodes, seed, ready=False, invariants_every=997)
    cluster.checkers.clear()
    return cluster


def state_of(cluster: SimCluster, observer: SimNode, number: int) -> str:
    """What this node's status says of a member."""
    roster = observer.behaviour(Role.MEMBERS)._roster
    member = roster.members[cluster.node(number).peer_address]
    return str(roster._state(member, observer.clock.now().monotonic_ms))


class Verdicts:
    """Every change of the filter of hidden owners, on any node."""

    def __init__(self, cluster: SimCluster) -> None:
        self.hidden: list[str] = []
        cluster.checkers.append(self._look)

    def _look(self, cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        if turn.role is Role.MEMBERS:
            for effect in turn.effects:
                if isinstance(effect, Tell) and isinstance(effect.message, OwnersVisible):
                    self.hidden += [f"{cluster.now_ms} ms {node.name}: {effect.message.hidden}"]


class ProbeFrames:
    """How many frames each node sends to find out who lives."""

    def __init__(self, cluster: SimCluster) -> None:
        self.sent = 0
        cluster.checkers.append(self._look)

    def _look(self, _cluster: SimCluster, _node: SimNode, turn: Turn) -> None:
        if turn.role is Role.MEMBERS:
            for effect in turn.effects:
                if isinstance(effect, Tell) and isinstance(effect.message, SendToPeers):
                    tags = [unpack(frame.payload, PEER_LIMITS)[1] for frame in effect.message.frames]
                    self.sent += sum(tag in PROBES for tag in tags)


def times_until(
    cluster: SimCluster, is_so: Callable[[SimNode], bool], nodes: list[SimNode], limit_ms: int
) -> list[int]:
    """After how many ms it is so at each node, and stays so to the end."""
    start_ms, last_not_ms = cluster.now_ms, dict.fromkeys((node.name for node in nodes), 0)
    while cluster.now_ms < start_ms + limit_ms:
        cluster.run_ms(100)
        for node in nodes:
            if not is_so(node):
                last_not_ms[node.name] = cluster.now_ms - start_ms
    return sorted(last_not_ms.values())


@pytest.mark.timeout(300)
def test_d28_a_node_that_stands_still_among_100_is_suspect_everywhere_within_seconds() -> None:
    cluster = large_cluster(100, seed=28)
    cluster.run_ms(6_000)
    others = cluster.nodes[1:]
    assert {state_of(cluster, node, 0) for node in others} == {"alive"}
    cluster.pause(0)
    times_ms = times_until(cluster, lambda node: state_of(cluster, node, 0) == "suspect", others, 10_500)
    assert statistics.median(times_ms) <= 5_000
    assert times_ms[int(len(times_ms) * 0.99)] <= 10_000
    wrong = [
        (node.name, number)
        for node in others[:10]
        for number in range(1, 100)
        if cluster.node(number) is not node and state_of(cluster, node, number) != "alive"
    ]
    assert wrong == [], "nobody else is suspected"


@pytest.mark.timeout(300)
def test_a_dead_node_of_30_is_gone_from_every_view_within_15_s_and_no_other(seed: int) -> None:
    cluster = large_cluster(30, seed)
    cluster.run_ms(COLD_START_MS)
    for number in range(30):
        cluster.client(at=number).publish("orders", instance(number))
    cluster.run_ms(3_000)
    assert all(view == shown(*range(30)) for view in cluster.views("orders")), "all listed"
    cluster.crash(0)
    cluster.run_ms(15_000)
    assert all(view == shown(*range(1, 30)) for view in cluster.views("orders")), "gone"


@pytest.mark.timeout(300)
def test_after_a_long_cut_through_20_nodes_all_is_listed_again_within_3_s_of_its_end(seed: int) -> None:
    cluster = large_cluster(20, seed)
    cluster.run_ms(COLD_START_MS)
    for number in range(20):
        cluster.client(at=number).publish("orders", instance(number))
    everyone = shown(*range(20))
    cluster.until(lambda: all(view == everyone for view in cluster.views("orders")), 3_000, "all listed")
    cluster.partition(range(7), range(7, 20))
    cluster.run_ms(25_000)
    assert all(cluster.view(node, "orders") == shown(*range(7, 20)) for node in cluster.nodes[7:]), "hidden"
    assert all(node.standing.preserved and node.standing.isolated for node in cluster.nodes[:7])
    cluster.heal()
    cluster.run_ms(3_000)
    assert all(view == everyone for view in cluster.views("orders")), "all listed again"
    assert cluster.digests_agree()


@pytest.mark.timeout(300 + MINUTES * 240)
def test_no_live_node_of_50_is_hidden_though_frames_are_lost_and_every_fifth_node_is_slow() -> None:
    cluster = large_cluster(50, seed=50)
    cluster.run_ms(COLD_START_MS)
    for number in range(0, 50, 5):
        cluster.client(at=number).publish("orders", instance(number))
    everyone = shown(*range(0, 50, 5))
    cluster.run_ms(3_000)
    assert all(view == everyone for view in cluster.views("orders")), "all listed"
    verdicts = Verdicts(cluster)
    for one in range(50):
        cluster.node(one).slow_io(2_000_000 if one % 5 == 0 else 0)
        for two in range(50):
            if one != two:
                cluster.degrade(one, two, PathFault(loss=0.05))
    for _ in range(int(MINUTES * 6)):
        cluster.run_ms(10_000)
        assert all(view == everyone for view in cluster.views("orders")), cluster.explain("an instance is missing")
    assert verdicts.hidden == []


@pytest.mark.parametrize("nodes", [11, 40])
@pytest.mark.timeout(300)
def test_what_each_node_sends_to_find_out_who_lives_does_not_grow_with_their_number(nodes: int) -> None:
    cluster = large_cluster(nodes, seed=nodes)
    cluster.run_ms(5_000)
    frames = ProbeFrames(cluster)
    cluster.run_ms(5_000)
    assert 16 <= frames.sent / nodes / 5 <= 20, "nine pings and as many answers a second"
