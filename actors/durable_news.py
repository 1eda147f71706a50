"""What changes of the image mean for others: messages, in the order in which they must be told. Pure rules.

ClientManager hears first: no answer may say that a service is persistent before this node keeps ephemeral ones out.
The answers that have waited for the changes go with the last of the records. Whom a change means nothing is not told:
each one that wakes takes its time from those who hold up an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.base import Effect, Role, Tell
from actors.durable_image import DurableImage, ImageChange
from actors.durable_rows import STORE_ORIGIN, record_key, record_of
from actors.durable_values import KeptInstance, KeptIntent, KeptService
from actors.messages.clients import PersistentServicesChanged
from actors.messages.health import CheckersChanged, InstancesKept
from actors.messages.index import OverlaysChanged, RecordsChanged
from actors.messages.values import BoundIntent, IntentPlace, Origin, Record, RecordKey, Reply
from rollbook.checkers import CheckerSettings
from rollbook.model import InstanceKey, Service


def news_of(
    changes: Sequence[ImageChange],
    image: DurableImage,
    now_ms: int,
    records_per_message_max: int,
    replies: tuple[Reply, ...] = (),
) -> list[Effect]:
    """``image``: as it is after the changes; ``now_ms``: by the wall clock."""
    changes = _summed_up(changes)
    return [
        *_services_changed(changes, image),
        *_overlays_changed(changes, now_ms),
        *_records_changed(changes, records_per_message_max, replies),
        *_instances_kept(changes),
        *_checkers_changed(changes),
    ]


def _summed_up(changes: Iterable[ImageChange]) -> list[ImageChange]:
    """One change for each row: messages tell of all that came before all that went, so a row that went and came again
    must be told of once."""
    summed_up: dict[str, ImageChange] = {}
    for change in changes:
        first = summed_up.get(change.key, change)
        summed_up[change.key] = ImageChange(change.key, first.before, change.after)
    return list(summed_up.values())


def _services_changed(changes: Iterable[ImageChange], image: DurableImage) -> list[Effect]:
    """Those that have their first instance, or had their last one."""
    more: dict[Service, int] = {}
    for _, before, after in changes:
        for kept, by in ((before, -1), (after, 1)):
            if isinstance(kept, KeptInstance):
                more[kept.service] = more.get(kept.service, 0) + by
    counts = {service: (image.instances_of.get(service, 0), by) for service, by in more.items()}
    added = tuple(sorted(service for service, (count, by) in counts.items() if count and count == by))
    removed = tuple(sorted(service for service, (count, by) in counts.items() if by and not count))
    return [Tell(Role.CLIENTS, PersistentServicesChanged(added, removed))] if added or removed else []


def _overlays_changed(changes: Iterable[ImageChange], now_ms: int) -> list[Effect]:
    thresholds: list[tuple[Service, float | None]] = []
    intents: list[tuple[IntentPlace, BoundIntent | None]] = []
    for _, before, after in changes:
        match after if after is not None else before:
            case KeptService(service=service, settings=settings):
                thresholds.append((service, settings.protection_threshold if after is not None else None))
            case KeptIntent() as kept:
                is_in_force = after is not None and not 0 < kept.expires_ms <= now_ms
                bound = BoundIntent(kept.intent, kept.incarnation) if is_in_force else None
                intents.append((kept.place, bound))
    told = OverlaysChanged(tuple(thresholds), tuple(intents))
    return [Tell(Role.INDEX, told)] if thresholds or intents else []


def _records_changed(changes: Iterable[ImageChange], size: int, replies: tuple[Reply, ...]) -> list[Effect]:
    """In several messages when there are many, so that others get their turn with the index."""
    records: list[Record] = []
    removed: list[tuple[Origin, RecordKey]] = []
    for _, before, after in changes:
        if isinstance(after, KeptInstance):
            records.append(record_of(after))
        elif isinstance(before, KeptInstance):
            removed.append((STORE_ORIGIN, record_key(before.service, before.instance.key)))
    parts = [RecordsChanged(records=tuple(records[at : at + size])) for at in range(0, len(records), size)]
    parts += [RecordsChanged(removed=tuple(removed[at : at + size])) for at in range(0, len(removed), size)]
    if replies:
        last = parts.pop() if parts else RecordsChanged()
        parts.append(RecordsChanged(last.records, last.removed, replies))
    return [Tell(Role.INDEX, part) for part in parts]


def _instances_kept(changes: Iterable[ImageChange]) -> list[Effect]:
    """All in one message: whoever shares the instances out has to know them all. What else is kept of them is no
    matter of health."""
    put: list[tuple[Service, InstanceKey, bool]] = []
    removed: list[tuple[Service, InstanceKey]] = []
    for _, before, after in changes:
        if isinstance(after, KeptInstance):
            was_healthy = before.instance.healthy if isinstance(before, KeptInstance) else None
            if was_healthy != after.instance.healthy:
                put.append((after.service, after.instance.key, after.instance.healthy))
        elif isinstance(before, KeptInstance):
            removed.append((before.service, before.instance.key))
    return [Tell(Role.HEALTH, InstancesKept(tuple(put), tuple(removed)))] if put or removed else []


def _checkers_changed(changes: Iterable[ImageChange]) -> list[Effect]:
    put: list[tuple[Service, str, CheckerSettings]] = []
    removed: list[tuple[Service, str]] = []
    for _, before, after in changes:
        old = before.settings.checkers if isinstance(before, KeptService) else {}
        if isinstance(after, KeptService):
            checkers = sorted(after.settings.checkers.items())
            put += [(after.service, cluster, checker) for cluster, checker in checkers if old.get(cluster) != checker]
        if isinstance(before, KeptService):
            new = after.settings.checkers if isinstance(after, KeptService) else {}
            removed += [(before.service, cluster) for cluster in sorted(old) if cluster not in new]
    return [Tell(Role.HEALTH, CheckersChanged(tuple(put), tuple(removed)))] if put or removed else []
