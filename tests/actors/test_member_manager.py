"""MemberManager: links, heartbeats, digests, the list while running, leaving, and what it says of itself."""

from __future__ import annotations

import pytest

from actors.base import Log, Remind, Role, StatusRequested, Tell, Terminate
from actors.messages.clients import OwnersPurged
from actors.messages.connections import SessionsShed, StandingChanged
from actors.messages.distro import DigestAccepted, DigestRound, FlushOrdered, PeersChanged
from actors.messages.io import Beat, DialPeers
from actors.messages.members import DigestsTaken, Flushed, HeartbeatRaised, LeaveOrdered, LinkClosed, SessionsGone
from actors.messages.peers import Goodbye, LinkPing, LinkPong
from actors.messages.values import Origin, Peer
from rollbook.status import NodeStatus
from rollbook.wire import answer_body, open_envelope
from runtime.edge import ClientEdge, IoSettings
from tests.support.member_node import EPOCH, MemberNode, client, ends, entry, frames, messages, peer, pinged
from tests.support.settings import settings_of

# Links.


def test_every_link_with_a_handshake_is_pinged_at_each_beat() -> None:
    node = MemberNode()
    node.connect("b")
    node.hello("b")
    node.open("c")
    assert pinged(node.beat()) == ["from-b", "to-b"]


def test_a_ping_is_answered_with_its_number() -> None:
    node = MemberNode()
    node.connect("b")
    assert frames(node.receive("to-b", LinkPing(17)), LinkPong) == [("to-b", LinkPong(17))]


def test_a_link_is_used_once_a_pong_has_come() -> None:
    node = MemberNode()
    node.open("b")
    assert all(told.peers == () for told in messages(node.welcome("b"), PeersChanged))
    (told,) = messages(node.pong("to-b"), PeersChanged)
    assert told.peers == (Peer("b", EPOCH, "to-b"),)


def test_a_link_is_not_used_after_the_pong_time_out() -> None:
    node = MemberNode()
    node.connect("b")
    node.beat()
    node.ms += 3_000
    node.beat()
    assert node.take(PeersChanged)[-1].peers != ()
    node.ms += 1
    node.beat()
    assert node.take(PeersChanged)[-1].peers == ()


def test_a_pong_that_lay_in_a_queue_proves_nothing_new() -> None:
    node = MemberNode()
    node.open("b")
    node.welcome("b")
    asked_at_ms = node.ms
    node.ms += 10_000
    assert node.receive("to-b", LinkPong(asked_at_ms)) == []
    assert node.receive("to-b", LinkPong(node.ms + 1)) == [], "nor does one from the future"


def test_pongs_may_overtake_each_other() -> None:
    node = MemberNode()
    node.connect("b")
    node.receive("to-b", LinkPong(node.ms - 2_500))
    node.ms += 1_000
    node.beat()
    assert len(node.take(PeersChanged)[-1].peers) == 1


def test_the_link_to_send_on_is_kept_while_it_is_usable_and_the_others_stand_behind_it() -> None:
    node = MemberNode()
    node.hello("b")
    node.pong("from-b")
    node.connect("b")
    assert node.take(PeersChanged)[-1].peers == (Peer("b", EPOCH, "from-b"), Peer("b", EPOCH, "to-b"))
    node.tell(LinkClosed("from-b", "", "reset"))
    assert node.take(PeersChanged)[-1].peers == (Peer("b", EPOCH, "to-b"),)


def test_peers_are_told_only_when_they_change() -> None:
    node = MemberNode().running("bc")
    node.run(5, "bc")
    assert node.take(PeersChanged) == []


def test_a_link_that_has_become_usable_asks_for_one_beat_at_once() -> None:
    node = MemberNode()
    assert messages(node.connect("b"), Beat) == [Beat(0)]
    assert messages(node.connect("c"), Beat) == [], "one is on its way"
    node.tell(LinkClosed("to-c", peer("c"), "reset"))
    node.beat()
    assert messages(node.connect("c"), Beat) == [Beat(0)]
    node.beat()
    assert messages(node.pong("to-c"), Beat) == [], "it was usable before"


# Heartbeats and digests.


def test_the_own_counter_rises_by_one_at_each_beat() -> None:
    node = MemberNode()
    assert [node.round().entries[0].heartbeat for _ in range(3)] == [1, 2, 3]


def test_a_beat_that_proves_no_life_leaves_the_counter_where_it_was() -> None:
    node = MemberNode()
    node.round()
    digest = messages(node.tell(DigestsTaken(1, (), node.ms, proves_life=False)), DigestRound)[0].digest
    assert digest.entries[0].heartbeat == 1
    assert node.round().entries[0].heartbeat == 2


def test_a_digest_says_what_is_held_of_whom_and_how_old_that_is() -> None:
    node = MemberNode().running("b")
    node.heartbeats["b"] = 8
    node.digest("b")
    node.ms += 400
    held = (entry("a", 0, applied=4, records=2, digest=9), entry("b", 0, applied=3, records=1, digest=5))
    digest = messages(node.beat(*held), DigestRound)[0].digest
    assert (digest.node_id, digest.epoch, digest.leaving) == ("a", EPOCH, False)
    assert digest.entries == (
        entry("a", 2, applied=4, records=2, digest=9, owner_seq=4),
        entry("b", 9, applied=3, records=1, digest=5, age_ms=400, owner_seq=0),
    )


def test_a_digest_says_what_the_links_are_like_and_who_is_reached() -> None:
    node = MemberNode("abcd").running("b")
    node.kill("c", "reset")
    digest = node.round()
    assert digest.links == ((peer("b"), "up"), (peer("c"), "refused"), (peer("d"), "silent"))
    assert digest.members == ((peer("b"), "b", client("b")),)


def test_a_link_that_opens_or_answers_takes_back_what_its_failures_said() -> None:
    node = MemberNode("ab")
    node.kill("b", "refused")
    node.open("b")
    assert node.round().links == ((peer("b"), "silent"),)
    node.hello("b")
    node.connect("b")
    node.tell(LinkClosed("from-b", "", "reset"))
    node.pong("to-b")
    node.ms += 5_000
    assert node.round().links == ((peer("b"), "silent"),), "only one of its links was reset"


def test_an_accepted_digest_goes_on_to_distro() -> None:
    node = MemberNode().running("b")
    theirs = entry("a", 1, applied=4)
    (accepted,) = messages(node.digest("b", theirs), DigestAccepted)
    assert (accepted.link, accepted.node_id, accepted.ready) == ("to-b", "b", True)
    assert theirs in accepted.entries, "what a peer has of this node is an acknowledgement"


def test_a_digest_of_another_node_than_the_link_belongs_to_is_refused() -> None:
    node = MemberNode().running("b")
    assert node.digest("b", epoch=EPOCH - 1) == []


def test_relayed_ages_are_taken_over_and_grow() -> None:
    node = MemberNode().running("b")
    node.digest("b", entry("c", 7, age_ms=2_500))
    node.ms += 500
    assert node.age_ms("c") == 3_000
    node.digest("b", entry("c", 7, age_ms=0))
    assert node.age_ms("c") == 3_000, "the same counter again renews nothing"
    node.digest("b", entry("c", 8, age_ms=100))
    assert node.age_ms("c") == 100


def test_a_counter_that_came_with_a_delta_renews_the_lease() -> None:
    node = MemberNode().running("b")
    node.ms += 900
    node.tell(HeartbeatRaised("to-b", Origin("b", EPOCH), 50))
    assert node.age_ms("b") == 0


@pytest.mark.parametrize("how", ["digest", "delta"])
def test_a_report_of_this_node_in_a_higher_epoch_ends_it(how: str) -> None:
    node = MemberNode().running("b")
    origin = Origin("a", EPOCH + 3)
    effects = (
        node.digest("b", entry("a", epoch=EPOCH + 3))
        if how == "digest"
        else node.tell(HeartbeatRaised("to-b", origin, 1))
    )
    assert ends(effects) == [(75, EPOCH + 3)]


def test_a_goodbye_is_passed_on_as_left_and_its_links_are_not_used() -> None:
    node = MemberNode().running("bc")
    effects = node.receive("to-b", Goodbye("b", EPOCH))
    (told,) = messages(effects, PeersChanged)
    assert ([each.node_id for each in told.peers], told.living) == (["c"], ("c",))
    assert [each.left for each in node.round().entries if each.owner == "b"] == [True]


def test_a_goodbye_in_the_name_of_another_is_refused() -> None:
    node = MemberNode().running("bc")
    assert node.receive("to-b", Goodbye("c", EPOCH)) == []


def test_living_are_those_whose_heart_beats_directly_or_through_others() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    for second in range(1, 10):
        node.ms += 1_000
        node.pong("to-b")
        node.digest("b", entry("c", 100 + second))
        node.beat()
    assert node.take(PeersChanged)[-1].living == ("b", "c")
    node.run(4, "b")
    assert node.take(PeersChanged)[-1].living == ("b",)


def test_a_member_that_was_never_met_is_known_through_others() -> None:
    node = MemberNode().running("b")
    assert node.take(PeersChanged) == []
    node.digest("b", entry("c", 5), members=((peer("c"), "c", client("c")),))
    assert node.take(PeersChanged)[-1].living == ("b", "c")
    assert client("c") in node.take(StandingChanged)[-1].standing.servers


def test_hearsay_does_not_replace_a_member_that_is_heard() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.digest("b", members=((peer("c"), "x", client("x")),))
    assert node.take(PeersChanged)[-1].living == ("b", "c")


# The list.


def test_all_addresses_but_the_own_are_dialled() -> None:
    node = MemberNode("cab")
    assert node.take(DialPeers) == [DialPeers((peer("b"), peer("c")))]


def test_a_member_that_is_removed_is_neither_dialled_nor_used_nor_listened_to() -> None:
    node = MemberNode().running("bc")
    effects = node.list_members("ab")
    assert messages(effects, DialPeers) == [DialPeers((peer("b"),))]
    assert [each.node_id for each in messages(effects, PeersChanged)[0].peers] == ["b"]
    assert node.digest("c") == []
    assert pinged(node.beat()) == ["to-b"]


def test_the_records_of_a_removed_member_die_by_its_lease() -> None:
    node = MemberNode().running("bc")
    node.list_members("ab")
    node.run(60, "b")
    assert node.take(OwnersPurged)[0] == OwnersPurged((Origin("c", EPOCH),))


def test_records_of_a_living_owner_are_accepted_though_it_is_no_member() -> None:
    node = MemberNode().running("bc")
    (accepted,) = messages(node.digest("b", entry("z", 5)), DigestAccepted)
    assert "z" in [each.owner for each in accepted.entries]


def test_a_member_that_is_added_while_running_is_dialled_and_used() -> None:
    node = MemberNode("ab").running("b")
    assert messages(node.list_members("abd"), DialPeers) == [DialPeers((peer("b"), peer("d")))]
    node.connect("d")
    assert [each.node_id for each in node.take(PeersChanged)[-1].peers] == ["b", "d"]


def test_who_stays_in_the_list_stays_known() -> None:
    node = MemberNode().running("bc")
    node.kill("c")
    node.effects.clear()
    node.list_members("abcd")
    assert node.take(PeersChanged) == [], "still living, though its link is down"


def test_a_node_that_is_not_in_its_own_list_says_so() -> None:
    node = MemberNode("bc")
    assert [effect.fields["address"] for effect in node.effects if isinstance(effect, Log)] == [peer("a")]


# Leaving.


def test_a_leaving_node_sheds_its_sessions_flushes_and_says_goodbye() -> None:
    node = MemberNode().running("bc")
    effects = node.tell(LeaveOrdered())
    assert messages(effects, SessionsShed) == [SessionsShed(2_500)]
    assert messages(effects, StandingChanged)[0].standing.leaving
    assert messages(effects, Beat) == [Beat(0)], "the others should know at once"
    assert node.round().leaving
    assert node.tell(SessionsGone()) == [Tell(Role.DISTRO, FlushOrdered(1_000))]
    farewell = node.tell(Flushed())
    assert frames(farewell, Goodbye) == [("to-b", Goodbye("a", EPOCH)), ("to-c", Goodbye("a", EPOCH))]
    (linger,) = [effect for effect in farewell if isinstance(effect, Remind)]
    assert linger.delay_ms == 50
    assert node.beat() == [], "its heart beats no more"
    assert node.tell(linger.message) == [Terminate(0, "left the cluster")]


@pytest.mark.parametrize("stage", ["shedding", "flushing"])
def test_a_node_does_not_take_longer_to_leave_than_it_may(stage: str) -> None:
    node = MemberNode().running("bc")
    (overdue,) = [effect for effect in node.tell(LeaveOrdered()) if isinstance(effect, Remind)]
    assert overdue.delay_ms == 3_500
    if stage == "flushing":
        node.tell(SessionsGone())
    assert len(frames(node.tell(overdue.message), Goodbye)) == 2


def test_each_step_of_leaving_is_taken_once_and_in_order() -> None:
    node = MemberNode().running("bc")
    assert node.tell(SessionsGone()) == node.tell(Flushed()) == []
    (overdue,) = [effect for effect in node.tell(LeaveOrdered()) if isinstance(effect, Remind)]
    assert node.tell(LeaveOrdered()) == node.tell(Flushed()) == []
    node.tell(SessionsGone())
    assert node.tell(SessionsGone()) == []
    node.tell(Flushed())
    assert node.tell(overdue.message) == node.tell(Flushed()) == []


# The status question.


def status(node: MemberNode, **parts: object) -> NodeStatus:
    """The answer as the asker gets it, through the end of the chain."""
    question = StatusRequested(b"asker", 3, 9, {"counters": {"orders": 5}, **parts})
    (answer,) = messages(node.tell(question), StatusRequested)
    sent = ClientEdge(settings_of("io", IoSettings)).answer_status(answer, {})
    envelope = open_envelope(sent.frames[0].payload)
    assert (envelope.correlation, envelope.session) == (9, 3)
    body = answer_body(envelope)
    assert isinstance(body, NodeStatus)
    return body


def test_the_status_is_complete_even_if_nobody_added_anything() -> None:
    answer = status(MemberNode())
    assert (answer.node_id, answer.epoch, answer.ready, answer.standing) == ("a", EPOCH, False, "loading")
    assert (answer.seq, answer.sessions, answer.records, answer.owners) == (0, 0, 0, ())
    assert answer.counters["orders"] == 5
    assert answer.counters["beats"] == 0
    assert answer.counters["hellos_refused"] == 0


def test_the_status_keeps_what_the_others_have_added() -> None:
    answer = status(MemberNode(), seq=7, sessions=3, records=11)
    assert (answer.seq, answer.sessions, answer.records) == (7, 3, 11)


def test_the_status_shows_every_member_as_it_is_seen_here() -> None:
    node = MemberNode("abcdef").running("bcde")
    node.receive("to-c", Goodbye("c", EPOCH))
    node.kill("d")
    node.kill("e")
    node.run(4, "b")
    node.ms += 300
    rows = {row.peer_address[0]: row for row in status(node, lags={"b": 4}).members}
    assert {name: row.state for name, row in rows.items()} == {
        **{"a": "self", "b": "alive", "c": "left", "d": "suspect"},
        **{"e": "suspect", "f": "unreachable"},
    }
    b = rows["b"]
    assert (b.node_id, b.client_address, b.epoch, b.heartbeat_age_ms, b.lag, b.ready) == (
        *("b", client("b"), EPOCH, 300, 4, True),
    )
    assert (rows["d"].lag, rows["f"].heartbeat_age_ms, rows["a"].lag) == (-1, -1, 0)
    node.run(20, "b", links={"d": "refused", "e": "refused"})
    assert {row.peer_address[0] for row in status(node).members if row.state == "hidden"} == {"d", "e"}


def test_the_status_names_the_standing() -> None:
    node = MemberNode().running("bc")
    assert status(node).standing == "ready"
    node.run(12)
    assert status(node).standing == "isolated"
    node.tell(LeaveOrdered())
    assert status(node).standing == "leaving"
