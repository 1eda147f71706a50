"""What people decide, as the small registry keeps it: honest answers to the orders about it, in memory.

It is no store: nothing expires, and an intent is bound to an address and not to an incarnation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rollbook.durable import INTENT_FIELDS, IntentField, Namespace, ServiceSettings, decisions_of
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    Namespaces,
    PutNamespace,
    PutService,
    ServiceShown,
    SetIntent,
    ShownIntent,
)
from rollbook.errors import Code
from rollbook.model import Instance, InstanceKey, Service
from rollbook.orders import DecisionBody
from rollbook.wire import Done, Failed, Tag

WRITTEN_MS = 1_700_000_000_000
Instances = Callable[[Service], dict[InstanceKey, Instance]]


class SmallDecisions:
    def __init__(self) -> None:
        self.services: dict[Service, tuple[ServiceSettings, str]] = {}
        self.intents: dict[Service, dict[tuple[InstanceKey, IntentField], ShownIntent]] = {}
        self.namespaces = {"public": Namespace("public", "public", "built in")}

    @staticmethod
    def concerns(body: Any) -> bool:
        return isinstance(body, DecisionBody | GetService | ListNamespaces)

    def answer(self, body: Any, author: str, instances: Instances) -> tuple[Tag, Any]:
        match body:
            case GetService():
                return Tag.SERVICE_SHOWN, self._service(body.service, instances)
            case ListNamespaces():
                return Tag.NAMESPACES, Namespaces(tuple(space for _, space in sorted(self.namespaces.items())))
            case PutService():
                return self._put(self.services, body.service, (body.settings, author), body.mode)
            case PutNamespace():
                return self._put(self.namespaces, body.namespace.id, body.namespace, body.mode)
            case DeleteService() if instances(body.service):
                return Tag.FAILED, Failed(Code.SERVICE_IN_USE, "it has instances", "service")
            case DeleteService():
                return self._delete(self.services, body.service)
            case DeleteNamespace():
                return self._delete(self.namespaces, body.id)
            case SetIntent() if body.key not in instances(body.service):
                return Tag.FAILED, Failed(Code.INSTANCE_NOT_FOUND, "there is no such instance", "key")
            case SetIntent():
                expires_ms = WRITTEN_MS + body.for_ms if body.for_ms else 0
                for field, decision in decisions_of(body.intent).items():
                    shown = ShownIntent(body.key, decision, author, WRITTEN_MS, expires_ms)
                    self.intents.setdefault(body.service, {})[body.key, field] = shown
            case ClearIntent():
                for field in body.fields or INTENT_FIELDS:
                    self.intents.get(body.service, {}).pop((body.key, field), None)
        return Tag.DONE, Done(seq=1)

    def shown(self, service: Service, instance: Instance) -> Instance:
        """As operators want it."""
        known = self.intents.get(service, {})
        wanted = {field: known[instance.key, field].intent for field in INTENT_FIELDS if (instance.key, field) in known}
        fields = {field: getattr(intent, field) for field, intent in wanted.items()}
        fields["metadata"] = {**instance.metadata, **fields.get("metadata", {})}
        return msgspec.structs.replace(instance, **fields)

    def _service(self, service: Service, instances: Instances) -> ServiceShown:
        kept = sum(not instance.ephemeral for instance in instances(service).values())
        decided = sorted(self.intents.get(service, {}).items())
        intents = tuple(
            msgspec.structs.replace(intent, listed=key in instances(service)) for (key, _), intent in decided
        )
        if service not in self.services:
            return ServiceShown(service, ServiceSettings(), persistent_instances=kept, intents=intents)
        settings, author = self.services[service]
        return ServiceShown(service, settings, author, WRITTEN_MS, 1, kept, intents)

    def _put(self, table: dict[Any, Any], key: Any, value: Any, mode: str) -> tuple[Tag, Any]:
        if mode == "create" and key in table:
            return Tag.FAILED, Failed(Code.SERVICE_EXISTS, "there is one already", "mode")
        if mode == "update" and key not in table:
            return Tag.FAILED, Failed(Code.SERVICE_NOT_FOUND, "there is nothing to update", "mode")
        table[key] = value
        return Tag.DONE, Done(seq=1)

    def _delete(self, table: dict[Any, Any], key: Any) -> tuple[Tag, Any]:
        if table.pop(key, None) is None:
            return Tag.FAILED, Failed(Code.SERVICE_NOT_FOUND, "there is none", "id")
        return Tag.DONE, Done(seq=1)
