"""What the swarm sees of a node's table: every change of it, by records or by the filter, and nothing twice."""

from __future__ import annotations

from tests.support.history import ViewSeen
from tests.support.history_checks import HistoryChecks
from tests.support.sim_cluster import instance, shown, sim_cluster
from tests.support.zombies import Bounds
from tests.swarm.watch import Watch

SCALE = 5
HIDDEN_MS = 4_000  # 15 s, and a beat each to judge and to tell, at a fifth


def test_a_table_is_seen_whenever_records_or_hidden_owners_change_it_and_not_else() -> None:
    cluster = sim_cluster(seed=3, start=False, ready=False, scale=SCALE)
    watch = Watch(cluster, HistoryChecks([node.name for node in cluster.nodes], Bounds().scaled(SCALE)))

    def seen() -> list[list[str]]:
        return [list(event.instances) for event in watch.events if isinstance(event, ViewSeen) and event.node == "n0"]

    cluster.start_all()
    cluster.until(cluster.all_ready, 10_000, "ready")
    client = cluster.client(at=2)
    client.publish("orders", instance(1))
    cluster.until(lambda: cluster.views("orders") == [shown(1)] * 3, 5_000, "everywhere")
    cluster.run_ms(5_000)
    names = set(map(tuple, seen()))
    assert names == {tuple(shown(1))}, "the flags may change, the list does not"
    before = len(seen())
    cluster.crash(2)
    cluster.until(lambda: cluster.view(cluster.node(0), "orders") == [], HIDDEN_MS, "hidden")
    cluster.run_ms(1)
    assert seen()[before:] == [[]], "no record has changed, and yet the list"
    cluster.restart(2)
    cluster.until(cluster.all_ready, 10_000, "ready again")
    client.open(cluster.node(1).client_address)
    cluster.run_ms(500)
    client.publish("orders", instance(1), instance(2))
    cluster.until(lambda: cluster.view(cluster.node(0), "orders") == shown(1, 2), 5_000, "listed again")
    cluster.run_ms(1)
    assert seen()[-1] == shown(1, 2)
