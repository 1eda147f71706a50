"""What orders of people mean for the store: what is written, what is expected, and what is refused without writing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.base import Now
from actors.durable_image import DurableImage
from actors.durable_orders import (
    PUBLIC,
    BindIntent,
    DropIntent,
    OrderAnswer,
    Plan,
    fate_of,
    namespaces_listed,
    plan_of,
    row_keys,
    service_answer,
)
from actors.durable_rows import (
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    namespace_row_key,
    namespace_row_value,
    read_row,
    service_row_key,
    service_row_value,
)
from actors.durable_values import KeptInstance, KeptIntent
from actors.messages.store import Cut, Expectation, Row
from actors.messages.values import IntentPlace, Order, Route
from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import (
    NAMESPACES_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetHealth,
    WithdrawPersistent,
)
from rollbook.errors import Code
from rollbook.model import Instance
from rollbook.wire import Done, Failed
from tests.support.registry import ORDERS

KEPT = Instance("10.0.0.1", 80, ephemeral=False)
SETTINGS = ServiceSettings(0.5, {"team": "a"})
SHOP = Namespace("shop", "Shop")
NOW = Now(5, 1_000)
SERVICE_ROW = (service_row_key(ORDERS), service_row_value(SETTINGS, "ann", 7), 3)
INSTANCE_ROW = (instance_row_key(ORDERS, KEPT.key), instance_row_value(KEPT, "deployer", 8, 8), 4)
KEPT_INTENT = KeptIntent(ORDERS, KEPT.key, Intent(enabled=False), "kept 8", "ann", 9, 0, 6)
INTENT_ROW = (intent_row_key(KEPT_INTENT.place), intent_row_value(KEPT_INTENT), 6)
NAMESPACE_ROW = (namespace_row_key("shop"), namespace_row_value(SHOP, "ann", 9), 5)


PLACE = IntentPlace(ORDERS, KEPT.key, "weight")


def decided(intent: Intent, index: int, incarnation: str = "kept 8") -> tuple[str, bytes, int]:
    kept = KeptIntent(ORDERS, KEPT.key, intent, incarnation, "ann", 5, 0, index)
    return intent_row_key(kept.place), intent_row_value(kept), index


def image(*rows: tuple[str, bytes, int]) -> DurableImage:
    made = DurableImage()
    made.replace(Cut(tuple(Row(*row) for row in sorted(rows)), 9))
    made.check_invariants()
    return made


def planned(body: Any, there: DurableImage) -> Plan:
    plan = plan_of(Order(Route(b"l", 1), 1, body, "bob"), there, NOW)
    assert isinstance(plan, Plan), plan
    assert tuple(operation.key for operation in plan.operations) == row_keys(Order(Route(b"l", 1), 1, body))
    return plan


def refused(body: Any, there: DurableImage) -> tuple[int, str]:
    answer = plan_of(Order(Route(b"l", 1), 1, body, "bob"), there, NOW)
    assert isinstance(answer, OrderAnswer), answer
    assert isinstance(answer.body, Failed)
    return answer.body.code, answer.body.field


def test_settings_are_put_whatever_is_there() -> None:
    for there in (image(), image(SERVICE_ROW)):
        plan = planned(PutService(ORDERS, SETTINGS), there)
        assert plan.expectations == ()


def test_to_create_expects_that_there_is_nothing_and_to_update_what_was_seen() -> None:
    created = planned(PutService(ORDERS, SETTINGS, "create"), image())
    assert created.expectations == (Expectation(SERVICE_ROW[0], 0),)
    updated = planned(PutService(ORDERS, SETTINGS, "update"), image(SERVICE_ROW))
    assert updated.expectations == (Expectation(SERVICE_ROW[0], 3),)
    assert refused(PutService(ORDERS, SETTINGS, "create"), image(SERVICE_ROW)) == (Code.SERVICE_EXISTS, "service")
    assert refused(PutService(ORDERS, SETTINGS, "update"), image()) == (Code.SERVICE_NOT_FOUND, "service")


def test_settings_that_were_read_take_the_place_of_just_these() -> None:
    put = planned(PutService(ORDERS, SETTINGS, index=3), image(SERVICE_ROW))
    assert put.expectations == (Expectation(SERVICE_ROW[0], 3),)
    for there in (image(), image((*SERVICE_ROW[:2], 4))):
        assert refused(PutService(ORDERS, SETTINGS, index=3), there) == (Code.CHANGED_MEANWHILE, "index")


def test_the_health_of_an_instance_is_put_where_nobody_probes_it_and_nothing_else_of_it() -> None:
    unprobed = ServiceSettings(checkers={"DEFAULT": CheckerSettings("none")})
    row = (SERVICE_ROW[0], service_row_value(unprobed, "ann", 7), 3)
    sick = SetHealth(ORDERS, KEPT.key, healthy=False)
    plan = planned(sick, image(row, INSTANCE_ROW))
    (operation,) = plan.operations
    assert operation.value is not None
    kept = read_row(operation.key, operation.value, 9)
    assert isinstance(kept, KeptInstance)
    assert (kept.instance, kept.added_ms) == (msgspec.structs.replace(KEPT, healthy=False), 8)
    assert plan.expectations == (Expectation(INSTANCE_ROW[0], 4),)
    done = plan_of(
        Order(Route(b"l", 1), 1, SetHealth(ORDERS, KEPT.key, healthy=True), "bob"), image(row, INSTANCE_ROW), NOW
    )
    assert isinstance(done, OrderAnswer)
    assert done.body == Done(seq=9)
    assert refused(sick, image(INSTANCE_ROW)) == (Code.HEALTH_PROBED, "healthy"), "over TCP, unless somebody says so"
    assert refused(sick, image(SERVICE_ROW, INSTANCE_ROW)) == (Code.HEALTH_PROBED, "healthy")
    assert refused(sick, image(row)) == (Code.INSTANCE_NOT_FOUND, "key")


def test_a_service_with_persistent_instances_is_not_deleted() -> None:
    assert refused(DeleteService(ORDERS), image(SERVICE_ROW, INSTANCE_ROW)) == (Code.SERVICE_IN_USE, "service")
    assert refused(DeleteService(ORDERS), image()) == (Code.SERVICE_NOT_FOUND, "service")
    plan = planned(DeleteService(ORDERS), image(SERVICE_ROW))
    assert (plan.operations[0].value, plan.expectations) == (None, (Expectation(SERVICE_ROW[0], 3),))


@pytest.mark.parametrize("body", [PutNamespace(Namespace("public", "p")), DeleteNamespace("public")])
def test_the_namespace_public_is_built_in(body: Any) -> None:
    assert refused(body, image()) == (Code.PARAMETER_INVALID, "id")


def test_a_namespace_in_which_anything_is_kept_is_not_deleted() -> None:
    inside = ORDERS._replace(namespace="shop")
    row = (service_row_key(inside), service_row_value(SETTINGS, "ann", 7), 6)
    assert refused(DeleteNamespace("shop"), image(NAMESPACE_ROW, row)) == (Code.SERVICE_IN_USE, "id")
    assert refused(DeleteNamespace("shop"), image()) == (Code.SERVICE_NOT_FOUND, "id")
    assert planned(DeleteNamespace("shop"), image(NAMESPACE_ROW)).expectations == (Expectation("namespace shop", 5),)


def test_namespaces_are_listed_with_the_one_that_is_built_in() -> None:
    listed = namespaces_listed(image(NAMESPACE_ROW))
    assert [namespace.id for namespace in listed.namespaces] == ["public", "shop"]


def test_a_row_that_somebody_has_written_of_the_namespace_public_changes_nothing() -> None:
    row = (namespace_row_key("public"), namespace_row_value(Namespace("public", "mine"), "eve", 9), 5)
    assert namespaces_listed(image(row)).namespaces == (PUBLIC,)


def test_beyond_the_limit_only_namespaces_that_there_are_can_be_put() -> None:
    rows = [
        (namespace_row_key(f"n{number}"), namespace_row_value(Namespace(f"n{number}", "N"), "ann", 9), 5)
        for number in range(NAMESPACES_MAX)
    ]
    assert refused(PutNamespace(SHOP), image(*rows)) == (Code.OVER_LIMIT, "id")
    planned(PutNamespace(Namespace("n7", "Another")), image(*rows))
    planned(PutNamespace(SHOP), image(*rows[1:]))


def test_a_service_is_shown_with_its_settings_or_with_the_defaults() -> None:
    shown = service_answer(ORDERS, Route(b"l", 1), 1, image(SERVICE_ROW, INSTANCE_ROW)).shown
    assert (shown.settings, shown.author, shown.written_ms, shown.index, shown.persistent_instances) == (
        *(SETTINGS, "ann", 7, 3),
        1,
    )
    shown = service_answer(ORDERS, Route(b"l", 1), 1, image()).shown
    assert (shown.settings, shown.index) == (ServiceSettings(), 0)


def test_an_intent_is_written_with_its_author_its_time_and_the_incarnation_it_is_meant_for() -> None:
    body = BindIntent(ORDERS, KEPT.key, Intent(enabled=False), 500, "kept 8")
    (operation,) = planned(body, image()).operations
    assert operation.value is not None
    kept = read_row(operation.key, operation.value, 11)
    assert kept == KeptIntent(ORDERS, KEPT.key, Intent(enabled=False), "kept 8", "bob", 1_000, 1_500, 11)
    (for_ever,) = planned(msgspec.structs.replace(body, for_ms=0), image()).operations
    assert for_ever.value is not None
    kept = read_row(for_ever.key, for_ever.value, 11)
    assert isinstance(kept, KeptIntent)
    assert kept.expires_ms == 0


def test_what_an_intent_says_is_written_field_by_field_whatever_others_have_decided() -> None:
    there = image(decided(Intent(metadata={"why": "hot"}), 7))
    plan = planned(BindIntent(ORDERS, KEPT.key, Intent(enabled=False, weight=2.0), 0, "kept 8"), there)
    assert [operation.key.split(" ")[-1] for operation in plan.operations] == ["enabled", "weight"]
    kept = [read_row(operation.key, operation.value or b"", 11) for operation in plan.operations]
    assert [each.intent for each in kept if isinstance(each, KeptIntent)] == [Intent(enabled=False), Intent(weight=2.0)]
    assert plan.expectations == (), "two who decide different things do not meet"


@pytest.mark.parametrize(
    ("fields", "cleared"),
    [
        ((), ["enabled", "metadata", "weight"]),
        (("weight",), ["weight"]),
        (("weight", "enabled"), ["enabled", "weight"]),
    ],
)
def test_fields_are_cleared_whether_this_node_knows_of_them_or_not(fields: Any, cleared: list[str]) -> None:
    for there in (image(), image(decided(Intent(weight=2.0), 7))):
        operations = planned(ClearIntent(ORDERS, KEPT.key, fields), there).operations
        assert [operation.key.split(" ")[-1] for operation in operations] == cleared
        assert [operation.value for operation in operations] == [None] * len(cleared)


def test_two_orders_about_different_fields_of_an_instance_do_not_wait_for_each_other() -> None:
    bodies = (BindIntent(ORDERS, KEPT.key, Intent(weight=2.0), 0, "a"), ClearIntent(ORDERS, KEPT.key, ("enabled",)))
    first, second = (set(row_keys(Order(Route(b"l", 1), 1, body))) for body in bodies)
    assert not first & second


def test_what_was_decided_of_an_instance_is_shown_one_by_one_with_whom_it_was_meant_for() -> None:
    there = image(decided(Intent(weight=2.0), 7), decided(Intent(enabled=False), 6, incarnation="kept 7"))
    answer = service_answer(ORDERS, Route(b"l", 1), 1, there)
    assert [intent.intent for intent in answer.shown.intents] == [Intent(enabled=False), Intent(weight=2.0)]
    assert answer.incarnations == ("kept 7", "kept 8")


def test_who_withdraws_many_instances_writes_no_more_rows_than_these() -> None:
    there = image(INSTANCE_ROW, decided(Intent(weight=2.0), 7))
    assert len(planned(WithdrawPersistent(ORDERS, (KEPT.key,)), there).operations) == 1


@pytest.mark.parametrize(("incarnation", "is_over"), [("kept 8", False), ("kept 7", True), ("a", False)])
def test_a_decision_about_a_persistent_instance_does_not_outlive_it(incarnation: str, *, is_over: bool) -> None:
    there = image(INSTANCE_ROW, decided(Intent(weight=2.0), 7, incarnation=incarnation))
    assert [there.has_outlived(kept) for kept in there.intents()] == [is_over]
    gone = image(decided(Intent(weight=2.0), 7, incarnation=incarnation))
    assert [gone.has_outlived(kept) for kept in gone.intents()] == [incarnation != "a"]


def test_an_intent_that_is_over_goes_only_if_it_is_still_this_one() -> None:
    body = BindIntent(ORDERS, KEPT.key, Intent(weight=2.0), 500, "kept 8")
    (operation,) = planned(body, image()).operations
    assert operation.value is not None
    there = image((operation.key, operation.value, 7))
    plan = planned(DropIntent(PLACE, 7), there)
    assert plan.expectations == (Expectation(intent_row_key(PLACE), 7),)
    another = plan_of(Order(Route(b"l", 1), 1, DropIntent(PLACE, 6)), there, NOW)
    assert isinstance(another, OrderAnswer), "somebody has set another one since"


def test_an_instance_that_is_written_again_keeps_the_moment_in_which_it_came() -> None:
    for there, added_ms in ((image(), 1_000), (image(INSTANCE_ROW), 8)):
        (operation,) = planned(PublishPersistent(ORDERS, (KEPT,)), there).operations
        assert operation.value is not None
        kept = read_row(operation.key, operation.value, 12)
        assert isinstance(kept, KeptInstance)
        assert (kept.written_ms, kept.added_ms) == (1_000, added_ms)


# -- what became of a proposal whose answer was lost

KEY = INSTANCE_ROW[0]
BY_ANOTHER = (KEY, instance_row_value(msgspec.structs.replace(KEPT, weight=7.0), "eve", 9, 8))


@pytest.mark.parametrize(
    ("before", "after", "is_touched", "fate"),
    [
        ((), (), False, "not applied"),
        ((), (), True, "unknown"),  # it came and went, or was never there: to write it again could bring it back
        ((), (BY_ANOTHER,), True, "unknown"),
        ((INSTANCE_ROW,), (INSTANCE_ROW,), False, "not applied"),
        ((INSTANCE_ROW,), (INSTANCE_ROW,), True, "not applied"),  # a cut does not say who touched it; its index does
        ((INSTANCE_ROW,), (BY_ANOTHER,), True, "unknown"),
        ((INSTANCE_ROW,), (), True, "unknown"),
    ],
)
def test_what_became_of_a_lost_write_is_seen_from_its_row(
    before: Any, after: Any, *, is_touched: bool, fate: str
) -> None:
    plan = planned(PublishPersistent(ORDERS, (KEPT,)), image(*before))
    there = image(*((*row[:2], row[2] if len(row) == 3 else 8) for row in after))
    assert fate_of(plan, {KEY} if is_touched else set(), there) == fate


def test_a_lost_write_that_stands_there_as_it_was_wanted_was_applied() -> None:
    plan = planned(PublishPersistent(ORDERS, (KEPT,)), image())
    (operation,) = plan.operations
    assert operation.value is not None
    assert fate_of(plan, {KEY}, image((KEY, operation.value, 8))) == "applied"


def test_a_lost_removal_is_done_if_nothing_is_left_and_else_seen_from_what_is() -> None:
    plan = planned(ClearIntent(ORDERS, KEPT.key), image(INTENT_ROW))
    assert fate_of(plan, {INTENT_ROW[0]}, image()) == "applied"
    assert fate_of(plan, set(), image(INTENT_ROW)) == "not applied"
    assert fate_of(plan, {INTENT_ROW[0]}, image((*INTENT_ROW[:2], 8))) == "unknown"
