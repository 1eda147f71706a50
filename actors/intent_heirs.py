"""Decisions that wait to be bound anew: the SDK that they are bound to has come back as another client, its heir.

Pure rules and one table; DurablePassage owns the one instance of it. While what the old connection has left is there,
the decision holds by the rules of views. The row of the store has to follow before that goes, and PersistentStore sees
to it. What it could not bind in time does not hold any more, and is said once.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.messages.store import IntentHeir
from actors.messages.values import BoundIntent, IntentPlace
from actors.service_entry import ServiceEntry
from actors.service_index import ServiceIndex
from actors.succession import last_heir
from actors.views import Filter, winners_and_heirs
from rollbook.durable import IntentField
from rollbook.model import InstanceKey

Intents = Mapping[InstanceKey, Mapping[IntentField, BoundIntent]]


class IntentHeirs:
    def __init__(self, index: ServiceIndex) -> None:
        self._index = index
        self._waiting: dict[IntentPlace, IntentHeir] = {}  # as of the last look

    def look(self) -> tuple[tuple[IntentHeir, ...], list[IntentPlace]]:
        """All that wait now, and those that have waited in vain."""
        waiting: dict[IntentPlace, IntentHeir] = {}
        for service, intents in self._index.views.overlays.intents.items():
            entry = self._index.entries.get(service)
            if entry is not None:
                waiting |= _waiting_in(entry, intents, self._index.filter_of(service))
        ended = [known for place, known in self._waiting.items() if place not in waiting and self._is_lost(known)]
        self._waiting = waiting
        return tuple(waiting.values()), [known.place for known in ended]

    def _is_lost(self, known: IntentHeir) -> bool:
        """Not if somebody has decided anew, or if whom it is bound to was no orphan after all."""
        service, key, field = known.place
        bound = self._index.views.overlays.intents.get(service, {}).get(key, {}).get(field)
        is_same = bound is not None and bound.incarnation == known.incarnation
        return is_same and not self._index.incarnations(service).are_one(key, known.incarnation)


def _waiting_in(entry: ServiceEntry, intents: Intents, hidden: Filter) -> dict[IntentPlace, IntentHeir]:
    if not any(_may_be_orphan(entry, bound, hidden) for of_key in intents.values() for bound in of_key.values()):
        return {}  # the usual case, at once
    _, heirs = winners_and_heirs(entry.clients.values(), hidden)
    waiting: dict[IntentPlace, IntentHeir] = {}
    for key, of_key in intents.items():
        for field, (_, incarnation) in of_key.items():
            if incarnation in heirs:
                place = IntentPlace(entry.service, key, field)
                waiting[place] = IntentHeir(place, incarnation, last_heir(incarnation, heirs))
    return waiting


def _may_be_orphan(entry: ServiceEntry, bound: BoundIntent, hidden: Filter) -> bool:
    for record in entry.clients.get(bound.incarnation, ()):
        if record.trail is not None and (record.trail.orphaned_ms or record.origin in hidden):
            return True
    return False
