"""MemberManager judges: who is hidden and when, when it rather doubts itself, when it is ready, what it stands for."""

from __future__ import annotations

from typing import Literal

import pytest

from actors.base import Log, Tell
from actors.messages.clients import OwnersPurged
from actors.messages.connections import StandingChanged
from actors.messages.distro import CatchUpOrdered, DigestAccepted
from actors.messages.index import OwnersVisible
from actors.messages.io import Beat
from actors.messages.members import CaughtUp, MembersListed
from actors.messages.peers import Goodbye
from actors.messages.values import Origin, Standing
from tests.support.member_node import EPOCH, MemberNode, client, entry, messages, peer

B, C = Origin("b", EPOCH), Origin("c", EPOCH)
NATIVE_MS, SDK_MS = 15_000, 45_000
How = Literal["refused", "reset", "silent"]


def standing(node: MemberNode) -> Standing:
    """As it was told last."""
    return node.take(StandingChanged)[-1].standing


def hidden_after(node: MemberNode, alive: str, links: dict[str, str] | None = None, seconds: int = 90) -> int:
    """After how many beats the filter is told for the first time."""
    for second in range(1, seconds + 1):
        if messages(node.run(1, alive, links=links), OwnersVisible):
            return second
    raise AssertionError(f"nothing was hidden in {seconds} s")


def hidden(node: MemberNode) -> tuple[tuple[Origin, int], ...]:
    """The filter as it was told last."""
    told = node.take(OwnersVisible)
    return told[-1].hidden if told else ()


# Hiding and purging.


@pytest.mark.parametrize("how", ["refused", "reset"])
def test_an_owner_whose_process_is_gone_for_everybody_is_hidden_after_6_seconds(how: How) -> None:
    node = MemberNode().running("bc")
    node.kill("c", how)
    assert hidden_after(node, "b", {"c": "refused"}) == 6
    assert hidden(node) == ((C, NATIVE_MS),)


def test_one_living_peer_that_reaches_it_protects_an_owner_from_haste() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    assert hidden_after(node, "b", {"c": "up"}) == 30


def test_a_peer_that_says_nothing_of_it_protects_it_too() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    assert hidden_after(node, "b") == 30


def test_an_owner_that_is_silent_to_a_majority_is_hidden_after_12_seconds() -> None:
    node = MemberNode().running("bc")
    node.kill("c", "silent")
    assert hidden_after(node, "b", {"c": "silent"}) == 12


def test_an_owner_that_is_silent_to_a_minority_is_hidden_after_30_seconds() -> None:
    node = MemberNode("abcde").running("bcde")
    node.kill("c", "silent")
    assert hidden_after(node, "bde", {"c": "up"}) == 30


def test_what_dead_peers_said_last_is_no_evidence() -> None:
    node = MemberNode("abcde").running("bcde")
    node.run(1, "bcde", links={"c": "up"})
    node.kill("b")
    node.kill("c")
    assert hidden_after(node, "de", {"c": "refused", "b": "refused"}) == 6


def test_in_a_cluster_of_two_the_other_one_is_judged_by_its_port() -> None:
    node = MemberNode("ab").running("b")
    node.kill("b")
    assert hidden_after(node, "") == 6


def test_a_node_that_is_stopped_but_holds_its_links_open_is_silent() -> None:
    node = MemberNode().running("bc")
    assert hidden_after(node, "b", {"c": "silent"}) == 12


def test_larger_graces_are_hidden_when_they_have_ended_and_only_steps_are_told() -> None:
    node = MemberNode(graces_ms=[SDK_MS, NATIVE_MS]).running("bc")
    node.kill("c")
    node.run(80, "b", links={"c": "refused"})
    assert [told.hidden for told in node.take(OwnersVisible)] == [((C, NATIVE_MS),), ((C, SDK_MS),), ()]


def test_an_owner_is_purged_a_lease_after_it_is_hidden_wholly_and_comes_back_with_a_higher_counter_only() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.run(20, "b", links={"c": "refused"})
    assert node.take(OwnersPurged) == []
    effects = node.run(1, "b", links={"c": "refused"})
    told = OwnersPurged((C,))
    assert sorted(e.to.value for e in effects if isinstance(e, Tell) and e.message == told) == ["clients", "distro"]
    (refused,) = messages(node.digest("b", entry("c", node.heartbeats["c"], age_ms=20_000)), DigestAccepted)
    assert [each.owner for each in refused.entries] == ["b"]
    (accepted,) = messages(node.digest("b", entry("c", node.heartbeats["c"] + 1)), DigestAccepted)
    assert [each.owner for each in accepted.entries] == ["c", "b"]
    assert hidden(node) == ()


def test_a_hidden_owner_that_is_heard_again_is_shown_at_once() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.run(8, "b", links={"c": "refused"})
    effects = node.connect("c") + node.digest("c")
    assert messages(effects, OwnersVisible) == [OwnersVisible(())]


def test_the_orphan_of_a_restarted_owner_is_hidden_when_its_grace_ends() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.run(2, "b")
    node.connect("c", epoch=EPOCH + 1)
    for second in range(3, 16):
        node.ms += 1_000
        node.pong("to-c")
        node.digest("c", epoch=EPOCH + 1)
        node.beat()
        assert hidden(node) == (((C, NATIVE_MS),) if second == 15 else ())


def test_the_records_of_an_owner_that_left_are_hidden_when_their_grace_ends() -> None:
    node = MemberNode().running("bc")
    node.receive("to-c", Goodbye("c", EPOCH))
    assert hidden_after(node, "b", {"c": "refused"}) == 15


# Self-preservation.


def test_when_most_members_look_dead_nothing_is_hidden_and_every_answer_says_so() -> None:
    node = MemberNode().running("bc")
    node.kill("b", "silent")
    node.kill("c", "silent")
    node.run(90)
    assert standing(node).preserved
    assert node.take(OwnersVisible) == []
    assert node.take(OwnersPurged) == []


def test_members_that_die_shortly_after_each_other_are_preserved_both() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.run(3, "c", links={"b": "refused"})
    node.kill("c")
    node.run(60)
    assert standing(node).preserved
    assert node.take(OwnersVisible) == []


def test_what_was_hidden_before_stays_hidden_and_is_not_purged() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.run(8, "c", links={"b": "refused"})
    node.kill("c")
    node.run(60)
    assert standing(node).preserved
    assert hidden(node) == ((B, NATIVE_MS),)
    assert node.take(OwnersPurged) == []


def test_half_of_the_members_may_be_dead() -> None:
    node = MemberNode("abcd").running("bcd")
    node.kill("b")
    node.kill("c")
    node.run(7, "d", links={"b": "refused", "c": "refused"})
    assert hidden(node) == ((B, NATIVE_MS), (C, NATIVE_MS))
    assert not standing(node).preserved


def test_who_has_left_in_good_order_does_not_look_dead() -> None:
    node = MemberNode().running("bc")
    node.receive("to-b", Goodbye("b", EPOCH))
    node.kill("c")
    node.run(7)
    assert hidden(node) == ((C, NATIVE_MS),)


def test_who_was_never_heard_looks_dead_once_it_could_have_been() -> None:
    node = MemberNode().running("b")
    node.run(12, "b")
    node.kill("b")
    node.run(8)
    assert standing(node).preserved


def test_preservation_ends_when_they_are_heard_again() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.kill("c")
    node.run(10)
    assert standing(node).preserved
    node.connect("b", "c")
    node.run(1, "bc")
    assert not standing(node).preserved
    assert [e.fields["preserved"] for e in node.effects if isinstance(e, Log) and "preserved" in e.fields] == [
        True,
        False,
    ]


# The pause guard.


def test_after_a_pause_of_its_own_a_node_lets_nothing_expire_for_one_lease() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.ms += 40_000
    node.beat()
    assert node.manager.counters["pauses"] == 1
    node.connect("b")
    assert hidden_after(node, "b", {"c": "refused"}) == 15


def test_a_pause_of_a_third_of_a_lease_is_none_yet() -> None:
    node = MemberNode().running("bc")
    node.ms += 5_000
    node.beat()
    assert node.manager.counters["pauses"] == 0
    node.ms += 5_001
    node.beat()
    assert node.manager.counters["pauses"] == 1


def test_isolation_does_not_begin_because_of_a_pause() -> None:
    node = MemberNode().running("bc")
    node.ms += 40_000
    node.beat()
    node.run(14)
    assert not standing(node).isolated
    node.run(6)
    assert standing(node).isolated


# Majority and isolation.


def test_losing_the_majority_shows_at_once_and_isolation_after_4_seconds() -> None:
    node = MemberNode().running("bc")
    node.run(3)
    assert standing(node).majority
    node.run(1)
    assert (standing(node).majority, standing(node).isolated) == (False, False)
    node.run(3)
    assert standing(node).isolated
    node.connect("b")
    assert (standing(node).majority, standing(node).isolated) == (True, False)


def test_one_other_of_three_is_a_majority_and_one_other_of_four_is_not() -> None:
    three, four = MemberNode("abc"), MemberNode("abcd")
    three.connect("b")
    four.connect("b")
    assert standing(three).majority
    assert not standing(four).majority
    four.connect("c")
    assert standing(four).majority


def test_who_is_heard_through_others_counts() -> None:
    node = MemberNode("abcd").running("bcd")
    node.kill("c")
    node.kill("d")
    for second in range(10):
        node.ms += 1_000
        node.pong("to-b")
        node.digest("b", entry("c", 50 + second))
        node.beat()
    assert standing(node).majority


# Readiness.


def readiness_told(node: MemberNode) -> list[bool]:
    return [told.loading for told in node.take(CatchUpOrdered)]


def test_a_standalone_node_is_ready_at_the_start() -> None:
    node = MemberNode(members="", standalone=True)
    assert standing(node) == Standing(ready=True)
    assert readiness_told(node) == []


def test_a_node_with_members_loads_first() -> None:
    node = MemberNode()
    assert not standing(node).ready
    assert readiness_told(node) == [True]


def test_a_node_that_has_caught_up_with_a_ready_member_of_a_majority_is_ready() -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b")
    assert readiness_told(node) == [True]
    effects = node.tell(CaughtUp("b"))
    assert messages(effects, CatchUpOrdered) == [CatchUpOrdered(False)]
    assert standing(node).ready
    assert not standing(node).warming
    assert [e.fact for e in effects if isinstance(e, Log)] == ["ready"]


def test_the_others_hear_at_once_that_it_is_ready() -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b")
    node.beat()
    assert messages(node.tell(CaughtUp("b")), Beat) == [Beat(0)]
    assert node.round().ready


def test_readiness_is_told_once_and_not_revoked() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.kill("c")
    node.run(60)
    assert readiness_told(node) == []
    assert standing(node).ready


def test_a_ready_member_that_dies_meanwhile_is_not_waited_for() -> None:
    node = MemberNode()
    node.connect("b", "c")
    node.digest("b")
    node.digest("c")
    node.tell(CaughtUp("c"))
    assert not standing(node).ready
    node.kill("b")
    node.run(4, "c")
    assert standing(node).ready


def test_a_ready_member_that_restarts_empty_is_no_evidence_any_more() -> None:
    node = MemberNode("abcd")
    node.connect("b")
    node.digest("b")
    node.kill("b")
    node.connect("b", epoch=EPOCH + 1)
    node.tell(CaughtUp("b"))
    node.run(6)
    assert not standing(node).ready


def test_without_a_majority_a_node_waits_5_seconds_for_one() -> None:
    node = MemberNode("abcde")
    node.connect("b")
    node.digest("b")
    node.tell(CaughtUp("b"))
    node.run(4, "b")
    assert not standing(node).ready
    node.run(1, "b")
    assert standing(node).ready


def test_when_all_members_are_reached_and_loading_all_start_cold_at_once() -> None:
    node = MemberNode()
    node.connect("b", "c")
    node.digest("b", ready=False)
    assert not standing(node).ready
    node.digest("c", ready=False)
    assert standing(node).ready
    assert standing(node).warming


def test_nobody_starts_cold_before_it_knows_the_list() -> None:
    node = MemberNode(members="")
    node.run(20)
    assert readiness_told(node) == [True]
    node.tell(MembersListed((peer("a"), peer("b"))))
    assert standing(node).ready


def test_with_no_ready_member_in_sight_a_node_starts_cold_after_15_seconds() -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b", ready=False)
    for _ in range(14):
        node.run(1)
    assert not standing(node).ready
    node.run(1)
    assert standing(node).ready


def test_a_cold_start_is_warming_for_one_lease() -> None:
    node = MemberNode().running("bc")
    node.run(14, "bc")
    assert node.round().started_cold
    assert all(told.standing.warming for told in node.take(StandingChanged))
    node.run(1, "bc")
    assert not standing(node).warming
    assert not node.round().started_cold


@pytest.mark.parametrize(("cold", "expected"), [("b", True), ("", False)])
def test_who_caught_up_with_nobody_but_cold_starters_is_warming_too(cold: str, expected: bool) -> None:
    node = MemberNode()
    node.connect("b")
    node.digest("b", started_cold="b" in cold)
    node.tell(CaughtUp("b"))
    assert standing(node).ready
    assert standing(node).warming is expected


def test_a_node_alone_in_its_list_is_ready_and_misses_nothing() -> None:
    node = MemberNode("a")
    assert standing(node).ready
    assert not standing(node).warming


# Where clients may go.


def test_servers_name_ready_members_first_then_living_ones_then_the_rest() -> None:
    node = MemberNode("abcdef").running("bcde")
    node.kill("e")
    node.ms += 4_000
    for name in "bcd":
        node.pong(f"to-{name}")
        node.digest(name, ready=name != "c", leaving=name == "b")
    assert standing(node).servers == tuple(client(name) for name in "dcbe")


def test_a_standing_that_has_not_changed_is_not_told_again() -> None:
    node = MemberNode().running("bc")
    node.run(10, "bc")
    assert node.take(StandingChanged) == []
