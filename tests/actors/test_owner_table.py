"""The record table of one origin: versions, watermarks, tombstones, digests, and merging in any order."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.values import Origin, Record, RecordKey
from actors.owner_table import Chunk, OwnerTable
from actors.records import in_chunks, read_record
from rollbook.errors import InvalidField, RemoteProtocolError
from rollbook.model import Instance, Service

ORIGIN = Origin("n1", 7)
SERVICE = Service("public", "DEFAULT_GROUP", "orders")


def key(client: str) -> RecordKey:
    return RecordKey(client, SERVICE)


def instance(port: int) -> Instance:
    return Instance("10.0.0.1", port)


def commit(table: OwnerTable, client: str, port: int | None, now_ms: int = 0) -> Record:
    return table.commit(key(client), 1, 1, 15_000, () if port is None else (instance(port),), now_ms)


def chunk_of(source: OwnerTable, after: int = 0, *, link: str = "a", resume: int = 0) -> Chunk:
    records = tuple(read_record(ORIGIN, r.body) for r in source.range_after(max(after, resume)))
    return Chunk(link, after, source.applied, False, resume, source.gc_floor, 0, True, records)


def same(one: OwnerTable, two: OwnerTable) -> bool:
    one.check_invariants()
    two.check_invariants()
    return one.entry() == two.entry() and one.records == two.records


def test_every_change_takes_the_next_seq() -> None:
    table = OwnerTable(ORIGIN)
    assert [commit(table, "c1", 1).seq, commit(table, "c1", 2).seq, commit(table, "c1", None).seq] == [1, 2, 3]
    assert (table.applied, table.live, table.tombstones, table.digest) == (3, 0, 1, 0)


def test_a_delta_brings_a_replica_to_the_same_digest() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    commit(owner, "c2", 2)
    replica.apply(chunk_of(owner), 0)
    commit(owner, "c1", None)
    replica.apply(chunk_of(owner, after=2), 0)
    assert same(owner, replica)


def test_a_late_sync_never_replaces_a_newer_record() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    late = chunk_of(owner)
    commit(owner, "c1", None)
    replica.apply(chunk_of(owner), 0)
    replica.apply(late, 0)
    assert replica.records[key("c1")].is_tombstone
    assert replica.applied == 2


def test_a_relay_in_the_midst_of_a_transfer_hands_on_more_than_it_claims_lest_a_key_fall_between() -> None:
    owner, relay, third = OwnerTable(ORIGIN), OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    relay.apply(chunk_of(owner), 0)
    for client, port in (("c2", 2), ("c1", 3), ("c3", 4)):
        commit(owner, client, port)
    relay.apply(chunk_of(owner, after=1)._replace(last=False, records=tuple(owner.range_after(1)[:2])), 0)
    assert (relay.applied, relay.records[key("c1")].seq) == (1, 3)
    assert third.apply(chunk_of(relay), 0) is not None
    assert (third.applied, third.records[key("c1")].seq) == (1, 3)
    third.check_invariants()


def test_a_delta_that_leaves_a_gap_is_refused() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    for port in range(1, 4):
        commit(owner, f"c{port}", port)
    assert replica.apply(chunk_of(owner, after=2), 0) is None
    assert replica.applied == 0
    assert not replica.records


def test_applied_is_claimed_only_after_the_last_chunk() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    for port in range(1, 5):
        commit(owner, f"c{port}", port)
    records = tuple(owner.range_after(0))
    first = Chunk("a", 0, 4, False, 0, 0, 0, False, records[:2])
    replica.apply(first, 0)
    assert (replica.applied, replica.entry().settled) == (0, False)
    assert replica.resume_point("a") == 2
    replica.apply(first._replace(number=1, last=True, records=records[2:]), 0)
    assert (replica.applied, replica.entry().settled) == (4, True)
    assert same(owner, replica)


def test_a_lost_chunk_ends_the_transfer_and_it_resumes_where_it_broke() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    for port in range(1, 7):
        commit(owner, f"c{port}", port)
    records = tuple(owner.range_after(0))
    replica.apply(Chunk("a", 0, 6, False, 0, 0, 0, False, records[:2]), 0)
    assert replica.apply(Chunk("a", 0, 6, False, 0, 0, 2, True, records[4:]), 0) is None
    commit(owner, "c1", None)
    resumed = chunk_of(owner, resume=replica.resume_point("a"), link="b")
    assert [record.seq for record in resumed.records] == [3, 4, 5, 6, 7]
    replica.apply(resumed, 0)
    assert same(owner, replica)


def test_a_resume_point_that_is_not_ours_is_refused() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    for port in range(1, 4):
        commit(owner, f"c{port}", port)
    assert replica.apply(chunk_of(owner, resume=2), 0) is None


def test_tombstones_go_by_age_and_by_count_and_raise_the_floor() -> None:
    table = OwnerTable(ORIGIN)
    for port in range(1, 4):
        commit(table, f"c{port}", port)
        commit(table, f"c{port}", None, now_ms=port * 100)
    assert table.collect(150, 1_000, 2) == [key("c1")]
    assert table.gc_floor == 2
    assert table.collect(1_250, 1_000, 100) == [key("c2")]
    assert table.gc_floor == 4
    table.check_invariants()


def test_a_key_that_came_back_is_not_collected_with_its_old_tombstone() -> None:
    table = OwnerTable(ORIGIN)
    commit(table, "c1", None)
    commit(table, "c1", 1)
    assert table.collect(10_000, 1, 0) == []
    assert table.live == 1


def test_a_range_is_in_order_of_seq_even_after_records_came_out_of_order() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    for port in range(1, 5):
        commit(owner, f"c{port}", port)
    records = tuple(owner.range_after(0))
    replica.apply(Chunk("a", 0, 4, False, 0, 0, 0, False, records[3:]), 0)
    replica.apply(chunk_of(owner), 0)
    assert [record.seq for record in replica.range_after(1)] == [2, 3, 4]


def test_chunks_keep_the_order_and_their_size() -> None:
    owner = OwnerTable(ORIGIN)
    for port in range(1, 50):
        commit(owner, f"c{port}", port)
    records = owner.range_after(0)
    chunks = in_chunks(records, 500)
    assert len(chunks) > 1
    assert all(sum(map(len, chunk)) <= 500 for chunk in chunks)
    assert list(itertools.chain(*chunks)) == [record.body for record in records]
    assert in_chunks([], 500) == ((),)


def test_a_record_too_large_to_replicate_is_refused_and_takes_no_seq() -> None:
    table = OwnerTable(ORIGIN)
    with pytest.raises(InvalidField, match="at most 1000 instances"):
        table.commit(key("c1"), 1, 1, 0, tuple(instance(port) for port in range(1_001)), 0)
    assert (table.applied, table.records) == (0, {})


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x90", b"\x97\xa1c\x90\x01\x01\x01\x01\x90"])
def test_a_malformed_record_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_record(ORIGIN, body)


CHANGES = st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(1, 3))), max_size=12)


@given(changes=CHANGES, seed=st.integers(0, 2**32))
def test_merging_is_commutative_associative_and_idempotent(changes: list[tuple[str, int | None]], seed: int) -> None:
    """Every delta from 0, in any order and any number of times, leads to the owner's own state."""
    owner = OwnerTable(ORIGIN)
    deltas = []
    for client, port in changes:
        commit(owner, client, port)
        deltas.append(chunk_of(owner))
    order = random.Random(seed)
    shuffled = deltas * 2
    order.shuffle(shuffled)
    replica = OwnerTable(ORIGIN)
    for delta in shuffled:
        replica.apply(delta, 0)
        replica.check_invariants()
    assert same(owner, replica)
