"""Durable data as JSON lines: each kind comes back as it was, and what breaks a rule is named by its line and field."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from rollbook.checkers import CheckerSettings
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.errors import InvalidField
from rollbook.exchange_lines import (
    LINE_BYTES_MAX,
    NAME,
    VERSION,
    ContentLine,
    HeaderLine,
    InstanceLine,
    IntentLine,
    NamespaceLine,
    ServiceLine,
    encoded,
    line_of,
    read_lines,
)
from rollbook.kept_rows import InstanceRow, IntentRow, KeptRow, NamespaceRow, ServiceRow
from rollbook.model import Instance, Service

ORDERS = Service("prod", "shop", "orders")
KEPT = Instance("10.0.0.1", 80, "EAST", 2.5, False, False, False, {"zone": "a"})
SETTINGS = ServiceSettings(0.5, {"team": "a"}, {"EAST": CheckerSettings("http", False, 81, "/h", "a:b", 204)})
PROD = Namespace("prod", "production", "of the shop")
INTENT = Intent(False, 0.5, {"zone": "b"})
ROWS: list[KeptRow] = [
    ServiceRow(ORDERS, SETTINGS, "ann", 7),
    NamespaceRow(PROD, "ann", 8),
    IntentRow(ORDERS, KEPT.key, INTENT, "kept 9", "bob", 10, 11),
    InstanceRow(ORDERS, KEPT, "deployer", 12, 9),
]
HEADER = {"kind": "header", "format": NAME, "version": VERSION}
SERVICE = {"kind": "service", "service": "orders"}
INSTANCE = {"kind": "instance", "service": "orders", "ip": "10.0.0.1", "port": 80}
INTENDED = {"kind": "intent", "service": "orders", "ip": "10.0.0.1", "port": 80, "enabled": False}
SPACE = {"kind": "namespace", "id": "prod", "name": "production"}


def text(*objects: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def read(payload: bytes) -> list[tuple[int, ContentLine]]:
    return read_lines(io.BytesIO(payload), "x.jsonl")


def refused(payload: bytes) -> tuple[str, str]:
    """The field, and the sentence."""
    with pytest.raises(InvalidField) as raised:
        read(payload)
    return raised.value.field, raised.value.message


def test_every_kind_comes_back_with_all_that_it_says() -> None:
    header = HeaderLine(NAME, VERSION, "s1", 41, 5)
    payload = b"".join(map(encoded, (header, *map(line_of, ROWS))))
    (_, service), (_, namespace), (_, intent), (number, instance) = read(payload)
    assert number == 5
    assert isinstance(service, ServiceLine)
    assert (service.named(), service.settings(), service.author, service.written_ms) == (ORDERS, SETTINGS, "ann", 7)
    assert isinstance(namespace, NamespaceLine)
    assert (namespace.namespace(), namespace.author, namespace.written_ms) == (PROD, "ann", 8)
    assert isinstance(intent, IntentLine)
    assert (intent.named(), intent.key(), intent.intent()) == (ORDERS, KEPT.key, INTENT)
    assert (intent.author, intent.written_ms, intent.expires_ms) == ("bob", 10, 11)
    assert isinstance(instance, InstanceLine)
    assert (instance.named(), instance.instance()) == (ORDERS, KEPT)
    assert (instance.author, instance.written_ms, instance.added_ms) == ("deployer", 12, 9)


def test_a_line_says_its_kind_first_for_whoever_reads_it() -> None:
    for row, kind in zip(ROWS, ("service", "namespace", "intent", "instance"), strict=True):
        assert encoded(line_of(row)).startswith(b'{"kind":"' + kind.encode() + b'"')


def test_what_is_not_said_has_the_defaults_of_the_command_line() -> None:
    (_, service), (_, instance), (_, intent) = read(text(HEADER, SERVICE, INSTANCE, INTENDED))
    assert isinstance(service, ServiceLine)
    assert (service.named(), service.settings()) == (Service("public", "DEFAULT_GROUP", "orders"), ServiceSettings())
    assert isinstance(instance, InstanceLine)
    assert instance.instance() == Instance("10.0.0.1", 80, ephemeral=False)
    assert isinstance(intent, IntentLine)
    assert (intent.intent(), intent.expires_ms) == (Intent(enabled=False), 0)


def test_a_last_line_without_its_end_is_a_line() -> None:
    assert len(read(text(HEADER, INSTANCE)[:-1])) == 1


def test_an_export_of_nothing_is_an_export() -> None:
    assert read(text(HEADER)) == []


@pytest.mark.parametrize(
    "first",
    [b"", b"\n", text(INSTANCE), text({**HEADER, "format": "other"}), b"rollbook backup 1\n", text([1]), text("x")],
)
def test_a_foreign_file_has_no_header(first: bytes) -> None:
    assert refused(first) == ("format", "x.jsonl, line 1: format: this is no header of a rollbook export")


def test_a_newer_version_is_refused_naming_both_whatever_else_its_header_says() -> None:
    field, message = refused(text({**HEADER, "version": 7, "later": True}))
    assert field == "version"
    assert f"the export has version 7, and this one reads up to {VERSION}: use a newer rollbook" in message


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({**INSTANCE, "weight": "heavy"}, "weight"),
        ({**INSTANCE, "weight": -1}, "weight"),
        ({**INSTANCE, "port": 70_000}, "port"),
        ({**INSTANCE, "port": True}, "port"),
        ({**INSTANCE, "wieght": 1}, "wieght"),
        ({**INSTANCE, "ephemeral": False}, "ephemeral"),
        ({**INSTANCE, "cluster": "two words"}, "cluster"),
        ({**INSTANCE, "metadata": {"a": 1}}, "metadata[...]"),
        ({**INSTANCE, "metadata": {"a": "x" * 1_024}}, "metadata"),
        ({"kind": "instance", "service": "orders", "port": 80}, "ip"),
        ({**INSTANCE, "kind": "instanz"}, "kind"),
        ({"service": "orders"}, "kind"),
        (HEADER, "kind"),
        ({**SERVICE, "service": "two words"}, "service"),
        ({**SERVICE, "group": ""}, "group"),
        ({**SERVICE, "protection_threshold": 2}, "protection_threshold"),
        ({**SERVICE, "checkers": {"a": {"kind": "icmp"}}}, "checkers[...].kind"),
        ({**SERVICE, "checkers": {"a": {"hort": 1}}}, "checkers[...].hort"),
        ({**SERVICE, "checkers": {"a": {"port": 0}}}, "port"),
        ({**SERVICE, "selector": "all"}, "selector"),
        ({**INTENDED, "enabled": None}, "intent"),
        ({**INTENDED, "weight": 10_001}, "weight"),
        ({**INTENDED, "expires_ms": -1}, "expires_ms"),
        ({**INTENDED, "ip": "a b"}, "ip"),
        ({**SPACE, "id": "two words"}, "namespace"),
        ({**SPACE, "id": "public"}, "id"),
        ({**SPACE, "name": ""}, "name"),
        (["kind"], "line"),
    ],
)
def test_a_line_that_breaks_a_rule_is_named_with_its_field(line: Any, field: str) -> None:
    found, message = refused(text(HEADER, {**SPACE, "id": "a"}, line, INSTANCE))
    assert message.startswith(f"x.jsonl, line 3: {field}: ")
    assert found == field


@pytest.mark.parametrize("line", [b"\n", b"{\n", b"\xff\n", b'{"kind":"service","service":"\\ud800"}\n', b"null\n"])
def test_what_is_no_json_object_is_refused(line: bytes) -> None:
    assert refused(text(HEADER) + line)[1].startswith("x.jsonl, line 2: line: ")


def test_a_line_has_a_limit() -> None:
    field, message = refused(text(HEADER) + b'{"kind":"' + b"x" * LINE_BYTES_MAX)
    assert (field, f"longer than {LINE_BYTES_MAX} bytes" in message) == ("line", True)


def test_each_thing_that_is_wanted_of_an_instance_may_be_said_once() -> None:
    weight = {**INTENDED, "enabled": None, "weight": 2.0}
    assert len(read(text(HEADER, INTENDED, weight))) == 2
    assert refused(text(HEADER, INTENDED, weight, {**weight, "enabled": True}))[1].endswith("in line 2 already")


@pytest.mark.parametrize("line", [SERVICE, INSTANCE, INTENDED, SPACE])
def test_the_same_may_be_said_once(line: dict[str, Any]) -> None:
    field, message = refused(text(HEADER, line, {**line, "author": "other"}))
    assert (field, message) == ("kind", "x.jsonl, line 3: kind: the same is said in line 2 already")
