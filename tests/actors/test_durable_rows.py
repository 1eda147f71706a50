"""Rows of the store: what is written is read back, and what anybody else may have written costs nothing but a count."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.durable_rows import (
    STORE_ORIGIN,
    RowUnreadable,
    fence_row_key,
    instance_row_key,
    instance_row_value,
    read_row,
    record_of,
)
from actors.durable_values import KeptFence, KeptInstance
from actors.records import STAMP_COUNTER_BITS
from rollbook.codec import pack
from rollbook.model import Instance, Service

SERVICE = Service("public", "shop", "orders")
INSTANCE = Instance("10.0.0.1", 8080, "DEFAULT", 2.5, True, False, False, {"zone": "ä b"})
KEY = instance_row_key(SERVICE, INSTANCE.key)
VALUE = instance_row_value(INSTANCE, "client-1", 1_700_000_000_000, 1_600_000_000_000)


def test_an_instance_is_read_back_as_it_was_written() -> None:
    kept = read_row(KEY, VALUE, 7)
    assert kept == KeptInstance(SERVICE, INSTANCE, "client-1", 1_700_000_000_000, 1_600_000_000_000, 7)
    assert KEY == "instance public shop orders 10.0.0.1 8080 DEFAULT"


def test_of_a_fence_only_the_index_counts() -> None:
    assert read_row(fence_row_key("n1"), b"\xff anything", 9) == KeptFence("n1", 9)


def test_a_record_of_a_row_carries_what_the_index_needs() -> None:
    kept = read_row(KEY, VALUE, 7)
    assert isinstance(kept, KeptInstance)
    record = record_of(kept)
    assert (record.origin, record.seq, record.instances) == (STORE_ORIGIN, 7, (INSTANCE,))
    assert record.session == 1_600_000_000_000, "when it came: written again it stays the same incarnation"
    assert record.stamp >> STAMP_COUNTER_BITS == 1_700_000_000_000, "when it was written"
    assert record.key.service == SERVICE


def test_fields_that_a_later_version_appends_are_ignored() -> None:
    longer = pack([1, 2.5, True, False, {"zone": "ä b"}, "client-1", 1_700_000_000_000, 1_600_000_000_000, "news"])
    assert read_row(KEY, longer, 7) == read_row(KEY, VALUE, 7)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", VALUE),
        ("instance", VALUE),
        ("user alice", VALUE),
        (f"{KEY} ", VALUE),
        (KEY.replace("8080", "http"), VALUE),
        (KEY.replace("8080", "9" * 5_000), VALUE),
        (KEY, b""),
        (KEY, b"\xc1"),
        (KEY, pack([2, 2.5, True, False, {}, "client-1", 5])),
        (KEY, pack([0, 2.5, True, False, {}, "client-1", 5])),
        (KEY, pack([1, "heavy", True, False, {}, "client-1", 5])),
        (KEY, pack([1, 2.5, True, False, {}, "client-1", -5])),
        (KEY, pack({"format": 1})),
        ("fence", VALUE),
    ],
)
def test_what_cannot_be_read_is_named(key: str, value: bytes) -> None:
    with pytest.raises(RowUnreadable) as raised:
        read_row(key, value, 7)
    assert str(raised.value).startswith(key)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY.replace("8080", "70000"), VALUE),
        (KEY.replace("8080", "-1"), VALUE),
        (KEY.replace("10.0.0.1", ""), VALUE),
        (KEY.replace("orders", "or\x00ders"), VALUE),
        (KEY, pack([1, float("nan"), True, False, {}, "client-1", 5])),
        (KEY, pack([1, -1.0, True, False, {}, "client-1", 5])),
        (KEY, pack([1, 1.0, True, False, {}, "client-1", 1 << 60])),  # its stamp would not fit into 64 bits
        (KEY, pack([1, 1.0, True, False, {"a": "b" * 100_000}, "client-1", 5])),
    ],
)
def test_a_row_that_breaks_a_rule_of_the_model_is_not_read(key: str, value: bytes) -> None:
    with pytest.raises(RowUnreadable):
        read_row(key, value, 7)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("instance", (2.5, True, False, {}, "ann", 5, 5)),
        ("service", ([0.5], "ann", 5)),
        ("intent", ([False], "kept 5", "ann", 5, 0)),
        ("namespace", ("Shop", "", "ann", 5)),
    ],
)
def test_a_row_of_a_newer_format_is_not_guessed_at(kind: str, value: tuple[Any, ...]) -> None:
    key = {
        "service": "service public shop orders",
        "namespace": "namespace shop",
        "intent": "intent public shop orders 10.0.0.1 80 DEFAULT enabled",
    }.get(kind, "instance public shop orders 10.0.0.1 80 DEFAULT")
    assert read_row(key, pack([1, *value]), 7)
    with pytest.raises(RowUnreadable, match="format 2 is newer than 1"):
        read_row(key, pack([2, *value]), 7)


@pytest.mark.parametrize(
    "key",
    [
        "intent public shop orders 10.0.0.1 70000 DEFAULT enabled",
        "intent public shop orders  80 DEFAULT enabled",
        "intent public shop orders 10.0.0.1 80 no/cluster enabled",
        "intent public shop ord\x7fers 10.0.0.1 80 DEFAULT enabled",
        "intent no/space shop orders 10.0.0.1 80 DEFAULT enabled",
    ],
)
def test_an_intent_is_meant_for_an_instance_that_there_can_be(key: str) -> None:
    with pytest.raises(RowUnreadable):
        read_row(key, pack([1, [False], "kept 5", "ann", 5, 0]), 7)


@pytest.mark.parametrize("port", ["08080", "+8080", "8_080", "8080\t", "８０８０"])
def test_an_instance_has_one_key_and_no_other_spelling_is_read(port: str) -> None:
    with pytest.raises(RowUnreadable):
        read_row(KEY.replace("8080", port), VALUE, 7)


def test_no_bytes_make_reading_raise_anything_else() -> None:
    chance = random.Random(5)
    read = 0
    for _ in range(20_000):
        value = bytearray(VALUE)
        for _ in range(chance.randrange(1, 4)):
            value[chance.randrange(len(value))] = chance.randrange(256)
        try:
            read += read_row(KEY, bytes(value[: chance.randrange(len(value) + 1)] + value[len(value) :]), 1) is not None
        except RowUnreadable:
            continue
    assert 0 < read < 20_000
