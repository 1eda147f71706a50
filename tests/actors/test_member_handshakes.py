"""Handshakes between nodes: who is let in, who is refused and why, and who has to give way."""

from __future__ import annotations

import pytest

from actors.base import Log
from actors.messages.connections import StandingChanged
from actors.messages.distro import DigestAccepted, PeersChanged
from actors.messages.io import DialPeers
from actors.messages.members import LinkClosed
from actors.messages.peers import Digest, Goodbye, Hello, LinkPing, LinkPong, PeerRefused, Welcome
from rollbook.errors import Code
from tests.support.member_node import EPOCH, MemberNode, client, ends, entry, frames, messages, peer, pinged

IN_USE = PeerRefused(Code.NODE_ID_IN_USE, "taken")


def refusals(node: MemberNode, name: str, link: str = "", **changes: object) -> list[int]:
    return [refused.code for _, refused in frames(node.hello(name, link, **changes), PeerRefused)]


def test_the_side_that_dialled_says_hello() -> None:
    node = MemberNode()
    hello = Hello("test", "a", EPOCH, peer("a"), client("a"), peer("b"))
    assert frames(node.open("b"), Hello) == [("to-b", hello)]


def test_a_hello_that_was_lost_is_said_again_at_each_beat() -> None:
    node = MemberNode()
    node.open("b")
    assert [link for link, _ in frames(node.beat(), Hello)] == ["to-b"]
    node.welcome("b")
    assert frames(node.beat(), Hello) == []


def test_a_good_hello_is_answered_by_welcome_and_a_ping() -> None:
    effects = MemberNode().hello("b")
    assert frames(effects, Welcome) == [("from-b", Welcome("a", EPOCH, peer("a"), client("a"), 0))]
    assert pinged(effects) == ["from-b"]


def test_welcome_tells_the_highest_epoch_known_here() -> None:
    node = MemberNode().running("b")
    node.digest("b", entry("c", 3, epoch=130))
    (welcomed,) = frames(node.hello("c", epoch=140), Welcome)
    assert welcomed[1].seen_epoch == 130


def test_a_node_whose_epoch_is_past_is_told_so_and_not_let_in() -> None:
    node = MemberNode().running("b")
    node.digest("b", entry("c", 3, epoch=130))
    effects = node.hello("c", epoch=120)
    assert frames(effects, Welcome)[0][1].seen_epoch == 130
    assert pinged(effects) == []
    assert frames(node.receive("from-c", LinkPing(1)), LinkPong) == []


def test_a_node_that_others_know_in_a_higher_epoch_ends_to_start_above_it() -> None:
    node = MemberNode()
    node.open("b")
    assert ends(node.welcome("b", seen_epoch=EPOCH)) == []
    assert ends(node.welcome("b", seen_epoch=EPOCH + 5)) == [(75, EPOCH + 5)]
    assert node.beat() == [], "it is over"


def test_a_node_of_another_cluster_is_refused() -> None:
    assert refusals(MemberNode(), "b", cluster="other") == [Code.CLUSTER_MISMATCH]


def test_a_node_whose_advertised_address_nobody_listed_is_refused() -> None:
    node = MemberNode()
    assert refusals(node, "d") == [Code.ADDRESS_MISMATCH]
    assert refusals(node, "b", peer_address="b.example:8851") == [Code.ADDRESS_MISMATCH]
    assert node.manager.counters["beats"] == 0


def test_nobody_is_judged_by_a_list_that_is_not_there_yet() -> None:
    node = MemberNode(members="")
    assert frames(node.hello("b"), PeerRefused) == []
    node.list_members("abc")
    assert len(frames(node.hello("b"), Welcome)) == 1


def test_a_node_id_that_a_living_node_has_is_refused() -> None:
    node = MemberNode()
    node.connect("b")
    assert refusals(node, "b", "from-d", epoch=EPOCH + 1) == [Code.NODE_ID_IN_USE]
    assert refusals(node, "b", "from-b") == [], "the same node may have two links"


def test_a_refused_duplicate_leaves_no_trace_of_its_epoch() -> None:
    node = MemberNode()
    node.connect("b")
    refusals(node, "b", "from-d", epoch=EPOCH + 1)
    assert frames(node.hello("b"), Welcome)[0][1].seen_epoch == EPOCH


def test_a_restarted_node_is_let_in_once_the_links_of_its_earlier_life_are_reset() -> None:
    node = MemberNode()
    node.connect("b")
    node.tell(LinkClosed("to-b", peer("b"), "reset"))
    assert refusals(node, "b", epoch=EPOCH + 1) == []


def test_a_restarted_node_is_let_in_once_the_links_of_its_earlier_life_are_silent() -> None:
    node = MemberNode()
    node.connect("b")
    node.ms += 3_000
    assert refusals(node, "b", epoch=EPOCH + 1) == [Code.NODE_ID_IN_USE]
    node.ms += 1
    assert refusals(node, "b", epoch=EPOCH + 1) == []


def test_the_links_of_the_earlier_life_speak_for_nobody_then() -> None:
    node = MemberNode()
    node.connect("b")
    node.ms += 3_001
    node.hello("b", epoch=EPOCH + 1)
    assert messages(node.digest("b"), DigestAccepted) == []


def test_a_duplicate_of_this_very_node_is_refused() -> None:
    assert refusals(MemberNode(), "a", "from-d", epoch=EPOCH + 1) == [Code.NODE_ID_IN_USE]


@pytest.mark.parametrize("how", ["hello", "welcome"])
def test_a_node_that_meets_itself_takes_the_address_for_its_own(how: str) -> None:
    node = MemberNode(members="abc")
    node.open("c")
    if how == "hello":
        effects = node.hello("a", "from-c", dialled=peer("c"))
    else:
        effects = node.receive("to-c", Welcome("a", EPOCH, peer("a"), client("a")))
    assert messages(effects, DialPeers) == [DialPeers((peer("b"),))]
    assert pinged(effects) == []
    node.connect("b")
    node.digest("b", ready=False)
    assert node.take(StandingChanged)[-1].standing.ready, "both members are there"


def test_a_newcomer_that_is_refused_as_a_duplicate_gives_way_after_one_lease() -> None:
    node = MemberNode()
    node.open("b")
    node.receive("to-b", IN_USE)
    for _ in range(14):
        node.run(1)
        assert frames(node.receive("to-b", IN_USE) + node.beat(), Hello), "it goes on trying"
    assert ends(node.effects) == []
    assert ends(node.run(1)) == [(2, 0)]
    (reason,) = [e.fact for e in node.effects if isinstance(e, Log) and e.level == "ERROR"]
    assert "node id a" in reason


def test_a_node_that_may_be_a_duplicate_does_not_become_ready() -> None:
    node = MemberNode(cold_start_wait_ms=5_000)
    node.open("b")
    node.receive("to-b", IN_USE)
    node.run(10)
    assert not any(told.standing.ready for told in node.take(StandingChanged))


def test_a_node_that_was_welcomed_after_all_stays() -> None:
    node = MemberNode()
    node.open("b")
    node.receive("to-b", IN_USE)
    node.run(3)
    node.welcome("b")
    node.run(30)
    assert ends(node.effects) == []


def test_a_node_that_was_welcomed_before_does_not_give_way_to_a_duplicate() -> None:
    node = MemberNode()
    node.connect("b")
    node.open("c")
    node.receive("to-c", IN_USE)
    node.run(30)
    assert ends(node.effects) == []


def test_a_node_that_serves_does_not_give_way_to_a_duplicate() -> None:
    node = MemberNode(cold_start_wait_ms=1_000)
    node.run(2)
    node.open("b")
    node.receive("to-b", IN_USE)
    node.run(30)
    assert ends(node.effects) == []


def test_other_refusals_are_said_once_and_tried_on() -> None:
    node = MemberNode()
    node.open("b")
    for _ in range(40):
        node.receive("to-b", PeerRefused(Code.ADDRESS_MISMATCH, "who?"))
        assert frames(node.run(1), Hello)
    warnings = [e for e in node.effects if isinstance(e, Log) and e.fact == "this node was refused"]
    assert [warning.fields["reason"] for warning in warnings] == ["who?"]
    assert ends(node.effects) == []


def test_strangers_cannot_fill_the_log() -> None:
    node = MemberNode()
    for number in range(1_200):
        node.hello("d", node_id=f"stranger-{number}")
    assert sum(isinstance(effect, Log) for effect in node.effects) == 1_000


def test_an_address_where_another_node_answers_is_not_used() -> None:
    node = MemberNode()
    node.open("b")
    effects = node.receive("to-b", Welcome("c", EPOCH, peer("c"), client("c")))
    assert pinged(effects) == []
    assert [e.fields["answered"] for e in effects if isinstance(e, Log)] == ["c at c:8851"]


@pytest.mark.parametrize("node_id", ["a", "b"])
def test_a_duplicate_that_answers_is_not_used(node_id: str) -> None:
    node = MemberNode()
    node.connect("b")
    node.open("c")
    effects = node.receive("to-c", Welcome(node_id, EPOCH + 1, peer("c"), client("c")))
    assert pinged(effects) == []
    assert [each.node_id for each in node.take(PeersChanged)[-1].peers] == ["b"]


def test_an_earlier_life_that_answers_is_not_used() -> None:
    node = MemberNode().running("b")
    node.digest("b", entry("c", 3, epoch=130))
    node.open("c")
    assert pinged(node.welcome("c", epoch=129)) == []
    assert pinged(node.welcome("c", epoch=130)) == ["to-c"]


@pytest.mark.parametrize(
    "body", [LinkPing(1), LinkPong(1), Goodbye("b", EPOCH), Digest("b", EPOCH, True, False, (), ())]
)
def test_nothing_is_taken_from_a_link_before_its_handshake(body: object) -> None:
    node = MemberNode()
    node.open("b")
    assert node.receive("to-b", body) == []
    assert node.manager.counters["peer_frames_refused"] == 1


def test_who_dialled_asks_and_the_other_answers() -> None:
    node = MemberNode()
    node.open("b")
    assert node.receive("to-b", Hello("test", "b", EPOCH, peer("b"), client("b"), peer("a"))) == []
    assert node.receive("from-b", Welcome("b", EPOCH, peer("b"), client("b"))) == []
    assert node.take(PeersChanged) == []
