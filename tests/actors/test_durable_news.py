"""What changes of the image mean for others, however many of them come at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.base import Effect, Role, Tell
from actors.durable_image import DurableImage
from actors.durable_news import news_of
from actors.durable_rows import (
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    service_row_key,
    service_row_value,
)
from actors.durable_values import KeptIntent
from actors.messages.clients import PersistentServicesChanged
from actors.messages.health import CheckersChanged, InstancesKept
from actors.messages.index import OverlaysChanged, RecordsChanged
from actors.messages.store import Cut, Operation, Row, StoredChange
from actors.messages.values import BoundIntent
from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, ServiceSettings
from rollbook.model import Instance, Service

SERVICE = Service("public", "shop", "orders")
KEPT = Instance("10.0.0.1", 80, ephemeral=False)
KEY, VALUE = instance_row_key(SERVICE, KEPT.key), instance_row_value(KEPT, "client", 5, 5)
NOW_MS = 1_000
TO_CLIENTS = (Role.CLIENTS, PersistentServicesChanged)
CHECKED = service_row_value(ServiceSettings(checkers={"DEFAULT": CheckerSettings()}), "client", 5)


def news(rows: list[Row], *operations: Operation) -> list[Effect]:
    """Of one batch in which these follow each other, behind a store with these rows."""
    image = DurableImage()
    image.replace(Cut(tuple(rows), 4))
    batch = [StoredChange(index, (operation,)) for index, operation in enumerate(operations, 5)]
    changes, _ = image.follow(batch, 4 + len(batch))
    return news_of(changes, image, NOW_MS, 100)


def told(effects: list[Effect], role: Role, kind: type[Any]) -> list[Any]:
    found = [effect.message for effect in effects if isinstance(effect, Tell) and effect.to is role]
    return [message for message in found if isinstance(message, kind)]


@pytest.mark.parametrize("is_there", [False, True])
def test_what_goes_and_comes_again_at_once_is_there(*, is_there: bool) -> None:
    rows = [Row(KEY, VALUE, 3)] if is_there else []
    effects = news(rows, Operation(KEY, VALUE), Operation(KEY, None), Operation(KEY, VALUE))
    [records] = told(effects, Role.INDEX, RecordsChanged)
    assert ([record.seq for record in records.records], records.removed) == ([7], ())
    expected = [] if is_there else [InstancesKept(((SERVICE, KEPT.key, True),))]
    assert told(effects, Role.HEALTH, InstancesKept) == expected


def test_whom_a_change_means_nothing_is_not_told() -> None:
    heavier = instance_row_value(msgspec.structs.replace(KEPT, weight=2.0), "client", 5, 5)
    assert {
        effect.to for effect in news([Row(KEY, VALUE, 3)], Operation(KEY, heavier)) if isinstance(effect, Tell)
    } == {Role.INDEX}


def test_a_change_of_the_stored_health_is_told() -> None:
    ill = instance_row_value(msgspec.structs.replace(KEPT, healthy=False), "client", 5, 5)
    effects = news([Row(KEY, VALUE, 3)], Operation(KEY, ill))
    assert told(effects, Role.HEALTH, InstancesKept) == [InstancesKept(((SERVICE, KEPT.key, False),))]


def test_a_service_that_has_instances_all_the_time_stays_of_its_kind() -> None:
    other = Instance("10.0.0.1", 81, ephemeral=False)
    key, value = instance_row_key(SERVICE, other.key), instance_row_value(other, "client", 5, 5)
    came_and_went = [Operation(key, value), Operation(KEY, None)]
    assert told(news([Row(KEY, VALUE, 3)], *came_and_went), *TO_CLIENTS) == []
    [began] = told(news([], *came_and_went), *TO_CLIENTS)
    assert began == PersistentServicesChanged((SERVICE,), ())
    [ended] = told(news([Row(KEY, VALUE, 3)], *reversed(came_and_went), Operation(key, None)), *TO_CLIENTS)
    assert ended == PersistentServicesChanged((), (SERVICE,))


def test_what_comes_and_goes_again_at_once_is_told_to_nobody() -> None:
    effects = news([], Operation(KEY, VALUE), Operation(KEY, None))
    assert told(effects, Role.INDEX, RecordsChanged) == []
    assert told(effects, Role.HEALTH, InstancesKept) == []


def test_settings_that_go_and_come_again_at_once_keep_their_checkers() -> None:
    key = service_row_key(SERVICE)
    effects = news([], Operation(key, CHECKED), Operation(key, None), Operation(key, CHECKED))
    [checkers] = told(effects, Role.HEALTH, CheckersChanged)
    assert (checkers.put, checkers.removed) == (((SERVICE, "DEFAULT", CheckerSettings()),), ())


def test_of_changed_settings_only_the_checkers_that_differ_are_told() -> None:
    key = service_row_key(SERVICE)
    slow, http = CheckerSettings(port=1, use_instance_port=False), CheckerSettings("http")
    before = service_row_value(ServiceSettings(checkers={"a": slow, "b": slow, "c": slow}), "ann", 5)
    after = service_row_value(ServiceSettings(checkers={"a": slow, "b": http, "d": slow}), "ann", 6)
    effects = news([Row(key, before, 3)], Operation(key, after))
    assert told(effects, Role.HEALTH, CheckersChanged) == [
        CheckersChanged(((SERVICE, "b", http), (SERVICE, "d", slow)), ((SERVICE, "c"),))
    ]


def test_settings_that_go_take_their_threshold_along() -> None:
    key = service_row_key(SERVICE)
    value = service_row_value(ServiceSettings(0.5), "ann", 5)
    assert told(news([], Operation(key, value)), Role.INDEX, OverlaysChanged) == [OverlaysChanged(((SERVICE, 0.5),))]
    effects = news([Row(key, value, 3)], Operation(key, None))
    assert told(effects, Role.INDEX, OverlaysChanged) == [OverlaysChanged(((SERVICE, None),))]


@pytest.mark.parametrize(
    ("expires_ms", "is_in_force"), [(0, True), (NOW_MS + 1, True), (NOW_MS, False), (NOW_MS - 1, False)]
)
def test_an_intent_that_was_over_before_it_came_is_not_in_force(expires_ms: int, *, is_in_force: bool) -> None:
    kept = KeptIntent(SERVICE, KEPT.key, Intent(enabled=False), "kept 8", "ann", 5, expires_ms, 5)
    effects = news([], Operation(intent_row_key(kept.place), intent_row_value(kept)))
    bound = BoundIntent(kept.intent, "kept 8") if is_in_force else None
    assert told(effects, Role.INDEX, OverlaysChanged) == [OverlaysChanged((), ((kept.place, bound),))]
