"""Rows of the store as rows of the client protocol, for backups, and the way back. Pure rules.

Both say the same: a row that was read and restored is the row that it was, byte for byte, if this version wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.durable_rows import (
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    namespace_row_key,
    namespace_row_value,
    service_row_key,
    service_row_value,
)
from actors.durable_values import Kept, KeptFence, KeptInstance, KeptIntent, KeptNamespace, KeptService
from rollbook.kept_rows import InstanceRow, IntentRow, KeptRow, NamespaceRow, ServiceRow


def given_row(kept: Kept) -> KeptRow:
    """As it is given away."""
    match kept:
        case KeptService():
            return ServiceRow(kept.service, kept.settings, kept.author, kept.written_ms)
        case KeptNamespace():
            return NamespaceRow(kept.namespace, kept.author, kept.written_ms)
        case KeptIntent():
            about = (kept.service, kept.key, kept.intent, kept.incarnation)
            return IntentRow(*about, kept.author, kept.written_ms, kept.expires_ms)
        case KeptInstance():
            return InstanceRow(kept.service, kept.instance, kept.author, kept.written_ms, kept.added_ms)
        case KeptFence():
            raise TypeError("a fence is of a node and of no use to anybody else")


def stored_row(row: KeptRow) -> tuple[str, bytes]:
    """Key and value as they are stored."""
    match row:
        case ServiceRow():
            return service_row_key(row.service), service_row_value(row.settings, row.author, row.written_ms)
        case NamespaceRow():
            return namespace_row_key(row.namespace.id), namespace_row_value(row.namespace, row.author, row.written_ms)
        case IntentRow():
            about = (row.service, row.key, row.intent, row.incarnation)
            kept = KeptIntent(*about, row.author, row.written_ms, row.expires_ms, 0)
            return intent_row_key(kept.place), intent_row_value(kept)
        case InstanceRow():
            value = instance_row_value(row.instance, row.author, row.written_ms, row.added_ms)
            return instance_row_key(row.service, row.instance.key), value


def stored_rows(rows: Iterable[KeptRow]) -> dict[str, bytes]:
    return dict(map(stored_row, rows))
