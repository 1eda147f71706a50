"""What docs/protocol.md says of every array on the wire: the names of its fields in order, and their defaults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"

_VALUE_ROW = re.compile(r"^\| (\w+) \| `(\[.*?\])`", re.MULTILINE)  # of a table: | Service | `[namespace, ...]` |
_TAG_ROW = re.compile(r"^\| ([\d, ]+) \| ([A-Z_, ]+) \| `(\[.*?\])`", re.MULTILINE)  # | 4, 5 | PING, PONG | `[...]` |
_NAMED = re.compile(r"^(\w+) += (\[[^`]*?\])(?:  |\n)", re.MULTILINE)  # entry = [owner, ...], of two lines perhaps
_HELD = re.compile(r"`(\w+)`\s+holds\s+`(\[[^`]*\])`")  # `members` holds `[node_id, ...]`

REQUIRED = object()


class WrittenField(NamedTuple):
    name: str
    default: Any = REQUIRED


Fields = list[WrittenField]


def client_arrays() -> dict[str, Fields]:
    """Of the first part: by the name of a tag or a value."""
    return _arrays(_halves()[0])


def peer_arrays() -> dict[str, Fields]:
    return _arrays(_halves()[1])


def fields_of(kind: Any) -> Fields:
    """The same of a struct or a named tuple."""
    if issubclass(kind, tuple):
        defaults = kind._field_defaults
        return [WrittenField(name, defaults.get(name, REQUIRED)) for name in kind._fields]
    return [WrittenField(field.name, _default(field)) for field in msgspec.structs.fields(kind)]


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if isinstance(field.default, msgspec.Struct):
        assert field.default == type(field.default)()
        return []  # an array of which every field is missing
    if field.default is not msgspec.NODEFAULT:
        return list(field.default) if isinstance(field.default, tuple) else field.default
    return REQUIRED if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _halves() -> tuple[str, str]:
    text = PROTOCOL.read_text()
    place = text.index("\n## 2. ")
    return text[:place], text[place:]


def _arrays(text: str) -> dict[str, Fields]:
    found = {name: _fields(array) for pattern in (_VALUE_ROW, _NAMED, _HELD) for name, array in pattern.findall(text)}
    for _, names, array in _TAG_ROW.findall(text):
        found |= {name: _fields(array) for name in names.split(", ")}
    return found


def _fields(array: str) -> Fields:
    """``[node_id, epoch = 0]``: no field's default has a comma in it."""
    inner = array.strip()[1:-1]
    return [_field(text) for text in inner.split(",") if text.strip()]


def _field(text: str) -> WrittenField:
    name, has_default, default = (part.strip() for part in text.partition("="))
    return WrittenField(name, json.loads(default)) if has_default else WrittenField(name)
