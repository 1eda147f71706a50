"""Which client is another one that has come back: SDKs send nothing that lasts, so each connection is a client.

What a connection leaves behind without a goodbye (its gateway died, or sent it elsewhere; its node is silent) stays for
its grace, because nobody knows that its application is elsewhere. It yields as soon as a successor is known: a later
connection of the same application (ip, app and agent; its kin) that has published the same addresses. And it yields for
good: when the successor withdraws, nothing of its predecessors is listed again.

Pure rules of the view, of records alone: they do not depend on the order in which records arrive, and no node takes a
record away for them. What tells one process from another behind the same ip at the same address:

* what is connected is no orphan, and is never succeeded, however silent its stream is;
* who was connected before the orphan lost its connection is not the orphan;
* one connection succeeds one other, the oldest first, so of several orphans at one address each needs a successor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from actors.messages.values import Record, Trail
from rollbook.codec import pack
from rollbook.model import Instance, InstanceKey
from rollbook.wire import OpenSession

# Of a successor, before its predecessor is known to be lost: SDKs that are told to move connect first and leave then, a
# gateway that dies is missed a moment later, and clocks differ. All nodes must agree on it.
CONNECTED_BEFORE_MS_MAX = 2_000
WITHDRAWN_MAX = 64  # addresses of which a connection is remembered; of a larger batch nobody is taken for the successor
_LOOKED_AT_MAX = 16  # orphans at one address; above that some stay for their grace
_KEYED_HASH = hashlib.blake2b(digest_size=6, key=b"rollbook kin 1")  # 48 bits: a number in records; nodes must agree


class Orphan(NamedTuple):
    record: Record
    trail: Trail
    since_ms: int


def trail_of(order: OpenSession, ip: str, wall_ms: int) -> Trail | None:
    """What the publications of this session begin with. A gateway whose clock is ahead says nothing of the future."""
    if order.kind != "sdk" or order.connected_ms <= 0:
        return None
    keyed = _KEYED_HASH.copy()
    keyed.update(pack((ip, order.app, order.agent)))
    return Trail(int.from_bytes(keyed.digest(), "little"), min(order.connected_ms, wall_ms))


def going_on(trail: Trail, known: Record | None, instances: tuple[Instance, ...]) -> Trail:
    """Of the version that takes the place of ``known``, with these instances."""
    if known is None or (not known.instances and (known.trail is None or not known.trail.withdrawn)):
        return trail
    published = {instance.key for instance in instances}
    before = known.trail.withdrawn if known.trail is not None else ()
    gone = dict.fromkeys(
        key for key in (*(instance.key for instance in known.instances), *before) if key not in published
    )
    return msgspec.structs.replace(trail, orphaned_ms=0, withdrawn=tuple(gone)[:WITHDRAWN_MAX])


def are_kin(record: Record, other: Record) -> bool:
    """Whether one of them may have come out of the other."""
    return record.trail is not None and other.trail is not None and record.trail.kin == other.trail.kin


def heirs_of(orphans: Mapping[str, Orphan], words: Iterable[Record]) -> dict[str, str]:
    """Of those among the orphans that another client has succeeded, which one; by client.

    ``words``: the last word of each client of the service, tombstones too.
    """
    at_address: dict[tuple[int, InstanceKey], list[Orphan]] = {}  # by the first of their addresses, oldest first
    for orphan in sorted(orphans.values(), key=lambda orphan: _age(orphan.trail, orphan.record)):
        at_address.setdefault((orphan.trail.kin, orphan.record.instances[0].key), []).append(orphan)
    kin = {kin for kin, _ in at_address}
    heirs = [(word.trail, word) for word in words if word.trail is not None and word.trail.kin in kin]
    succeeded: dict[str, str] = {}
    for trail, heir in sorted(heirs, key=lambda each: _age(*each)):
        addresses = dict.fromkeys((*(instance.key for instance in heir.instances), *trail.withdrawn))
        around = [orphan for key in addresses for orphan in at_address.get((trail.kin, key), [])[:_LOOKED_AT_MAX]]
        fitting = [orphan for orphan in around if _follows(trail, heir, orphan, addresses)]
        if fitting:
            oldest = min(fitting, key=lambda orphan: _age(orphan.trail, orphan.record))
            at_address[oldest.trail.kin, oldest.record.instances[0].key].remove(oldest)
            succeeded[oldest.record.key.client] = heir.key.client
    return succeeded


def last_heir(client: str, heirs: Mapping[str, str]) -> str:
    """Where a chain of moves has led; the client itself if it has not moved. Each heir is younger, so it has an end."""
    while client in heirs:
        client = heirs[client]
    return client


def _follows(trail: Trail, heir: Record, orphan: Orphan, addresses: Mapping[InstanceKey, None]) -> bool:
    is_later = _age(orphan.trail, orphan.record) < _age(trail, heir)
    is_in_time = trail.connected_ms >= orphan.since_ms - CONNECTED_BEFORE_MS_MAX
    return is_later and is_in_time and all(instance.key in addresses for instance in orphan.record.instances)


def _age(trail: Trail, record: Record) -> tuple[int, str]:
    """In order of connecting."""
    return trail.connected_ms, record.key.client
