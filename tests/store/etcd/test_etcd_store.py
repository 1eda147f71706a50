"""The engine against one real member: what the port promises, and where etcd by itself promises less."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from actors.messages.store import Expectation, Operation, Outcome, Row
from runtime.store.etcd import EtcdStore
from runtime.store.port import (
    OPERATIONS_MAX,
    PROPOSAL_BYTES_MAX,
    VALUE_BYTES_MAX,
    Compacted,
    FateUnknown,
    StoreFault,
    Unavailable,
)
from tests.support.etcd_cluster import ChangeLog, EtcdTestCluster, free_url, wait_until

SECONDS = 20.0
_prefixes = itertools.count()


@pytest.fixture
def prefix() -> str:
    """A cluster of its own for every test."""
    return f"rollbook/{next(_prefixes)}/"


@pytest.fixture
def store(one_etcd: EtcdTestCluster, prefix: str) -> Iterator[EtcdStore]:
    opened = one_etcd.open(prefix)
    yield opened
    opened.close()


def put(store: EtcdStore, key: str, value: bytes | None = b"1") -> int:
    outcome = store.propose([Operation(key, value)], timeout_seconds=SECONDS).result(SECONDS)
    assert outcome.applied
    return outcome.index


def put_many(store: EtcdStore, values: dict[str, bytes]) -> None:
    futures = [store.propose([Operation(key, value)], timeout_seconds=SECONDS) for key, value in values.items()]
    assert all(future.result(SECONDS).applied for future in futures)


def rows(store: EtcdStore, prefix: str = "") -> dict[str, bytes]:
    return {row.key: row.value for row in store.read(prefix, timeout_seconds=SECONDS).result(SECONDS).rows}


def test_what_was_put_is_read_with_the_index_of_its_change(store: EtcdStore) -> None:
    first = put(store, "a/1", b"")
    second = put(store, "a/ü", bytes(range(256)))
    put(store, "b")
    cut = store.read("a/", timeout_seconds=SECONDS).result(SECONDS)
    assert cut.rows == (Row("a/1", b"", first), Row("a/ü", bytes(range(256)), second))
    assert cut.index >= second > first


def test_a_barrier_is_not_below_what_was_acknowledged(store: EtcdStore) -> None:
    index = put(store, "a")
    assert store.barrier(timeout_seconds=SECONDS).result(SECONDS) >= index


def test_deleting_what_is_not_there_changes_nothing(store: EtcdStore) -> None:
    index = put(store, "a")
    assert put(store, "b", None) == index
    assert put(store, "a", None) > index
    assert rows(store) == {}


def test_an_expectation_that_does_not_hold_changes_nothing(store: EtcdStore) -> None:
    index = put(store, "a", b"old")
    change = [Operation("a", b"new"), Operation("b", b"new")]
    for expectation in (Expectation("a", 0), Expectation("a", index - 1), Expectation("b", index)):
        refused = store.propose(change, [expectation], timeout_seconds=SECONDS).result(SECONDS)
        assert refused == Outcome(False, index)
    assert rows(store) == {"a": b"old"}
    done = store.propose(change, [Expectation("a", index), Expectation("b", 0)], timeout_seconds=SECONDS)
    assert done.result(SECONDS).applied
    assert rows(store) == {"a": b"new", "b": b"new"}


def test_of_many_that_expect_the_same_one_wins(store: EtcdStore) -> None:
    futures = [
        store.propose([Operation("seat", str(n).encode())], [Expectation("seat", 0)], timeout_seconds=SECONDS)
        for n in range(50)
    ]
    winners = [n for n, future in enumerate(futures) if future.result(SECONDS).applied]
    assert [str(winner).encode() for winner in winners] == [rows(store)["seat"]]


def test_two_clusters_in_one_etcd_do_not_meet(one_etcd: EtcdTestCluster, store: EtcdStore, prefix: str) -> None:
    log = ChangeLog()
    store.watch("", put(store, "a"), log)
    other = one_etcd.open(f"{prefix.rstrip('/')}0/")
    put(other, "a", b"other")
    put(store, "b")
    wait_until(lambda: log.keys == ["a", "b"], SECONDS, "the watch has both of its own")
    assert rows(store) == {"a": b"1", "b": b"1"}
    assert [row.value for row in other.snapshot()] == [b"other"]


def test_the_largest_proposal_fits(store: EtcdStore) -> None:
    count = PROPOSAL_BYTES_MAX // VALUE_BYTES_MAX - 1
    large = [Operation(f"large/{n}", b"x" * VALUE_BYTES_MAX) for n in range(count)]
    small = [Operation(f"small/{n}", b"x" * 1_000) for n in range(OPERATIONS_MAX - count)]
    assert store.propose(large + small, timeout_seconds=SECONDS).result(SECONDS).applied
    assert len(rows(store)) == OPERATIONS_MAX


def test_a_thousand_outstanding_are_grouped_and_all_arrive_once_in_a_watch(store: EtcdStore) -> None:
    log = ChangeLog()
    store.watch("", put(store, "before") + 1, log)
    futures = [store.propose([Operation(f"k{n:04}", b"v")], timeout_seconds=SECONDS) for n in range(1_000)]
    indexes = {future.result(SECONDS).index for future in futures}
    assert len(indexes) < 500
    wait_until(lambda: len(log.keys) == 1_000, SECONDS, "the watch has all")
    assert sorted(log.keys) == [f"k{n:04}" for n in range(1_000)]
    assert {change.index for change in log.changes} == indexes
    assert [change.index for change in log.changes] == sorted(indexes)


def test_proposals_for_one_key_that_wait_together_are_all_applied(store: EtcdStore) -> None:
    futures = [store.propose([Operation("k", str(n).encode())], timeout_seconds=SECONDS) for n in range(100)]
    assert len({future.result(SECONDS).index for future in futures}) == 100


def test_a_watch_begins_in_the_past_and_shows_deletions(store: EtcdStore) -> None:
    first = put(store, "a")
    second = put(store, "a", None)
    put(store, "elsewhere")
    log = ChangeLog()
    store.watch("a", first, log)
    wait_until(lambda: len(log.changes) == 2, SECONDS, "both changes")
    assert [(change.index, change.operations) for change in log.changes] == [
        (first, (Operation("a", b"1"),)),
        (second, (Operation("a", None),)),
    ]


def test_a_long_history_of_large_changes_is_caught_up_whole(store: EtcdStore) -> None:
    first = put(store, "begin")
    for n in range(8):
        change = [Operation(f"{n}/{m}", b"x" * 200_000) for m in range(5)]
        store.propose(change, timeout_seconds=SECONDS).result(SECONDS)
    log = ChangeLog()
    store.watch("", first + 1, log)
    wait_until(lambda: len(log.keys) >= 40, SECONDS, "all of it")
    assert [[operation.key for operation in change.operations] for change in log.changes] == [
        [f"{n}/{m}" for m in range(5)] for n in range(8)
    ]


def test_an_idle_watch_is_told_that_nothing_happened(store: EtcdStore) -> None:
    index = put(store, "a")
    log = ChangeLog()
    store.watch("", index + 1, log)
    wait_until(lambda: log.advances, 10, "an advance")
    assert set(log.advances) == {index}


def test_what_happens_elsewhere_says_how_far_the_log_is(store: EtcdStore) -> None:
    log = ChangeLog()
    store.watch("quiet/", put(store, "loud/1") + 1, log)
    loud = put(store, "loud/2")
    wait_until(lambda: log.advances, 1, "an advance, long before the watch is asked after")
    both = store.propose([Operation("loud/3", b""), Operation("quiet/1", b"")], timeout_seconds=SECONDS).result(SECONDS)
    wait_until(lambda: log.changes, SECONDS, "the change")
    assert set(log.advances) == {loud}  # it may be said again
    assert [(change.index, change.operations) for change in log.changes] == [(both.index, (Operation("quiet/1", b""),))]


def test_a_closed_watch_is_silent(store: EtcdStore) -> None:
    log = ChangeLog()
    watch = store.watch("", put(store, "a"), log)
    wait_until(lambda: log.changes, SECONDS, "the first change")
    watch.close()
    index = put(store, "b")
    other = ChangeLog()
    store.watch("", index, other)
    wait_until(lambda: other.changes, SECONDS, "another watch has the second change")
    assert log.keys == ["a"]
    assert log.faults == []


def test_a_watch_from_before_the_compaction_ends_and_names_the_first_index_there_is(store: EtcdStore) -> None:
    first = put(store, "a")
    deleted = put(store, "a", None)
    last = put(store, "b")
    store.compact(deleted, timeout_seconds=SECONDS).result(SECONDS)
    store.compact(first, timeout_seconds=SECONDS).result(SECONDS)
    for index in (first, deleted):  # at the revision itself etcd would leave the deletion out, and say nothing
        log = ChangeLog()
        store.watch("", index, log)
        wait_until(lambda log=log: log.faults, SECONDS, "the watch failed")  # type: ignore[misc]
        fault = log.faults[0]
        assert isinstance(fault, Compacted)
        assert fault.oldest_index == deleted + 1
        assert log.changes == []
    log = ChangeLog()
    store.watch("", deleted + 1, log)
    wait_until(lambda: log.changes, SECONDS, "what came after")
    assert [change.index for change in log.changes] == [last]
    assert rows(store) == {"b": b"1"}
    assert store.status().oldest_index == deleted + 1


def test_a_cut_of_many_pages_is_of_one_index(store: EtcdStore) -> None:
    count = 1_000
    put_many(store, {f"{n:04}": b"x" * 2_000 for n in range(count)})
    taken = store.snapshot()
    first = next(taken)
    put(store, "0500", b"later")
    put(store, "9999", b"later")
    values = {first.key: first.value} | {row.key: row.value for row in taken}
    assert len(values) == count
    assert set(values.values()) == {b"x" * 2_000}


def test_a_snapshot_restores_into_an_empty_store_only(one_etcd: EtcdTestCluster, store: EtcdStore, prefix: str) -> None:
    put_many(store, {f"{n:03}": str(n).encode() for n in range(300)})
    copy = one_etcd.open(f"{prefix}copy/")
    with pytest.raises(StoreFault, match="empty"):
        store.restore(store.snapshot())
    assert copy.restore(Row(row.key, row.value, row.index) for row in list(store.snapshot())) == 300
    assert rows(copy) == {f"{n:03}": str(n).encode() for n in range(300)}


def test_a_snapshot_that_a_compaction_overtakes_says_so(store: EtcdStore) -> None:
    put_many(store, {f"{n:03}": b"" for n in range(200)})
    taken = store.snapshot()
    next(taken)
    store.compact(put(store, "later"), timeout_seconds=SECONDS).result(SECONDS)
    with pytest.raises(Unavailable, match="compacted before all rows were read"):
        list(taken)


def test_status_names_engine_and_members(store: EtcdStore) -> None:
    index = put(store, "a")
    status = store.status()
    assert status.engine.startswith("etcd 3.")
    assert (status.is_writable, status.trouble, status.leader, status.members) == (True, "", "n0", ("n0",))
    assert status.index >= index >= status.oldest_index


def test_closing_finishes_what_was_accepted_and_refuses_the_rest(one_etcd: EtcdTestCluster, prefix: str) -> None:
    store = one_etcd.open(prefix)
    futures = [store.propose([Operation(f"{n}", b"")], timeout_seconds=SECONDS) for n in range(500)]
    store.close()
    assert all(future.result(0).applied for future in futures)
    for refused in (store.propose([Operation("late", b"")], timeout_seconds=1), store.barrier(timeout_seconds=1)):
        with pytest.raises(Unavailable, match="closed"):
            refused.result(0)
    assert len(rows(one_etcd.open(prefix))) == 500


def test_where_nobody_listens_all_is_refused_in_time_and_surely_not_applied(one_etcd: EtcdTestCluster) -> None:
    store = one_etcd.open(endpoints=(free_url(), free_url()))
    began = time.monotonic()
    asked: list[Future[object]] = [
        store.propose([Operation("a", b"")], timeout_seconds=0.5),  # type: ignore[list-item]
        store.read("", timeout_seconds=0.5),  # type: ignore[list-item]
        store.barrier(timeout_seconds=0.5),  # type: ignore[list-item]
    ]
    for future in asked:
        with pytest.raises(Unavailable):
            future.result(SECONDS)
    assert time.monotonic() - began < 2
    status = store.status()
    assert not status.is_writable
    assert "not available" in status.trouble


def test_a_member_that_stops_answering_leaves_the_outcome_open(one_etcd: EtcdTestCluster, prefix: str) -> None:
    store = one_etcd.open(prefix)
    put(store, "a")
    one_etcd.pause("n0")
    try:
        future = store.propose([Operation("b", b"")], timeout_seconds=0.3)
        with pytest.raises(FateUnknown):
            future.result(SECONDS)
    finally:
        one_etcd.resume("n0")
    assert put(store, "b") > 0
    store.close()
