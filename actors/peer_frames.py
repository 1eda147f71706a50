"""Peer frames to bytes and back: one msgpack array ``[version, tag, body]``; the bodies are in messages/peers.py.

Actors encode what they send; the edge (runtime/edge.py) decodes what arrives, under limits of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.base import Effect, Role, Tell
from actors.messages.io import PeerFrame, SendToPeers
from actors.messages.peers import PEER_BODIES, PEER_VERSION, PeerTag
from rollbook.codec import UnpackLimits, pack, typed, unpack
from rollbook.errors import Code, RemoteProtocolError

# A chunk is at most 256 KiB and one record of 128 KiB beyond it, so this is twice what is sent; a hostile frame of
# nothing but numbers takes 36 times its size in memory.
PEER_FRAME_BYTES_MAX = 768 * 1024
PEER_LIMITS = UnpackLimits(PEER_FRAME_BYTES_MAX, array_length_max=65_536, map_length_max=16, containers_max=65_536)


def encode_peer(tag: PeerTag, body: object) -> bytes:
    """One frame. ``body`` is the struct that belongs to ``tag``."""
    return pack((PEER_VERSION, tag, body))


def sending(frames: Sequence[PeerFrame]) -> list[Effect]:
    """All of them in one message."""
    return [Tell(Role.IO, SendToPeers(tuple(frames)))] if frames else []


def decode_peer(payload: bytes) -> Any:
    """The struct inside a frame; RemoteProtocolError names what is wrong with it."""
    value = unpack(payload, PEER_LIMITS)
    if type(value) is not list or len(value) < 3 or type(value[0]) is not int or type(value[1]) is not int:
        raise RemoteProtocolError("a peer frame is an array [version, tag, body]", field="envelope")
    version, tag, body = value[:3]
    if version != PEER_VERSION:
        raise RemoteProtocolError(
            f"peer protocol version {version} is not spoken here; this side speaks {PEER_VERSION}",
            code=Code.VERSION_UNSUPPORTED,
            field="version",
        )
    kind = PEER_BODIES.get(tag)
    if kind is None:
        raise RemoteProtocolError(f"peer tag {tag} is unknown here", code=Code.TAG_UNKNOWN, field="tag")
    return typed(body, kind)
