"""Inputs that are nearly right: a valid frame with one value changed, a file with one line changed.

Random bytes hardly ever get past the outer array. These do, and so reach what stands behind it. Everything is drawn
from the chance that is handed in, so that a seed is an input.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from rollbook.wire import NUMBER_MAX

NESTING_MAX = 40
_INTEGERS = (
    *(0, 1, -1, 2, 127, 128, 255, 256, 1_000, 1_001, 65_535, 65_536, 10**4, 10**6, -(2**31), 2**31, 2**32 - 1, 2**53),
    *(NUMBER_MAX - 1, NUMBER_MAX, NUMBER_MAX + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
)
_FLOATS = (0.0, -0.0, 0.5, 1.0, 1e4, 10_000.1, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
# Fragments of what readers look for in a text, of their own messages too.
TEXTS = (
    *("", " ", "public", "DEFAULT_GROUP", "DEFAULT", "orders", "a,b", ",", "@@", "@", "a@@b", "10.0.0.1", "[::1]", "*"),
    *("add", "replace", "node", "cluster", "subscribers", "leave", "moved", "leaving", "isolated", "rebalance", "up"),
    *("h:1", "h:0", "h:65536", "[::1]:8850", "preserved.heart.beat.interval", "preserved.heart.beat.timeout"),
    *("²", "٣", "\x00", "\n", "\r", "\x1b[0m", "\u2028", "\ufeff", "\u00e9", "\u4e00", "\U0001f600", "9" * 4_301),
    *(
        " - at ",
        " - at `$[99]`",
        "`$[0][1]`",
        "`",
        "$",
        "[...]",
        "%s",
        "{}",
        "x" * 65,
        "x" * 129,
        "x" * 513,
        "1" * 1_025,
    ),
)
_SMALL: tuple[Any, ...] = (None, True, False, b"", b"\x00", [], {}, [[]], {"": ""}, msgpack.ExtType(0, b""))

Mutation = Callable[[Any, random.Random], Any]


def mutated_frame(frame: bytes, chance: random.Random) -> bytes | None:
    """The frame with one to four changes to its values; None if it is not msgpack, or cannot be encoded afterwards."""
    try:
        tree = _decoded(frame)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            tree = _changed(tree, chance, 0)
        packed: bytes = msgpack.packb(tree)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return None
    return packed


def mutated_text(text: bytes, words: Sequence[str], chance: random.Random) -> bytes:
    """The text with one line changed: a word put in, a line doubled, dropped or moved."""
    lines = text.split(b"\n")
    place = chance.randrange(len(lines))
    line = lines[place]
    match chance.randrange(6):
        case 0:
            lines.insert(place, line)
        case 1:
            del lines[place]
        case 2:
            lines.insert(chance.randrange(len(lines) + 1), lines.pop(place))
        case 3:
            cut = chance.randrange(len(line) + 1)
            lines[place] = line[:cut] + chance.choice(words).encode() + line[cut:]
        case 4:
            head, separator, _ = line.partition(b"=")
            lines[place] = head + separator + chance.choice(words).encode()
        case _:
            lines[place] = chance.choice(words).encode() + chance.choice((b" = ", b"=", b":", b"")) + line
    return b"\n".join(lines)


def _decoded(frame: bytes) -> Any:
    return msgpack.unpackb(frame, strict_map_key=False, max_array_len=4_096, max_map_len=1_024)


def _changed(value: Any, chance: random.Random, depth: int) -> Any:
    """Walk down to one place and change it there."""
    if depth < NESTING_MAX and value and chance.random() < 0.85:
        if isinstance(value, list):
            place = chance.randrange(len(value))
            return [*value[:place], _changed(value[place], chance, depth + 1), *value[place + 1 :]]
        if isinstance(value, dict):
            key = chance.choice(list(value))
            return {**value, key: _changed(value[key], chance, depth + 1)}
        if isinstance(value, bytes) and chance.random() < 0.8:  # a record within a delta
            return mutated_frame(value, chance) or value[:-1]
    return _CHANGES.get(type(value), _replaced)(value, chance) if chance.random() < 0.7 else _replaced(value, chance)


def _replaced(value: Any, chance: random.Random) -> Any:
    kind = chance.randrange(5)
    if kind == 0:
        return chance.choice(_INTEGERS)
    if kind == 1:
        return chance.choice(TEXTS)
    if kind == 2:
        return chance.choice(_FLOATS)
    if kind == 3:
        return [value] * chance.choice((0, 1, 2, 3, 8, 70))
    return chance.choice(_SMALL)


def _changed_integer(value: int, chance: random.Random) -> int:
    return chance.choice((value + 1, value - 1, -value, value << 8, value ^ (1 << chance.randrange(64)), *_INTEGERS))


def _changed_truth(value: bool, chance: random.Random) -> bool:
    return not value


def _changed_text(value: str, chance: random.Random) -> str:
    cut = chance.randrange(len(value) + 1)
    return chance.choice((value[:cut], value[cut:], value * 3, value[:cut] + chance.choice(TEXTS) + value[cut:]))


def _changed_list(value: list[Any], chance: random.Random) -> list[Any]:
    if not value:
        return [chance.choice(_SMALL)]
    place = chance.randrange(len(value))
    match chance.randrange(5):
        case 0:
            return value[:place]
        case 1:
            return value[:place] + value[place + 1 :]
        case 2:
            return [*value[: place + 1], *([value[place]] * chance.choice((1, 5, 64))), *value[place + 1 :]]
        case 3:
            return chance.sample(value, len(value))
        case _:
            return [*value, _replaced(value[place], chance)]


def _changed_map(value: dict[Any, Any], chance: random.Random) -> dict[Any, Any]:
    key = chance.choice((*TEXTS, b"", 0, None))
    return {**value, key: chance.choice((*TEXTS, 0, None))}


_CHANGES: dict[type, Mutation] = {
    int: _changed_integer,
    bool: _changed_truth,
    str: _changed_text,
    list: _changed_list,
    dict: _changed_map,
}
