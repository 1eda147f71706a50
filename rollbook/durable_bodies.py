"""Bodies of orders and answers about durable data: what must not be lost, and what people decide (tags in wire.py).

Orders say how things shall be and may be repeated; each is answered by Done once it is durable and in force at the node
that was asked, ``seq`` being the index of the change. Fields are only appended.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from rollbook.durable import Intent, IntentField, Namespace, ServiceSettings
from rollbook.model import Instance, InstanceKey, Service

NAMESPACES_MAX = 1_000  # besides the one that is built in
PERSISTENT_PER_ORDER_MAX = 60  # instances that are written together or not at all: half a megabyte at their longest
INTENT_MS_MAX = 366 * 86_400_000  # whoever means longer means for ever
PutMode = Literal["put", "create", "update"]  # whatever is there; only if there is nothing; only if there is something


class PublishPersistent(msgspec.Struct, frozen=True, array_like=True):
    """Keep these instances (``ephemeral`` False), each in the place of the one with its key: all of them or none.

    They belong to nobody's session. Answered by Done once they are durable and in this node's index; ``seq`` is the
    index of the change. After OUTCOME_UNKNOWN the same may be said again.
    """

    service: Service
    instances: tuple[Instance, ...]


class WithdrawPersistent(msgspec.Struct, frozen=True, array_like=True):
    """Keep these no more, whoever published them: all of them or none."""

    service: Service
    keys: tuple[InstanceKey, ...]


class PutService(msgspec.Struct, frozen=True, array_like=True):
    """Keep these settings of a service, whole, whether it has instances or not. ``index``: only in the place of those
    that were written then (0: of any); who has read them can so change a part without undoing what others do."""

    service: Service
    settings: ServiceSettings
    mode: PutMode = "put"
    index: int = 0


class DeleteService(msgspec.Struct, frozen=True, array_like=True):
    """Forget the settings of a service; refused while it has instances."""

    service: Service


class GetService(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a service. Answered by SERVICE_SHOWN, from what the asked node has followed."""

    service: Service


class PutNamespace(msgspec.Struct, frozen=True, array_like=True):
    namespace: Namespace
    mode: PutMode = "put"


class DeleteNamespace(msgspec.Struct, frozen=True, array_like=True):
    """Refused while anything is kept or published in it."""

    id: str


class ListNamespaces(msgspec.Struct, frozen=True, array_like=True):
    """Answered by NAMESPACES."""


class SetIntent(msgspec.Struct, frozen=True, array_like=True):
    """Whatever this instance publishes, callers are to be shown this, until it is cleared, until ``for_ms`` have passed
    (0: for ever), or until the instance is another incarnation. What the intent says nothing of stays as it was decided
    before. Refused if there is no such instance."""

    service: Service
    key: InstanceKey
    intent: Intent
    for_ms: Annotated[int, msgspec.Meta(ge=0, le=INTENT_MS_MAX)] = 0


class ClearIntent(msgspec.Struct, frozen=True, array_like=True):
    """These fields are shown as published again; empty: all of them."""

    service: Service
    key: InstanceKey
    fields: tuple[IntentField, ...] = ()


class SetHealth(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of the health of a persistent instance. Refused while its cluster is probed, for then the probes
    say how it is."""

    service: Service
    key: InstanceKey
    healthy: bool


class ShownIntent(msgspec.Struct, frozen=True, array_like=True):
    """One decision: the intent says one thing. ``author``: the client that set it; times by the wall clock of the node
    that took it, ``expires_ms`` 0: never. ``listed``: whether the asked node lists the very instance that it was meant
    for now; if not, it is in force for nobody."""

    key: InstanceKey
    intent: Intent
    author: str
    written_ms: int
    expires_ms: int
    listed: bool = True


class ServiceShown(msgspec.Struct, frozen=True, array_like=True):
    """``index`` 0: nobody has put settings of it, so these are the defaults."""

    service: Service
    settings: ServiceSettings
    author: str = ""
    written_ms: int = 0
    index: int = 0
    persistent_instances: int = 0
    intents: tuple[ShownIntent, ...] = ()


class Namespaces(msgspec.Struct, frozen=True, array_like=True):
    """Sorted by id; ``public`` is always among them."""

    namespaces: tuple[Namespace, ...]
