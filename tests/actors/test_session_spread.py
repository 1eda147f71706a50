"""What MemberManager says of the spread of sessions: to other nodes in each digest, and here when all is well."""

from __future__ import annotations

from actors.messages.connections import MemberSessions, SessionsCompared
from actors.messages.members import LeaveOrdered, SessionsCounted
from tests.support.member_node import EPOCH, MemberNode, client, messages


def settled() -> MemberNode:
    """A node that no longer warms up and whose two peers have been ready for longer than a lease."""
    node = MemberNode().running("bc")
    node.run(40, "bc")
    node.effects.clear()
    return node


def just_compared() -> MemberNode:
    """The next comparison is due in ten seconds."""
    node = settled()
    while not compared(node, 1):
        pass
    return node


def compared(node: MemberNode, seconds: int, alive: str = "bc") -> list[SessionsCompared]:
    return messages(node.run(seconds, alive), SessionsCompared)


def test_a_digest_carries_the_number_of_sessions() -> None:
    node = MemberNode().running("bc")
    assert node.round().sessions == 0
    node.tell(SessionsCounted(17))
    assert node.round().sessions == 17


def test_sessions_are_compared_every_ten_seconds_by_the_newest_digests() -> None:
    node = just_compared()
    assert len(compared(node, 60)) == 6
    for _ in range(9):
        assert compared(node, 1) == []
        node.digest("b", sessions=30)
        node.digest("c", sessions=7)
    node.ms += 1_000
    [last] = messages(node.beat(), SessionsCompared)
    assert last == SessionsCompared((MemberSessions(client("b"), 30, True), MemberSessions(client("c"), 7, True)))


def test_nothing_is_compared_while_this_node_warms_up() -> None:
    node = MemberNode().running("bc")
    assert node.standing().warming
    assert compared(node, 13) == []
    assert compared(node, 12) != []


def test_a_member_is_settled_when_it_has_been_ready_for_a_lease_in_its_present_life() -> None:
    node = settled()
    node.connect("c", epoch=EPOCH + 1)
    for second in range(32):
        node.ms += 1_000
        node.pong("to-b")
        node.digest("b")
        node.pong("to-c")
        node.digest("c", epoch=EPOCH + 1, ready=second >= 3)
        for told in messages(node.beat(), SessionsCompared):
            assert [member.is_settled for member in told.members] == [True, second >= 18]
    assert len(node.take(SessionsCompared)) >= 3


def test_nothing_is_compared_while_a_member_is_suspect_and_a_dead_one_does_not_count() -> None:
    node = just_compared()
    node.run(5, "bc")
    node.kill("c")
    evidence = {"c": "refused"}
    assert messages(node.run(5, "b", links=evidence), SessionsCompared) == [], "it is due, but there is a suspect"
    [told] = messages(node.run(1, "b", links=evidence), SessionsCompared)
    assert [member.server for member in told.members] == [client("b")], "the verdict is in"


def test_nothing_is_compared_while_a_member_leaves_or_this_node_does() -> None:
    node = settled()
    for _ in range(25):
        node.ms += 1_000
        node.pong("to-b")
        node.digest("b")
        node.pong("to-c")
        node.digest("c", leaving=True)
        assert messages(node.beat(), SessionsCompared) == []
    node.digest("c")
    assert compared(node, 2) != []
    node.tell(LeaveOrdered())
    assert compared(node, 25) == []


def test_nothing_is_compared_without_a_majority_and_for_a_lease_after_a_stall() -> None:
    node = settled()
    node.kill("b")
    node.kill("c")
    assert compared(node, 30, "") == []
    node = settled()
    node.ms += 8_000
    assert compared(node, 13) == []
    assert compared(node, 12) != []


def test_a_standalone_node_compares_nothing() -> None:
    node = MemberNode(members="", standalone=True)
    assert compared(node, 30, "") == []
