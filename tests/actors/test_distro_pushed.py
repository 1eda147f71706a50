"""DistroSyncActor: what is told of the pushed watermark, what peers tell of theirs, and callers that wait for it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.base import Effects, Role, StatusRequested
from actors.messages.clients import OwnersPurged
from actors.messages.distro import ClusterWaitsAdded, DeltaAcknowledged, OwnersApplied, OwnersPushed, Touches
from actors.messages.index import EchoWatermark
from actors.messages.peers import DeltaAck, PeerTag
from actors.messages.values import LAGGARDS_MAX, ClusterWait, Origin, Route, Watermark
from actors.peer_frames import decode_peer, encode_peer
from actors.pushed import BATCHES_MAX
from rollbook.errors import Code, RemoteProtocolError
from rollbook.wire import Done, Tag
from tests.support.distro import ME, PEERS, THREE, TWO, Node, answered, delta, entry, sent, told

CALLER = Route(b"c", 3)


class PushingNode(Node):
    """Its index and its PushActor are played here."""

    def __init__(self, *args: Any, **overrides: Any) -> None:
        super().__init__(*args, **overrides)
        self.number = 0

    def index(self, *watermarks: Watermark, touched: dict[Origin, int] | None = None) -> Effects:
        touches = None
        if touched:
            self.number += 1
            touches = Touches(self.number, tuple(touched.items()))
        return self.handle(OwnersApplied(watermarks, touches))

    def tell_all(self, untold: dict[Origin, int] | None = None, *names: str, number: int = 0) -> Effects:
        """PushActor's word on every touch up to now, or up to that number."""
        seqs = tuple((untold or {}).items())
        laggards = tuple((origin, names) for origin, _ in seqs) if names else ()
        return self.handle(OwnersPushed(number or self.number, seqs, laggards))

    def wait(self, seq: int, wait_ms: int = 1_000, correlation: int = 1) -> list[Any]:
        added = ClusterWait(CALLER, correlation, seq, wait_ms, Tag.DONE, Done(5, seq, 9), "subscribers")
        return answered(self.handle(ClusterWaitsAdded((added,))))

    def hear(self, link: str, applied: int, pushed: int, *laggards: str, upper: int = 0) -> Effects:
        return self.handle(DeltaAcknowledged(link, DeltaAck(*ME, applied, pushed, upper, 0, laggards)))


@pytest.fixture
def node() -> PushingNode:
    return PushingNode()


def acks(effects: Effects) -> list[tuple[str, int, int]]:
    """(link, applied, pushed) of every acknowledgement."""
    return [(link, ack.applied, ack.pushed) for link, ack in sent(effects, DeltaAck)]


# -- what owners are told


def test_where_nobody_is_touched_the_acknowledgement_says_all(node: PushingNode) -> None:
    node.receive("to-n2", delta(TWO, 0, 5))
    assert acks(node.index(Watermark(TWO, 5, "to-n2"))) == [("to-n2", 5, 5)]


def test_what_a_delta_touched_is_held_back_until_push_actor_says_that_it_is_told(node: PushingNode) -> None:
    node.receive("to-n2", delta(TWO, 0, 9))
    assert acks(node.index(Watermark(TWO, 9, "to-n2"), touched={TWO: 4})) == [("to-n2", 9, 3)]
    assert acks(node.tell_all({TWO: 7})) == [("to-n2", 9, 6)]
    assert acks(node.tell_all()) == [("to-n2", 9, 9)]
    assert acks(node.tell_all()) == [], "nothing has risen"


def test_a_touch_of_a_chunk_is_remembered_when_the_last_chunk_comes(node: PushingNode) -> None:
    node.receive("to-n2", delta(TWO, 0, 9, last=False))
    node.index(touched={TWO: 2})
    node.receive("to-n2", delta(TWO, 0, 9, index=1))
    assert acks(node.index(Watermark(TWO, 9, "to-n2"))) == [("to-n2", 9, 1)]


def test_a_word_of_push_actor_that_crosses_with_a_touch_does_not_cover_it(node: PushingNode) -> None:
    node.index(Watermark(TWO, 5), touched={TWO: 4})
    node.index(Watermark(TWO, 8), touched={TWO: 6})
    assert acks(node.tell_all(number=1)) == [("to-n2", 8, 5)]
    assert acks(node.tell_all()) == [("to-n2", 8, 8)]


def test_many_batches_without_a_word_are_kept_as_few(node: PushingNode) -> None:
    for seq in range(1, 1_000):
        node.index(Watermark(TWO, seq), touched={TWO: seq, THREE: seq})
    assert len(node.actor._pushed._batches) == BATCHES_MAX
    assert acks(node.tell_all(number=10)) == [("to-n2", 999, 10)]
    assert acks(node.tell_all(number=900)) == [("to-n2", 999, BATCHES_MAX - 1)], (
        "what was taken together is not covered"
    )
    assert acks(node.tell_all()) == [("to-n2", 999, 999)]


def test_an_owner_whose_records_came_from_a_relay_is_told_too(node: PushingNode) -> None:
    node.receive("to-n3", delta(TWO, 0, 5))
    assert acks(node.index(Watermark(TWO, 5, "to-n3"))) == [("to-n3", 5, 5), ("to-n2", 5, 5)]


def test_an_acknowledgement_of_a_delta_names_laggards_too(node: PushingNode) -> None:
    node.index(Watermark(TWO, 5), touched={TWO: 4})
    node.tell_all({TWO: 4}, "a")
    node.receive("to-n2", delta(TWO, 5, 6))
    [(_, ack)] = sent(node.index(Watermark(TWO, 6, "to-n2")), DeltaAck)
    assert (ack.applied, ack.pushed, ack.laggards) == (6, 3, ("a",))


def test_more_names_than_there_may_be_are_no_acknowledgement() -> None:
    ack = DeltaAck(*TWO, 5, 4, 0, 0, ("c",) * (LAGGARDS_MAX + 1))
    with pytest.raises(RemoteProtocolError, match="laggards"):
        decode_peer(encode_peer(PeerTag.DELTA_ACK, ack))


def test_an_earlier_life_of_a_peer_is_not_its_affair(node: PushingNode) -> None:
    old = Origin("n2", 7)
    node.index(Watermark(old, 5), touched={old: 4})
    assert acks(node.tell_all()) == []


def test_who_comes_back_over_another_link_is_told_again_and_so_is_everyone_beside_a_digest(node: PushingNode) -> None:
    node.index(Watermark(TWO, 5))
    assert acks(node.peers(PEERS[1])) == []
    assert acks(node.peers(PEERS[1], PEERS[0]._replace(link="again"))) == [("again", 5, 5)]
    assert acks(node.round()) == [("again", 5, 5)]


def test_laggards_are_named_to_the_owner_and_taken_back(node: PushingNode) -> None:
    node.index(Watermark(TWO, 5), touched={TWO: 4})
    [(_, first)] = sent(node.tell_all({TWO: 4}, "a", "b"), DeltaAck)
    assert (first.pushed, first.upper, first.laggards) == (3, 0, ("a", "b"))
    [(_, second)] = sent(node.tell_all({TWO: 4}), DeltaAck)
    assert (second.pushed, second.laggards) == (3, ())


def test_a_purged_owner_begins_at_nothing_again(node: PushingNode) -> None:
    node.index(Watermark(TWO, 50))
    node.handle(OwnersPurged((TWO,)))
    assert acks(node.round()) == []
    node.digest("n2", entry(TWO, 5))
    node.receive("to-n2", delta(TWO, 0, 5))
    assert acks(node.index(Watermark(TWO, 5, "to-n2"), touched={TWO: 1})) == [("to-n2", 5, 0)]


def test_what_was_in_the_index_when_its_owner_was_purged_is_not_claimed_to_it(node: PushingNode) -> None:
    node.receive("to-n2", delta(TWO, 0, 9))
    node.handle(OwnersPurged((TWO,)))
    assert not acks(node.index(Watermark(TWO, 9, "to-n2")))
    assert not acks(node.round()), "it has nothing of that owner any more"


# -- callers that wait for subscribers


def test_a_caller_is_answered_when_every_living_node_has_told_its_subscribers(node: PushingNode) -> None:
    node.push(3)
    assert node.wait(3) == []
    node.hear("to-n2", 3, 3)
    assert answered(node.hear("to-n3", 3, 2)) == []
    assert answered(node.hear("to-n3", 3, 3)) == [(CALLER, 1, Done(5, 3, 9))]
    assert node.wait(3, correlation=2) == [(CALLER, 2, Done(5, 3, 9))], "and later ones at once"


def test_this_nodes_own_subscribers_are_waited_for() -> None:
    node = PushingNode(())
    node.push(3)
    node.index(touched={ME: 3})
    assert node.wait(3) == []
    assert node.wait(2, correlation=2) == [(CALLER, 2, Done(5, 2, 9))]
    assert answered(node.tell_all()) == [(CALLER, 1, Done(5, 3, 9))]


def test_a_digest_says_nothing_of_subscribers(node: PushingNode) -> None:
    node.push(3)
    node.wait(3)
    node.meet(3, 3)
    assert answered(node.handle(OwnersPushed(0, ()))) == []


def test_a_claim_beyond_what_is_applied_is_worth_no_more_than_that(node: PushingNode) -> None:
    node.push(3)
    node.wait(3)
    node.hear("to-n2", 3, 3)
    assert answered(node.hear("to-n3", 2, 3)) == []
    assert answered(node.digest("n3", entry(ME, 3))) == []
    assert answered(node.hear("to-n3", 3, 3)) != []


def test_a_new_life_of_a_node_has_told_nobody_yet(node: PushingNode) -> None:
    node.push(3)
    for link in ("to-n2", "to-n3"):
        node.hear(link, 3, 3)
    node.peers(PEERS[0], PEERS[1]._replace(epoch=10, link="anew"))
    assert node.wait(3) == []
    assert answered(node.hear("anew", 3, 3)) == [(CALLER, 1, Done(5, 3, 9))]


def test_a_time_out_names_nodes_and_as_far_as_known_their_subscribers(node: PushingNode) -> None:
    node.push(3)
    node.index(touched={ME: 3})
    node.wait(3, 800)
    node.hear("to-n2", 3, 3, "quick")
    node.hear("to-n3", 3, 2, "slow", "slower")
    node.tell_all({ME: 3}, "mine")
    [(_, correlation, failed)] = answered(node.pass_time(800))
    assert (correlation, failed.code, failed.retryable) == (1, Code.NOT_CONFIRMED, True)
    assert failed.nodes == ("n1", "n3")
    assert failed.subscribers == ("mine@n1", "slow@n3", "slower@n3")
    assert "slow@n3" in failed.message


def test_who_reads_again_is_named_no_more_and_names_have_a_limit(node: PushingNode) -> None:
    many = [f"c{number}" for number in range(LAGGARDS_MAX)]
    node.push(3)
    node.wait(3, 800)
    node.hear("to-n2", 3, 2, *many)
    node.hear("to-n3", 3, 2, "slow")
    node.hear("to-n3", 3, 2)
    [(_, _, failed)] = answered(node.pass_time(800))
    assert (failed.nodes, len(failed.subscribers)) == (("n2", "n3"), LAGGARDS_MAX)
    assert not any("slow" in name for name in failed.subscribers)


def test_both_kinds_of_waits_share_one_limit() -> None:
    node = PushingNode(cluster_waits_max=1)
    node.push(3)
    node.handle(ClusterWaitsAdded((ClusterWait(CALLER, 1, 3, 0, Tag.DONE, Done()),)))
    [(_, correlation, failed)] = node.wait(3, correlation=2)
    assert (correlation, failed.code) == (2, Code.OVER_LIMIT)


# -- how long it took


def counts(node: PushingNode) -> dict[str, dict[int, int]]:
    """By stage: upper end of a bucket → changes in it."""
    [status] = told(node.handle(StatusRequested(b"c", 1, 2)), StatusRequested, Role.MEMBERS)
    return {
        found.stage: {bound: count for bound, count in zip((*found.bounds_ms, 0), found.counts, strict=True) if count}
        for found in status.parts["convergence"]
    }


def test_a_change_is_timed_until_all_have_it_and_until_all_are_told(node: PushingNode) -> None:
    [echo] = told(node.advance(3), EchoWatermark, Role.INDEX)
    assert counts(node) == {"applied": {}, "told": {}}
    node.index(touched={ME: 3})
    node.index(echo.watermark)
    node.pass_time(4)
    node.hear("to-n2", 3, 2)
    node.hear("to-n3", 3, 3)
    assert counts(node) == {"applied": {5: 1}, "told": {}}
    node.pass_time(30)
    node.hear("to-n2", 3, 3)
    assert counts(node)["told"] == {}, "this node's own subscribers"
    node.pass_time(2)
    node.tell_all()
    assert counts(node) == {"applied": {5: 1}, "told": {50: 1}}


def test_a_change_counts_as_applied_here_only_once_it_is_indexed() -> None:
    node = PushingNode(())
    [echo] = told(node.advance(1), EchoWatermark, Role.INDEX)
    assert counts(node)["applied"] == {}
    node.index(echo.watermark)
    assert counts(node) == {"applied": {1: 1}, "told": {1: 1}}


def test_one_change_in_a_while_is_timed_and_no_more_than_so_many_at_once() -> None:
    node = PushingNode(convergence_interval_ms=10, convergence_samples_max=3)
    timed = []
    for seq in range(1, 10):
        timed += [seq for _ in told(node.advance(seq), EchoWatermark)]
        node.pass_time(5)
    assert timed == [1, 3, 5]
