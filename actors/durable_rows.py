"""Rows of the store: what a key says, and its value to bytes and back. Pure rules.

A key is a few words with single spaces between them; no name of the model may hold one, so words need no quoting and an
operator can read them:

    instance <namespace> <group> <service> <ip> <port> <cluster>
    service <namespace> <group> <service>
    intent <namespace> <group> <service> <ip> <port> <cluster> <field>
    namespace <id>
    fence <node id>

A value is a msgpack array (durable_values.py).
"""

from __future__ import annotations

from typing import TypeVar

from actors.durable_values import (
    Kept,
    KeptFence,
    KeptInstance,
    KeptIntent,
    KeptNamespace,
    KeptService,
    StoredInstance,
    StoredIntent,
    StoredNamespace,
    StoredService,
)
from actors.messages.values import IntentPlace, Origin, Record, RecordKey
from actors.records import STAMP_COUNTER_BITS
from rollbook.codec import UnpackLimits, pack, typed, unpack
from rollbook.durable import Namespace, ServiceSettings, check_intent, check_namespace, check_settings, decisions_of
from rollbook.errors import RemoteProtocolError
from rollbook.model import Instance, InstanceKey, Service, check_instance, check_service

STORE_ORIGIN = Origin("the store", 0)  # of the records that are made of rows; no node has an id with a space
_FORMAT = 1
_LIMITS = UnpackLimits(262_144, array_length_max=4_096, map_length_max=4_096, containers_max=16_384)

Stored = TypeVar("Stored", StoredInstance, StoredService, StoredIntent, StoredNamespace)


class RowUnreadable(Exception):
    """A row that this version cannot read: written by a newer one, or damaged."""


def instance_row_key(service: Service, key: InstanceKey) -> str:
    return " ".join(("instance", *service, key.ip, str(key.port), key.cluster))


def service_row_key(service: Service) -> str:
    return " ".join(("service", *service))


def intent_row_key(place: IntentPlace) -> str:
    """Each decision has a row of its own: nobody who writes one has to know the others."""
    service, key, field = place
    return " ".join(("intent", *service, key.ip, str(key.port), key.cluster, field))


def is_intent_row(key: str) -> bool:
    return key.startswith("intent ")


def namespace_row_key(namespace_id: str) -> str:
    return f"namespace {namespace_id}"


def fence_row_key(node_id: str) -> str:
    return f"fence {node_id}"


def instance_row_value(instance: Instance, author: str, written_ms: int, added_ms: int) -> bytes:
    content = (instance.weight, instance.healthy, instance.enabled, instance.metadata)
    return pack(StoredInstance(_FORMAT, *content, author, written_ms, added_ms))


def service_row_value(settings: ServiceSettings, author: str, written_ms: int) -> bytes:
    return pack(StoredService(_FORMAT, settings, author, written_ms))


def intent_row_value(kept: KeptIntent) -> bytes:
    times = (kept.written_ms, kept.expires_ms)
    return pack(StoredIntent(_FORMAT, kept.intent, kept.incarnation, kept.author, *times))


def namespace_row_value(namespace: Namespace, author: str, written_ms: int) -> bytes:
    return pack(StoredNamespace(_FORMAT, namespace.name, namespace.description, author, written_ms))


def read_row(key: str, value: bytes, index: int) -> Kept:
    """RowUnreadable names the key and the reason. Anybody may write anything to the store: what is read keeps the rules
    of the model, and no two keys mean the same."""
    words = key.split(" ")
    try:
        match words[0], len(words):
            case "instance", 7:
                return _read_instance(words, value, index)
            case "service", 4:
                return _read_service(words, value, index)
            case "intent", 8:
                return _read_intent(words, value, index)
            case "namespace", 2:
                return _read_namespace(words, value, index)
            case "fence", 2:
                return KeptFence(words[1], index)
            case _:
                raise RemoteProtocolError("no kind of row that is known here", field="key")
    except (RemoteProtocolError, ValueError) as error:
        raise RowUnreadable(f"{key}: {error}") from error


def record_of(kept: KeptInstance) -> Record:
    """What the index is given: one record for each instance, of a client whose name no session can have. Its session is
    the moment in which it came, which tells one incarnation of it from another."""
    return Record(
        STORE_ORIGIN,
        record_key(kept.service, kept.instance.key),
        session=kept.added_ms,
        seq=kept.index,
        stamp=kept.written_ms << STAMP_COUNTER_BITS,
        grace_ms=0,
        instances=(kept.instance,),
        body=b"",
        digest=0,
    )


def record_key(service: Service, key: InstanceKey) -> RecordKey:
    return RecordKey(f"kept {key.ip} {key.port} {key.cluster}", service)


def _read_instance(words: list[str], value: bytes, index: int) -> KeptInstance:
    content = _content(value, StoredInstance)
    service, key = _place(words)
    instance = Instance(*key, content.weight, content.healthy, content.enabled, False, content.metadata)
    check_instance(instance, ephemeral=False)
    return KeptInstance(service, instance, content.author, content.written_ms, content.added_ms, index)


def _read_service(words: list[str], value: bytes, index: int) -> KeptService:
    content = _content(value, StoredService)
    service = check_service(Service(*words[1:4]))
    return KeptService(service, check_settings(content.settings), content.author, content.written_ms, index)


def _read_intent(words: list[str], value: bytes, index: int) -> KeptIntent:
    content = _content(value, StoredIntent)
    service, key = _place(words[:7])
    check_instance(Instance(*key))
    if list(decisions_of(content.intent)) != words[7:]:
        raise RemoteProtocolError(f"it says something else than {words[7]}", field="intent")
    about = (check_intent(content.intent), content.incarnation, content.author)
    return KeptIntent(service, key, *about, content.written_ms, content.expires_ms, index)


def _read_namespace(words: list[str], value: bytes, index: int) -> KeptNamespace:
    content = _content(value, StoredNamespace)
    namespace = check_namespace(Namespace(words[1], content.name, content.description))
    return KeptNamespace(namespace, content.author, content.written_ms, index)


def _content(value: bytes, kind: type[Stored]) -> Stored:
    content = typed(unpack(value, _LIMITS), kind)
    if content.format != _FORMAT:
        raise RemoteProtocolError(f"format {content.format} is newer than {_FORMAT}", field="format")
    return content


def _place(words: list[str]) -> tuple[Service, InstanceKey]:
    """Of a row about one instance."""
    _, namespace, group, name, ip, port, cluster = words
    key = InstanceKey(ip, int(port), cluster)
    if str(key.port) != port:
        raise RemoteProtocolError("the port is not written as a plain number", field="key")
    return check_service(Service(namespace, group, name)), key
