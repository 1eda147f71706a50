"""PersistentStore: what it answers by itself, what it says of itself, and which rows it removes on its own."""

from __future__ import annotations

import pytest

from actors.base import Role, StatusRequested, StoreKind, Tell
from actors.messages.index import ServicesAnswered
from actors.messages.store import (
    ChangesSeen,
    Operation,
    PersistentOrders,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    Row,
    StoredChange,
    StoreFollowed,
    StoreSilent,
)
from actors.messages.values import Order, Route
from rollbook.durable_bodies import GetService, ListNamespaces, Namespaces, PublishPersistent, ServiceShown
from rollbook.errors import Code
from rollbook.status import DurableStatus
from rollbook.wire import Failed
from tests.actors.test_persistent_store import (
    SERVICE,
    WALL_MS,
    PersistentBench,
    instance,
    intent_row,
    proposed,
    row,
)

QUESTIONS = (GetService(SERVICE), ListNamespaces())


def ready_bench(store: StoreKind = "alone", **overrides: int) -> PersistentBench:
    made = PersistentBench(store=store, **overrides)
    made.load(row(1, 3))
    made.raise_fence()
    return made


def ask(bench: PersistentBench) -> list[object]:
    """What is answered, here or by way of whoever knows what is listed."""
    bench.handle(PersistentOrders(tuple(Order(Route(b"c", 1), 7, body, "client") for body in QUESTIONS)))
    shown = [answer.shown for asked in bench.told(ServicesAnswered) for answer in asked.answers]
    return [*shown, *bench.replies()]


# -- questions


def test_a_question_is_answered_from_what_is_known_also_while_the_store_is_silent() -> None:
    bench = ready_bench()
    assert [type(body) for body in ask(bench)] == [ServiceShown, Namespaces]
    bench.handle(StoreSilent("it is away"))
    assert [type(body) for body in ask(bench)] == [ServiceShown, Namespaces]
    assert bench.told(ProposalsMade) == []


def test_before_the_store_is_read_nobody_is_told_that_nothing_is_kept() -> None:
    answers = ask(PersistentBench())
    assert all(isinstance(failed, Failed) and failed.code == Code.STORE_UNAVAILABLE for failed in answers)


# -- what it says of itself


@pytest.mark.parametrize(
    ("store", "to"), [("alone", Role.HEALTH), ("etcd", Role.HEALTH), ("home", Role.HOME), ("away", Role.STORE)]
)
def test_a_status_question_goes_on_to_whoever_deals_with_other_nodes_about_the_store(
    store: StoreKind, to: Role
) -> None:
    bench = ready_bench(store)
    bench.ms = 700
    bench.handle(StoreSilent("it is away"))
    [effect] = bench.handle(StatusRequested(b"l", 1, 1))
    assert isinstance(effect, Tell)
    assert effect.to is to
    told = effect.message.parts["durable"]
    assert told == DurableStatus(store, 11, 2, True, WALL_MS + 700, "it is away"), "an instance, a fence, index 11"
    assert effect.message.parts["counters"]["persistent_instances"] == 1


def test_orders_that_find_no_store_and_its_silences_are_counted_one_by_one() -> None:
    bench = ready_bench()
    orders = tuple(
        Order(Route(b"c", 1), number, PublishPersistent(SERVICE, (instance(number),)), "client") for number in (1, 2, 3)
    )
    bench.handle(StoreSilent("it is away"))
    bench.handle(StoreSilent("it is far away"))
    bench.handle(PersistentOrders(orders))
    counters = bench.actor.counters
    assert (counters["persistent_orders"], counters["persistent_orders_refused"]) == (3, 3)
    assert counters["store_silences"] == 1, "still the same one"
    bench.handle(ChangesSeen((), 12))
    bench.handle(StoreSilent("it is away"))
    assert counters["store_silences"] == 2


def test_a_store_that_comes_back_with_nothing_new_is_the_same_store() -> None:
    bench = ready_bench()
    bench.handle(StoreSilent("it is away"))
    bench.load(row(1, 3), index=11)
    assert bench.told(StoreFollowed) == [StoreFollowed(True, 0, "")]


# -- intents that are over


def with_intent(bench: PersistentBench, expires_ms: int) -> PersistentBench:
    intent = intent_row(7, 12, expires_ms)
    bench.handle(ChangesSeen((StoredChange(12, (operation_of(intent),)),), 12))
    return bench


def operation_of(kept: Row) -> Operation:
    return Operation(kept.key, kept.value)


def test_the_row_of_an_intent_that_could_not_go_is_tried_again_after_a_while_and_not_before() -> None:
    bench = with_intent(ready_bench(drop_retry_ms=10_000), WALL_MS + 1_000)
    bench.ms = 1_000
    bench.handle(bench.look_due)
    [made] = bench.told(ProposalsMade)
    failed = ProposalSettled(made.proposals[0].number, None, "unavailable", "no majority")
    bench.handle(ProposalsSettled((failed,)))
    bench.ms = 10_999
    bench.handle(bench.look_due)
    assert proposed(bench) == []
    bench.ms = 11_000
    bench.handle(bench.look_due)
    assert proposed(bench) == [(intent_row(7, 12).key, None)]


def test_a_node_that_follows_the_store_of_another_leaves_intents_that_are_over_to_it() -> None:
    bench = with_intent(ready_bench("away"), WALL_MS + 1_000)
    bench.ms = 1_000
    bench.handle(bench.look_due)
    assert proposed(bench) == []
