"""What this client means to publish, whatever any node knows of it: the table a new session is filled from.

Every order of the user takes a change number. A publication is acknowledged when the answer to its newest change has
come; until then a redo claims no old stamp. A publication without instances is a withdrawal that no node has
acknowledged yet.

One acknowledgement of a withdrawal is not the end of it: the node that gave it may be cut off, and the others go on
listing what they know until that node is given up. So the next session withdraws once more, above everything that the
older one left anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rollbook.codec import pack
from rollbook.errors import Code, InvalidField
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import INSTANCES_PER_RECORD_MAX, RECORD_BYTES_MAX, Publish, PublishMode, Wait, Withdraw

WITHDRAWN_MAX = 256  # services remembered for the next session; the oldest are forgotten first
RECORD_BYTES_RESERVED = 4 * 1024  # for the client id, the service and the frame around the instances


class Change(NamedTuple):
    """One order of the user, and what it takes to undo it."""

    number: int
    service: Service
    previous: int  # the change number before it
    before: dict[InstanceKey, Instance | None]
    after: dict[InstanceKey, Instance | None]


class _Publication:
    def __init__(self) -> None:
        self.instances: dict[InstanceKey, Instance] = {}
        self.bytes_total = 0
        self.changed = 0
        self.acknowledged = 0
        self.stamp = 0

    def put(self, key: InstanceKey, instance: Instance | None) -> None:
        old = self.instances.pop(key, None)
        if old is not None:
            self.bytes_total -= len(pack(old))
        if instance is not None:
            self.instances[key] = instance
            self.bytes_total += len(pack(instance))


class Publications:
    """service → the instances this client wants to be listed with."""

    def __init__(self) -> None:
        self._publications: dict[Service, _Publication] = {}
        self._withdrawn: dict[Service, int] = {}  # by one session and not yet by the next: the change number
        self._changes = 0

    def __len__(self) -> int:
        return len(self._publications)

    def instances(self, service: Service) -> tuple[Instance, ...]:
        publication = self._publications.get(service)
        return () if publication is None else tuple(publication.instances[key] for key in sorted(publication.instances))

    def publish(self, service: Service, instances: Iterable[Instance], mode: PublishMode = "add") -> Change:
        """Put these beside what is there, or in its place; InvalidField if one record could not hold them all."""
        publication = self._publications.get(service) or _Publication()
        after: dict[InstanceKey, Instance | None] = {}
        if mode == "replace":
            after.update(dict.fromkeys(publication.instances))
        after.update((instance.key, instance) for instance in instances)
        count = sum(after.get(key, True) is not None for key in publication.instances.keys() | after.keys())
        if count > INSTANCES_PER_RECORD_MAX:
            raise InvalidField(
                f"one client publishes at most {INSTANCES_PER_RECORD_MAX} instances of a service",
                code=Code.INSTANCE_INVALID,
                field="instances",
            )
        change = self._commit(service, after)
        if self._publications[service].bytes_total > RECORD_BYTES_MAX - RECORD_BYTES_RESERVED:
            self.undo(change)
            raise InvalidField(
                f"the instances of one service take more than {RECORD_BYTES_MAX - RECORD_BYTES_RESERVED} bytes in all",
                code=Code.INSTANCE_INVALID,
                field="instances",
            )
        return change

    def withdraw(self, service: Service, keys: Iterable[InstanceKey]) -> Change:
        """Remove these, or all of the service without keys."""
        publication = self._publications.get(service)
        chosen = tuple(keys) or (() if publication is None else tuple(publication.instances))
        return self._commit(service, dict.fromkeys(chosen))

    def withdraw_all(self) -> None:
        for service in tuple(self._publications):
            self.withdraw(service, ())

    def undo(self, change: Change) -> None:
        """The node refused it for good: go back to what was there, as far as nothing newer stands in its place."""
        publication = self._publications.get(change.service)
        if publication is None:
            return
        for key, after in change.after.items():
            if publication.instances.get(key) is after:
                publication.put(key, change.before[key])
        if publication.changed == change.number:
            publication.changed = change.previous
        self._drop_if_done(change.service, publication)

    def acknowledge(self, service: Service, number: int, stamp: int) -> None:
        """A node has this change. What a redo will hand in is the lowest stamp that the newest one was given."""
        if self._withdrawn.get(service) == number:
            del self._withdrawn[service]
        publication = self._publications.get(service)
        if publication is None or number != publication.changed:
            return
        is_first = publication.acknowledged != number or publication.stamp == 0
        # A lower one answers a redo whose stamp lay in that node's future; claimed again it would be news each time.
        if is_first or 0 < stamp < publication.stamp:
            publication.stamp = stamp
        publication.acknowledged = number
        if self._drop_if_done(service, publication):
            self._withdrawn[service] = number
            for oldest in list(self._withdrawn)[:-WITHDRAWN_MAX]:
                del self._withdrawn[oldest]

    def services(self) -> list[Service]:
        """Of which a new session must hear."""
        return sorted([*self._publications, *self._withdrawn])

    def change_of(self, service: Service) -> int:
        publication = self._publications.get(service)
        return self._withdrawn.get(service, 0) if publication is None else publication.changed

    def whole(self, service: Service, wait: Wait = "node") -> Publish | Withdraw:
        """The one order that brings a session without any history to what the user wants."""
        publication = self._publications.get(service)
        if publication is None or not publication.instances:
            return Withdraw(service, wait=wait)
        stamp = publication.stamp if publication.acknowledged == publication.changed else 0
        return Publish(service, self.instances(service), mode="replace", wait=wait, stamp=stamp)

    def _commit(self, service: Service, after: dict[InstanceKey, Instance | None]) -> Change:
        publication = self._publications.setdefault(service, _Publication())
        self._withdrawn.pop(service, None)
        before = {key: publication.instances.get(key) for key in after}
        self._changes += 1
        change = Change(self._changes, service, publication.changed, before, after)
        publication.changed = change.number
        for key, instance in after.items():
            publication.put(key, instance)
        return change

    def _drop_if_done(self, service: Service, publication: _Publication) -> bool:
        is_done = not publication.instances and publication.acknowledged == publication.changed
        if is_done:
            del self._publications[service]
        return is_done
