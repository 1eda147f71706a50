"""The checks of the swarm that no scenario shows: who knew enough of a node to be asked what it did after its end."""

from __future__ import annotations

import pytest

from tests.support.history import Event, NodeSeen, OrderAnswered, OrderSent, SessionSeen, ViewSeen
from tests.support.history_checks import ViolationFound
from tests.support.zombies import Bounds
from tests.swarm.checks import SwarmChecks

NODES = ("n0", "n1", "n2")
ENDED_MS = 60_000
SPARED_MS, WARMING_MS = 6_000, 15_000


def lists(at_ms: int, node: str, *keys: str) -> Event:
    return ViewSeen(at_ms, node, "table", node, 0, "orders", 0, dict.fromkeys(keys, "x"), ())


def check_history(*events: Event) -> None:
    """``c1`` is served by n0, and all list what it published; then this."""
    checks = SwarmChecks(NODES, Bounds(), SPARED_MS, WARMING_MS)
    before: list[Event] = [NodeSeen(0, node, what) for node in NODES for what in ("started", "ready")]
    before += [SessionSeen(10, "c1", "n0", 1), OrderSent(20, "c1", 1, "publish", "orders", {"a:1": "x"}, "node")]
    before += [OrderAnswered(20, "c1", 1), *(lists(30, node, "a:1") for node in NODES)]
    for event in (*before, *events):
        checks.see(event)


def test_a_node_that_was_well_keeps_what_one_that_has_just_ended_served() -> None:
    with pytest.raises(ViolationFound, match="n2 dropped a:1 of orders 300 ms after the end"):
        check_history(NodeSeen(ENDED_MS, "n0", "crashed"), lists(ENDED_MS + 300, "n2"))


def test_a_node_that_stood_still_when_another_ended_did_not_know_it_well() -> None:
    check_history(
        NodeSeen(ENDED_MS - 8_000, "n2", "paused"),
        NodeSeen(ENDED_MS, "n0", "crashed"),
        NodeSeen(ENDED_MS + 200, "n2", "resumed"),
        lists(ENDED_MS + 300, "n2"),
    )


def test_nobody_has_to_spare_a_node_that_stood_still_before_it_ended() -> None:
    check_history(
        NodeSeen(ENDED_MS - 30_000, "n0", "paused"),
        NodeSeen(ENDED_MS, "n0", "crashed"),
        lists(ENDED_MS + 300, "n2"),
    )
