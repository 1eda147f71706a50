"""ClientManager: ranges that are frozen for peers, and what is noted before parts come."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.base import Now, Remind
from actors.messages.clients import ExpectParts, GiveUpParts, OwnersPurged
from actors.messages.distro import ChunkApplied, DeltaRejected, PartsExpected
from actors.messages.index import RecordsChanged
from actors.messages.values import WHOLE, Origin, Scope, Watermark
from actors.records import read_record
from tests.support.records import EVERYTHING, RecordNode, ranges, told, wanted

CLIENTS = tuple(f"c{number}" for number in range(40))


def collected(node: RecordNode) -> None:
    """Tombstones are old enough to be dropped."""
    node.ms += 200_000
    (start,) = node.actor.start(Now(node.ms, 0))
    assert isinstance(start, Remind)
    node.handle(start.message)


def test_a_range_below_the_gc_floor_cannot_be_had() -> None:
    node = RecordNode()
    node.publish("c1")
    node.withdraw("c1")
    collected(node)
    below, above = node.freeze(node.origin, 1)[0], node.freeze(node.origin, 2)[0]
    assert (below.below_floor, below.gc_floor, below.chunks) == (True, 2, ())
    assert (above.below_floor, above.full, above.upper) == (False, False, 2)


def test_a_part_from_below_the_gc_floor_is_a_full_one() -> None:
    node, other = RecordNode(), RecordNode("n2")
    node.publish("c1", "c2")
    other.pull(node)
    node.withdraw("c1")
    collected(node)
    effects = other.pull(node)
    assert [key.client for change in told(effects, RecordsChanged) for _, key in change.removed] == ["c1"]
    assert told(effects, RecordsChanged)[0].watermarks == (Watermark(node.origin, 3, "peer"),)
    assert told(effects, ChunkApplied) == [ChunkApplied("peer", node.origin, 0, 0, EVERYTHING)]


def test_a_long_table_is_sorted_in_slices_with_other_turns_between() -> None:
    node = RecordNode(scan_records_max=10)
    node.publish(*CLIENTS)
    assert node.freeze(node.origin, scope=EVERYTHING) == []
    node.publish("late")
    (part,) = ranges(node.work_off())
    assert node.slices == 3
    assert (part.upper, sum(map(len, part.chunks))) == (40, 40), "as it was when it was asked for"


def test_one_snapshot_answers_all_parts_for_a_while_but_a_copy_that_differs_is_compared_with_what_is_here_now() -> None:
    node = RecordNode(scan_records_max=10)
    node.publish(*CLIENTS)
    node.freeze(node.origin, scope=Scope(0, 100), link="a")
    assert node.freeze(node.origin, scope=Scope(100, 156), link="b") == []
    parts = ranges(node.work_off())
    assert [part.links for part in parts] == [("a",), ("b",)]
    assert sum(len(chunk) for part in parts for chunk in part.chunks) == 40
    node.publish("c1", port=81)
    (again,) = node.freeze(node.origin, scope=Scope(0, 100))
    assert again.upper == 40
    assert node.freeze(node.origin, 30, full=True, scope=EVERYTHING) == []
    (full,) = ranges(node.work_off())
    assert full.upper == 41
    node.publish("c1", port=82)
    node.ms += 10_000
    assert node.freeze(node.origin, scope=EVERYTHING) == [], "too old"


def test_of_a_copy_that_is_the_same_nothing_is_sent_and_of_one_that_differs_its_bucket() -> None:
    node, other = RecordNode(), RecordNode("n2")
    node.publish(*CLIENTS)
    other.pull(node)
    (noted,) = told(other.handle(ExpectParts(node.origin)), PartsExpected)
    (same,) = node.freeze(node.origin, noted.have, full=True, scope=EVERYTHING, sums=noted.sums)
    assert (same.whole, same.chunks, same.upper) == ((), ((),), 40)
    wrong = (*noted.sums[:198], noted.sums[198] + 1, *noted.sums[199:])
    (part,) = node.freeze(node.origin, noted.have, full=True, scope=EVERYTHING, sums=wrong)
    assert part.whole == (198,)


def test_of_an_origin_that_is_unknown_nothing_is_noted_and_parts_of_it_can_be_taken() -> None:
    node, other = RecordNode(), RecordNode("n2")
    node.publish(*CLIENTS)
    assert told(other.handle(ExpectParts(node.origin)), PartsExpected) == [PartsExpected(node.origin, 0, ())]
    assert node.origin not in other.actor.tables, "nor does a digest speak of it"
    other.pull(node)
    assert other.actor.tables[node.origin].digest == node.actor.native.digest


def test_parts_that_were_given_up_are_refused() -> None:
    node, other = RecordNode(), RecordNode("n2")
    node.publish(*CLIENTS)
    other.pull(node)
    other.handle(ExpectParts(node.origin))
    other.handle(GiveUpParts(node.origin))
    (part,) = node.freeze(node.origin, 40, full=True, scope=EVERYTHING)
    assert told(other.take(part), DeltaRejected) == [DeltaRejected("peer", node.origin, 40, 0)]


def test_a_purged_origin_is_not_scanned_to_the_end() -> None:
    node, other = RecordNode(), RecordNode("n2", scan_records_max=10)
    node.publish(*CLIENTS)
    other.pull(node)
    other.freeze(node.origin, scope=EVERYTHING)
    other.handle(ExpectParts(node.origin))
    other.handle(OwnersPurged((node.origin,)))
    assert other.work_off() == []
    assert not other.freeze(node.origin, scope=EVERYTHING)[0].known


def test_a_range_of_an_unknown_origin_says_so_in_parts_too() -> None:
    assert not RecordNode().freeze(Origin("x", 1), scope=EVERYTHING)[0].known


@given(seed=st.integers(0, 2**32))
def test_d13_what_is_frozen_between_two_changes_is_one_state_and_equal_versions_are_equal_bytes(seed: int) -> None:
    """Reading a state and its revision apart from each other, as others do, cannot happen."""
    chance = random.Random(seed)
    node = RecordNode(scan_records_max=2)
    states: dict[int, dict[str, bytes]] = {0: {}}
    bytes_of: dict[int, bytes] = {}
    for _ in range(25):
        client = chance.choice("abc")
        if chance.random() < 0.7:
            node.publish(client, port=chance.randrange(3))
        else:
            node.publish(client)
            node.withdraw(client)
        records = node.actor.native.records.values()
        states[node.actor.native.applied] = {record.key.client: record.body for record in records}
        if chance.random() < 0.5:
            scope = chance.choice((WHOLE, EVERYTHING))
            frozen = ranges([*node.handle(wanted(node.origin, scope=scope)), *node.work_off()])
            for part in frozen:
                bodies = [body for chunk in part.chunks for body in chunk]
                state = {read_record(node.origin, body).key.client: body for body in bodies}
                assert state == states[part.upper]
                for body in bodies:
                    assert bytes_of.setdefault(read_record(node.origin, body).seq, body) == body
