"""What every engine does alike: changes, expectations, reads, and the end."""

from __future__ import annotations

import threading

import pytest

from actors.messages.store import Expectation, Operation, Row
from runtime.store.port import KEY_BYTES_MAX, OPERATIONS_MAX, VALUE_BYTES_MAX, Store, StoreFault, TooLarge, Unavailable
from tests.store.engines import Engine
from tests.store.listening import SECONDS, begin, newest, values_of, write


def test_what_was_written_is_read_with_the_index_of_its_change(store: Store) -> None:
    first = write(store, a=b"1", b=b"")
    second = write(store, a=b"2")
    cut = store.read("", timeout_seconds=SECONDS).result(SECONDS)
    assert cut.rows == (Row("a", b"2", second.index), Row("b", b"", first.index))
    assert cut.index >= second.index > first.index


def test_what_was_deleted_is_gone_and_can_be_made_anew(store: Store) -> None:
    write(store, a=b"1", b=b"1")
    write(store, a=None, c=b"1")
    assert values_of(store) == {"b": b"1", "c": b"1"}
    assert write(store, Expectation("a", 0), a=b"2").applied
    assert values_of(store)["a"] == b"2"


def test_deleting_what_is_not_there_is_applied_and_changes_nothing(store: Store) -> None:
    before = write(store, a=b"1").index
    outcome = write(store, missing=None)
    assert (outcome.applied, outcome.index) == (True, before)
    assert newest(store) == before


@pytest.mark.parametrize("offset", [-1, 1])
def test_an_expectation_holds_at_exactly_the_index_of_the_row(store: Store, offset: int) -> None:
    written = write(store, a=b"1").index
    refused = write(store, Expectation("a", written + offset), a=b"2")
    assert (refused.applied, refused.index >= written) == (False, True)
    assert values_of(store) == {"a": b"1"}
    assert write(store, Expectation("a", written), a=b"3").applied
    assert values_of(store) == {"a": b"3"}


def test_zero_expects_that_there_is_no_such_row(store: Store) -> None:
    assert write(store, Expectation("a", 0), a=b"1").applied
    assert not write(store, Expectation("a", 0), a=b"2").applied
    assert values_of(store) == {"a": b"1"}


def test_one_expectation_that_fails_refuses_all_operations(store: Store) -> None:
    written = write(store, a=b"1").index
    assert not write(store, Expectation("a", written), Expectation("b", 7), a=None, b=b"1", c=b"1").applied
    assert values_of(store) == {"a": b"1"}


def test_an_expectation_may_be_about_a_key_that_is_not_written(store: Store) -> None:
    written = write(store, lock=b"mine").index
    assert write(store, Expectation("lock", written), a=b"1").applied
    write(store, lock=None)
    assert not write(store, Expectation("lock", written), a=b"2").applied
    assert values_of(store) == {"a": b"1"}


def test_a_proposal_that_is_refused_fails_no_other_in_flight(store: Store) -> None:
    futures = [begin(store, *([Expectation(f"k{n}", 5)] if n % 3 == 0 else []), **{f"k{n}": b"1"}) for n in range(100)]
    assert [future.result(SECONDS).applied for future in futures] == [n % 3 != 0 for n in range(100)]
    assert sorted(values_of(store)) == sorted(f"k{n}" for n in range(100) if n % 3)


def test_changes_that_waited_for_each_other_have_rising_indexes(store: Store) -> None:
    indexes = [write(store, a=b"%d" % number).index for number in range(10)]
    assert indexes == sorted(set(indexes))


def test_each_row_has_the_index_that_its_writer_was_told(store: Store) -> None:
    futures = [begin(store, **{f"k{n}": b"1"}) for n in range(100)]
    indexes = [future.result(SECONDS).index for future in futures]
    rows = store.read("", timeout_seconds=SECONDS).result(SECONDS).rows
    assert {row.key: row.index for row in rows} == {f"k{n}": index for n, index in enumerate(indexes)}


def test_a_prefix_selects_and_keys_are_sorted(store: Store) -> None:
    keys = ["a", "a/", "a/b", "a/z", "a/é", "a/日本", "a/😀", "a0", "b", "a/\x00", "a/\x7f"]
    store.propose([Operation(key, key.encode()) for key in keys], timeout_seconds=SECONDS).result(SECONDS)
    for prefix in ("", "a", "a/", "a/é", "a/日", "c", "a/\x7f"):
        rows = store.read(prefix, timeout_seconds=SECONDS).result(SECONDS).rows
        assert [row.key for row in rows] == sorted(key for key in keys if key.startswith(prefix)), prefix


def test_a_read_that_need_not_be_linearizable_is_one_cut_too(store: Store) -> None:
    index = write(store, a=b"1", b=b"2").index
    cut = store.read("", linearizable=False, timeout_seconds=SECONDS).result(SECONDS)
    assert cut.index < index or {row.key for row in cut.rows} == {"a", "b"}


def test_a_barrier_and_a_read_know_all_that_was_acknowledged_before(store: Store) -> None:
    for number in range(20):
        index = write(store, a=b"%d" % number).index
        assert newest(store) >= index
        cut = store.read("a", timeout_seconds=SECONDS).result(SECONDS)
        assert (cut.rows[0].value, cut.index >= index) == (b"%d" % number, True)


def test_the_largest_proposals_fit(store: Store) -> None:
    key = "ü" * (KEY_BYTES_MAX // 2)
    store.propose([Operation(key, b"v" * VALUE_BYTES_MAX)], timeout_seconds=SECONDS).result(SECONDS)
    many = [Operation(f"k{number:03}", b"%d" % number) for number in range(OPERATIONS_MAX)]
    expectations = [Expectation(operation.key, 0) for operation in many]
    assert store.propose(many, expectations, timeout_seconds=SECONDS).result(SECONDS).applied
    assert values_of(store) == {key: b"v" * VALUE_BYTES_MAX} | {each.key: each.value for each in many}


@pytest.mark.parametrize(
    ("operations", "field"),
    [
        ([Operation("k" * (KEY_BYTES_MAX + 1), b"")], "key"),
        ([Operation("", b"")], "key"),
        ([Operation("k", b"v" * (VALUE_BYTES_MAX + 1))], "value"),
        ([], "operations"),
        ([Operation(f"k{number}", b"") for number in range(OPERATIONS_MAX + 1)], "operations"),
        ([Operation(f"k{number}", b"v" * VALUE_BYTES_MAX) for number in range(5)], "operations"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_too_large_is_refused_at_once_with_the_field(
    store: Store, operations: list[Operation], field: str
) -> None:
    with pytest.raises(TooLarge) as refused:
        store.propose(operations, timeout_seconds=SECONDS)
    assert refused.value.field == field
    assert values_of(store) == {}


@pytest.mark.parametrize("key", ["", "k" * (KEY_BYTES_MAX + 1)])
def test_the_key_of_an_expectation_is_measured_as_well(store: Store, key: str) -> None:
    with pytest.raises(TooLarge) as refused:
        store.propose([Operation("a", b"")], [Expectation(key, 0)], timeout_seconds=SECONDS)
    assert refused.value.field == "key"


def test_increments_of_several_threads_are_all_counted(store: Store) -> None:
    def increment() -> None:
        for _ in range(25):
            while True:
                rows = store.read("n", timeout_seconds=SECONDS).result(SECONDS).rows
                value, index = (int(rows[0].value), rows[0].index) if rows else (0, 0)
                if write(store, Expectation("n", index), n=b"%d" % (value + 1)).applied:
                    break

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values_of(store) == {"n": b"100"}


def test_a_snapshot_is_of_one_moment_and_can_be_restored(engine: Engine, store: Store) -> None:
    for future in [begin(store, **{f"k{number:03}": b"%d" % number}) for number in range(300)]:
        future.result(SECONDS)
    write(store, last=b"1")
    rows = store.snapshot()
    first = next(rows)
    write(store, k000=b"later", k299=None, zzz=b"later")
    found = [first, *rows]
    assert [row.key for row in found] == [f"k{number:03}" for number in range(300)] + ["last"]
    assert (found[299].value, found[300].value) == (b"299", b"1")
    for key in values_of(store):
        write(store, **{key: None})
    before = newest(store)
    assert store.restore(found) == 301
    restored = engine.reopen().read("", timeout_seconds=SECONDS).result(SECONDS)
    assert [(row.key, row.value) for row in restored.rows] == [(row.key, row.value) for row in found]
    assert all(before < row.index <= restored.index for row in restored.rows)


def test_only_an_empty_store_is_restored_into(store: Store) -> None:
    write(store, a=b"1")
    with pytest.raises(StoreFault, match="empty"):
        store.restore([Row("b", b"2", 1)])
    assert values_of(store) == {"a": b"1"}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([Row("a", b"", 1), Row("b", b"", 1), Row("a", b"", 1)], "occurs twice"),
        ([Row("a", b"", 1), Row("b", b"v" * (VALUE_BYTES_MAX + 1), 1)], "at most"),
        ([Row("a", b"", 1), Row("\0b", b"", 1)], "NUL"),
    ],
    ids=["twice", "large", "NUL"],
)
def test_what_no_store_can_have_is_restored_into_none(store: Store, rows: list[Row], reason: str) -> None:
    with pytest.raises(StoreFault, match=reason):
        store.restore(rows)
    assert values_of(store) == {}
    assert write(store, a=b"1").applied


def test_a_key_that_begins_with_nul_is_refused(store: Store) -> None:
    with pytest.raises(StoreFault, match="NUL"):
        store.propose([Operation("\0restore", b"")], timeout_seconds=SECONDS)
    assert values_of(store) == {}


def test_the_status_knows_how_far_it_is(store: Store) -> None:
    index = write(store, a=b"1").index
    status = store.status()
    assert (status.index, status.is_writable, status.trouble) == (index, True, "")
    assert status.oldest_index <= index
    assert status.engine


def test_what_was_accepted_before_the_end_is_finished_and_what_comes_later_refused(
    engine: Engine, store: Store
) -> None:
    futures = [begin(store, **{f"k{number}": b"1"}) for number in range(200)]
    store.close()
    assert all(future.result(SECONDS).applied for future in futures)
    later = [
        begin(store, a=b"1"),
        store.read("", timeout_seconds=1),
        store.barrier(timeout_seconds=1),
        store.compact(1, timeout_seconds=1),
    ]
    for future in later:
        with pytest.raises(Unavailable):
            future.result(SECONDS)  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="closed"):
        store.snapshot()
    assert (store.status().is_writable, store.status().trouble) == (False, "the store is closed")
    assert len(values_of(engine.reopen())) == 200


@pytest.mark.parametrize("end", ["close", "kill"])
def test_what_was_acknowledged_is_there_after_the_end(engine: Engine, store: Store, end: str) -> None:
    for future in [begin(store, **{f"k{number}": b"1"}) for number in range(50)]:
        future.result(SECONDS)
    index = write(store, k0=None, k1=b"2").index
    getattr(engine, end)()
    again = engine.open()
    assert newest(again) >= index
    assert values_of(again) == {f"k{number}": b"1" for number in range(2, 50)} | {"k1": b"2"}
    assert write(again, Expectation("k1", index), k1=b"3").index > index
