"""Rows of a backup on their way back: what is missing is written, what is there already is left, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.durable_image import DurableImage
from actors.durable_orders import OrderAnswer, Plan, plan_of, row_keys
from actors.durable_rows import fence_row_key, read_row
from actors.durable_transfer import given_row, stored_row
from actors.durable_values import KeptFence
from actors.messages.store import Cut, Expectation, Row
from actors.messages.values import Order, Route
from rollbook.checkers import CheckerSettings
from rollbook.codec import pack, typed
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import NAMESPACES_MAX
from rollbook.errors import Code, InvalidField
from rollbook.kept_rows import (
    MOMENT_MS_MAX,
    DurableRows,
    InstanceRow,
    IntentRow,
    KeptRow,
    NamespaceRow,
    RestoreRows,
    ServiceRow,
    check_rows,
    durable_rows,
)
from rollbook.model import Instance, Service
from rollbook.wire import Done, Tag
from tests.actors.test_durable_orders import NOW

ORDERS = Service("prod", "shop", "orders")
KEPT = Instance("10.0.0.1", 80, "EAST", 2.5, False, False, False, {"zone": "a"})
SETTINGS = ServiceSettings(0.5, {"team": "a"}, {"EAST": CheckerSettings("http", path="/health")})
ROWS: list[KeptRow] = [
    ServiceRow(ORDERS, SETTINGS, "ann", 7),
    NamespaceRow(Namespace("prod", "production", "of the shop"), "ann", 8),
    InstanceRow(ORDERS, KEPT, "deployer", 12, 9),
    IntentRow(ORDERS, KEPT.key, Intent(enabled=False), "kept 9", "bob", 10, 11),
]
every_kind = pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)


def image(*rows: KeptRow, index: int = 4) -> DurableImage:
    made = DurableImage()
    stored = sorted(map(stored_row, rows))
    made.replace(Cut(tuple(Row(key, value, index) for key, value in stored), 9))
    assert not made.unreadable
    return made


def planned(there: DurableImage, *rows: KeptRow) -> Plan | OrderAnswer:
    return plan_of(order(*rows), there, NOW)


def order(*rows: KeptRow) -> Order:
    return Order(Route(b"l", 1), 1, RestoreRows(durable_rows(list(rows))), "operator")


@every_kind
def test_a_row_that_was_read_is_stored_as_it_was(row: KeptRow) -> None:
    key, value = stored_row(row)
    assert given_row(read_row(key, value, 5)) == row


@every_kind
def test_a_row_keeps_all_of_it_on_the_wire(row: KeptRow) -> None:
    assert typed(msgspec.msgpack.decode(pack(durable_rows([row]))), DurableRows) == durable_rows([row])


def test_a_fence_is_of_no_use_to_anybody_else() -> None:
    with pytest.raises(TypeError):
        given_row(KeptFence(fence_row_key("n1"), 3))


def test_into_an_empty_store_every_row_is_written_if_there_is_none_still() -> None:
    plan = planned(image(), *ROWS)
    assert isinstance(plan, Plan)
    assert {operation.key: operation.value for operation in plan.operations} == dict(map(stored_row, ROWS))
    assert plan.expectations == tuple(Expectation(operation.key, 0) for operation in plan.operations)
    assert set(row_keys(order(*ROWS))) == {operation.key for operation in plan.operations}


def test_what_is_there_as_it_is_wanted_is_left_alone() -> None:
    plan = planned(image(*ROWS[:2]), *ROWS)
    assert isinstance(plan, Plan)
    assert [operation.key.split()[0] for operation in plan.operations] == ["instance", "intent"]
    assert planned(image(*ROWS), *ROWS) == OrderAnswer(Tag.DONE, Done(seq=9))


@every_kind
def test_nothing_is_written_where_another_row_stands_in_the_place_of_any(row: KeptRow) -> None:
    other = msgspec.structs.replace(row, written_ms=1)
    answer = planned(image(other), *ROWS)
    assert isinstance(answer, OrderAnswer)
    assert (answer.body.code, answer.body.field) == (Code.SERVICE_EXISTS, "rows")
    assert stored_row(row)[0] in answer.body.message


def test_a_row_that_cannot_be_read_is_another_one() -> None:
    there = DurableImage()
    there.replace(Cut((Row(stored_row(ROWS[0])[0], b"damaged", 4),), 9))
    answer = planned(there, ROWS[0])
    assert isinstance(answer, OrderAnswer)
    assert answer.body.code == Code.SERVICE_EXISTS


def test_there_are_never_more_namespaces_than_may_be() -> None:
    def named(number: int) -> NamespaceRow:
        return NamespaceRow(Namespace(f"n{number}", "any"), "ann", 8)

    full = image(*map(named, range(NAMESPACES_MAX)))
    assert planned(full, named(0)) == OrderAnswer(Tag.DONE, Done(seq=9))
    answer = planned(full, named(NAMESPACES_MAX))
    assert isinstance(answer, OrderAnswer)
    assert answer.body.code == Code.OVER_LIMIT


def wrong(row: int, **fields: Any) -> KeptRow:
    return msgspec.structs.replace(ROWS[row], **fields)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (wrong(0, service=Service("prod", "shop", "a b")), "service"),
        (wrong(0, settings=ServiceSettings(2.0)), "protection_threshold"),
        (wrong(1, namespace=Namespace("a b", "any")), "namespace"),
        (wrong(1, namespace=Namespace("public", "any")), "id"),
        (wrong(2, service=Service("prod", "", "orders")), "group"),
        (wrong(2, instance=msgspec.structs.replace(KEPT, ephemeral=True)), "ephemeral"),
        (wrong(2, instance=msgspec.structs.replace(KEPT, weight=float("nan"))), "weight"),
        (wrong(3, service=Service("", "shop", "orders")), "namespace"),
        (wrong(3, key=KEPT.key._replace(port=-1)), "port"),
        (wrong(3, intent=Intent()), "intent"),
        (wrong(3, intent=Intent(enabled=False, weight=2.0)), "intent"),
        (wrong(3, intent=Intent(weight=2.0, metadata={"zone": "b"})), "intent"),
    ],
)
def test_a_row_keeps_the_rules_of_the_order_that_would_write_it(row: KeptRow, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        check_rows(durable_rows([row]))
    assert raised.value.field == field


@every_kind
def test_no_two_rows_are_about_the_same(row: KeptRow) -> None:
    with pytest.raises(InvalidField) as raised:
        check_rows(durable_rows([*ROWS, msgspec.structs.replace(row, written_ms=1)]))
    assert raised.value.field == "rows"


def test_each_thing_that_was_decided_of_an_instance_has_a_row_author_and_end_of_its_own() -> None:
    enabled = IntentRow(ORDERS, KEPT.key, Intent(enabled=False), "kept 9", "bob", 10, 11)
    weight = IntentRow(ORDERS, KEPT.key, Intent(weight=2.0), "kept 9", "ann", 12, 0)
    check_rows(durable_rows([enabled, weight]))
    there = image(enabled, weight)
    assert [given_row(kept) for kept in there.intents()] == [enabled, weight]
    answer = planned(there, enabled, weight)
    assert answer == OrderAnswer(Tag.DONE, Done(seq=9))


@every_kind
@pytest.mark.parametrize("moment_ms", [-1, MOMENT_MS_MAX + 1])
def test_a_moment_fits_into_a_stamp(row: KeptRow, moment_ms: int) -> None:
    bytes_of = pack(durable_rows([msgspec.structs.replace(row, written_ms=moment_ms)]))
    with pytest.raises(Exception, match="written_ms"):
        typed(msgspec.msgpack.decode(bytes_of), DurableRows)
