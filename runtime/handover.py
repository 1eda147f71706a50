"""What a supervisor and its processes agree on: what each is told in a pipe, and what exit codes mean."""

from __future__ import annotations

import os
import struct
from typing import TypeVar

import msgspec

Told = TypeVar("Told")

EXIT_CONFIGURATION = 2  # nothing that a restart could mend
EXIT_FAILED = 70  # an exception in an actor or in the I/O thread
EXIT_EPOCH = 75  # the node asks for another life above the epoch floor it has written down

_LENGTH = struct.Struct("!I")


def framed(told: msgspec.Struct) -> bytes:
    """What the supervisor writes first."""
    text = msgspec.json.encode(told)
    return _LENGTH.pack(len(text)) + text


def read_framed(descriptor: int, kind: type[Told]) -> Told | None:
    """What the process reads first; None if the supervisor is gone.

    Read by descriptor: a buffered reader would be locked by the watching thread when the interpreter ends.
    """
    head = _read_exactly(descriptor, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    text = _read_exactly(descriptor, length)
    return msgspec.json.decode(text, type=kind) if len(text) == length else None


def _read_exactly(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length and (piece := os.read(descriptor, length - len(data))):
        data += piece
    return data
