"""MemberManager after a pause of its own: what it does not judge then, and what it takes for old."""

from __future__ import annotations

import pytest

from actors.messages.members import HeartbeatRaised
from actors.messages.peers import LinkPong
from actors.messages.values import Origin
from tests.support.member_node import EPOCH, MemberNode

C = Origin("c", EPOCH)


def test_for_one_lease_after_a_pause_of_its_own_a_node_says_that_others_may_know_more() -> None:
    node = MemberNode().running("bc")
    node.run(15, "bc")
    assert not node.standing().warming
    node.ms += 40_000
    node.beat()
    assert node.standing().warming
    node.run(14, "bc")
    assert node.standing().warming
    node.run(1, "bc")
    assert not node.standing().warming


def test_what_waited_unread_while_a_node_stood_still_renews_no_lease() -> None:
    """It may be the last word of an owner that died long ago, and the others must not be told that it was heard now."""
    node = MemberNode().running("bc")
    node.ms += 40_000
    node.digest("c")
    assert node.age_ms("c") >= 40_000, "before the beat that ends the pause"
    node.digest("c")
    assert node.age_ms("c") >= 40_000, "and as long as something may be left to read: until the next beat"
    node.pong("to-c")
    node.digest("c")
    assert node.age_ms("c") == 0


@pytest.mark.parametrize("by", ["digest", "delta"])
def test_a_node_that_reads_slowly_after_it_stood_still_knows_by_an_answer_that_all_is_read_that_waited(by: str) -> None:
    node = MemberNode().running("bc")
    node.pong("to-c")
    node.ms += 40_000
    node.beat()
    for second in (1, 2):
        node.ms += 1_000
        node.beat()
        node.digest("c") if by == "digest" else node.tell(HeartbeatRaised("to-c", C, 10 + second))
        assert node.age_ms("c") >= 40_000, "nothing on this link has answered a ping that left since"
    node.receive("to-c", LinkPong(node.ms - 2_000))
    node.digest("c") if by == "digest" else node.tell(HeartbeatRaised("to-c", C, 20))
    assert node.age_ms("c") == 0


def test_a_link_that_answers_no_ping_after_a_pause_is_believed_long_before_anybody_is_judged() -> None:
    node = MemberNode().running("bc")
    node.ms += 40_000
    node.beat()
    node.run(4)
    node.digest("c")
    assert node.age_ms("c") >= 40_000
    node.run(1)
    node.digest("c")
    assert node.age_ms("c") == 0


def test_a_link_that_is_new_since_a_pause_brings_nothing_from_before_it() -> None:
    node = MemberNode().running("bc")
    node.ms += 40_000
    node.kill("c", "reset")
    node.run(2)
    node.open("c")
    node.welcome("c")
    node.digest("c")
    assert node.age_ms("c") == 0


def test_what_was_read_of_a_link_that_is_gone_by_now_is_as_old_as_the_pause() -> None:
    node = MemberNode().running("bc")
    node.ms += 40_000
    node.beat()
    node.run(1)
    node.kill("c", "reset")
    node.tell(HeartbeatRaised("to-c", C, 10))
    assert node.age_ms("c") >= 40_000


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
    assert not node.standing().isolated
    node.run(6)
    assert node.standing().isolated


def test_a_pause_of_its_own_is_no_time_in_which_a_loading_node_has_waited_for_others() -> None:
    node = MemberNode()
    node.list_members("abc")
    node.ms += 40_000
    node.beat()
    assert not node.standing().ready, "nobody had a chance to answer"
    node.run(14)
    assert not node.standing().ready
    node.run(2)
    assert node.standing().ready, "now it has waited for long enough"
