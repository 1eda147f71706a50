"""Sessions spread again over nodes that have come back: slowly, nobody twice, and nothing that lives is missed."""

from __future__ import annotations

from collections.abc import Iterator

from actors.base import Role, Tell
from actors.messages.connections import SessionsCompared
from actors.messages.index import RecordsChanged
from actors.messages.io import PushToClients
from rollbook.wire import MoveAdvised, answer_body, open_envelope
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn
from runtime.simulation.sdk_client import SdkClient
from tests.support.sim_cluster import instance, shown, sim_cluster

MINUTE_MS = 60_000


class RebalanceWatch:
    """Every advice for the sake of balance: when, to whom, and whether a member looked suspect at that node. And that
    no node that answers ever misses one of so many instances."""

    def __init__(self, cluster: SimCluster, instances: int) -> None:
        self.wanted = set(shown(*range(instances)))
        self.looks = 0
        self.advised: list[tuple[int, str]] = []  # (when, link and node)
        self.comparisons = 0
        cluster.checkers.append(self._look)

    def _look(self, cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        if turn.role is Role.MEMBERS:
            self._check_calm(cluster, node, turn)
        if turn.role is Role.INDEX and node.is_ready and isinstance(turn.message, RecordsChanged):
            self.looks += 1
            missing = self.wanted - set(cluster.view(node, "orders"))
            assert not missing, f"{node.name} misses {sorted(missing)}"
        if turn.role is Role.CONNECTIONS:
            self.advised += [(cluster.now_ms, f"{node.name}/{link.hex()}") for link in _advised(turn)]

    def _check_calm(self, cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        if any(isinstance(effect, Tell) and isinstance(effect.message, SessionsCompared) for effect in turn.effects):
            self.comparisons += 1
            rows = node.behaviour(Role.MEMBERS)._roster.rows(node.clock.now().monotonic_ms, True, {})
            assert all(row.state != "suspect" for row in rows), "no session moves while a member is suspect"


def _advised(turn: Turn) -> Iterator[bytes]:
    for effect in turn.effects:
        if isinstance(effect, Tell) and isinstance(effect.message, PushToClients):
            for frame in effect.message.frames:
                body = answer_body(open_envelope(frame.payload))
                if isinstance(body, MoveAdvised) and body.reason == "rebalance":
                    yield frame.route.link


def counts(cluster: SimCluster) -> list[int]:
    return [len(node.behaviour(Role.CONNECTIONS)._sessions) for node in cluster.running]


def balanced(cluster: SimCluster, sessions: int) -> bool:
    """Nobody has more than the mean times 1.2 and 20 more, and nobody is on the way."""
    found = counts(cluster)
    return sum(found) == sessions and max(found) <= sessions / len(found) * 1.2 + 20


def state_of(cluster: SimCluster, number: int) -> str:
    """What the first node thinks of another."""
    node, other = cluster.node(0), cluster.node(number)
    rows = node.behaviour(Role.MEMBERS)._roster.rows(node.clock.now().monotonic_ms, True, {})
    return next(str(row.state) for row in rows if row.node_id == other.node_id)


def crowded(cluster: SimCluster, number: int) -> list[SdkClient]:
    """So many applications, all at the first node: the others had been away when they came."""
    clients = []
    for each in range(number):
        client = cluster.sdk_client()
        client.publish("orders", instance(each))
        clients.append(client)
        if each % 20 == 19:
            cluster.run_ms(200)
    cluster.until(lambda: counts(cluster) == [number], 20_000, "all are at the only node")
    return clients


def moves_of(clients: list[SdkClient]) -> list[list[str]]:
    """The servers at which each client opened a session, in order."""
    return [[r.text.split()[3] for r in client.reports if r.text.endswith("is open")] for client in clients]


def test_after_two_of_three_nodes_come_back_300_sessions_spread_and_nobody_is_missed(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=997)
    cluster.crash(1)
    cluster.crash(2)
    cluster.run_ms(1_000)
    clients = crowded(cluster, 300)
    cluster.restart(1)
    cluster.restart(2)
    watch = RebalanceWatch(cluster, 300)
    before = moves_of(clients)
    cluster.until(lambda: balanced(cluster, 300), 4 * MINUTE_MS, "balanced")
    cluster.run_ms(MINUTE_MS)
    settled = counts(cluster)
    assert min(settled) >= 60
    moved = [len(after) - len(earlier) for after, earlier in zip(moves_of(clients), before, strict=True)]
    assert set(moved) == {0, 1}, "no session has moved twice"
    assert len(watch.advised) == len({whom for _, whom in watch.advised}) == sum(moved)
    cluster.run_ms(MINUTE_MS)
    assert counts(cluster) == settled, "and then it is quiet"
    assert watch.comparisons > 20
    assert watch.looks > 300


def test_no_session_moves_while_a_member_is_suspect_or_has_been_back_for_less_than_a_lease(seed: int) -> None:
    cluster = sim_cluster(seed=seed, warm=True, invariants_every=997)
    cluster.crash(1)
    cluster.crash(2)
    cluster.run_ms(1_000)
    crowded(cluster, 100)
    cluster.restart(1)
    cluster.restart(2)
    watch = RebalanceWatch(cluster, 0)
    cluster.until(cluster.all_ready, 10_000, "back")
    cluster.run_ms(14_000)
    assert watch.advised == [], "a lease has not passed yet"
    cluster.until(lambda: bool(watch.advised), 15_000, "a lease has passed")
    cluster.pause(2)
    cluster.until(lambda: state_of(cluster, 2) == "suspect", 6_000, "node 2 is suspect")
    advised = len(watch.advised)
    cluster.always(lambda: state_of(cluster, 2) != "suspect" or len(watch.advised) == advised, 30_000, "calm")
    assert state_of(cluster, 2) == "hidden"
    cluster.resume(2)
    cluster.until(lambda: balanced(cluster, 100), 4 * MINUTE_MS, "balanced after all")
    assert all(set(shown(*range(100))) <= set(view) for view in cluster.views("orders"))
