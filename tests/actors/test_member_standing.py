"""What a node is good for: majority, isolation, readiness, and where else its clients may go."""

from __future__ import annotations

import pytest

from actors.base import Log, Role, Tell
from actors.messages.connections import StandingChanged
from actors.messages.distro import CatchUpOrdered
from actors.messages.io import Beat
from actors.messages.members import CaughtUp, LeaveOrdered, MembersListed
from actors.messages.values import Standing
from tests.support.member_node import EPOCH, MemberNode, client, entry, messages, peer

# Majority and isolation.


def test_losing_the_majority_shows_at_once_and_isolation_after_4_seconds() -> None:
    node = MemberNode().running("bc")
    node.run(3)
    assert node.standing().majority
    node.run(1)
    assert (node.standing().majority, node.standing().isolated) == (False, False)
    node.run(3)
    assert node.standing().isolated
    node.connect("b")
    assert (node.standing().majority, node.standing().isolated) == (True, False)


def test_an_isolated_node_that_was_paused_is_still_isolated() -> None:
    node = MemberNode().running("bc")
    node.run(12)
    node.ms += 40_000
    node.beat()
    assert node.standing().isolated


def test_a_node_that_does_not_know_its_members_claims_no_majority() -> None:
    node = MemberNode(members="")
    node.beat()
    assert not node.standing().majority


def test_one_other_of_three_is_a_majority_and_one_other_of_four_is_not() -> None:
    three, four = MemberNode("abc"), MemberNode("abcd")
    three.connect("b")
    four.connect("b")
    assert three.standing().majority
    assert not four.standing().majority
    four.connect("c")
    assert four.standing().majority


def test_who_is_heard_through_others_counts() -> None:
    node = MemberNode("abcd").running("bcd")
    node.kill("c")
    node.kill("d")
    for second in range(10):
        node.ms += 1_000
        node.pong("to-b")
        node.digest("b", entry("c", 50 + second))
        node.beat()
    assert node.standing().majority


# Readiness.


def readiness_told(node: MemberNode) -> list[bool]:
    return [told.loading for told in node.take(CatchUpOrdered)]


def test_a_standalone_node_is_ready_at_the_start() -> None:
    node = MemberNode(members="", standalone=True)
    assert node.standing() == Standing(ready=True)
    assert readiness_told(node) == []


def test_a_node_with_members_loads_first() -> None:
    node = MemberNode()
    assert not node.standing().ready
    assert readiness_told(node) == [True]


def test_a_node_that_has_caught_up_with_a_ready_member_of_a_majority_is_ready() -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b")
    assert readiness_told(node) == [True]
    effects = node.tell(CaughtUp("b"))
    assert messages(effects, CatchUpOrdered) == [CatchUpOrdered(False)]
    assert node.standing().ready
    assert not node.standing().warming
    assert [e.fact for e in effects if isinstance(e, Log)] == ["ready"]


def test_the_others_hear_at_once_that_it_is_ready() -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b")
    node.beat()
    assert messages(node.tell(CaughtUp("b")), Beat) == [Beat(0)]
    assert node.round().ready


def test_a_node_that_leaves_while_it_loads_does_not_become_ready() -> None:
    node = MemberNode()
    node.tell(LeaveOrdered())
    node.connect("b")
    node.digest("b")
    node.tell(CaughtUp("b"))
    assert not node.standing().ready


def test_readiness_is_told_once_and_not_revoked() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.kill("c")
    node.run(60)
    assert readiness_told(node) == []
    assert node.standing().ready


def test_a_ready_member_that_dies_meanwhile_is_not_waited_for() -> None:
    node = MemberNode()
    node.connect("b", "c")
    node.digest("b")
    node.digest("c")
    node.tell(CaughtUp("c"))
    assert not node.standing().ready
    node.kill("b")
    node.run(4, "c")
    assert node.standing().ready


def test_a_ready_member_that_restarts_empty_is_no_evidence_any_more() -> None:
    node = MemberNode("abcd")
    node.connect("b")
    node.digest("b")
    node.kill("b")
    node.connect("b", epoch=EPOCH + 1)
    node.tell(CaughtUp("b"))
    for _ in range(6):
        node.ms += 1_000
        node.pong("to-b")
        node.beat()
    assert not node.standing().ready


def test_without_a_majority_a_node_waits_5_seconds_for_one() -> None:
    node = MemberNode("abcde")
    node.connect("b")
    node.digest("b")
    node.tell(CaughtUp("b"))
    node.run(4, "b")
    assert not node.standing().ready
    node.run(1, "b")
    assert node.standing().ready


def test_when_all_members_are_reached_and_loading_all_start_cold_at_once() -> None:
    node = MemberNode()
    node.connect("b", "c")
    node.digest("b", ready=False)
    assert not node.standing().ready
    node.digest("c", ready=False)
    assert node.standing().ready
    assert node.standing().warming


def test_nobody_starts_cold_before_it_knows_the_list() -> None:
    node = MemberNode(members="")
    node.run(20)
    assert readiness_told(node) == [True]
    node.tell(MembersListed((peer("a"), peer("b"))))
    assert node.standing().ready


def test_with_no_ready_member_in_sight_a_node_starts_cold_after_15_seconds() -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b", ready=False)
    for _ in range(14):
        node.run(1)
    assert not node.standing().ready
    node.run(1)
    assert node.standing().ready


def test_a_cold_start_is_warming_for_one_lease() -> None:
    node = MemberNode().running("bc")
    node.run(13, "bc")
    assert node.round().started_cold
    assert all(told.standing.warming for told in node.take(StandingChanged))
    node.run(1, "bc")
    assert not node.standing().warming
    assert not node.round().started_cold


@pytest.mark.parametrize(("cold", "expected"), [("b", True), ("", False)])
def test_who_caught_up_with_nobody_but_cold_starters_is_warming_too(cold: str, expected: bool) -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b", started_cold="b" in cold)
    node.tell(CaughtUp("b"))
    assert node.standing().ready
    assert node.standing().warming is expected


def test_a_node_alone_in_its_list_is_ready_and_misses_nothing() -> None:
    node = MemberNode("a")
    assert node.standing().ready
    assert not node.standing().warming


# Where clients may go.


def test_servers_name_ready_members_first_then_living_ones_then_the_rest() -> None:
    node = MemberNode("abcdef").running("bcde")
    node.kill("e")
    node.ms += 4_000
    for name in "bcd":
        node.pong(f"to-{name}")
        node.digest(name, ready=name != "c", leaving=name == "b")
    assert node.standing().servers == tuple(client(name) for name in "dcbe")


def test_a_standing_that_has_not_changed_is_not_told_again() -> None:
    node = MemberNode().running("bc")
    node.run(10, "bc")
    assert node.take(StandingChanged) == []


def test_the_standing_goes_to_whoever_answers_clients_or_holds_what_they_published() -> None:
    node = MemberNode().running("bc")
    node.list_members("ab")
    told = [e.to for e in node.effects if isinstance(e, Tell) and isinstance(e.message, StandingChanged)]
    assert told == [Role.INDEX, Role.CONNECTIONS, Role.CLIENTS]
