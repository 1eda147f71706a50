"""msgpack with limits and typed bodies: what the client protocol and the peer protocol have in common.

Decoding has two steps. ``unpack`` turns bytes into plain values with every limit of the unpacker set; ``typed``
checks them against a struct and, on failure, names the field. So no input can cost more than its own size, and none
gets past untyped.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeVar

import msgpack
import msgspec

from rollbook.errors import Code, RemoteProtocolError

Body = TypeVar("Body")

_encoder = msgspec.msgpack.Encoder()
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.(\w+)")


class UnpackLimits(NamedTuple):
    """What one frame may hold; the unpacker refuses more before it allocates."""

    frame_bytes_max: int
    array_length_max: int
    map_length_max: int


def pack(value: object) -> bytes:
    """Encode structs and plain values; the same value always gives the same bytes."""
    return _encoder.encode(value)


def unpack(payload: bytes, limits: UnpackLimits) -> Any:
    """Decode one msgpack value; RemoteProtocolError if it is malformed, too deep or over a limit."""
    if len(payload) > limits.frame_bytes_max:
        raise RemoteProtocolError(
            f"a frame of {len(payload)} bytes is over the limit of {limits.frame_bytes_max}",
            code=Code.FRAME_TOO_LARGE,
            field="frame",
        )
    try:
        return msgpack.unpackb(
            payload,
            max_str_len=limits.frame_bytes_max,
            max_bin_len=limits.frame_bytes_max,
            max_array_len=limits.array_length_max,
            max_map_len=limits.map_length_max,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        reason = str(error) or type(error).__name__
        raise RemoteProtocolError(f"the frame is not valid msgpack: {reason}", field="frame") from None


def typed(value: object, kind: type[Body]) -> Body:
    """Check plain values against a struct; RemoteProtocolError names the first field that does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        field = _field_name(kind, path.strip("`"))
        raise RemoteProtocolError(f"{field}: {reason}", code=Code.PARAMETER_INVALID, field=field) from None


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
