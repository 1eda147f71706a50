"""What is laid over the instances of a service when its view is built: what operators want, and protection.

Pure rules. An intent is bound to one incarnation of an instance, so a new process at the same address does not inherit
it. What the application publishes stays visible wherever the intent says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec

from actors.durable_rows import STORE_ORIGIN
from actors.messages.values import BoundIntent, IntentPlace, Record
from actors.views import precedes
from rollbook.durable import Intent, IntentField, kept_incarnation
from rollbook.model import Instance, InstanceKey, Service


class ServiceOverlays:
    """By service, what PersistentStore says is to be laid over its instances."""

    def __init__(self) -> None:
        self._thresholds: dict[Service, float] = {}  # of every service that has settings
        self._names: dict[tuple[str, str], set[str]] = {}  # of these, by namespace and group
        self._intents: dict[Service, dict[InstanceKey, dict[IntentField, BoundIntent]]] = {}

    def take(
        self,
        thresholds: Iterable[tuple[Service, float | None]],
        intents: Iterable[tuple[IntentPlace, BoundIntent | None]],
    ) -> list[Service]:
        """The news; and whom it concerns."""
        concerned: dict[Service, None] = {}
        for service, threshold in thresholds:
            concerned[service] = None
            self._keep(service, threshold)
        for place, bound in intents:
            concerned[place.service] = None
            if bound is not None:
                self._intents.setdefault(place.service, {}).setdefault(place.key, {})[place.field] = bound
            else:
                self._forget(place)
        return list(concerned)

    def threshold_of(self, service: Service) -> float:
        return self._thresholds.get(service, 0.0)

    def names(self, namespace: str, group: str) -> Set[str]:
        """Of the services of a group that have settings. Not to be changed."""
        return self._names.get((namespace, group), frozenset())

    def groups(self, namespace: str) -> set[str]:
        """Those with a service that has settings."""
        return {group for where, group in self._names if where == namespace}

    def _keep(self, service: Service, threshold: float | None) -> None:
        group = (service.namespace, service.group)
        if threshold is not None:
            self._thresholds[service] = threshold
            self._names.setdefault(group, set()).add(service.name)
        elif self._thresholds.pop(service, None) is not None:
            self._names[group].discard(service.name)
            if not self._names[group]:
                del self._names[group]

    def _forget(self, place: IntentPlace) -> None:
        of_service = self._intents.get(place.service, {})
        of_instance = of_service.get(place.key, {})
        if of_instance.pop(place.field, None) is None or of_instance:
            return
        del of_service[place.key]
        if not of_service:
            del self._intents[place.service]

    def laid_over(
        self, service: Service, instances: tuple[Instance, ...], winners: Sequence[Record]
    ) -> tuple[tuple[Instance, ...], bool]:
        """The instances as they are to be shown, and whether the service is protected."""
        intents = self._intents.get(service)
        if intents:
            instances = with_intents(instances, publishers_of(winners), intents)
        threshold = self._thresholds.get(service)
        return with_protection(instances, threshold) if threshold else (instances, False)


def incarnation_of(record: Record) -> str:
    """Of the instances that this record publishes: a process has a client id of its own, a persistent instance the
    moment in which it was first registered."""
    return kept_incarnation(record.session) if record.origin == STORE_ORIGIN else record.key.client


def publishers_of(winners: Iterable[Record]) -> dict[InstanceKey, Record]:
    """By instance key, whose word counts: as merge_instances chooses."""
    chosen: dict[InstanceKey, Record] = {}
    for record in winners:
        for instance in record.instances:
            other = chosen.get(instance.key)
            if other is None or precedes(other, record):
                chosen[instance.key] = record
    return chosen


def with_intents(
    instances: Iterable[Instance],
    publishers: Mapping[InstanceKey, Record],
    intents: Mapping[InstanceKey, Mapping[IntentField, BoundIntent]],
) -> tuple[Instance, ...]:
    """The instances as operators want them."""
    shown: list[Instance] = []
    for instance in instances:
        decisions = intents.get(instance.key)
        incarnation = incarnation_of(publishers[instance.key]) if decisions else ""
        for bound in decisions.values() if decisions else ():
            if bound.incarnation == incarnation:
                instance = _as_wanted(instance, bound.intent)
        shown.append(instance)
    return tuple(shown)


def with_protection(instances: tuple[Instance, ...], threshold: float) -> tuple[tuple[Instance, ...], bool]:
    """If the healthy share of those that are enabled is no larger than the threshold, all are shown as healthy: better
    some calls that fail than all of them on the few that are left."""
    enabled = [instance for instance in instances if instance.enabled]
    healthy = sum(instance.healthy for instance in enabled)
    if not threshold or not enabled or healthy == len(enabled) or healthy / len(enabled) > threshold:
        return instances, False
    return tuple(
        instance if instance.healthy else msgspec.structs.replace(instance, healthy=True) for instance in instances
    ), True


def _as_wanted(instance: Instance, intent: Intent) -> Instance:
    return msgspec.structs.replace(
        instance,
        enabled=instance.enabled if intent.enabled is None else intent.enabled,
        weight=instance.weight if intent.weight is None else intent.weight,
        metadata={**instance.metadata, **intent.metadata},
    )
