"""DistroSyncActor: origins that are pulled in parts, from whom, and what the owner leaves to whoever pulls."""

from __future__ import annotations

from typing import Any

from actors.base import Effects, Role
from actors.messages.clients import ApplyDelta, ExpectParts, GetRecordRange, GiveUpParts, OwnersPurged
from actors.messages.distro import CatchUpOrdered, ChunkApplied, DeltaRejected, PartsExpected, PullReceived, RecordRange
from actors.messages.peers import Delta, DeltaAck, Pull
from actors.messages.values import BUCKETS, Origin, Peer, Scope
from tests.support.distro import DEAD, ME, PEERS, THREE, TWO, Node, delta, entry, ranges, sent, told

FOUR = Peer("n4", 8, "to-n4")
FIVE = Peer("n5", 8, "to-n5")


def parted(*peers: Peer, **overrides: Any) -> Node:
    """What is longer than ten changes is much."""
    return Node(peers or PEERS, part_records_max=10, **overrides)


def noted(node: Node, origin: Origin = DEAD, have: int = 0, sums: tuple[int, ...] = ()) -> Effects:
    return node.handle(PartsExpected(origin, have, sums))


def pulls(effects: Effects) -> list[tuple[str, tuple[int, int]]]:
    return [(link, (pull.first, pull.length)) for link, pull in sent(effects, Pull)]


def part_of(origin: Origin, first: int, length: int, **fields: Any) -> Delta:
    return delta(origin, 0, 40, first=first, length=length, **fields)


def came(node: Node, link: str, origin: Origin, first: int, length: int) -> Effects:
    """A whole part, into the record table."""
    node.receive(link, part_of(origin, first, length))
    return node.handle(ChunkApplied(link, origin, 0, 0, Scope(first, length)))


# -- who is asked for what


def test_what_is_much_is_asked_for_in_parts_once_it_is_noted_what_is_here() -> None:
    node = parted()
    first = node.digest("n3", entry(DEAD, 40))
    assert told(first, ExpectParts, Role.CLIENTS) == [ExpectParts(DEAD)]
    assert sent(first, Pull) == []
    assert sent(noted(node), Pull) == [("to-n3", Pull(*DEAD, 0, 0, False, 0, 64))]


def test_the_asker_sends_the_sums_of_what_it_holds_in_these_buckets() -> None:
    node = parted()
    node.round(entry(DEAD, 3))
    node.digest("n3", entry(DEAD, 40, gc_floor=9))
    sums = tuple(range(BUCKETS))
    assert sent(noted(node, have=3, sums=sums), Pull) == [("to-n3", Pull(*DEAD, 3, 0, False, 0, 64, sums[:64]))]


def test_parts_are_asked_for_from_where_the_index_has_come_to() -> None:
    node = parted()
    node.applied(DEAD, 3)
    node.digest("n3", entry(DEAD, 40))
    assert sent(noted(node, have=5), Pull) == [("to-n3", Pull(*DEAD, 3, 0, False, 0, 64))]


def test_each_source_carries_one_part_at_a_time_and_gets_the_next_when_that_is_in() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    assert pulls(node.digest("n2", entry(DEAD, 40))) == [("to-n2", (64, 64))]
    assert pulls(came(node, "to-n2", DEAD, 64, 64)) == [("to-n2", (128, 64))]
    assert pulls(came(node, "to-n2", DEAD, 128, 64)) == [("to-n2", (192, 64))]
    assert pulls(came(node, "to-n3", DEAD, 0, 64)) == [], "none is left"
    end = came(node, "to-n2", DEAD, 192, 64)
    assert told(end, GiveUpParts) == [GiveUpParts(DEAD)], "all have come; what was claimed is claimed"
    assert node.counter("parts_pulled") == 4
    assert node.pass_time(20_000) == []


def test_the_owner_is_a_source_though_its_digest_has_not_come_yet() -> None:
    node = parted()
    node.handle(CatchUpOrdered(True))
    node.digest("n3", entry(TWO, 40))
    assert sorted(pulls(noted(node, TWO))) == [("to-n2", (0, 64))], "it alone was asked, being in reach"
    assert pulls(node.digest("n3", entry(TWO, 40))) == [("to-n3", (64, 64))]


def test_at_most_so_many_sources_send_at_a_time() -> None:
    node = parted(*PEERS, FOUR, FIVE, part_sources_max=3)
    other = Origin("n9", 1)
    node.digest("n3", entry(other, 40))
    noted(node, other)
    asked = [pulls(node.digest(name, entry(other, 40))) for name in ("n2", "n4", "n5")]
    assert [bool(each) for each in asked] == [True, True, False]


def test_a_source_carries_so_many_parts_of_all_origins_and_the_least_busy_is_asked() -> None:
    node = parted(*PEERS, parts_per_source_max=2)
    origins = [Origin("n9", epoch) for epoch in (1, 2, 3)]
    node.digest("n3", *(entry(origin, 40) for origin in origins))
    asked = [pulls(noted(node, origin)) for origin in origins]
    assert asked == [[("to-n3", (0, 64))], [("to-n3", (0, 64))], []]
    assert [link for link, _ in pulls(node.digest("n2", *(entry(origin, 40) for origin in origins)))] == ["to-n2"] * 2


def test_whoever_has_less_or_has_forgotten_more_than_the_others_know_is_no_source() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    assert pulls(node.digest("n2", entry(DEAD, 39))) == []
    assert pulls(node.digest("n2", entry(DEAD, 60, gc_floor=41))) == []
    assert pulls(node.digest("n2", entry(DEAD, 60, gc_floor=40))) == [("to-n2", (64, 64))]


def test_if_the_only_source_left_has_forgotten_too_much_for_the_others_parts_all_begins_anew() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    node.peers(PEERS[0])
    effects = node.digest("n2", entry(DEAD, 60, gc_floor=41))
    assert told(effects, ExpectParts) == [ExpectParts(DEAD)]
    assert pulls(noted(node)) == [("to-n2", (0, 42))], "six parts of sixty records"


# -- what goes wrong


def test_a_source_that_keeps_silent_hands_its_part_to_another_and_may_come_back() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    node.digest("n2", entry(DEAD, 40))
    node.pass_time(1_500)
    node.receive("to-n2", part_of(DEAD, 64, 64, last=False))
    assert pulls(node.pass_time(500)) == [], "n2 is busy still"
    assert node.counter("pulls_timed_out") == 1
    assert pulls(node.handle(ChunkApplied("to-n2", DEAD, 0, 0, Scope(64, 64)))) == [("to-n2", (0, 64))]
    assert pulls(node.digest("n3", entry(DEAD, 40))) == [("to-n3", (128, 64))]


def test_a_lost_link_hands_its_part_to_another_at_once() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    node.digest("n2", entry(DEAD, 40))
    came(node, "to-n2", DEAD, 64, 64)
    node.peers(PEERS[0])
    assert pulls(came(node, "to-n2", DEAD, 128, 64)) == [("to-n2", (0, 64))], "what was n3's comes first"


def test_without_any_source_for_long_the_parts_are_given_up() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    effects = node.peers()
    assert told(effects, GiveUpParts) == []
    assert told(node.pass_time(14_999), GiveUpParts) == []
    assert told(node.pass_time(1), GiveUpParts) == [GiveUpParts(DEAD)]
    node.peers(*PEERS)
    assert told(node.digest("n3", entry(DEAD, 40)), ExpectParts) == [ExpectParts(DEAD)], "and begun anew"


def test_a_part_that_client_manager_does_not_expect_ends_the_pull() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    node.receive("to-n3", part_of(DEAD, 0, 64))
    effects = node.handle(DeltaRejected("to-n3", DEAD, 0, 0))
    assert told(effects, GiveUpParts) == [GiveUpParts(DEAD)]
    assert [ack.upper for _, ack in sent(effects, DeltaAck)] == [40], "and its sender is told"


def test_a_part_that_nobody_asked_for_is_dropped() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    for link, scope in (("to-n3", (64, 64)), ("to-n2", (0, 64))):
        assert told(node.receive(link, part_of(DEAD, *scope)), ApplyDelta) == []
    assert node.counter("deltas_unexpected") == 2


def test_what_ordinary_deltas_have_brought_meanwhile_ends_the_pull() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    assert told(node.applied(DEAD, 40, "to-n2"), GiveUpParts) == [GiveUpParts(DEAD)]


def test_a_purged_origin_is_not_pulled_any_more() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    node.handle(OwnersPurged((DEAD,)))
    assert sent(noted(node), Pull) == []


def test_a_copy_that_differs_is_mended_by_the_owner_alone() -> None:
    node = parted()
    node.round(entry(TWO, 40, digest=1))
    for _ in range(2):
        node.digest("n2", entry(TWO, 40, digest=2))
    assert pulls(noted(node, TWO, have=40)) == [("to-n2", (0, 64))]
    assert pulls(node.digest("n3", entry(TWO, 40, digest=2))) == []
    assert pulls(node.pass_time(2_000)) == [("to-n2", (0, 64))], "once more"
    assert told(node.peers(PEERS[1]), GiveUpParts) == [GiveUpParts(TWO)], "its word alone counts"


# -- the receiver's answers


def test_the_end_of_a_part_is_acknowledged_as_progress() -> None:
    node = parted()
    node.digest("n3", entry(DEAD, 40))
    noted(node)
    [chunk] = told(node.receive("to-n3", part_of(DEAD, 0, 64, full=True, whole=(3,))), ApplyDelta)
    assert (chunk.scope, chunk.whole) == (Scope(0, 64), (3,))
    acks = sent(node.handle(ChunkApplied("to-n3", DEAD, 0, 0, Scope(0, 64))), DeltaAck)
    assert acks == [("to-n3", DeltaAck(*DEAD, 0, 0, 40, 1))]


def test_the_owner_is_told_what_a_relay_has_brought() -> None:
    node = Node()
    node.receive("to-n3", delta(TWO, 0, 9))
    acks = [(link, ack.applied) for link, ack in sent(node.applied(TWO, 9, "to-n3"), DeltaAck)]
    assert acks == [("to-n3", 9), ("to-n2", 9)]
    assert len(sent(node.applied(TWO, 10, "to-n2"), DeltaAck)) == 1


# -- the owner's side


def test_the_owner_leaves_it_to_a_peer_that_has_nothing_of_much_to_pull() -> None:
    node = parted(PEERS[0])
    node.meet(0)
    assert ranges(node.advance(11)) == []
    assert ranges(node.digest("n2", entry(ME, 1))) == [(1, ("to-n2",))]


def test_a_range_below_the_floor_is_not_sent_and_its_peer_left_to_pull() -> None:
    node = Node(PEERS[:1])
    node.meet(3)
    node.advance(5)
    node.digest("n2", entry(ME, 3))
    below = RecordRange(ME, 3, 0, False, 0, 4, (), ("to-n2",), below_floor=True)
    assert sent(node.handle(below), Delta) == []
    assert ranges(node.advance(6)) == []
    assert ranges(node.digest("n2", entry(ME, 4))) == [(4, ("to-n2",))]


def test_nothing_is_pushed_to_a_peer_between_the_parts_that_it_pulls() -> None:
    node = parted(PEERS[0])
    node.meet(5)
    node.advance(5)
    [wanted] = told(node.handle(PullReceived("to-n2", Pull(*ME, 5, 0, False, 0, 64, (7,)))), GetRecordRange)
    assert wanted == GetRecordRange(ME, 5, False, 0, ("to-n2",), Scope(0, 64), (7,))
    frozen = RecordRange(ME, 5, 9, False, 0, 0, ((b"r",),), ("to-n2",), scope=Scope(0, 64), whole=(1,))
    [(_, part)] = sent(node.handle(frozen), Delta)
    assert (part.scope, part.whole, part.last) == (Scope(0, 64), (1,), True)
    node.acknowledge("to-n2", 5, upper=9, chunk=1)
    assert node.counter("deltas_acknowledged") == 1
    assert ranges(node.advance(9)) == []
    assert ranges(node.acknowledge("to-n2", 7)) == [(7, ("to-n2",))], "it has come further"


def test_a_part_takes_the_place_of_a_push_that_is_being_frozen_and_its_range_comes_to_nothing() -> None:
    node = Node(PEERS[:1])
    [push] = told(node.advance(5), GetRecordRange)
    [wanted] = told(node.handle(PullReceived("to-n2", Pull(*ME, 0, 0, False, 0, 64))), GetRecordRange)
    assert sent(node.freeze(push, 5), Delta) == []
    assert len(sent(node.freeze(wanted, 5, scope=Scope(0, 64)), Delta)) == 1


def test_on_a_slow_link_less_is_under_way() -> None:
    node = Node(PEERS[:1], chunks_in_flight_max=8, chunks_backlog_ms=500)
    assert len(sent(node.push(9, chunks=30), Delta)) == 2
    node.ms += 20
    assert len(sent(node.acknowledge("to-n2", 0, upper=9, chunk=2), Delta)) == 8, "10 ms a chunk"
    node.ms += 1_000
    assert len(sent(node.acknowledge("to-n2", 0, upper=9, chunk=6), Delta)) == 0, "250 ms a chunk: two at a time"
    node.ms += 1_000
    assert len(sent(node.acknowledge("to-n2", 0, upper=9, chunk=10), Delta)) == 2


def test_two_nodes_with_equal_settings_agree_on_who_pulls() -> None:
    """So that nobody waits for what the other does not send."""
    node = parted()
    node.round(entry(THREE, 0))
    assert told(node.digest("n3", entry(THREE, 11)), ExpectParts) == [ExpectParts(THREE)], "at the first digest"
    assert sent(node.digest("n2", entry(TWO, 10)), Pull) == [], "which the owner pushes"
