"""Clients as HTTP shows them, in the words of the second API and of the third. The names are the original's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from rollbook.catalog import Subscriber
from rollbook.known_clients import ClientShown
from rollbook.model import InstanceKey, Service

UNKNOWN_APP = "unknown"  # of an application that has not said its name
# The id of an SDK behind a gateway ends with its port, and that of one who speaks HTTP has it before the mark.
_ID_WITH_PORT = re.compile(r"[0-9]+_.+_([0-9]{1,5})|.+:([0-9]{1,5})#true")
_KEPT = "kept "  # how the id of a publisher begins that is no client, but a persistent instance
_CONNECT_TYPES = {"sdk": "GRPC", "native": "ROLLBOOK"}


class IpPortShape(msgspec.Struct, frozen=True, rename="camel"):
    """One whom beats keep."""

    client_id: str
    ephemeral: bool
    last_updated_time: int
    client_type: Literal["connection", "ipPort"]


class ConnectionClientShape(IpPortShape, frozen=True, rename="camel"):
    """``client_port``: a text in the second API, a number in the third."""

    connect_type: str
    app_name: str
    version: str
    client_ip: str
    client_port: str | int


class _ClientAddress(msgspec.Struct, frozen=True):
    ip: str
    port: int
    cluster: str


class _SubscriberOfV2(msgspec.Struct, frozen=True):
    app: str
    agent: str
    addr: str


class PublicationOfV2(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    group: str
    service_name: str
    registered_instance: _ClientAddress


class SubscriptionOfV2(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    group: str
    service_name: str
    subscriber_info: _SubscriberOfV2


class PublisherOfV2(msgspec.Struct, frozen=True, rename="camel"):
    client_id: str
    ip: str
    port: int
    cluster: str


class SubscriberOfServiceOfV2(msgspec.Struct, frozen=True, rename="camel"):
    client_id: str
    ip: str
    port: int


class PublisherOfV3(msgspec.Struct, frozen=True, rename="camel"):
    client_id: str
    ip: str
    port: int
    cluster_name: str


class SubscriberOfV3(msgspec.Struct, frozen=True, rename="camel"):
    client_id: str
    app_name: str
    agent: str
    address: str


class PublicationOfV3(msgspec.Struct, frozen=True, rename="camel"):
    namespace_id: str
    group_name: str
    service_name: str
    publisher_info: PublisherOfV3


class SubscriptionOfV3(msgspec.Struct, frozen=True, rename="camel"):
    namespace_id: str
    group_name: str
    service_name: str
    subscriber_info: SubscriberOfV3


class ClientWords(NamedTuple):
    """How one version of the API says these things."""

    client: Callable[[ClientShown], IpPortShape]
    publication: Callable[[str, Service, InstanceKey], object]
    subscription: Callable[[Subscriber, Service], object]
    publisher: Callable[[str, InstanceKey], object]
    subscriber: Callable[[Subscriber], object]


def client_port(client_id: str) -> int:
    """0 if its id does not say one."""
    said = _ID_WITH_PORT.fullmatch(client_id)
    return int(said[1] or said[2]) if said else 0


def publisher_id(client_id: str, key: InstanceKey) -> str:
    """Of a persistent instance the id that the original has for one."""
    return f"{key.ip}:{key.port}#false" if is_persistent(client_id) else client_id


def is_persistent(client_id: str) -> bool:
    """No id of a client has a space in it."""
    return client_id.startswith(_KEPT)


def _client(shown: ClientShown, port: str | int) -> IpPortShape:
    if shown.kind == "http":
        return IpPortShape(shown.client_id, True, shown.updated_ms, "ipPort")
    connect_type = _CONNECT_TYPES.get(shown.kind, "")
    about = (connect_type, shown.app or UNKNOWN_APP, shown.agent, shown.ip, port)
    return ConnectionClientShape(shown.client_id, True, shown.updated_ms, "connection", *about)


def _address(subscriber: Subscriber) -> str:
    port = client_port(subscriber.client_id)
    return f"{subscriber.ip}:{port}" if port else subscriber.ip


def _subscriber_of_v3(subscriber: Subscriber) -> SubscriberOfV3:
    app = subscriber.app or UNKNOWN_APP
    return SubscriberOfV3(subscriber.client_id, app, subscriber.agent, _address(subscriber))


def _publisher_of_v3(client_id: str, key: InstanceKey) -> PublisherOfV3:
    return PublisherOfV3(publisher_id(client_id, key), *key)


V2 = ClientWords(
    client=lambda shown: _client(shown, str(client_port(shown.client_id))),
    publication=lambda _, service, key: PublicationOfV2(*service, _ClientAddress(*key)),
    subscription=lambda who, service: SubscriptionOfV2(
        *service, _SubscriberOfV2(who.app or UNKNOWN_APP, who.agent, who.ip)
    ),
    publisher=lambda client_id, key: PublisherOfV2(publisher_id(client_id, key), *key),
    subscriber=lambda who: SubscriberOfServiceOfV2(who.client_id, who.ip, client_port(who.client_id)),
)
V3 = ClientWords(
    client=lambda shown: _client(shown, client_port(shown.client_id)),
    publication=lambda client_id, service, key: PublicationOfV3(*service, _publisher_of_v3(client_id, key)),
    subscription=lambda who, service: SubscriptionOfV3(*service, _subscriber_of_v3(who)),
    publisher=_publisher_of_v3,
    subscriber=_subscriber_of_v3,
)
