"""Readings of a PersistentStore: every page is of one state, however much is written while they are read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.durable_rows import (
    intent_row_key,
    intent_row_value,
    namespace_row_key,
    namespace_row_value,
    service_row_key,
    service_row_value,
)
from actors.durable_values import KeptIntent
from actors.messages.store import ChangesSeen, Operation, PersistentOrders, Row, StoredChange, StoreSilent
from actors.messages.values import Order, Route
from rollbook.codec import pack
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.errors import Code
from rollbook.kept_rows import DurablePage, InstanceRow, KeptRow, ReadDurable, row_name
from rollbook.wire import Failed
from tests.actors.test_persistent_store import SERVICE, WALL_MS, PersistentBench, instance, removed, row, written

KEPT_INTENT = KeptIntent(SERVICE, instance(1).key, Intent(enabled=False), "kept 5", "op", 7, 0, 0)
OTHER_KINDS = (
    Row(service_row_key(SERVICE), service_row_value(ServiceSettings(0.5), "op", 6), 4),
    Row(namespace_row_key("prod"), namespace_row_value(Namespace("prod", "production"), "op", 6), 4),
    Row(intent_row_key(KEPT_INTENT.place), intent_row_value(KEPT_INTENT), 4),
)


class ReaderBench(PersistentBench):
    def ask(self, index: int = 0, position: int = 0, *, stale: bool = False) -> Any:
        body = ReadDurable(index, position, stale)
        self.handle(PersistentOrders((Order(Route(b"c", 1), 7, body, "client"),)))
        [answer] = self.replies()
        return answer

    def pages(self) -> list[DurablePage]:
        """All of a reading, from its begin."""
        page = self.ask()
        found = [page]
        while not page.is_complete:
            page = self.ask(page.index, page.position + len(page.rows))
            found.append(page)
        return found


def ports(*pages: DurablePage) -> list[int]:
    return [row.instance.port for page in pages for row in page.rows if isinstance(row, InstanceRow)]


def filled(count: int, **overrides: Any) -> ReaderBench:
    made = ReaderBench(**overrides)
    made.load(*(row(port, 3) for port in range(1, count + 1)))
    made.raise_fence()
    return made


def test_all_kinds_are_given_and_nothing_that_is_of_use_to_this_node_alone() -> None:
    bench = ReaderBench()
    bench.load(row(1, 3), *OTHER_KINDS)
    bench.raise_fence()
    [page] = bench.pages()
    assert (page.store, page.index, page.position, page.total, page.is_complete) == ("s1", 11, 0, 4, True)
    assert [row_name(kept)[0] for kept in page.rows] == ["service", "namespace", "instance", "intent"]
    [given] = page.rows.instances
    assert given == InstanceRow(SERVICE, instance(1), "c", 5, 5)


def test_what_was_decided_of_an_instance_follows_on_it_and_not_on_all_of_them() -> None:
    bench = ReaderBench(page_rows_max=1)
    decisions = [msgspec.structs.replace(KEPT_INTENT, key=instance(port).key) for port in (1, 3)]
    weight = msgspec.structs.replace(KEPT_INTENT, intent=Intent(weight=2.0))
    rows = [Row(intent_row_key(kept.place), intent_row_value(kept), 4) for kept in (*decisions, weight)]
    bench.load(*rows, row(1, 3), row(2, 3))
    bench.raise_fence()
    given = [row_name(kept) for page in bench.pages() for kept in page.rows]
    assert [(name[0], name[5], *name[7:]) for name in given] == [
        ("instance", 1),
        ("intent", 1, "enabled"),
        ("intent", 1, "weight"),
        ("instance", 2),
        ("intent", 3, "enabled"),
    ]


def test_pages_follow_on_each_other_and_hold_no_more_rows_than_they_may() -> None:
    pages = filled(7, page_rows_max=3).pages()
    assert [(page.position, len(page.rows), page.is_complete) for page in pages] == [
        (0, 3, False),
        (3, 3, False),
        (6, 1, True),
    ]
    assert sorted(ports(*pages)) == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_is_full_when_its_bytes_are_and_holds_one_row_at_least() -> None:
    size_bytes = len(pack(InstanceRow(SERVICE, instance(1), "c", 5, 5)))
    assert [len(page.rows) for page in filled(3, page_bytes_max=1).pages()] == [1, 1, 1]
    assert [len(page.rows) for page in filled(3, page_bytes_max=2 * size_bytes).pages()] == [2, 1]
    assert [len(page.rows) for page in filled(3, page_bytes_max=2 * size_bytes - 1).pages()] == [1, 1, 1]


def test_what_is_written_and_removed_meanwhile_is_in_none_of_the_later_pages() -> None:
    bench = filled(6, page_rows_max=2)
    first = bench.ask()
    gone = next(port for port in range(1, 7) if port not in ports(first))
    bench.handle(ChangesSeen((written(99, 12), removed(gone, 13)), 13))
    changed = Operation(row(gone % 6 + 1, 14).key, None)
    bench.handle(ChangesSeen((StoredChange(14, (changed,)),), 14))
    second, third = bench.ask(11, 2), bench.ask(11, 4)
    assert sorted(ports(first, second, third)) == [1, 2, 3, 4, 5, 6]
    assert third.is_complete
    now = bench.pages()
    assert now[0].index == 14
    assert 99 in ports(*now)
    assert gone not in ports(*now)


def test_who_begins_at_the_same_index_shares_what_is_held() -> None:
    bench = filled(4, page_rows_max=2, readings_max=1)
    assert bench.ask() == bench.ask()
    assert bench.ask(11, 2) == bench.ask(11, 2)


def test_another_state_is_not_held_beside_as_many_as_may_be() -> None:
    bench = filled(4, page_rows_max=2, readings_max=1)
    bench.ask()
    bench.handle(ChangesSeen((written(99, 12),), 12))
    refused = bench.ask()
    assert (refused.code, refused.retryable) == (Code.READING_OVER, True)
    assert isinstance(bench.ask(11, 2), DurablePage)


def test_a_reader_that_is_too_slow_is_told_so() -> None:
    bench = filled(4, page_rows_max=2, reading_idle_ms=1_000)
    bench.ask()
    bench.ms = 999
    assert isinstance(bench.ask(11, 2), DurablePage)
    bench.ms = 1_999
    refused = bench.ask(11, 2)
    assert (refused.code, refused.field, refused.retryable) == (Code.READING_OVER, "index", True)
    assert bench.ask().total == 4


def test_no_reading_is_held_for_longer_than_it_may_be_however_busy_its_reader() -> None:
    bench = filled(4, page_rows_max=2, reading_idle_ms=1_000, reading_ms=1_500)
    bench.ask()
    bench.ms = 900
    bench.ask(11, 2)
    bench.ms = 1_500
    assert bench.ask(11, 2).code == Code.READING_OVER


def test_what_nobody_asks_for_any_more_is_given_up_without_anyone_asking() -> None:
    bench = filled(4, reading_idle_ms=1_000)
    bench.ask()
    assert len(bench.actor.readings) == 1
    bench.ms = 1_000
    bench.handle(bench.look_due)
    assert len(bench.actor.readings) == 0


def test_a_position_beyond_the_end_or_before_any_begin_is_refused_by_its_name() -> None:
    bench = filled(4, page_rows_max=2)
    bench.ask()
    for index, position in ((11, 5), (0, 1)):
        refused = bench.ask(index, position)
        assert (refused.code, refused.field) == (Code.PARAMETER_INVALID, "position")
    assert bench.ask(11, 4).is_complete


def test_an_empty_store_is_one_empty_page() -> None:
    [page] = filled(0).pages()
    assert (page.total, len(page.rows), page.is_complete) == (0, 0, True)


def test_rows_that_cannot_be_read_are_counted() -> None:
    bench = ReaderBench()
    bench.load(row(1, 3), Row(row(2, 4).key, b"damaged", 4))
    [page] = bench.pages()
    assert (page.total, page.unreadable) == (1, 1)


def test_before_the_store_is_read_there_is_nothing_to_give() -> None:
    bench = ReaderBench()
    for stale in (False, True):
        refused = bench.ask(stale=stale)
        assert (refused.code, refused.retryable) == (Code.STORE_UNAVAILABLE, True)
        assert "nothing was read" in refused.message


def test_what_may_be_old_is_given_only_to_those_who_say_that_it_will_do() -> None:
    bench = filled(1)
    bench.handle(StoreSilent("the disk is gone"))
    refused = bench.ask()
    assert isinstance(refused, Failed)
    assert (refused.code, "the disk is gone" in refused.message) == (Code.STORE_UNAVAILABLE, True)
    page = bench.ask(stale=True)
    assert (ports(page), page.stale_since_ms) == ([1], WALL_MS)


@pytest.mark.parametrize("kept", OTHER_KINDS, ids=lambda kept: kept.key.split()[0])
def test_each_kind_says_all_that_is_kept_of_it(kept: Row) -> None:
    bench = ReaderBench()
    bench.load(kept)
    [page] = bench.pages()
    [given] = page.rows
    row_given: KeptRow = given
    assert row_given.author == "op"
    assert row_given.written_ms in (6, 7)
