"""msgpack with limits and typed bodies: what the client protocol and the peer protocol have in common.

Decoding has two steps. ``unpack`` turns bytes into plain values with every limit of the unpacker set; ``typed``
checks them against a struct and, on failure, names the field. So what an input costs is bounded by its own size, and
none gets past untyped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgpack
import msgspec

from rollbook.errors import Code, RemoteProtocolError

Body = TypeVar("Body")

REASON_LENGTH_MAX = 200  # a reason quotes what does not fit, and that may be as long as the frame
SMALL_FRAME_BYTES_MAX = 1_024  # arrays of as many promised items, one in the other, take no more than 3 MiB
UNCOUNTED_FRAME_BYTES_MAX = 64 * 1024  # a frame of nothing but empty maps takes no more than 5 MiB

_encoder = msgspec.msgpack.Encoder()
_skipper = msgspec.msgpack.Decoder(msgspec.Raw)
# Anchored at the end: before it stands what the sender wrote, which may read like a place itself.
_PLACE = re.compile(r" - at (?:`key` in )?`(\$[^`]*)`\Z")
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.(\w+)")


class UnpackLimits(NamedTuple):
    """What one frame may hold; the unpacker refuses more before it allocates."""

    frame_bytes_max: int
    array_length_max: int
    map_length_max: int
    containers_max: int  # arrays and maps in all: an empty one is one byte here and 70 in memory


def pack(value: object) -> bytes:
    """Encode structs and plain values; the same value always gives the same bytes."""
    return _encoder.encode(value)


def unpack(payload: bytes, limits: UnpackLimits) -> Any:
    """Decode one msgpack value; RemoteProtocolError if it is malformed, too deep or over a limit."""
    size = len(payload)
    if size > limits.frame_bytes_max:
        raise RemoteProtocolError(
            f"a frame of {size} bytes is over the limit of {limits.frame_bytes_max}",
            code=Code.FRAME_TOO_LARGE,
            field="frame",
        )
    unpackb = msgpack.unpackb
    try:
        if size > SMALL_FRAME_BYTES_MAX:
            # The unpacker takes memory for all items that an array promises, at each level anew. So a frame must be
            # whole before it is unpacked; to skip through it takes none.
            _skipper.decode(payload)
            if size > UNCOUNTED_FRAME_BYTES_MAX:
                counted = _counted(limits.containers_max)
                unpackb = partial(unpackb, list_hook=counted, object_hook=counted)
        return unpackb(
            payload,
            max_str_len=limits.frame_bytes_max,
            max_bin_len=limits.frame_bytes_max,
            max_array_len=min(size, limits.array_length_max),
            max_map_len=limits.map_length_max,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise RemoteProtocolError(f"the frame is not valid msgpack: {reason}", field="frame") from None


def typed(value: object, kind: type[Body]) -> Body:
    """Check plain values against a struct; RemoteProtocolError names the first field that does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        sentence = str(error)
        place = _PLACE.search(sentence)
        reason = sentence[: place.start()] if place is not None else sentence
        field = _field_name(kind, place.group(1) if place is not None else "")
        raise RemoteProtocolError(f"{field}: {_shortened(reason)}", code=Code.PARAMETER_INVALID, field=field) from None


def _counted(containers_max: int) -> Callable[[Any], Any]:
    """A hook for every array and map of one frame; ValueError when there are too many."""
    left = containers_max

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {containers_max} arrays and maps")
        return container

    return count


def _shortened(reason: str) -> str:
    return reason if len(reason) <= REASON_LENGTH_MAX else f"{reason[:REASON_LENGTH_MAX]}..."


def _field_name(kind: type, path: str) -> str:
    """Turn msgspec's path (``$[1][0][2]``, an array_like struct has no names) into ``instances[0].cluster``."""
    name = ""
    current: Any = msgspec.inspect.type_info(kind)
    for step in _STEP.finditer(path):
        index, key = step.groups()
        current = _without_none(current)
        if key is not None:
            name += f".{key}"
        elif index is not None and hasattr(current, "fields") and index.isdigit():
            field = current.fields[int(index)]
            name, current = f"{name}.{field.name}", field.type
        else:
            name, current = f"{name}[{index}]", getattr(current, "item_type", current)
    return name.lstrip(".") or "body"


def _without_none(info: Any) -> Any:
    if isinstance(info, msgspec.inspect.UnionType):
        return next(kind for kind in info.types if not isinstance(kind, msgspec.inspect.NoneType))
    return info
