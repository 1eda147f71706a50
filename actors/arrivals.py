"""A chunk as it arrives from a peer: its records decoded. Pure."""

from __future__ import annotations

from actors.messages.clients import ApplyDelta
from actors.owner_table import Chunk
from actors.records import read_record


def arrived(message: ApplyDelta) -> Chunk:
    """RemoteProtocolError names the field of a record that does not fit."""
    return Chunk(
        message.link,
        message.after,
        message.upper,
        message.full,
        message.resume,
        message.gc_floor,
        message.index,
        message.last,
        tuple(read_record(message.origin, body) for body in message.bodies),
        message.scope,
        message.whole,
    )
