"""What people and deployments decide, and the registry keeps: settings of services, intents, namespaces.

Defaults and ranges are those of Nacos' naming module. On the wire each is an array in this order; fields are only
appended.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from rollbook.checkers import CheckerSettings, check_checker
from rollbook.errors import Code, InvalidField
from rollbook.model import (
    CLUSTER_LENGTH_MAX,
    METADATA_LENGTH_MAX,
    WEIGHT_MAX,
    Service,
    check_service,
)

CLUSTERS_MAX = 64  # of a service that say how they are probed
NAMESPACE_NAME_LENGTH_MAX = 256
DESCRIPTION_LENGTH_MAX = 1_024

_CLUSTER = re.compile(r"[0-9a-zA-Z\-_]+")
_NAMESPACE_NAME = re.compile(r"[^@#$%^&*\x00-\x1F\x7F]+")
_KEPT = "kept "  # begins the incarnation of a persistent instance; no client has an id with a space


class ServiceSettings(msgspec.Struct, frozen=True, array_like=True):
    """``protection_threshold``: where no larger share of a service is healthy, all of it is shown as healthy, and the
    list says so; 0: never. ``checkers``: by cluster."""

    protection_threshold: float = 0.0
    metadata: dict[str, str] = {}
    checkers: dict[str, CheckerSettings] = {}
    selector: Literal["none"] = "none"


IntentField = Literal["enabled", "weight", "metadata"]
INTENT_FIELDS: tuple[IntentField, ...] = get_args(IntentField)


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """What an operator wants of one instance, whatever it publishes. None, or no metadata: of that it says nothing.
    ``metadata`` goes over what is published, key by key."""

    enabled: bool | None = None
    weight: float | None = None
    metadata: dict[str, str] = {}


class Namespace(msgspec.Struct, frozen=True, array_like=True):
    id: str
    name: str
    description: str = ""


def check_settings(settings: ServiceSettings) -> ServiceSettings:
    """Raise InvalidField unless everything is in its range; return them."""
    if not 0.0 <= settings.protection_threshold <= 1.0:
        raise InvalidField(
            f"protection_threshold must lie between 0 and 1, not {settings.protection_threshold}",
            code=Code.SERVICE_METADATA_INVALID,
            field="protection_threshold",
        )
    _check_metadata(settings.metadata, Code.SERVICE_METADATA_INVALID)
    if len(settings.checkers) > CLUSTERS_MAX:
        raise InvalidField(f"a service has checkers for at most {CLUSTERS_MAX} clusters", field="checkers")
    for cluster, checker in settings.checkers.items():
        if not 0 < len(cluster) <= CLUSTER_LENGTH_MAX or _CLUSTER.fullmatch(cluster) is None:
            raise InvalidField(f"cluster {cluster!r} is no name of a cluster", field="checkers")
        check_checker(checker)
    return settings


def check_intent(intent: Intent) -> Intent:
    """Raise InvalidField unless it says something, in range; return it."""
    if intent == Intent():
        raise InvalidField("an intent says at least one thing: enabled, weight or metadata", field="intent")
    if intent.weight is not None and not 0.0 <= intent.weight <= WEIGHT_MAX:
        raise InvalidField(
            f"weight must lie between 0 and {WEIGHT_MAX:g}, not {intent.weight}",
            code=Code.INSTANCE_WEIGHT_INVALID,
            field="weight",
        )
    _check_metadata(intent.metadata, Code.INSTANCE_METADATA_INVALID)
    return intent


def decisions_of(intent: Intent) -> dict[IntentField, Intent]:
    """One by one what it says, by field: each is kept for itself, with its own author and end."""
    decisions: dict[IntentField, Intent] = {}
    if intent.enabled is not None:
        decisions["enabled"] = Intent(enabled=intent.enabled)
    if intent.weight is not None:
        decisions["weight"] = Intent(weight=intent.weight)
    if intent.metadata:
        decisions["metadata"] = Intent(metadata=intent.metadata)
    return decisions


def check_namespace(namespace: Namespace) -> Namespace:
    """Raise InvalidField unless id, name and description are in range; return it."""
    check_service(Service(namespace.id, "any", "any"))
    if not 0 < len(namespace.name) <= NAMESPACE_NAME_LENGTH_MAX or not _NAMESPACE_NAME.fullmatch(namespace.name):
        limit = NAMESPACE_NAME_LENGTH_MAX
        raise InvalidField(f"name must be 1 to {limit} characters without @#$%^&*", field="name")
    if len(namespace.description) > DESCRIPTION_LENGTH_MAX:
        raise InvalidField(f"description is longer than {DESCRIPTION_LENGTH_MAX} characters", field="description")
    return namespace


def _check_metadata(metadata: dict[str, str], code: Code) -> None:
    if sum(len(key) + len(value) for key, value in metadata.items()) > METADATA_LENGTH_MAX:
        sentence = f"metadata is longer than {METADATA_LENGTH_MAX} characters in all"
        raise InvalidField(sentence, code=code, field="metadata")


def kept_incarnation(added_ms: int) -> str:
    """What tells a persistent instance, which came at this moment, from a later one at the same address."""
    return f"{_KEPT}{added_ms}"


def is_kept_incarnation(incarnation: str) -> bool:
    """False for that of an ephemeral one: the id of its client."""
    return incarnation.startswith(_KEPT)
