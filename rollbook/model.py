"""The words every room shares: Service, Instance, View, and the rules a value must keep.

Field defaults, ranges and name rules are those of Nacos' naming module (2.3 and later), so that the same data is
legal here and there. Differences: the weight range is checked on every path, a cluster name may hold an underscore, and
no name may hold control characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec

from rollbook.errors import Code, InvalidField

DEFAULT_NAMESPACE = "public"
DEFAULT_GROUP = "DEFAULT_GROUP"
DEFAULT_CLUSTER = "DEFAULT"

NAMESPACE_LENGTH_MAX = 64
GROUP_LENGTH_MAX = 128
SERVICE_NAME_LENGTH_MAX = 512
CLUSTER_LENGTH_MAX = 64
IP_LENGTH_MAX = 128
METADATA_LENGTH_MAX = 1024  # characters: the sum over all keys and values of one instance
WEIGHT_MAX = 10_000.0
CLIENT_ID_LENGTH_MAX = 128
APP_LENGTH_MAX = 128
VERDICTS_CLIENT_PREFIX = "health/"  # of what nodes publish themselves: no client may pass for one of them
HTTP_CLIENT_SUFFIX = "#true"  # ``ip:port#true`` is a client that has no session: beats keep what it publishes

HEARTBEAT_INTERVAL_KEY = "preserved.heart.beat.interval"
HEARTBEAT_TIMEOUT_KEY = "preserved.heart.beat.timeout"
DELETE_TIMEOUT_KEY = "preserved.ip.delete.timeout"
PRESERVED_DEFAULTS_MS = {HEARTBEAT_INTERVAL_KEY: 5_000, HEARTBEAT_TIMEOUT_KEY: 15_000, DELETE_TIMEOUT_KEY: 30_000}
PRESERVED_MS_MAX = 366 * 86_400_000  # whoever means longer has made a mistake, and SDKs have no room for it

_NAMESPACE = re.compile(r"[\w-]+", re.ASCII)
_GROUP = re.compile(r"[a-zA-Z0-9\-_:.]+")
_SERVICE_NAME = re.compile(r"(?!@)(?:(?!@@)[^\u4E00-\u9FA5\s\x00-\x1F\x7F])+")
_CLUSTER = re.compile(r"[0-9a-zA-Z\-_]+")
_IP = re.compile(r"[^\u4E00-\u9FA5\s\x00-\x1F\x7F]+")


class Service(NamedTuple):
    """(namespace, group, name); shown as ``group@@name``. A tuple, because it is the key of every hot table."""

    namespace: str
    group: str
    name: str

    @property
    def grouped_name(self) -> str:
        return f"{self.group}@@{self.name}"


class InstanceKey(NamedTuple):
    """What makes two instances of one service the same one."""

    ip: str
    port: int
    cluster: str = DEFAULT_CLUSTER


class Instance(msgspec.Struct, frozen=True, array_like=True):
    """One address that serves a service. On the wire: an array in this order; later fields are only appended."""

    ip: str
    port: int
    cluster: str = DEFAULT_CLUSTER
    weight: float = 1.0
    healthy: bool = True
    enabled: bool = True
    ephemeral: bool = True
    metadata: dict[str, str] = {}

    @property
    def key(self) -> InstanceKey:
        return InstanceKey(self.ip, self.port, self.cluster)


def instance_key(instance: Instance) -> tuple[str, int, str]:
    """The same key as ``Instance.key``, as a plain tuple: for the hot paths (the two compare and hash alike)."""
    return (instance.ip, instance.port, instance.cluster)


class View(msgspec.Struct, frozen=True, array_like=True):
    """The immutable answer for one service, built from all records.

    ``version`` rises within one node (it is the node's hybrid clock at build), so of two views of one session the
    greater one is the newer. ``instances`` are sorted by key.
    """

    service: Service
    version: int
    instances: tuple[Instance, ...] = ()
    warming: bool = False  # after a cold start: complete the cache from it, remove nothing
    preserved: bool = False  # self-preservation: too many nodes are silent, so nothing was hidden
    guarded: bool = (
        False  # shrink guard: what a dead owner would take is more than half, so it is shown one lease longer
    )
    stale_since_ms: int = 0  # persistent instances: by the node's wall clock, since when it cannot follow the store
    protected: bool = False  # so few are healthy that all are shown as healthy


class Difference(NamedTuple):
    """What a subscriber is told beside the list: by instance key, sorted."""

    added: tuple[Instance, ...]
    removed: tuple[Instance, ...]
    changed: tuple[Instance, ...]

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)


def difference(before: Iterable[Instance], after: Iterable[Instance]) -> Difference:
    """Compare two lists of one service."""
    old = {instance.key: instance for instance in before}
    new = {instance.key: instance for instance in after}
    return Difference(
        added=tuple(new[key] for key in sorted(new.keys() - old.keys())),
        removed=tuple(old[key] for key in sorted(old.keys() - new.keys())),
        changed=tuple(new[key] for key in sorted(new.keys() & old.keys()) if new[key] != old[key]),
    )


def clusters_of(text: str) -> frozenset[str]:
    """The cluster filter of a comma list; empty means every cluster."""
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    for name in sorted(names):
        _check_text("clusters", name, CLUSTER_LENGTH_MAX, _CLUSTER, Code.PARAMETER_INVALID)
    return names


def filter_clusters(instances: Iterable[Instance], clusters: frozenset[str]) -> tuple[Instance, ...]:
    """Keep the instances of these clusters; an empty filter keeps all."""
    if not clusters:
        return tuple(instances)
    return tuple(instance for instance in instances if instance.cluster in clusters)


@lru_cache(maxsize=65_536)
def check_service(service: Service) -> Service:
    """Raise InvalidField unless namespace, group and name keep the name rules; return the service."""
    _check_text("namespace", service.namespace, NAMESPACE_LENGTH_MAX, _NAMESPACE, Code.PARAMETER_INVALID)
    _check_text("group", service.group, GROUP_LENGTH_MAX, _GROUP, Code.PARAMETER_INVALID)
    _check_text("service", service.name, SERVICE_NAME_LENGTH_MAX, _SERVICE_NAME, Code.SERVICE_NAME_INVALID)
    return service


def check_instance(instance: Instance, *, ephemeral: bool = True) -> Instance:
    """Raise InvalidField unless the instance is of this kind and each field is in its range; return the instance."""
    _check_ip(instance.ip)
    if not 0 <= instance.port <= 65_535:
        raise InvalidField(
            f"port must lie between 0 and 65535, not {instance.port}", code=Code.INSTANCE_INVALID, field="port"
        )
    if instance.cluster != DEFAULT_CLUSTER:
        _check_text("cluster", instance.cluster, CLUSTER_LENGTH_MAX, _CLUSTER, Code.INSTANCE_INVALID)
    if not 0.0 <= instance.weight <= WEIGHT_MAX:  # also refuses NaN
        raise InvalidField(
            f"weight must lie between 0 and {WEIGHT_MAX:g}, not {instance.weight}",
            code=Code.INSTANCE_WEIGHT_INVALID,
            field="weight",
        )
    if instance.ephemeral is not ephemeral:
        kinds = ("ephemeral", "persistent") if ephemeral else ("persistent", "ephemeral")
        raise InvalidField(
            f"this order is for {kinds[0]} instances, not for {kinds[1]} ones",
            code=Code.INSTANCE_INVALID,
            field="ephemeral",
        )
    if instance.metadata:
        _check_metadata(instance.metadata)
    return instance


@lru_cache(maxsize=65_536)
def _check_ip(ip: str) -> None:
    _check_text("ip", ip, IP_LENGTH_MAX, _IP, Code.INSTANCE_INVALID)


def check_client_id(client_id: str) -> str:
    """Raise InvalidField unless the id is 1 to 128 printable characters without white space; return it.

    Ids that begin like those of verdicts belong to nodes, and those that end like those of HTTP clients to beats."""
    if not 0 < len(client_id) <= CLIENT_ID_LENGTH_MAX or not client_id.isprintable() or " " in client_id:
        raise InvalidField(f"client_id must be 1 to {CLIENT_ID_LENGTH_MAX} printable characters", field="client_id")
    if client_id.startswith(VERDICTS_CLIENT_PREFIX):
        raise InvalidField(f"client_id must not begin with {VERDICTS_CLIENT_PREFIX}", field="client_id")
    if client_id.endswith(HTTP_CLIENT_SUFFIX):
        raise InvalidField(f"client_id must not end with {HTTP_CLIENT_SUFFIX}", field="client_id")
    return client_id


def preserved_ms(metadata: dict[str, str], key: str) -> int:
    """A preserved duration in milliseconds; the default when the key is absent or not all digits."""
    text = metadata.get(key, "")
    return min(int(text), PRESERVED_MS_MAX) if text.isascii() and text.isdigit() else PRESERVED_DEFAULTS_MS[key]


def _check_text(field: str, value: str, length_max: int, pattern: re.Pattern[str], code: Code) -> None:
    if not value:
        raise InvalidField(f"{field} must not be empty", code=code, field=field)
    if len(value) > length_max:
        raise InvalidField(f"{field} is longer than {length_max} characters", code=code, field=field)
    if pattern.fullmatch(value) is None:
        raise InvalidField(f"{field} {value!r} contains forbidden characters", code=code, field=field)


def _check_metadata(metadata: dict[str, str]) -> None:
    if sum(len(key) + len(value) for key, value in metadata.items()) > METADATA_LENGTH_MAX:
        raise InvalidField(
            f"metadata is longer than {METADATA_LENGTH_MAX} characters in all",
            code=Code.INSTANCE_METADATA_INVALID,
            field="metadata",
        )
    interval_ms = preserved_ms(metadata, HEARTBEAT_INTERVAL_KEY)
    for key in (HEARTBEAT_TIMEOUT_KEY, DELETE_TIMEOUT_KEY):
        if preserved_ms(metadata, key) < interval_ms:
            raise InvalidField(
                f"metadata {key} must not be below {HEARTBEAT_INTERVAL_KEY}",
                code=Code.INSTANCE_METADATA_INVALID,
                field=f"metadata.{key}",
            )
