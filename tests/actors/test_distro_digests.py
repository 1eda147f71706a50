"""DistroSyncActor: digests, what is pulled because of them and from whom, and how a loading node catches up."""

from __future__ import annotations

from typing import Any

import pytest

from actors.base import Effects, Log, Role
from actors.messages.clients import ApplyDelta, ExpectParts, OwnersPurged
from actors.messages.distro import (
    CatchUpOrdered,
    ChunkApplied,
    DeltaRejected,
    PartsExpected,
    PullReceived,
    RecordRange,
)
from actors.messages.io import SendToPeers
from actors.messages.members import CaughtUp
from actors.messages.peers import Delta, DeltaAck, Digest, Pull
from actors.messages.values import BUCKETS, Origin, Peer
from actors.peer_frames import decode_peer
from tests.support.distro import DEAD, ME, PEERS, THREE, TWO, Node, delta, entry, sent, told

SUMS = tuple(range(BUCKETS))

# -- digests


def test_a_digest_round_is_encoded_once_and_goes_to_every_peer() -> None:
    [batch] = told(Node().round(entry(TWO, 3)), SendToPeers)
    assert [frame.link for frame in batch.frames] == ["to-n2", "to-n3"]
    assert batch.frames[0].payload is batch.frames[1].payload
    digest = decode_peer(batch.frames[0].payload)
    assert [item.origin for item in digest.entries] == [ME, TWO]


def test_above_the_limit_a_digest_goes_to_a_random_few() -> None:
    peers = tuple(Peer(f"p{number:02}", 1, f"to-p{number:02}") for number in range(11))
    assert len(sent(Node(peers[:10]).round(), Digest)) == 10
    node = Node(peers)
    rounds = [tuple(link for link, _ in sent(node.round(), Digest)) for _ in range(20)]
    assert {len(links) for links in rounds} == {3}
    assert len(set(rounds)) > 1
    same = Node(peers)
    assert rounds == [tuple(link for link, _ in sent(same.round(), Digest)) for _ in range(20)]


def test_who_is_behind_waits_one_digest_for_the_owners_push_then_pulls_from_the_owner_then_from_the_relay() -> None:
    node = Node()
    node.round(entry(TWO, 3))
    ahead = entry(TWO, 9)
    assert sent(node.digest("n3", ahead), Pull) == []
    node.pass_time(1_000)
    assert sent(node.digest("n3", ahead), Pull) == [("to-n2", Pull(*TWO, 3, 0, False))]
    node.pass_time(1_000)
    assert sent(node.digest("n3", ahead), Pull) == [("to-n3", Pull(*TWO, 3, 0, False))]


def test_a_push_that_closes_the_gap_makes_the_pull_needless() -> None:
    node = Node()
    node.round(entry(TWO, 3))
    node.digest("n2", entry(TWO, 9))
    node.receive("to-n2", delta(TWO, 3, 9))
    node.applied(TWO, 9, "to-n2")
    node.pass_time(1_000)
    assert sent(node.digest("n2", entry(TWO, 12)), Pull) == [], "a new gap has its own patience"


def test_nothing_is_pulled_while_a_delta_is_arriving() -> None:
    node = Node()
    node.digest("n2", entry(TWO, 9))
    node.pass_time(1_000)
    node.receive("to-n2", delta(TWO, 0, 9, last=False))
    assert sent(node.digest("n2", entry(TWO, 9)), Pull) == []


def test_what_has_no_owner_in_reach_is_pulled_from_the_relay_at_once() -> None:
    node = Node()
    assert sent(node.digest("n3", entry(DEAD, 9)), Pull) == [("to-n3", Pull(*DEAD, 0, 0, False))]


def test_an_earlier_life_of_a_reachable_node_is_pulled_at_once_and_so_is_this_nodes_own() -> None:
    node = Node()
    earlier, mine = Origin("n2", 7), Origin("n1", 4)
    pulls = sent(node.digest("n3", entry(earlier, 2), entry(mine, 2)), Pull)
    assert pulls == [("to-n3", Pull(*earlier, 0, 0, False)), ("to-n3", Pull(*mine, 0, 0, False))]


def test_this_nodes_own_epoch_is_never_pulled_nor_a_later_one() -> None:
    node = Node()
    assert sent(node.digest("n3", entry(ME, 9), entry(Origin("n1", 6), 9)), Pull) == []


def test_one_pull_is_open_per_origin_and_none_too_soon_after_another() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    assert sent(node.digest("n2", entry(DEAD, 9)), Pull) == []
    node.handle(DeltaRejected("to-n3", DEAD, 0, 0))
    node.pass_time(499)
    assert sent(node.digest("n2", entry(DEAD, 9)), Pull) == []
    node.pass_time(1)
    assert [link for link, _ in sent(node.digest("n2", entry(DEAD, 9)), Pull)] == ["to-n2"]


def test_a_pull_ends_when_everything_it_was_for_is_here() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.receive("to-n3", delta(DEAD, 0, 9))
    node.applied(DEAD, 9, "to-n3")
    node.pass_time(600)
    assert [link for link, _ in sent(node.digest("n3", entry(DEAD, 10)), Pull)] == ["to-n3"]


def test_a_pull_that_makes_no_progress_times_out_and_one_that_does_goes_on() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.pass_time(1_500)
    node.receive("to-n3", delta(DEAD, 0, 9, last=False))
    node.pass_time(1_500)
    node.receive("to-n3", delta(DEAD, 0, 9, index=1, last=False))
    assert node.counter("pulls_timed_out") == 0
    node.pass_time(2_000)
    assert node.counter("pulls_timed_out") == 1


def test_a_pull_that_nobody_answers_times_out() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.pass_time(1_999)
    assert node.counter("pulls_timed_out") == 0
    node.pass_time(1)
    assert (node.counter("pulls_sent"), node.counter("pulls_timed_out")) == (1, 1)


def test_a_chunk_over_another_link_is_no_progress_of_a_pull() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.pass_time(1_500)
    node.receive("to-n2", delta(DEAD, 0, 2))
    node.handle(DeltaRejected("to-n2", DEAD, 0, 0))
    node.pass_time(500)
    assert node.counter("pulls_timed_out") == 1


def test_a_delta_that_stops_arriving_no_longer_holds_up_a_pull() -> None:
    node = Node()
    node.receive("to-n2", delta(DEAD, 0, 9, last=False))
    node.pass_time(499)
    assert sent(node.digest("n3", entry(DEAD, 9), entry(THREE, 0)), Pull) == []
    node.pass_time(1)
    assert [link for link, _ in sent(node.digest("n3", entry(DEAD, 9)), Pull)] == ["to-n3"]


def test_a_source_is_not_asked_again_for_what_it_is_still_sending_slowly() -> None:
    node = Node()
    node.receive("to-n2", delta(DEAD, 0, 9, last=False))
    node.pass_time(3_999)
    assert sent(node.digest("n2", entry(DEAD, 9)), Pull) == []
    node.pass_time(1)
    assert [link for link, _ in sent(node.digest("n2", entry(DEAD, 9)), Pull)] == ["to-n2"]


def test_while_the_owner_sends_slowly_another_is_asked() -> None:
    node = Node()
    node.receive("to-n2", delta(TWO, 0, 9, last=False))
    node.pass_time(500)
    assert sent(node.digest("n3", entry(TWO, 9)), Pull) == []
    assert [link for link, _ in sent(node.digest("n3", entry(TWO, 9)), Pull)] == ["to-n3"]


def test_a_peer_that_comes_back_gets_the_owners_patience_and_a_goal_of_its_own_anew() -> None:
    node = Node()
    node.digest("n3", entry(TWO, 9))
    node.peers(PEERS[0])
    node.peers(*PEERS)
    assert sent(node.digest("n3", entry(TWO, 9)), Pull) == []
    node.handle(CatchUpOrdered(True))
    node.digest("n3", entry(DEAD, 9))
    node.peers(PEERS[0])
    node.peers(*PEERS)
    assert told(node.digest("n3", entry(DEAD, 0)), CaughtUp) == [CaughtUp("n3")]


def test_a_lost_link_ends_its_pulls() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.peers(PEERS[0])
    node.pass_time(500)
    assert [link for link, _ in sent(node.digest("n2", entry(DEAD, 9)), Pull)] == ["to-n2"]


def test_a_broken_pull_resumes_where_it_broke_if_the_source_has_as_much() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.receive("to-n3", delta(DEAD, 0, 9, last=False))
    node.handle(ChunkApplied("to-n3", DEAD, 0, 6))
    node.peers(PEERS[0])
    node.pass_time(600)
    # What was superseded within (0, 9] never came, so a source that has less than that cannot go on from 6.
    assert sent(node.digest("n2", entry(DEAD, 8)), Pull) == [("to-n2", Pull(*DEAD, 0, 0, False))]
    node.handle(DeltaRejected("to-n2", DEAD, 0, 0))
    node.pass_time(600)
    assert sent(node.digest("n2", entry(DEAD, 9)), Pull) == [("to-n2", Pull(*DEAD, 0, 6, False))]


def test_a_resume_that_the_source_cannot_serve_is_tried_once() -> None:
    node = Node()
    node.digest("n3", entry(DEAD, 9))
    node.receive("to-n3", delta(DEAD, 0, 9))
    node.handle(DeltaRejected("to-n3", DEAD, 0, 6))
    node.pass_time(600)
    assert sent(node.digest("n3", entry(DEAD, 9)), Pull) == [("to-n3", Pull(*DEAD, 0, 6, False))]
    node.receive("to-n3", delta(DEAD, 0, 9, resume=6))
    node.handle(DeltaRejected("to-n3", DEAD, 0, 6))
    node.pass_time(600)
    assert sent(node.digest("n3", entry(DEAD, 9)), Pull) == [("to-n3", Pull(*DEAD, 0, 0, False))]


def warnings(effects: Effects) -> list[Log]:
    return [effect for effect in effects if isinstance(effect, Log) and effect.level == "WARNING"]


def test_other_records_at_the_same_watermark_in_two_digests_running_are_mended_by_a_pull_in_parts_from_the_owner() -> (
    None
):
    node = Node()
    node.round(entry(TWO, 9, digest=1))
    first = node.digest("n2", entry(TWO, 9, digest=2))
    assert (sent(first, Pull), warnings(first)) == ([], [])
    second = node.digest("n2", entry(TWO, 9, digest=2))
    assert told(second, ExpectParts, Role.CLIENTS) == [ExpectParts(TWO)]
    noted = node.handle(PartsExpected(TWO, 9, SUMS))
    assert sent(noted, Pull) == [("to-n2", Pull(*TWO, 9, 0, True, 0, BUCKETS, SUMS))]
    assert [log.fields["owner"] for log in warnings(second)] == ["n2"]
    assert node.counter("digest_mismatches") == 1


def test_nothing_is_compared_while_a_delta_is_arriving_or_a_pull_is_open() -> None:
    node = Node()
    node.round(entry(TWO, 9, digest=1), entry(DEAD, 9, digest=1))
    node.receive("to-n2", delta(TWO, 9, 12, last=False))
    node.digest("n3", entry(DEAD, 12))
    for _ in range(3):
        effects = node.digest("n2", entry(TWO, 9, digest=2), entry(DEAD, 9, digest=2))
        assert (sent(effects, Pull), warnings(effects)) == ([], [])


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ({"digest": 1, "settled": False}, {"digest": 2}),
        ({"digest": 1}, {"digest": 2, "settled": False}),
        ({"digest": 1, "records": 3}, {"digest": 1, "records": 3}),
    ],
)
def test_what_is_not_settled_or_not_different_is_left_alone(here: dict[str, Any], there: dict[str, Any]) -> None:
    node = Node()
    node.round(entry(TWO, 9, **here))
    for _ in range(3):
        assert sent(node.digest("n2", entry(TWO, 9, **there)), Pull) == []


def test_a_difference_that_is_gone_in_the_next_digest_counts_from_anew() -> None:
    node = Node()
    node.round(entry(TWO, 9, digest=1))
    for digest in (2, 1, 2):
        assert sent(node.digest("n2", entry(TWO, 9, digest=digest)), Pull) == []


def test_a_watermark_that_has_moved_since_the_last_round_is_not_compared() -> None:
    node = Node()
    node.round(entry(TWO, 8, digest=1))
    node.applied(TWO, 9)
    for _ in range(3):
        assert sent(node.digest("n2", entry(TWO, 9, digest=2)), Pull) == []


def test_with_the_owner_in_reach_a_relay_that_differs_mends_itself() -> None:
    node = Node()
    node.round(entry(TWO, 9, digest=1))
    for _ in range(3):
        assert sent(node.digest("n3", entry(TWO, 9, digest=2)), Pull) == []


def test_of_two_relays_that_differ_the_one_with_fewer_live_records_pulls() -> None:
    node = Node()
    node.round(entry(DEAD, 9, records=4))
    node.digest("n3", entry(DEAD, 9, records=3))
    assert sent(node.digest("n3", entry(DEAD, 9, records=3)), Pull) == []
    node.digest("n3", entry(DEAD, 9, records=5))
    assert told(node.digest("n3", entry(DEAD, 9, records=5)), ExpectParts) == [ExpectParts(DEAD)]
    assert [link for link, _ in sent(node.handle(PartsExpected(DEAD, 9, SUMS)), Pull)] == ["to-n3"]


def test_a_purged_origin_is_forgotten_and_may_come_back_from_the_beginning() -> None:
    node = Node()
    node.round(entry(DEAD, 9))
    node.digest("n3", entry(DEAD, 12))
    node.handle(OwnersPurged((DEAD,)))
    assert sent(node.digest("n3", entry(DEAD, 12)), Pull) == [("to-n3", Pull(*DEAD, 0, 0, False))]
    node.handle(PullReceived("to-n3", Pull(*DEAD, 0)))
    node.handle(OwnersPurged((DEAD,)))
    assert sent(node.handle(RecordRange(DEAD, 0, 9, False, 0, 0, ((b"r",),), ("to-n3",))), Delta) == []


def test_what_a_purged_owner_sends_is_turned_away_until_its_heart_beats_again() -> None:
    node = Node()
    node.handle(OwnersPurged((TWO,)))
    effects = node.receive("to-n2", delta(TWO, 0, 3))
    assert told(effects, ApplyDelta) == []
    assert sent(effects, DeltaAck) == [("to-n2", DeltaAck(*TWO, 0, upper=3))], "so that it tries again, from the start"
    assert node.counter("deltas_purged") == 1
    node.digest("n3", entry(TWO, 3))
    assert told(node.receive("to-n2", delta(TWO, 0, 3)), ApplyDelta) != []


def test_a_watermark_that_comes_after_the_purge_claims_nothing() -> None:
    node = Node()
    node.receive("to-n3", delta(DEAD, 0, 9))
    node.handle(OwnersPurged((DEAD,)))
    node.applied(DEAD, 9, "to-n3")
    assert sent(node.digest("n3", entry(DEAD, 9)), Pull) == [("to-n3", Pull(*DEAD, 0, 0, False))]


# -- loading


def test_a_loading_node_pulls_all_origins_at_once_from_their_owners_if_it_can_else_from_whoever_tells() -> None:
    node = Node()
    node.handle(CatchUpOrdered(True))
    pulls = sent(node.digest("n3", entry(THREE, 4), entry(TWO, 9), entry(DEAD, 2), ready=False), Pull)
    assert [(link, pull.origin) for link, pull in pulls] == [("to-n3", THREE), ("to-n2", TWO), ("to-n3", DEAD)]
    node.pass_time(1_000)
    pulls = sent(node.digest("n3", entry(TWO, 9), ready=False), Pull)
    assert [link for link, _ in pulls] == ["to-n3"], "the owner keeps silent"


def test_a_loading_node_has_caught_up_with_a_ready_peer_once_its_first_digest_is_here() -> None:
    node = Node()
    node.handle(CatchUpOrdered(True))
    assert told(node.digest("n2", entry(TWO, 9), entry(DEAD, 2), entry(ME, 0)), CaughtUp) == []
    node.digest("n2", entry(TWO, 20), entry(DEAD, 2))
    assert told(node.applied(TWO, 9, "to-n2"), CaughtUp) == []
    assert told(node.applied(DEAD, 2, "to-n2"), CaughtUp, Role.MEMBERS) == [CaughtUp("n2")]
    assert told(node.applied(TWO, 30, "to-n2"), CaughtUp) == [], "once"
    assert told(node.digest("n2", entry(TWO, 30)), CaughtUp) == []


def test_an_empty_first_digest_is_caught_up_with_at_once() -> None:
    node = Node()
    node.handle(CatchUpOrdered(True))
    assert told(node.digest("n2"), CaughtUp) == [CaughtUp("n2")]


def test_a_loading_peer_is_no_evidence() -> None:
    node = Node()
    node.handle(CatchUpOrdered(True))
    assert told(node.digest("n2", ready=False), CaughtUp) == []
    assert told(node.digest("n2", ready=True), CaughtUp) == [CaughtUp("n2")], "its first digest as a ready one"


def test_what_a_peer_has_purged_since_is_no_longer_waited_for() -> None:
    node = Node()
    node.handle(CatchUpOrdered(True))
    node.digest("n2", entry(DEAD, 2))
    assert told(node.digest("n2"), CaughtUp) == [CaughtUp("n2")]
    node.digest("n3", entry(DEAD, 2))
    assert told(node.handle(OwnersPurged((DEAD,))), CaughtUp) == [CaughtUp("n3")], "nor what was purged here"


def test_after_loading_nobody_is_told_any_more() -> None:
    node = Node()
    node.handle(CatchUpOrdered(True))
    node.digest("n2", entry(TWO, 9))
    node.handle(CatchUpOrdered(False))
    assert told(node.applied(TWO, 9, "to-n2"), CaughtUp) == []
