"""What is kept: the values of rows as they are stored, and what they mean once they are read.

Stored values begin with the number of their format; fields are only appended within one. ``author`` is the client that
wrote a row last, times are milliseconds of the wall clock of the node that took its order, and ``index`` is that of the
change that wrote it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from actors.messages.values import IntentPlace
from rollbook.durable import Intent, IntentField, Namespace, ServiceSettings, decisions_of
from rollbook.kept_rows import Moment
from rollbook.model import Instance, InstanceKey, Service

Format = Annotated[int, msgspec.Meta(ge=1)]


class StoredInstance(msgspec.Struct, frozen=True, array_like=True):
    format: Format
    weight: float
    healthy: bool
    enabled: bool
    metadata: dict[str, str]
    author: str
    written_ms: Moment
    added_ms: Moment  # when it came; written again it stays the same instance


class StoredService(msgspec.Struct, frozen=True, array_like=True):
    format: Format
    settings: ServiceSettings
    author: str
    written_ms: Moment


class StoredIntent(msgspec.Struct, frozen=True, array_like=True):
    format: Format
    intent: Intent
    incarnation: str
    author: str
    written_ms: Moment
    expires_ms: Moment  # 0: never


class StoredNamespace(msgspec.Struct, frozen=True, array_like=True):
    format: Format
    name: str
    description: str
    author: str
    written_ms: Moment


class KeptInstance(msgspec.Struct, frozen=True, gc=False):
    """A persistent instance."""

    service: Service
    instance: Instance
    author: str
    written_ms: int
    added_ms: int
    index: int


class KeptService(msgspec.Struct, frozen=True):
    """Settings that somebody has put."""

    service: Service
    settings: ServiceSettings
    author: str
    written_ms: int
    index: int


class KeptIntent(msgspec.Struct, frozen=True):
    """One thing that an operator wants of one incarnation of an instance."""

    service: Service
    key: InstanceKey
    intent: Intent
    incarnation: str
    author: str
    written_ms: int
    expires_ms: int
    index: int

    @property
    def field(self) -> IntentField:
        (field,) = decisions_of(self.intent)
        return field

    @property
    def place(self) -> IntentPlace:
        return IntentPlace(self.service, self.key, self.field)


class KeptNamespace(msgspec.Struct, frozen=True):
    namespace: Namespace
    author: str
    written_ms: int
    index: int


class KeptFence(msgspec.Struct, frozen=True, gc=False):
    """Every change a node proposes expects its fence as it knows it; with a new one, what was proposed before is too
    late for ever. What its value says does not matter, only the index."""

    node_id: str
    index: int


Kept = KeptInstance | KeptService | KeptIntent | KeptNamespace | KeptFence
