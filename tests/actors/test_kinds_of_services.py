"""IndexManager in front of the store: what stands against an order about durable data because of what is published."""

from __future__ import annotations

from typing import Any

import pytest

from actors.durable_rows import STORE_ORIGIN
from actors.messages.index import OwnersVisible, RecordsChanged
from actors.messages.io import AnswerClients
from actors.messages.store import PersistentOrders
from actors.messages.values import Order
from rollbook.durable import ServiceSettings
from rollbook.durable_bodies import DeleteNamespace, DeleteService, PublishPersistent, PutService, WithdrawPersistent
from rollbook.errors import Code
from rollbook.wire import Failed
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import ORDERS, STOCK, THERE, instance, opened, record, route, told

ONE = instance(1)
KEPT = instance(2, ephemeral=False)
STANDS_AGAINST = [
    (PublishPersistent(ORDERS, (KEPT,)), Code.KIND_MISMATCH, "ephemeral"),
    (DeleteService(ORDERS), Code.SERVICE_IN_USE, "service"),
    (DeleteNamespace(ORDERS.namespace), Code.SERVICE_IN_USE, "id"),
]


def ordered(index: IndexUnderTest, *bodies: Any) -> tuple[list[Failed], list[Any]]:
    """What is refused at once, and what goes on to the store."""
    orders = tuple(Order(route(1), number, body, "app") for number, body in enumerate(bodies, 1))
    effects = index.handle(RecordsChanged(persistent=orders))
    refused = [opened(frame.payload)[1] for told_io in told(effects, AnswerClients) for frame in told_io.frames]
    return refused, [order.body for each in told(effects, PersistentOrders) for order in each.orders]


@pytest.fixture
def index() -> IndexUnderTest:
    made = IndexUnderTest()
    made.put(record("a", ONE))
    return made


@pytest.mark.parametrize(("body", "code", "field"), STANDS_AGAINST)
def test_what_a_session_publishes_stands_against_it(index: IndexUnderTest, body: Any, code: Code, field: str) -> None:
    [failed], passed = ordered(index, body)
    assert (failed.code, failed.field, passed) == (code, field, [])


@pytest.mark.parametrize(("body", "code", "field"), STANDS_AGAINST)
def test_what_a_session_has_withdrawn_or_a_dead_node_held_does_not(
    index: IndexUnderTest, body: Any, code: Code, field: str
) -> None:
    index.put(record("a", seq=2, stamp=2))
    assert ordered(index, body) == ([], [body])
    index.put(record("b", ONE, origin=THERE))
    assert [failed.code for failed in ordered(index, body)[0]] == [code]
    index.handle(OwnersVisible(((THERE, 15_000),)))
    assert ordered(index, body) == ([], [body])


def test_one_order_that_is_refused_holds_up_no_other_and_others_services_do_not_count(index: IndexUnderTest) -> None:
    orders = [
        DeleteService(ORDERS),
        DeleteService(STOCK),
        PutService(ORDERS, ServiceSettings()),
        PublishPersistent(STOCK, (KEPT,)),
        WithdrawPersistent(ORDERS, (KEPT.key,)),
        DeleteNamespace("elsewhere"),
    ]
    refused, passed = ordered(index, *orders)
    assert (len(refused), passed) == (1, orders[1:])


def test_persistent_instances_stand_against_no_further_ones() -> None:
    index = IndexUnderTest()
    index.put(record("kept 10.0.0.1 2 DEFAULT", KEPT, origin=STORE_ORIGIN))
    orders = [PublishPersistent(ORDERS, (KEPT,)), DeleteService(ORDERS)]
    assert ordered(index, *orders) == ([], orders), "the store itself says what it keeps"
