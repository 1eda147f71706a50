"""Records of this node that belong to no session: its verdicts, and what HTTP clients publish. Rules of ClientManager.

Others decide what they say; here they get their versions. No session that ends takes them along.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from actors.base import Effect, Now, Role, Tell
from actors.holdings import Removed
from actors.http_records import is_http_client
from actors.messages.beats import HttpRecordsHeld
from actors.messages.clients import HttpPublicationsOrdered
from actors.messages.health import HealthJudged
from actors.messages.index import RecordsChanged
from actors.messages.values import Origin, Record, RecordKey
from actors.owner_table import OwnerTable
from actors.records import HybridClock
from actors.verdicts import is_verdicts_client, judged_publications
from rollbook.model import Service


def is_sessionless(client: str) -> bool:
    return is_verdicts_client(client) or is_http_client(client)


def made_verdicts(judged: HealthJudged, native: OwnerTable, clock: HybridClock, now: Now) -> list[Record]:
    """Their session is the node's epoch."""
    owner, epoch = native.origin
    made = []
    for key, instances in judged_publications(owner, judged, native.records):
        version = (epoch, clock.next(now.wall_ms), judged.grace_ms)
        made.append(native.commit(key, *version, instances, now.monotonic_ms))
    return made


def made_publications(
    ordered: HttpPublicationsOrdered, native: OwnerTable, clock: HybridClock, persistent: Set[Service], now: Now
) -> list[Record | None]:
    """None where the service has persistent instances: a service is of one kind."""
    made: list[Record | None] = []
    for key, number, stamp, instance in ordered.publications:
        if instance is not None and key.service in persistent:
            made.append(None)
            continue
        version = (number, stamp or clock.next(now.wall_ms), ordered.grace_ms)
        instances = () if instance is None else (instance,)
        made.append(native.commit(key, *version, instances, now.monotonic_ms))
    return made


def told_of_removed(removed: Removed) -> list[Effect]:
    """Records that are gone without a trace."""
    if not removed:
        return []
    return [Tell(Role.INDEX, RecordsChanged(removed=tuple(removed))), *told_of_http((), removed)]


def told_of_http(records: Iterable[Record], removed: Iterable[tuple[Origin, RecordKey]]) -> list[Effect]:
    """What of this is about HTTP clients. Behind the index, so that what BeatKeeper answers then is in it."""
    held = tuple(record for record in records if is_http_client(record.key.client))
    gone = tuple(each for each in removed if is_http_client(each[1].client))
    return [Tell(Role.BEATS, HttpRecordsHeld(held, gone))] if held or gone else []
