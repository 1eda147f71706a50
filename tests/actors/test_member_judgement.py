"""MemberManager judges: who is hidden and purged, when, and when it rather doubts itself."""

from __future__ import annotations

from typing import Literal

import pytest

from actors.base import Log, Remind, Tell
from actors.messages.clients import OwnersPurged
from actors.messages.distro import DigestAccepted
from actors.messages.index import OwnersVisible
from actors.messages.peers import Goodbye
from actors.messages.values import DigestEntry, Origin
from tests.support.member_node import EPOCH, MemberNode, entry, messages

B, C = Origin("b", EPOCH), Origin("c", EPOCH)
NATIVE_MS, SDK_MS = 15_000, 45_000
How = Literal["refused", "reset", "silent"]


def hidden_after(node: MemberNode, alive: str, links: dict[str, str] | None = None, seconds: int = 90) -> int:
    """After how many beats the filter is told for the first time."""
    for second in range(1, seconds + 1):
        if messages(node.run(1, alive, links=links), OwnersVisible):
            return second
    raise AssertionError(f"nothing was hidden in {seconds} s")


def hidden_on_testimony(node: MemberNode, verdict: DigestEntry, alive: str = "bde", seconds: int = 90) -> int:
    """The same, where these peers live and b tells this verdict, in the first five of them at least."""
    for second in range(1, seconds + 1):
        node.ms += 1_000
        for name in "bde" if second <= 5 else alive:
            node.pong(f"to-{name}")
            node.digest(name, *([verdict] if name == "b" else []))
        if messages(node.beat(), OwnersVisible):
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


@pytest.mark.parametrize(
    ("heartbeat", "hidden_ms", "alive", "expected"),
    [
        pytest.param(5, NATIVE_MS, "bde", 12, id="who reaches a minority believes whom the others have told"),
        pytest.param(5, 0, "bde", 30, id="an owner that b only misses as well is not hidden there"),
        pytest.param(4, NATIVE_MS, "bde", 30, id="it was heard here since b has judged"),
        pytest.param(5, NATIVE_MS, "de", 30, id="b is not there any more"),
    ],
)
def test_a_node_that_reaches_a_minority_lets_go_of_whom_a_living_peer_hides(
    heartbeat: int, hidden_ms: int, alive: str, expected: int
) -> None:
    node = MemberNode("abcde").running("bcde")
    node.heartbeats["c"] = 4
    node.digest("c")
    node.kill("c")
    verdict = entry("c", heartbeat, hidden_ms=hidden_ms)
    assert hidden_on_testimony(node, verdict, alive) == expected


def test_a_node_that_reaches_an_owner_itself_believes_no_verdict_on_it() -> None:
    node = MemberNode("abcde").running("bcde")
    verdict = entry("c", node.heartbeats["c"], hidden_ms=NATIVE_MS)
    for _ in range(29):
        node.ms += 1_000
        node.pong("to-c")
        for name in "bde":
            node.pong(f"to-{name}")
            node.digest(name, verdict)
        node.beat()
    assert hidden(node) == ()


def test_who_is_heard_again_is_hidden_by_no_verdict_from_before() -> None:
    node = MemberNode("abcde").running("bcde")
    node.kill("c")
    before = entry("c", node.heartbeats["c"], hidden_ms=NATIVE_MS)
    assert hidden_on_testimony(node, before) == 12
    node.connect("c")
    node.digest("c")
    assert hidden(node) == ()
    node.kill("c")
    assert hidden_on_testimony(node, before) == 30


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
    node = MemberNode(graces_ms=[NATIVE_MS]).running("bc")
    node.kill("c")
    node.run(20, "b", links={"c": "refused"})
    assert node.take(OwnersPurged) == []
    effects = node.run(1, "b", links={"c": "refused"})
    told = OwnersPurged((C,))
    assert sorted(e.to.value for e in effects if isinstance(e, Tell) and e.message == told) == ["clients", "distro"]
    (refused,) = messages(node.digest("b", entry("c", node.heartbeats["c"], age_ms=20_000)), DigestAccepted)
    assert [each.owner for each in refused.entries] == ["b"]
    (accepted,) = messages(node.digest("b", entry("c", node.heartbeats["c"] + 1, owner_seq=0)), DigestAccepted)
    assert [each.owner for each in accepted.entries] == ["c", "b"]
    assert hidden(node) == ()


def test_a_hidden_owner_that_is_heard_again_is_shown_at_once() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.run(8, "b", links={"c": "refused"})
    effects = node.connect("c") + node.digest("c")
    assert messages(effects, OwnersVisible) == [OwnersVisible(())]


def test_a_hidden_owner_that_is_heard_again_is_shown_once_this_node_has_what_it_did_meanwhile() -> None:
    node = MemberNode().running("bc")
    node.beat(entry("c", 0, applied=4, records=1))
    node.kill("c")
    node.run(8, "b", links={"c": "refused"})
    effects = node.connect("c") + node.digest("c", owner_seq=9)
    assert messages(effects, OwnersVisible) == []
    assert [e.delay_ms for e in effects if isinstance(e, Remind)] == [200], "looks again before the next beat"
    node.beat(entry("c", 0, applied=8, records=1))
    assert hidden(node) == ((C, NATIVE_MS),)
    node.beat(entry("c", 0, applied=9))
    assert hidden(node) == ()


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


def test_a_peer_whose_link_is_back_but_whose_voice_is_not_protects_the_others_until_it_speaks() -> None:
    node = MemberNode().running("bc")
    node.kill("b", "reset")
    node.kill("c", "reset")
    node.run(7)
    node.connect("b")
    node.beat()
    assert hidden(node) == (), "b knows more of c than this node, which has heard nobody for a while"
    assert hidden_after(node, "b", {"c": "refused"}) == 2, "and has to be told by b where the clients of c went"


# Self-preservation.


def test_when_most_members_look_dead_nothing_is_hidden_and_every_answer_says_so() -> None:
    node = MemberNode().running("bc")
    node.kill("b", "silent")
    node.kill("c", "silent")
    node.run(90)
    assert node.standing().preserved
    assert node.take(OwnersVisible) == []
    assert node.take(OwnersPurged) == []


def test_members_that_die_shortly_after_each_other_are_preserved_both() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.run(3, "c", links={"b": "refused"})
    node.kill("c")
    node.run(60)
    assert node.standing().preserved
    assert node.take(OwnersVisible) == []


def test_what_was_hidden_before_stays_hidden_and_is_not_purged() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.run(8, "c", links={"b": "refused"})
    node.kill("c")
    node.run(60)
    assert node.standing().preserved
    assert hidden(node) == ((B, NATIVE_MS),)
    assert node.take(OwnersPurged) == []


def test_half_of_the_members_may_be_dead() -> None:
    node = MemberNode("abcd").running("bcd")
    node.kill("b")
    node.kill("c")
    node.run(7, "d", links={"b": "refused", "c": "refused"})
    assert hidden(node) == ((B, NATIVE_MS), (C, NATIVE_MS))
    assert not node.standing().preserved


@pytest.mark.parametrize("seconds_ago", [0, 20, 60])
def test_who_has_left_in_good_order_does_not_look_dead(seconds_ago: int) -> None:
    node = MemberNode().running("bc")
    node.receive("to-b", Goodbye("b", EPOCH))
    node.run(seconds_ago, "c")
    node.kill("c")
    node.run(7)
    assert (C, NATIVE_MS) in hidden(node)
    assert not node.standing().preserved


def test_members_that_have_been_silent_for_a_moment_do_not_look_dead_yet() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.kill("c")
    node.run(3)
    assert not node.standing().preserved
    node.run(1)
    assert node.standing().preserved


def test_the_orphan_of_a_restarted_owner_is_not_hidden_where_most_are_missed_for_its_clients_may_be_anywhere() -> None:
    node = MemberNode().running("bc")
    node.kill("b", "silent")
    node.connect("c", epoch=EPOCH + 1)
    node.beat()
    node.kill("c", "silent")
    node.run(60)
    assert node.take(OwnersVisible) == []
    assert node.standing().preserved


def test_nobody_is_hidden_while_most_are_silent_for_half_a_suspicion() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.run(3, "c", links={"b": "refused"})
    node.kill("c")
    node.run(3)
    assert not node.standing().preserved, "c may be heard again at any moment"
    assert hidden(node) == ()


def test_who_was_never_heard_looks_dead_once_it_could_have_been() -> None:
    node = MemberNode().running("b")
    node.run(12, "b")
    node.kill("b")
    node.run(8)
    assert node.standing().preserved


def test_preservation_ends_a_beat_after_they_are_heard_again() -> None:
    node = MemberNode().running("bc")
    node.kill("b")
    node.kill("c")
    node.run(10)
    assert node.standing().preserved
    node.connect("b", "c")
    node.run(1, "bc")
    assert node.standing().preserved, "what they did meanwhile has to arrive first"
    node.run(1, "bc")
    assert not node.standing().preserved
    assert [e.fields["preserved"] for e in node.effects if isinstance(e, Log) and "preserved" in e.fields] == [
        True,
        False,
    ]


# The pause guard; what a node takes for old then: test_member_pauses.py.


def test_after_a_pause_of_its_own_a_node_lets_nothing_expire_for_one_lease() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.ms += 40_000
    node.beat()
    assert node.manager.counters["pauses"] == 1
    node.connect("b")
    assert hidden_after(node, "b", {"c": "refused"}) == 15
