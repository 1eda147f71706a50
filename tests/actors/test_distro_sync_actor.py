"""DistroSyncActor: who is sent what, and what becomes of what arrives."""

from __future__ import annotations

from actors.base import Role
from actors.messages.clients import ApplyDelta, GetRecordRange
from actors.messages.distro import (
    ChunkApplied,
    DeltaRejected,
    DigestAccepted,
    PullReceived,
    RecordRange,
)
from actors.messages.io import SendToPeers
from actors.messages.members import HeartbeatRaised
from actors.messages.peers import Delta, DeltaAck, Pull
from actors.messages.values import Peer
from actors.peer_frames import decode_peer
from tests.support.distro import DEAD, ME, PEERS, TWO, Node, delta, entry, ranges, sent, told

# -- sync


def test_a_change_leaves_at_once_for_all_peers_as_one_range_that_is_encoded_once() -> None:
    node = Node()
    [wanted] = told(node.advance(1), GetRecordRange, Role.CLIENTS)
    assert wanted == GetRecordRange(ME, 0, False, 0, ("to-n2", "to-n3"))
    [batch] = told(node.freeze(wanted, 1), SendToPeers)
    assert [frame.link for frame in batch.frames] == ["to-n2", "to-n3"]
    assert batch.frames[0].payload is batch.frames[1].payload
    assert decode_peer(batch.frames[0].payload) == delta(ME, 0, 1, bodies=(b"body0",))


def test_what_changes_while_a_delta_is_under_way_is_merged_into_the_next_one() -> None:
    node = Node(PEERS[:1])
    node.push(1)
    assert node.advance(2) == []
    assert node.advance(3) == []
    [wanted] = told(node.acknowledge("to-n2", 1), GetRecordRange)
    assert wanted.after == 1
    assert [body.upper for _, body in sent(node.freeze(wanted, 3), Delta)] == [3]
    assert ranges(node.acknowledge("to-n2", 3)) == [], "and nothing is left"


def test_a_slow_peer_does_not_hold_up_another() -> None:
    node = Node()
    node.push(1)
    assert ranges(node.acknowledge("to-n3", 1)) == []
    assert ranges(node.advance(2)) == [(1, ("to-n3",))]


def test_peers_that_have_come_differently_far_get_ranges_of_their_own() -> None:
    node = Node()
    node.push(4)
    node.acknowledge("to-n2", 1)
    node.acknowledge("to-n3", 3)
    node.peers(living=("n2", "n3"))
    assert ranges(node.peers(*PEERS)) == [(1, ("to-n2",)), (3, ("to-n3",))]


def test_the_first_change_after_a_peer_came_is_sent_on_trust_and_the_answer_corrects_it() -> None:
    node = Node(())
    node.advance(7)
    assert ranges(node.peers(*PEERS[:1])) == [], "a digest will tell how far it has come"
    [wanted] = told(node.advance(8), GetRecordRange)
    assert wanted.after == 7
    node.freeze(wanted, 8)
    assert ranges(node.acknowledge("to-n2", 0, upper=8)) == [(0, ("to-n2",))]


def test_a_digest_tells_how_far_a_new_peer_has_come() -> None:
    node = Node(())
    node.advance(7)
    node.peers(*PEERS[:1])
    assert ranges(node.digest("n2", entry(ME, 4))) == [(4, ("to-n2",))]


def test_a_digest_without_this_node_means_that_the_peer_has_nothing_of_it() -> None:
    node = Node(())
    node.advance(7)
    node.peers(*PEERS[:1])
    assert ranges(node.digest("n2", entry(TWO, 4))) == [(0, ("to-n2",))]


def test_a_digest_entry_is_an_acknowledgement_but_an_old_one_takes_nothing_back() -> None:
    node = Node(PEERS[:1])
    node.push(3)
    node.digest("n2", entry(ME, 3))
    assert node.actor._outgoing.lags() == {"n2": 0}
    node.digest("n2", entry(ME, 1))
    assert node.actor._outgoing.lags() == {"n2": 0}


def test_an_acknowledgement_below_the_start_of_a_delta_sets_the_cursor_back() -> None:
    node = Node(PEERS[:1])
    node.push(5)
    node.acknowledge("to-n2", 5)
    node.push(6)
    assert ranges(node.acknowledge("to-n2", 2, upper=6)) == [(2, ("to-n2",))]


def test_a_delta_refused_without_a_gap_is_tried_again_after_a_breath() -> None:
    node = Node(PEERS[:1])
    node.meet(0)
    node.push(5)
    assert ranges(node.acknowledge("to-n2", 0, upper=5)) == []
    assert ranges(node.advance(6)) == []
    assert ranges(node.pass_time(499)) == []
    assert ranges(node.pass_time(1)) == [(0, ("to-n2",))]


def test_a_late_acknowledgement_of_an_earlier_delta_does_not_end_the_next_one() -> None:
    node = Node(PEERS[:1])
    node.push(1)
    node.digest("n2", entry(ME, 1))
    node.acknowledge("to-n2", 1)
    node.push(2)
    assert ranges(node.acknowledge("to-n2", 1, upper=1)) == []
    assert ranges(node.pass_time(1_999)) == []


def test_a_delta_without_an_answer_is_frozen_anew_after_the_timeout() -> None:
    node = Node(PEERS[:1])
    node.meet(0)
    node.push(1)
    node.advance(2)
    assert ranges(node.pass_time(3_999)) == []
    assert ranges(node.pass_time(1)) == [(0, ("to-n2",))]
    assert node.counter("deltas_timed_out") == 1


def test_a_lost_link_ends_the_delta_and_a_new_one_begins_at_the_cursor() -> None:
    node = Node(PEERS[:1])
    node.push(1)
    node.acknowledge("to-n2", 1)
    node.push(2)
    assert ranges(node.peers()) == []
    assert ranges(node.peers(Peer("n2", 8, "again"))) == []
    assert ranges(node.handle(DigestAccepted("again", "n2", True, (entry(ME, 1),)))) == [(1, ("again",))]


def test_a_node_that_stays_alive_keeps_its_cursor_while_it_cannot_be_reached() -> None:
    node = Node(PEERS[:1])
    node.push(1)
    node.acknowledge("to-n2", 1)
    node.advance(2)
    node.peers(living=("n2",))
    assert ranges(node.peers(Peer("n2", 8, "again"))) == [(1, ("again",))]


def test_a_new_life_of_a_peer_has_nothing_until_it_says_so() -> None:
    node = Node(PEERS[:1])
    node.push(3)
    node.acknowledge("to-n2", 3)
    node.peers(Peer("n2", 9, "again"))
    assert node.actor._outgoing.lags() == {"n2": -1}
    assert ranges(node.handle(DigestAccepted("again", "n2", False, ()))) == [(0, ("again",))]


def test_a_range_for_a_link_that_is_gone_is_not_sent() -> None:
    node = Node()
    [wanted] = told(node.advance(1), GetRecordRange)
    node.peers(PEERS[1])
    assert [link for link, _ in sent(node.freeze(wanted, 1), Delta)] == ["to-n3"]


def test_a_range_that_comes_again_or_for_an_earlier_link_is_not_sent() -> None:
    node = Node(PEERS[:1])
    [wanted] = told(node.advance(1), GetRecordRange)
    assert len(sent(node.freeze(wanted, 1), Delta)) == 1
    assert sent(node.freeze(wanted, 1), Delta) == []
    node.peers(living=("n2",))
    node.peers(Peer("n2", 8, "again"))
    [wanted] = told(node.advance(2), GetRecordRange)
    assert wanted.links == ("again",)
    late = RecordRange(ME, 0, 1, False, 0, 0, ((b"r",),), ("to-n2",))
    assert sent(node.handle(late), Delta) == []


def test_a_long_delta_goes_out_in_windows_as_the_peer_reports_progress() -> None:
    node = Node(PEERS[:1], chunks_in_flight_max=2)
    first = sent(node.push(9, chunks=5), Delta)
    assert [(body.index, body.last) for _, body in first] == [(0, False), (1, False)]
    assert sent(node.acknowledge("to-n2", 0, upper=8, chunk=1), Delta) == [], "of another delta"
    second = sent(node.acknowledge("to-n2", 0, upper=9, chunk=2), Delta)
    assert [(body.index, body.last) for _, body in second] == [(2, False), (3, False)]
    assert sent(node.acknowledge("to-n2", 0, upper=9, chunk=2), Delta) == [], "a repeat"
    third = sent(node.acknowledge("to-n2", 0, upper=9, chunk=3), Delta)
    assert [(body.index, body.last) for _, body in third] == [(4, True)]
    node.acknowledge("to-n2", 9, upper=9)
    assert node.counter("deltas_acknowledged") == 1
    assert node.counter("delta_chunks_sent") == 5


def test_progress_renews_the_patience_with_a_delta() -> None:
    node = Node(PEERS[:1], chunks_in_flight_max=1)
    node.push(9, chunks=3)
    node.pass_time(3_900)
    node.acknowledge("to-n2", 0, upper=9, chunk=1)
    node.pass_time(3_900)
    assert node.counter("deltas_timed_out") == 0
    node.pass_time(100)
    assert node.counter("deltas_timed_out") == 1


def test_deltas_of_this_node_carry_its_heartbeat_and_relayed_ones_do_not() -> None:
    node = Node(PEERS[:1])
    node.round(entry(DEAD, 3))
    assert [body.heartbeat for _, body in sent(node.push(1), Delta)] == [70]
    [wanted] = told(node.handle(PullReceived("to-n2", Pull(*DEAD, 0))), GetRecordRange)
    assert [body.heartbeat for _, body in sent(node.freeze(wanted, 3), Delta)] == [0]


def test_nobody_can_have_more_of_this_node_than_it_has_itself() -> None:
    node = Node(PEERS[:1])
    node.push(3)
    node.acknowledge("to-n2", 9)
    node.digest("n2", entry(ME, 9))
    assert node.counter("foreign_claims") == 2
    assert node.actor._outgoing.lags() == {"n2": -1}


# -- pulls of others


def test_a_pull_is_answered_with_the_range_it_asks_for_from_any_owner() -> None:
    node = Node()
    [wanted] = told(node.handle(PullReceived("to-n3", Pull(*DEAD, 4, 6, True))), GetRecordRange, Role.CLIENTS)
    assert wanted == GetRecordRange(DEAD, 4, True, 6, ("to-n3",))
    [(link, body)] = sent(node.freeze(wanted, 9, full=True, after=0, gc_floor=2), Delta)
    assert (link, body) == ("to-n3", delta(DEAD, 0, 9, full=True, resume=6, gc_floor=2, bodies=(b"body0",)))


def test_a_pull_of_what_is_unknown_here_is_ignored() -> None:
    node = Node()
    node.handle(PullReceived("to-n3", Pull(*DEAD, 0)))
    effects = node.handle(RecordRange(DEAD, 0, 0, False, 0, 0, (), ("to-n3",), known=False))
    assert effects == []
    assert node.counter("ranges_unknown") == 1
    assert told(node.handle(PullReceived("to-n3", Pull(*DEAD, 0))), GetRecordRange), "and may be asked again"


def test_a_pull_that_finds_nothing_newer_is_not_answered() -> None:
    node = Node()
    [wanted] = told(node.handle(PullReceived("to-n3", Pull(*DEAD, 4))), GetRecordRange)
    assert sent(node.freeze(wanted, 4), Delta) == []


def test_a_full_pull_is_answered_though_nothing_is_newer() -> None:
    node = Node()
    [wanted] = told(node.handle(PullReceived("to-n3", Pull(*DEAD, 4, 0, True))), GetRecordRange)
    assert [body.upper for _, body in sent(node.freeze(wanted, 4, after=0), Delta)] == [4]


def test_a_strangers_pull_is_not_served() -> None:
    node = Node()
    assert node.handle(PullReceived("stranger", Pull(*ME, 0))) == []
    assert node.counter("pulls_unserved") == 1


def test_a_pull_of_this_nodes_own_records_takes_the_place_of_the_push() -> None:
    node = Node(PEERS[:1])
    node.push(5)
    assert ranges(node.handle(PullReceived("to-n2", Pull(*ME, 2)))) == [(2, ("to-n2",))]
    assert ranges(node.handle(PullReceived("to-n2", Pull(*ME, 2)))) == [], "its range is being frozen"


# -- receive


def test_a_delta_goes_to_client_manager_and_is_acknowledged_once_it_is_indexed() -> None:
    node = Node()
    [chunk] = told(node.receive("to-n2", delta(TWO, 3, 5, gc_floor=1)), ApplyDelta, Role.CLIENTS)
    assert chunk == ApplyDelta("to-n2", TWO, 3, 5, False, 0, 1, 0, True, (b"r",))
    assert sent(node.applied(TWO, 5, "to-n2"), DeltaAck) == [("to-n2", DeltaAck(*TWO, 5, 5, 5, 0))]


def test_native_watermarks_are_acknowledged_to_nobody() -> None:
    assert sent(Node().applied(ME, 5), DeltaAck) == []


def test_each_chunk_in_the_record_table_lets_the_sender_go_on() -> None:
    node = Node()
    node.receive("to-n2", delta(TWO, 0, 9, last=False))
    acks = sent(node.handle(ChunkApplied("to-n2", TWO, 0, 3)), DeltaAck)
    assert acks == [("to-n2", DeltaAck(*TWO, 0, 0, 9, 1))]


def test_a_chunk_whose_beginning_is_missing_is_counted_and_dropped() -> None:
    node = Node()
    assert told(node.receive("to-n2", delta(TWO, 0, 9, index=1)), ApplyDelta) == []
    assert node.counter("deltas_unexpected") == 1


def test_a_strangers_delta_is_counted_and_dropped() -> None:
    node = Node()
    assert node.receive("stranger", delta(TWO, 0, 9)) == []
    assert node.counter("deltas_unexpected") == 1


def test_a_peers_delta_is_taken_from_every_link_of_it_and_its_ack_goes_back_there() -> None:
    node = Node()
    node.peers(*PEERS, PEERS[0]._replace(link="from-n2"))
    assert told(node.receive("from-n2", delta(TWO, 0, 9)), ApplyDelta)
    assert sent(node.applied(TWO, 9, "from-n2"), DeltaAck) == [("from-n2", DeltaAck(*TWO, 9, 9, 9, 0))]
    node.peers(PEERS[0])
    assert node.receive("from-n2", delta(TWO, 9, 10)) == [], "not after that link is gone"


def test_a_link_that_is_no_longer_the_one_to_send_on_brings_nothing_any_more() -> None:
    node = Node()
    node.digest("n2")
    node.peers(Peer("n2", 8, "again"))
    assert node.receive("to-n2", delta(TWO, 0, 1)) == []


def test_what_claims_to_be_this_nodes_own_is_refused_and_counted() -> None:
    node = Node()
    assert node.receive("to-n2", delta(ME, 0, 9)) == []
    assert node.counter("foreign_claims") == 1


def test_only_the_owner_itself_raises_its_heartbeat_and_only_upwards() -> None:
    node = Node()
    raised = told(node.receive("to-n2", delta(TWO, 0, 1, heartbeat=40)), HeartbeatRaised, Role.MEMBERS)
    assert raised == [HeartbeatRaised("to-n2", TWO, 40)]
    assert told(node.receive("to-n2", delta(TWO, 1, 2, heartbeat=40)), HeartbeatRaised) == []
    assert told(node.receive("to-n3", delta(TWO, 2, 3, heartbeat=50)), HeartbeatRaised) == []


def test_a_rejected_delta_is_answered_with_what_is_here() -> None:
    node = Node()
    node.applied(TWO, 4)
    node.receive("to-n2", delta(TWO, 7, 9))
    acks = sent(node.handle(DeltaRejected("to-n2", TWO, 4, 0)), DeltaAck)
    assert acks == [("to-n2", DeltaAck(*TWO, 4, 0, 9, 0))]
    assert sent(node.handle(DeltaRejected("to-n2", TWO, 4, 0)), DeltaAck) == [], "once for all its chunks"


def test_the_answer_to_a_rejected_delta_acknowledges_nothing_that_has_yet_to_be_indexed() -> None:
    node = Node()
    node.applied(TWO, 3)
    node.receive("to-n2", delta(TWO, 7, 9))
    acks = sent(node.handle(DeltaRejected("to-n2", TWO, 4, 0)), DeltaAck)
    assert acks == [("to-n2", DeltaAck(*TWO, 3, 0, 9, 0))]
