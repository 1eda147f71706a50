"""The checks of the swarm that no scenario shows: who knew enough of a node to be asked what it did after its end."""

from __future__ import annotations

import pytest

from tests.support.history import (
    ClientStood,
    Event,
    NodeSeen,
    OrderAnswered,
    OrderSent,
    PathSeen,
    SessionSeen,
    ViewSeen,
)
from tests.support.history_checks import ViolationFound
from tests.support.zombies import Bounds
from tests.swarm.checks import SwarmChecks

NODES = ("n0", "n1", "n2")
FIVE = (*NODES, "n3", "n4")
ENDED_MS = 60_000
SPARED_MS, WARMING_MS = 6_000, 15_000


def lists(at_ms: int, node: str, *keys: str) -> Event:
    return ViewSeen(at_ms, node, "table", node, 0, "orders", 0, dict.fromkeys(keys, "x"), ())


def check_history(*events: Event, nodes: tuple[str, ...] = NODES) -> None:
    """``c1`` is served by n0, and all list what it published; then this."""
    checks = SwarmChecks(nodes, Bounds(), SPARED_MS, WARMING_MS)
    before: list[Event] = [NodeSeen(0, node, what) for node in nodes for what in ("started", "ready")]
    before += [SessionSeen(10, "c1", "n0", 1), OrderSent(20, "c1", 1, "publish", "orders", {"a:1": "x"}, "node")]
    before += [OrderAnswered(20, "c1", 1), *(lists(30, node, "a:1") for node in nodes)]
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


def test_a_node_that_ended_with_the_other_one_loads_what_it_knew_and_may_list_it_in_between() -> None:
    check_history(
        NodeSeen(ENDED_MS, "n0", "crashed"),
        NodeSeen(ENDED_MS, "n2", "crashed"),
        NodeSeen(ENDED_MS + 100, "n2", "started"),
        lists(ENDED_MS + 200, "n2", "a:1"),
        lists(ENDED_MS + 300, "n2"),
    )


def parted(*near: str) -> list[Event]:
    """These of five nodes hear none of the others from now on."""
    far = [node for node in FIVE if node not in near]
    pairs = [(one, two) for one in near for two in far]
    return [PathSeen(ENDED_MS, *path, carries=False) for pair in pairs for path in (pair, pair[::-1])]


def stood_still() -> list[Event]:
    return [ClientStood(ENDED_MS - 2_000, "c1", still=True), ClientStood(ENDED_MS - 500, "c1", still=False)]


@pytest.mark.parametrize("near", [("n2",), ("n1", "n2")])
def test_a_minority_drops_nobody_of_whom_it_cannot_hear(near: tuple[str, ...]) -> None:
    with pytest.raises(ViolationFound, match="n2 dropped a:1 of orders, of c1, which lives, though it hears less"):
        check_history(*parted(*near), lists(ENDED_MS + 20_000, "n2"), nodes=FIVE)


def test_what_a_client_missed_while_it_stood_still_may_be_known_to_one_in_the_minority_and_come_from_there() -> None:
    check_history(*stood_still(), *parted("n1", "n2"), lists(ENDED_MS + 20_000, "n2"), nodes=FIVE)


def test_a_node_that_is_alone_can_have_it_from_nobody() -> None:
    with pytest.raises(ViolationFound, match="though it hears less"):
        check_history(*stood_still(), *parted("n2"), lists(ENDED_MS + 20_000, "n2"), nodes=FIVE)
