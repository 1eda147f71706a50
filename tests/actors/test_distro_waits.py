"""DistroSyncActor: callers that wait for the cluster, leaving, status."""

from __future__ import annotations

import pytest

from actors.base import Role, StatusRequested
from actors.messages.distro import (
    ClusterWaitsAdded,
    FlushOrdered,
)
from actors.messages.members import Flushed
from actors.messages.values import ClusterWait, Route
from rollbook.errors import Code
from rollbook.wire import Done, Failed, Tag
from tests.support.distro import PEERS, Node, answered, told

# -- callers that wait for the cluster


def wait(seq: int, wait_ms: int = 0, correlation: int = 1) -> ClusterWaitsAdded:
    body = Done(5, seq, 99)
    return ClusterWaitsAdded((ClusterWait(Route(b"c", 3), correlation, seq, wait_ms, Tag.DONE, body),))


def test_a_waiting_caller_is_answered_when_every_living_node_has_it() -> None:
    node = Node()
    node.push(2)
    assert answered(node.handle(wait(2))) == []
    assert answered(node.acknowledge("to-n2", 2)) == []
    assert answered(node.acknowledge("to-n3", 2)) == [(Route(b"c", 3), 1, Done(5, 2, 99))]
    assert answered(node.handle(wait(2))) == [(Route(b"c", 3), 1, Done(5, 2, 99))], "and later ones at once"
    assert answered(node.handle(wait(3))) == []


def test_without_another_living_node_nobody_waits() -> None:
    assert answered(Node(()).handle(wait(9))) == [(Route(b"c", 3), 1, Done(5, 9, 99))]


def test_a_living_node_that_cannot_be_reached_is_waited_for_and_a_dead_one_is_not() -> None:
    node = Node()
    node.push(2)
    node.acknowledge("to-n2", 2)
    node.peers(PEERS[0], living=("n2", "n3"))
    assert answered(node.handle(wait(2))) == []
    assert len(answered(node.peers(PEERS[0], living=("n2",)))) == 1


@pytest.mark.parametrize(("wait_ms", "deadline_ms"), [(300, 300), (0, 5_000), (90_000, 30_000)])
def test_a_wait_that_is_not_confirmed_in_time_names_the_nodes(wait_ms: int, deadline_ms: int) -> None:
    node = Node((PEERS[1], PEERS[0]))
    node.push(2)
    node.handle(wait(2, wait_ms))
    assert answered(node.pass_time(deadline_ms - 1)) == []
    [(route, correlation, failed)] = answered(node.pass_time(1))
    assert (route, correlation) == (Route(b"c", 3), 1)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable, failed.nodes) == (Code.NOT_CONFIRMED, True, ("n2", "n3"))


def test_only_the_missing_nodes_are_named() -> None:
    node = Node()
    node.push(2)
    node.handle(wait(2, 300))
    node.acknowledge("to-n2", 2)
    assert [body.nodes for _, _, body in answered(node.pass_time(300))] == [("n3",)]


def test_an_earlier_deadline_that_comes_later_is_kept() -> None:
    node = Node()
    node.handle(wait(1, 4_000, correlation=1))
    node.handle(wait(2, 1_000, correlation=2))
    assert [correlation for _, correlation, _ in answered(node.pass_time(1_000))] == [2]
    assert [correlation for _, correlation, _ in answered(node.pass_time(3_000))] == [1]


def test_waits_have_a_limit() -> None:
    node = Node(cluster_waits_max=1)
    node.handle(wait(1, correlation=1))
    [(_, correlation, failed)] = answered(node.handle(wait(1, correlation=2)))
    assert (correlation, failed.code, failed.retryable) == (2, Code.OVER_LIMIT, True)
    node.push(1)
    node.acknowledge("to-n2", 1)
    assert [item[1] for item in answered(node.acknowledge("to-n3", 1))] == [1]


def test_many_short_waits_beside_a_long_one_leave_nothing_behind() -> None:
    node = Node(PEERS[:1])
    node.handle(wait(10**9, 30_000))
    for seq in range(1, 3_001):
        node.push(seq)
        node.handle(wait(seq, 30_000))
        node.acknowledge("to-n2", seq)
    assert len(node.actor._waits) == 1
    assert len(node.actor._waits._for_cluster._by_deadline) < 1_100


# -- leaving, status


def test_a_leaving_node_is_flushed_when_every_peer_has_everything() -> None:
    node = Node()
    node.push(2)
    assert told(node.handle(FlushOrdered(1_000)), Flushed) == []
    assert told(node.acknowledge("to-n2", 2), Flushed) == []
    assert told(node.acknowledge("to-n3", 2), Flushed, Role.MEMBERS) == [Flushed()]
    assert told(node.pass_time(5_000), Flushed) == [], "once"


def test_a_leaving_node_waits_no_longer_than_its_deadline_and_not_for_peers_that_are_gone() -> None:
    node = Node()
    node.push(2)
    node.handle(FlushOrdered(1_000))
    assert told(node.pass_time(999), Flushed) == []
    assert told(node.pass_time(1), Flushed) == [Flushed()]
    node.handle(FlushOrdered(1_000))
    assert told(node.peers(), Flushed) == [Flushed()]


def test_status_carries_the_lag_of_every_peer_and_the_counters() -> None:
    node = Node()
    node.meet(0)
    node.push(5)
    node.acknowledge("to-n2", 3)
    asked = StatusRequested(b"c", 1, 2, {"sessions": 3, "counters": {"orders": 9}})
    [status] = told(node.handle(asked), StatusRequested, Role.MEMBERS)
    assert status.parts["lags"] == {"n2": 2, "n3": -1}
    assert status.parts["sessions"] == 3
    assert status.parts["counters"]["orders"] == 9
    assert status.parts["counters"]["deltas_sent"] == 2
    assert status.parts["counters"]["delta_bytes_sent"] > 0
