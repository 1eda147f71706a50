"""Records: how a version of a publication is made, encoded, hashed and read back. Pure functions."""

from __future__ import annotations

import hashlib
from math import isfinite

import msgspec

from actors.messages.values import Count, Origin, Record, RecordKey, Trail
from rollbook.codec import UnpackLimits, pack, typed, unpack
from rollbook.errors import Code, InvalidField, RemoteProtocolError
from rollbook.model import Instance, Service
from rollbook.wire import INSTANCES_PER_RECORD_MAX, NUMBER_MAX, RECORD_BYTES_MAX

TRAIL_BYTES_MAX = 16 * 1024  # beside the rest, so that what was published can always be marked
_LIMITS = UnpackLimits(
    RECORD_BYTES_MAX + TRAIL_BYTES_MAX, array_length_max=4_096, map_length_max=1_024, containers_max=16_384
)
# All nodes must agree on the key; it only keeps other uses of the hash apart. It is copied: keying costs as much as
# hashing a record.
_KEYED_HASH = hashlib.blake2b(digest_size=8, key=b"rollbook record 1")
DIGEST_MODULUS = 1 << 64
STAMP_COUNTER_BITS = 16
STAMP_FOLLOWED_MAX = NUMBER_MAX // 2  # centuries ahead; our own stamps must stay within what others take


class RecordBody(msgspec.Struct, frozen=True, array_like=True):
    """The canonical bytes of a record; its origin stands on the delta that carries it. Fields are only appended."""

    client: str
    service: Service
    session: Count
    seq: Count
    stamp: Count
    grace_ms: Count
    instances: tuple[Instance, ...]
    trail: Trail | None = None


class HybridClock:
    """Stamps that never go back and never fall behind one that was seen: (wall ms << 16) | counter."""

    def __init__(self) -> None:
        self.last = 0

    def next(self, wall_ms: int) -> int:
        wall = wall_ms << STAMP_COUNTER_BITS
        self.last = wall if wall > self.last else self.last + 1
        return self.last

    def witness(self, stamp: int) -> None:
        if self.last < stamp <= STAMP_FOLLOWED_MAX:
            self.last = stamp


def make_record(
    origin: Origin,
    key: RecordKey,
    session: int,
    seq: int,
    stamp: int,
    grace_ms: int,
    instances: tuple[Instance, ...],
    trail: Trail | None = None,
) -> Record:
    """Encode and hash one version; InvalidField if it is too large to be replicated."""
    content = (key.client, key.service, session, seq, stamp, grace_ms, instances)
    body = pack(content if trail is None else (*content, trail))
    is_long = len(body) > RECORD_BYTES_MAX and len(pack(content)) > RECORD_BYTES_MAX
    if is_long or len(instances) > INSTANCES_PER_RECORD_MAX:
        raise InvalidField(
            f"one client publishes at most {INSTANCES_PER_RECORD_MAX} instances, {RECORD_BYTES_MAX} bytes per service",
            code=Code.OVER_LIMIT,
            field="instances",
        )
    return Record(origin, key, session, seq, stamp, grace_ms, instances, body, body_digest(body), trail)


def read_record(origin: Origin, body: bytes) -> Record:
    """Decode what a peer sent; RemoteProtocolError names the field that does not fit."""
    content = typed(unpack(body, _LIMITS), RecordBody)
    if content.seq == 0:
        raise RemoteProtocolError("the seq of a record is above 0", field="seq")
    if not all(isfinite(instance.weight) for instance in content.instances):
        raise RemoteProtocolError("the weight of an instance is a finite number", field="instances")
    return Record(
        origin,
        RecordKey(content.client, content.service),
        content.session,
        content.seq,
        content.stamp,
        content.grace_ms,
        content.instances,
        body,
        body_digest(body),
        content.trail,
    )


def body_digest(body: bytes) -> int:
    """Keyed 64-bit hash; key, seq and content are all inside the body."""
    keyed = _KEYED_HASH.copy()
    keyed.update(body)
    return int.from_bytes(keyed.digest(), "little")


def in_chunks(records: list[Record], chunk_bytes_max: int) -> tuple[tuple[bytes, ...], ...]:
    """Cut bodies, in their order, into chunks of at most this size; at least one chunk, if need be an empty one."""
    chunks: list[tuple[bytes, ...]] = []
    chunk: list[bytes] = []
    size = 0
    for record in records:
        if chunk and size + len(record.body) > chunk_bytes_max:
            chunks.append(tuple(chunk))
            chunk, size = [], 0
        chunk.append(record.body)
        size += len(record.body)
    chunks.append(tuple(chunk))
    return tuple(chunks)
