"""The link table's word on whom to send to: computed anew when a link changes, and only then made anew."""

from __future__ import annotations

import pytest

from actors.links import LinkTable
from actors.messages.peers import Welcome
from actors.messages.values import Peer

ADDRESSES = ("10.0.0.2:8851", "10.0.0.3:8851")


def welcome(number: int, epoch: int = 7) -> Welcome:
    return Welcome(f"node-{number}", epoch, ADDRESSES[number], f"10.0.0.{number + 2}:8850")


@pytest.fixture
def table() -> LinkTable:
    """A dialled link to each of two nodes, both proven at 0."""
    table = LinkTable(pong_timeout_ms=100)
    for number, address in enumerate(ADDRESSES):
        table.opened(f"to-{number}", address)
        table.shake(f"to-{number}", welcome(number))
        table.pong(f"to-{number}", 0, 0)
    return table


def peers(table: LinkTable, now_ms: int = 0, addresses: tuple[str, ...] = ADDRESSES) -> tuple[Peer, ...]:
    table.check_invariants()
    found = table.preferred({}, addresses, now_ms)
    table.check_invariants()
    return found


def test_as_long_as_no_link_changes_the_very_same_peers_are_told(table: LinkTable) -> None:
    before = peers(table)
    assert before == (Peer("node-0", 7, "to-0"), Peer("node-1", 7, "to-1"))
    assert peers(table, 1) is before


def test_another_life_at_the_end_of_a_link_is_told_at_once(table: LinkTable) -> None:
    assert peers(table)[0] == Peer("node-0", 7, "to-0")
    table.shake("to-0", welcome(0, epoch=8))
    table.pong("to-0", 0, 0)
    assert peers(table)[0] == Peer("node-0", 8, "to-0")


def test_a_link_that_is_proven_too_long_ago_drops_out_and_comes_back(table: LinkTable) -> None:
    both = peers(table)
    table.pong("to-1", 90, 90)
    assert peers(table, 150) == (Peer("node-1", 7, "to-1"),)
    table.pong("to-0", 150, 150)
    assert peers(table, 151) == both


def test_who_leaves_or_loses_its_link_or_its_place_in_the_list_is_no_peer(table: LinkTable) -> None:
    assert peers(table, addresses=ADDRESSES[1:]) == (Peer("node-1", 7, "to-1"),)
    table.release("node-0", 7)
    assert peers(table) == (Peer("node-1", 7, "to-1"),)
    table.closed("to-1", "", "reset")
    assert peers(table) == ()


def test_a_second_link_stands_behind_the_first_and_takes_its_place_when_that_closes(table: LinkTable) -> None:
    peers(table)
    table.shake("from-0", welcome(0))
    table.pong("from-0", 0, 0)
    assert peers(table) == (Peer("node-0", 7, "to-0"), Peer("node-1", 7, "to-1"), Peer("node-0", 7, "from-0"))
    table.closed("to-0", ADDRESSES[0], "reset")
    assert peers(table) == (Peer("node-0", 7, "from-0"), Peer("node-1", 7, "to-1"))
