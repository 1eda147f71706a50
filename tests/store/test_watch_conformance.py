"""What every engine tells those who watch: everything once and in order, or that it cannot."""

from __future__ import annotations

import threading

import pytest

from actors.messages.store import Expectation, Operation, Row, StoredChange
from runtime.store.port import Store
from tests.store.engines import Engine
from tests.store.listening import SECONDS, RememberingListener, begin, newest, values_of, write


def test_a_watch_tells_each_change_once_and_in_order(store: Store) -> None:
    listener = RememberingListener()
    store.watch("", newest(store) + 1, listener)
    futures = [begin(store, **{f"k{n % 7}": b"%d" % n}) for n in range(300)]
    expected: dict[int, set[Operation]] = {}  # an engine may make one change of several that wait together
    for number, future in enumerate(futures):
        operation = Operation(f"k{number % 7}", b"%d" % number)
        expected.setdefault(future.result(SECONDS).index, set()).add(operation)
    changes = listener.wait_for_index(max(expected))
    assert [change.index for change in changes] == sorted(expected)
    for change in changes:
        assert set(change.operations) == expected[change.index]
        assert len(change.operations) == len({operation.key for operation in change.operations})
    assert threading.get_ident() not in listener.threads
    assert listener.calls_at_once == 1


def test_a_watch_tells_a_change_whole_and_sorted_but_for_what_is_outside_its_prefix(store: Store) -> None:
    write(store, **{"a/2": b"old"})
    everything, part = RememberingListener(), RememberingListener()
    start = newest(store) + 1
    store.watch("", start, everything)
    store.watch("a/", start, part)
    write(store, b=b"1")
    index = write(store, **{"b": b"2", "a/2": None, "a/1": b"1", "a/missing": None}).index
    assert part.wait_for_index(index) == [StoredChange(index, (Operation("a/1", b"1"), Operation("a/2", None)))]
    told = everything.wait_for_index(index)
    assert [[operation.key for operation in change.operations] for change in told] == [["b"], ["a/1", "a/2", "b"]]


def test_a_watch_tells_nothing_of_what_was_refused_or_changed_nothing(store: Store) -> None:
    listener = RememberingListener()
    store.watch("", newest(store) + 1, listener)
    assert not write(store, Expectation("a", 9), a=b"1").applied
    write(store, missing=None)
    index = write(store, a=b"2").index
    assert listener.wait_for_index(index) == [StoredChange(index, (Operation("a", b"2"),))]


def test_a_cut_and_the_watch_after_it_are_everything(store: Store) -> None:
    done = threading.Event()

    def write_on() -> None:
        number = 0
        while not done.is_set():
            write(store, **{f"k{number % 11}": b"%d" % number, f"gone{number % 5}": None if number % 2 else b"1"})
            number += 1

    writer = threading.Thread(target=write_on)
    writer.start()
    seen: list[tuple[dict[str, bytes], RememberingListener]] = []
    for _ in range(5):
        cut = store.read("", timeout_seconds=SECONDS).result(SECONDS)
        listener = RememberingListener()
        store.watch("", cut.index + 1, listener)
        seen.append(({row.key: row.value for row in cut.rows}, listener))
        listener.wait_for(lambda found: len(found.changes) > 10)
    done.set()
    writer.join()
    index = write(store, last=b"1").index
    for values, listener in seen:
        for change in listener.wait_for_index(index):
            for operation in change.operations:
                assert operation.value is not None or operation.key in values
                values.pop(operation.key, None)
                if operation.value is not None:
                    values[operation.key] = operation.value
        assert values == values_of(store)


@pytest.mark.parametrize("end", ["nothing", "close", "kill"])
def test_a_watch_goes_on_where_another_one_ended_also_in_the_next_life(engine: Engine, store: Store, end: str) -> None:
    indexes = [write(store, a=b"%d" % number).index for number in range(10)]
    if end != "nothing":
        getattr(engine, end)()
        store = engine.open()
    listener = RememberingListener()
    store.watch("", indexes[4] + 1, listener)
    indexes.append(write(store, a=b"10").index)
    changes = listener.wait_for_index(indexes[-1])
    assert [change.index for change in changes] == indexes[5:]
    assert [change.operations[0].value for change in changes] == [b"%d" % number for number in range(5, 11)]


def test_a_watch_may_begin_in_the_future(store: Store) -> None:
    listener = RememberingListener()
    start = newest(store) + 3
    store.watch("", start, listener)
    indexes = [write(store, a=b"%d" % number).index for number in range(5)]
    changes = listener.wait_for_index(indexes[-1])
    assert [change.index for change in changes] == [index for index in indexes if index >= start]
    assert all(index >= start - 1 for index in listener.advances)


def test_nothing_is_told_after_a_watch_was_closed(store: Store) -> None:
    closed, other = RememberingListener(), RememberingListener()
    start = newest(store) + 1
    watch = store.watch("", start, closed)
    store.watch("", start, other)
    index = write(store, a=b"1").index
    closed.wait_for_index(index)
    watch.close()
    told = len(closed.changes), len(closed.advances)
    other.wait_for_index(write(store, a=b"2").index)
    assert (len(closed.changes), len(closed.advances)) == told
    watch.close()  # once more harms nobody


def test_a_watch_may_be_closed_by_its_own_listener(store: Store) -> None:
    class OneChange(RememberingListener):
        def changed(self, changes: object) -> None:
            super().changed(changes)  # type: ignore[arg-type]
            watch.close()

    listener, other = OneChange(), RememberingListener()
    start = newest(store) + 1
    watch = store.watch("", start, listener)
    store.watch("", start, other)
    other.wait_for_index(write(store, a=b"1").index)
    listener.wait_for(lambda found: found.changes)
    other.wait_for_index(write(store, a=b"2").index)
    assert len(listener.changes) == 1


def test_a_listener_that_is_slow_to_catch_up_misses_nothing_and_holds_up_no_writer(store: Store) -> None:
    slow = RememberingListener()
    slow.gate.clear()
    indexes = [write(store, before=b"1").index]
    store.watch("", indexes[0], slow)
    futures = [begin(store, **{f"k{n}": b"%d" % n}) for n in range(500)]
    indexes += [future.result(SECONDS).index for future in futures]
    slow.gate.set()
    assert [change.index for change in slow.wait_for_index(max(indexes))] == sorted(set(indexes))


def test_who_writes_on_and_on_is_heard_of_once_and_in_order_by_all_who_come_meanwhile(store: Store) -> None:
    listeners: list[tuple[int, RememberingListener]] = []
    indexes: list[int] = []
    for number in range(300):
        if number % 10 == 0:
            listeners.append((newest(store) + 1, RememberingListener()))
            store.watch("", *listeners[-1])
        indexes.append(write(store, a=b"%d" % number).index)
    for start, listener in listeners:
        told = [change.index for change in listener.wait_for_index(indexes[-1])]
        assert told == [index for index in indexes if index >= start]


def test_an_idle_watch_hears_how_far_the_log_is(engine: Engine, store: Store) -> None:
    listener = RememberingListener()
    store.watch("quiet/", newest(store) + 1, listener)
    index = write(store, loud=b"1").index
    listener.wait_for(lambda found: found.advances and found.advances[-1] >= index)
    assert listener.advances == sorted(listener.advances)
    assert listener.changes == []


def test_what_was_compacted_cannot_be_watched_and_its_rows_stay(engine: Engine, store: Store) -> None:
    indexes = [write(store, **{f"k{number}": b"1"}).index for number in range(10)]
    store.compact(indexes[5], timeout_seconds=SECONDS).result(SECONDS)
    oldest = store.status().oldest_index
    assert indexes[5] < oldest <= indexes[6]
    for _ in range(2):
        late, in_time = RememberingListener(), RememberingListener()
        store.watch("", indexes[2], late)
        assert late.wait_for_compacted().oldest_index == oldest
        assert late.changes == []
        store.watch("", oldest, in_time)
        assert [change.index for change in in_time.wait_for_index(indexes[9])] == indexes[6:]
        assert len(values_of(store)) == 10
        store = engine.reopen()
    listener = RememberingListener()
    store.watch("", newest(store) + 1, listener)
    index = write(store, a=b"1").index
    assert [change.index for change in listener.wait_for_index(index)] == [index]


def test_compacting_what_is_compacted_changes_nothing(store: Store) -> None:
    indexes = [write(store, a=b"%d" % number).index for number in range(5)]
    for number in (3, 1, 3):
        store.compact(indexes[number], timeout_seconds=SECONDS).result(SECONDS)
    assert indexes[3] < store.status().oldest_index <= indexes[4]
    assert values_of(store) == {"a": b"4"}


def test_all_there_is_can_be_compacted_and_more_is_not(store: Store) -> None:
    index = write(store, a=b"1").index
    store.compact(index + 100, timeout_seconds=SECONDS).result(SECONDS)
    assert store.status().oldest_index == index + 1
    listener = RememberingListener()
    store.watch("", index + 1, listener)
    after = write(store, a=b"2").index
    assert [change.index for change in listener.wait_for_index(after)] == [after]


def test_a_watch_hears_of_a_restore_and_how_far_the_log_is_then(store: Store) -> None:
    everything, quiet = RememberingListener(), RememberingListener()
    start = newest(store) + 1
    store.watch("", start, everything)
    store.watch("quiet/", start, quiet)
    assert store.restore([Row(f"k{number:03}", b"", 1) for number in range(300)]) == 300
    end = newest(store)
    for listener in (everything, quiet):
        listener.wait_for(lambda found: max([0, *found.advances, *(change.index for change in found.changes)]) >= end)
    told = [operation.key for change in everything.changes for operation in change.operations]
    assert told == [f"k{number:03}" for number in range(300)]
    assert quiet.changes == []
