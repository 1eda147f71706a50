"""Which of the instances of a service a caller should use."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from rollbook.errors import NoHealthyInstance
from rollbook.model import Instance, Service


def usable(instances: Iterable[Instance], *, healthy: bool) -> tuple[Instance, ...]:
    """Those that may receive traffic, with the health asked for."""
    return tuple(
        instance for instance in instances if instance.healthy is healthy and instance.enabled and instance.weight > 0.0
    )


def weighted_choice(service: Service, instances: Sequence[Instance], chance: random.Random) -> Instance:
    """One healthy instance, each as likely as its weight says; NoHealthyInstance if there is none."""
    candidates = usable(instances, healthy=True)
    if not candidates:
        raise NoHealthyInstance(f"{service.grouped_name} has no healthy instance with a weight above 0")
    remaining = chance.random() * sum(instance.weight for instance in candidates)
    for instance in candidates:
        remaining -= instance.weight
        if remaining < 0.0:
            return instance
    return candidates[-1]  # The sum and the subtractions may round differently.
