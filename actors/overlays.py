"""What is laid over the instances of a service when its view is built: what operators want, and protection.

Pure rules. An intent is bound to one incarnation of an instance, so a new process at the same address does not inherit
it. An SDK that has come back is another client and the same process: for it the intent holds (actors/succession.py).
What the application publishes stays visible wherever the intent says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec

from actors.durable_rows import STORE_ORIGIN
from actors.messages.values import BoundIntent, IntentPlace, Record
from actors.succession import are_kin, last_heir
from actors.views import precedes
from rollbook.durable import Intent, IntentField, kept_incarnation
from rollbook.model import Instance, InstanceKey, Service


class ServiceOverlays:
    """By service, what PersistentStore says is to be laid over its instances."""

    def __init__(self) -> None:
        self._thresholds: dict[Service, float] = {}  # of every service that has settings
        self._names: dict[tuple[str, str], set[str]] = {}  # of these, by namespace and group
        self.intents: dict[Service, dict[InstanceKey, dict[IntentField, BoundIntent]]] = {}  # written here alone

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
                self.intents.setdefault(place.service, {}).setdefault(place.key, {})[place.field] = bound
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
        of_service = self.intents.get(place.service, {})
        of_instance = of_service.get(place.key, {})
        if of_instance.pop(place.field, None) is None or of_instance:
            return
        del of_service[place.key]
        if not of_service:
            del self.intents[place.service]

    def laid_over(
        self, service: Service, instances: tuple[Instance, ...], winners: Sequence[Record], heirs: Mapping[str, str]
    ) -> tuple[tuple[Instance, ...], bool]:
        """The instances as they are to be shown, and whether the service is protected."""
        intents = self.intents.get(service)
        if intents:
            instances = with_intents(instances, Incarnations(winners, heirs), intents)
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


class Incarnations:
    """Of what a service lists. ``heirs``: by client that is left out, who has succeeded it."""

    def __init__(self, winners: Sequence[Record], heirs: Mapping[str, str]) -> None:
        self._publishers = publishers_of(winners)
        self._heirs = heirs
        self._beside: dict[InstanceKey, set[str]] = {}  # other connections of the same application
        for record in winners:
            for instance in record.instances if record.trail is not None else ():
                publisher = self._publishers[instance.key]
                if publisher is not record and are_kin(record, publisher):
                    self._beside.setdefault(instance.key, set()).add(record.key.client)

    def of(self, key: InstanceKey) -> str:
        """Empty if that is not listed."""
        publisher = self._publishers.get(key)
        return incarnation_of(publisher) if publisher is not None else ""

    def are_one(self, key: InstanceKey, incarnation: str) -> bool:
        """Whether a decision that is bound to this incarnation holds for what is listed there.

        Between the new connection's registration and the end of the old one nobody knows yet that one succeeds the
        other. There the decision holds as long as whom it is bound to is listed at this address too.
        """
        last = last_heir(incarnation, self._heirs)
        return key in self._publishers and (last == self.of(key) or last in self._beside.get(key, ()))


def with_intents(
    instances: Iterable[Instance],
    incarnations: Incarnations,
    intents: Mapping[InstanceKey, Mapping[IntentField, BoundIntent]],
) -> tuple[Instance, ...]:
    """The instances as operators want them."""
    shown: list[Instance] = []
    for instance in instances:
        decisions = intents.get(instance.key)
        for bound in decisions.values() if decisions else ():
            if incarnations.are_one(instance.key, bound.incarnation):
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
