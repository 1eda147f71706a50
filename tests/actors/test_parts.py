"""Pulls in parts: buckets and their sums, and what a table makes of parts from any source in any order."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from actors.buckets import BucketSnapshot, bucket_of, comes_in_parts, must_be_pulled, scopes
from actors.messages.values import BUCKETS, Origin, Record, RecordKey, Scope
from actors.owner_table import Chunk, OwnerTable
from rollbook.model import Instance, Service

ORIGIN = Origin("n1", 7)
SERVICE = Service("public", "DEFAULT_GROUP", "orders")
EVERYTHING = Scope(0, BUCKETS)


def key(client: str) -> RecordKey:
    return RecordKey(client, SERVICE)


def commit(table: OwnerTable, client: str, port: int | None, now_ms: int = 0) -> Record:
    instances = () if port is None else (Instance("10.0.0.1", port),)
    return table.commit(key(client), 1, 1, 15_000, instances, now_ms)


def sorted_snapshot(table: OwnerTable) -> BucketSnapshot:
    return sort(table.snapshot())


def sort(snapshot: BucketSnapshot) -> BucketSnapshot:
    while not snapshot.sort(3):
        pass
    return snapshot


def sums_of(before: BucketSnapshot, scope: Scope) -> tuple[int, ...]:
    return () if before.is_empty else tuple(before.sums[scope.first : scope.first + scope.length])


def part(
    source: BucketSnapshot,
    before: BucketSnapshot,
    scope: Scope = EVERYTHING,
    *,
    full: bool = False,
    link: str = "a",
    chunk_records: int = 2,
) -> list[Chunk]:
    """What a source answers to whoever holds ``before``."""
    full = full or before.applied < source.gc_floor
    content = source.part(scope, before.applied, full, sums_of(before, scope))
    pieces = [content.records[at : at + chunk_records] for at in range(0, len(content.records), chunk_records)] or [[]]
    return [
        Chunk(
            link,
            before.applied,
            source.applied,
            full,
            0,
            source.gc_floor,
            number,
            number == len(pieces) - 1,
            tuple(piece),
            scope,
            content.whole,
        )
        for number, piece in enumerate(pieces)
    ]


def pull(target: OwnerTable, *sources: OwnerTable, full: bool = False) -> int:
    """All of an origin, from several sources at once; how many records it took."""
    before = sort(target.assemble())
    size = BUCKETS // len(sources)
    edges = [*range(0, size * len(sources), size), BUCKETS]
    records = 0
    for number, source in enumerate(sources):
        scope = Scope(edges[number], edges[number + 1] - edges[number])
        for chunk in part(sorted_snapshot(source), before, scope, full=full, link=f"l{number}"):
            assert target.apply(chunk, 0) is not None
            records += len(chunk.records)
    target.check_invariants()
    return records


def same_live(one: OwnerTable, two: OwnerTable) -> bool:
    one.check_invariants()
    two.check_invariants()
    return (one.applied, one.live, one.digest) == (two.applied, two.live, two.digest)


def filled(clients: int) -> OwnerTable:
    table = OwnerTable(ORIGIN)
    for number in range(clients):
        commit(table, f"c{number}", 80)
    return table


# Buckets.


def test_a_client_is_in_the_same_bucket_on_every_machine_and_clients_spread() -> None:
    assert [bucket_of(client) for client in ("orders-1", "orders-2", "ü")] == [198, 124, 213]
    counts = [0] * BUCKETS
    for number in range(25_600):
        counts[bucket_of(f"client-{number}")] += 1
    assert min(counts) > 50
    assert max(counts) < 200


def test_parts_cover_every_bucket_once_and_are_as_many_as_the_records_need() -> None:
    for records, wanted in ((0, 1), (1, 1), (4_096, 1), (4_097, 2), (300_000, 74), (10**9, 256)):
        parts = scopes(records, 4_096)
        assert len(parts) == wanted
        assert [bucket for scope in parts for bucket in scope.buckets] == list(range(BUCKETS))


def test_who_has_nothing_of_much_or_lies_below_the_floor_pulls_and_who_lacks_much_pulls_in_parts() -> None:
    assert must_be_pulled(0, 4_097, 0, 4_096)
    assert must_be_pulled(3, 9, 4, 4_096)
    assert not must_be_pulled(0, 4_096, 0, 4_096)
    assert not must_be_pulled(1, 10_000, 1, 4_096)
    assert comes_in_parts(1, 10_000, 1, 4_096)
    assert not comes_in_parts(9_000, 10_000, 1, 4_096)


def test_a_snapshot_is_of_its_moment_and_is_sorted_in_steps() -> None:
    table = filled(10)
    snapshot = table.snapshot()
    assert not snapshot.sort(6)
    commit(table, "c1", None)
    assert snapshot.sort(6)
    assert (snapshot.applied, sum(map(len, snapshot.records))) == (10, 10)
    assert snapshot.digest != table.digest


# Parts.


def test_rot_in_one_bucket_is_mended_with_the_records_of_that_bucket() -> None:
    owner, replica = filled(2_000), OwnerTable(ORIGIN)
    pull(replica, owner)
    key_hit = key("c7")
    replica._uncount(replica.records.pop(key_hit))
    bucket = [record for record in owner.records.values() if bucket_of(record.key.client) == bucket_of("c7")]
    assert not same_live(owner, replica)
    assert pull(replica, owner, full=True) == len(bucket) < 25
    assert same_live(owner, replica)


def test_a_full_pull_mends_a_damaged_copy_and_an_ordinary_delta_trusts_equal_versions() -> None:
    owner, rotten = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    commit(rotten, "c1", 9)
    delta = Chunk("a", 0, 1, False, 0, 0, 0, True, tuple(owner.range_after(0)))
    rotten.apply(delta, 0)
    assert not same_live(owner, rotten)
    assert pull(rotten, owner, full=True) == 1
    assert same_live(owner, rotten)


def test_a_full_pull_deletes_what_the_source_lacks_and_keeps_what_is_newer() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    for port in (1, 2):
        commit(owner, f"c{port}", port)
    pull(replica, owner)
    commit(owner, "c1", None)
    assert owner.collect(10_000, 1_000, 10) == [key("c1")]
    source = sorted_snapshot(owner)
    before = sort(replica.assemble())
    commit(owner, "c3", 3)
    replica.apply(Chunk("z", 2, 4, False, 0, 0, 0, False, tuple(owner.range_after(3))), 0)
    first, *others = part(source, before, chunk_records=1)
    assert not others, "of the clients that live on, nothing is sent"
    applied = replica.apply(first, 0)
    assert applied is not None
    assert applied.removed == (key("c1"),)
    assert sorted(k.client for k in replica.records) == ["c2", "c3"]
    assert replica.gc_floor == owner.gc_floor == 3


def test_nothing_is_claimed_or_removed_before_the_last_part_and_then_the_least_upper_bound_is() -> None:
    owner, replica = filled(30), OwnerTable(ORIGIN)
    pull(replica, owner)
    commit(owner, "c5", None)
    owner.collect(10_000, 1_000, 10)
    early = sorted_snapshot(owner)
    commit(owner, "c6", 81)
    late = sorted_snapshot(owner)
    before = sort(replica.assemble())
    one, two = scopes(2, 1)
    applied = [replica.apply(chunk, 0) for chunk in part(late, before, one, link="a")]
    assert [outcome.claims for outcome in applied if outcome] == [False] * len(applied)
    assert (replica.applied, replica.entry().settled, key("c5") in replica.records) == (30, False, True)
    *_, last = [replica.apply(chunk, 0) for chunk in part(early, before, two, link="b")]
    assert last is not None
    assert last.claims
    assert (replica.applied, key("c5") in replica.records) == (31, False)


def test_the_same_part_from_two_sources_is_one_part() -> None:
    owner, replica = filled(30), OwnerTable(ORIGIN)
    source, before = sorted_snapshot(owner), sort(replica.assemble())
    one, two = scopes(2, 1)
    for link in ("slow", "other"):
        for chunk in part(source, before, one, link=link):
            replica.apply(chunk, 0)
    assert replica.applied == 0
    for chunk in part(source, before, two):
        replica.apply(chunk, 0)
    assert same_live(owner, replica)


def test_a_part_that_nobody_asked_for_is_refused_by_whoever_holds_something() -> None:
    owner, replica = filled(3), OwnerTable(ORIGIN)
    pull(replica, owner)
    (chunk,) = part(sorted_snapshot(owner), sorted_snapshot(OwnerTable(ORIGIN)), chunk_records=10)
    assert replica.apply(chunk, 0) is None
    before = sort(replica.assemble())
    replica.give_up_parts()
    assert replica.apply(part(sorted_snapshot(owner), before, full=True)[0], 0) is None
    assert replica.entry().settled


def test_a_full_delta_that_is_no_part_is_refused() -> None:
    owner = filled(3)
    whole = Chunk("a", 0, 3, True, 0, 0, 0, True, tuple(owner.range_after(0)))
    assert OwnerTable(ORIGIN).apply(whole, 0) is None


def test_parts_of_sources_that_contradict_each_other_claim_nothing() -> None:
    """One has forgotten a tombstone that the other has yet to hear of."""
    owner, behind, replica = filled(30), OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    pull(behind, owner)
    pull(replica, owner)
    commit(owner, "c5", None)
    commit(owner, "c5", 80)
    commit(owner, "c6", None)
    owner.collect(10_000, 1_000, 10)
    pull(replica, owner, behind)
    assert (replica.applied, replica.gc_floor) == (30, 0)
    pull(replica, owner)
    assert same_live(owner, replica)


def test_what_a_broken_part_brought_goes_again_if_its_source_did_not_know_better() -> None:
    owner, relay, replica = filled(6), OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    pull(relay, owner)
    stale = part(sorted_snapshot(relay), sort(replica.assemble()), chunk_records=3)
    replica.apply(stale[0], 0)  # and its source is gone
    for client in [record.key.client for record in stale[0].records]:
        commit(owner, client, None)
    owner.collect(10_000, 1_000, 10)
    for chunk in part(sorted_snapshot(owner), sorted_snapshot(OwnerTable(ORIGIN)), link="b"):
        replica.apply(chunk, 0)
    assert same_live(owner, replica)


# What is forgotten does not come back.


def test_a_record_from_before_a_forgotten_tombstone_brings_nobody_back() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    late = Chunk("slow", 0, 1, False, 0, 0, 0, True, tuple(owner.range_after(0)))
    commit(owner, "c1", None)
    pull(replica, owner)
    assert replica.collect(10_000, 1_000, 10) == [key("c1")]
    outcome = replica.apply(late, 0)
    assert outcome is not None
    assert outcome.changed == ()
    assert not replica.records


def test_a_full_part_of_a_source_that_knows_less_than_was_forgotten_here_brings_nobody_back() -> None:
    owner, behind, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    pull(behind, owner)
    commit(owner, "c1", None)
    pull(replica, owner)
    replica.collect(10_000, 1_000, 10)
    pull(replica, behind, full=True)
    assert (replica.applied, replica.records) == (2, {})


def test_a_tombstone_above_what_is_claimed_is_not_forgotten() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", None)
    commit(owner, "c2", 1)
    replica.apply(Chunk("a", 0, 2, False, 0, 0, 0, False, tuple(owner.range_after(0))[:1]), 0)
    assert replica.collect(0, 1_000, 0) == []
    replica.apply(Chunk("a", 0, 2, False, 0, 0, 1, True, tuple(owner.range_after(1))), 0)
    assert replica.collect(0, 1_000, 0) == [key("c1")]
    assert replica.gc_floor == 1


def test_a_source_that_holds_only_an_older_tombstone_still_says_that_the_record_is_gone() -> None:
    owner, source, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", 1)
    commit(owner, "c1", None)
    pull(source, owner)
    commit(owner, "c1", 1)
    pull(replica, owner)
    commit(owner, "c1", None)
    owner.collect(10_000, 1_000, 0)
    pull(source, owner)
    assert (source.records[key("c1")].seq, source.gc_floor) == (2, 4)
    pull(replica, source)
    assert same_live(owner, replica)


def test_what_comes_back_to_life_while_parts_are_under_way_goes_with_them_if_it_is_gone_by_then() -> None:
    owner, replica = OwnerTable(ORIGIN), OwnerTable(ORIGIN)
    commit(owner, "c1", None)
    pull(replica, owner)
    commit(owner, "c1", 1)
    late = Chunk("slow", 1, 2, False, 0, 0, 0, True, tuple(owner.range_after(1)))
    commit(owner, "c1", None)
    commit(owner, "c2", 1)
    owner.collect(10_000, 1_000, 0)
    before = sort(replica.assemble())
    replica.apply(late, 0)
    assert replica.live == 1
    for chunk in part(sorted_snapshot(owner), before):
        replica.apply(chunk, 0)
    assert same_live(owner, replica)


class Swarm:
    """An owner and its replicas, which tell each other things of different ages, in pieces and in any order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.owner = OwnerTable(ORIGIN)
        self.replicas = [OwnerTable(ORIGIN) for _ in range(3)]
        self.history: dict[RecordKey, list[Record]] = {}
        self.highest: list[dict[RecordKey, int]] = [{} for _ in self.replicas]
        self.under_way: list[tuple[int, list[Chunk]]] = []  # (to whom, what is left of a delta)
        self.links = 0

    def step(self) -> None:
        act = self.chance.choice(
            (self.change, self.change, self.change, self.forget, self.send, self.send_parts, *[self.deliver] * 6)
        )
        act()
        for number in range(len(self.replicas)):
            self.check_replica(number)

    def change(self) -> None:
        record = commit(self.owner, self.chance.choice("abcdef"), self.chance.choice((None, 1, 2)))
        self.history.setdefault(record.key, []).append(record)

    def forget(self) -> None:
        table = self.chance.choice([self.owner, *self.replicas])
        table.collect(0, 1, self.chance.randrange(2))

    def send(self) -> None:
        """An ordinary delta; it may arrive very late, in part, or twice."""
        target, source = self.chance.randrange(3), self.chance.choice([self.owner, *self.replicas])
        after = self.chance.choice((self.replicas[target].applied, self.chance.randint(0, source.applied)))
        if source.gc_floor <= after <= source.applied:
            records = source.range_after(after)
            self.send_off(target, list(self.pieces(source, after, records)) * self.chance.choice((1, 1, 2)))

    def send_parts(self) -> None:
        target = self.chance.randrange(3)
        before = sort(self.replicas[target].assemble())
        for scope in scopes(self.chance.randint(1, 4), 1):
            source = sorted_snapshot(self.chance.choice([self.owner, *self.replicas]))
            full = self.chance.random() < 0.3
            self.send_off(target, part(source, before, scope, full=full, link=self.link(), chunk_records=1))

    def send_off(self, target: int, chunks: list[Chunk]) -> None:
        self.under_way.append((target, chunks))

    def link(self) -> str:
        self.links += 1
        return f"link-{self.links}" if self.chance.random() < 0.7 else "shared"

    def pieces(self, source: OwnerTable, after: int, records: list[Record]) -> Iterator[Chunk]:
        link, size = self.link(), self.chance.randint(1, 3)
        starts = range(0, max(1, len(records)), size)
        for number, at in enumerate(starts):
            last = number == len(starts) - 1
            body = tuple(records[at : at + size])
            yield Chunk(link, after, source.applied, False, 0, source.gc_floor, number, last, body)

    def deliver(self) -> None:
        if not self.under_way:
            return
        place = self.chance.randrange(len(self.under_way))
        target, chunks = self.under_way[place]
        outcome = self.replicas[target].apply(chunks.pop(0), 0)
        if not chunks or self.chance.random() < 0.03:
            del self.under_way[place]
        for removed in outcome.removed if outcome else ():
            gone = [record.seq for record in self.history[removed] if record.is_tombstone]
            self.highest[target][removed] = max(
                self.highest[target].get(removed, 0), min(s for s in gone if s >= self.highest[target].get(removed, 0))
            )

    def check_replica(self, number: int) -> None:
        """It holds what it claims, and shows nobody whom it has seen removed."""
        table, highest = self.replicas[number], self.highest[number]
        table.check_invariants()
        for held in table.records.values():
            assert held.seq >= highest.get(held.key, 0), "nothing goes back"
            highest[held.key] = held.seq
        for at, versions in self.history.items():
            claimed = max((record.seq for record in versions if record.seq <= table.applied), default=0)
            here = table.records.get(at)
            if claimed and (here is None or here.seq < claimed):
                assert here is None or here.is_tombstone, f"{at} lives at {table.applied}, as it was before"
                gone = [record.seq for record in versions if record.is_tombstone and claimed <= record.seq]
                assert any(seq <= table.gc_floor for seq in gone), f"{at} is missing at {table.applied}"

    def check_settled(self) -> None:
        for replica in self.replicas:
            pull(replica, self.owner)
            assert same_live(self.owner, replica)


@given(seed=st.integers(0, 2**32), steps=st.integers(60, 160))
def test_whatever_parts_and_deltas_arrive_in_whatever_order_no_removed_record_is_shown_and_the_end_is_the_owners(
    seed: int, steps: int
) -> None:
    swarm = Swarm(seed)
    for _ in range(steps):
        swarm.step()
    for number in range(3):
        swarm.check_replica(number)
    swarm.check_settled()
