"""What a caller handed to NamingClient, checked before anything is sent: values need not have the types they should.

Each check returns the value as the client uses it, or raises InvalidField naming the argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast, get_args

import msgspec

from rollbook.codec import pack, typed
from rollbook.errors import InvalidField, RemoteProtocolError
from rollbook.model import Instance, clusters_of
from rollbook.wire import Wait

TIMEOUT_S_MAX = 86_400  # far more, and the operating system would refuse it

Clusters = str | Iterable[str] | None


def checked_text(field: str, value: object) -> str:
    """A text that can be sent; half of a surrogate pair, as from undecodable bytes of a file name, has no UTF-8."""
    if not isinstance(value, str):
        raise InvalidField(f"{field} must be text, not {type(value).__name__}", field=field)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidField(f"{field} {value!r} is not valid Unicode", field=field) from None
    return value


def checked_timeout(seconds: object) -> float:
    if not isinstance(seconds, int | float) or not 0 < seconds <= TIMEOUT_S_MAX:
        raise InvalidField(f"timeout must lie between 0 and {TIMEOUT_S_MAX} seconds, not {seconds!r}", field="timeout")
    return seconds


def checked_count(field: str, value: object, largest: int) -> int:
    """A number that counts from 1."""
    if not isinstance(value, int) or not 1 <= value <= largest:
        raise InvalidField(f"{field} must lie between 1 and {largest}, not {value!r}", field=field)
    return value


def checked_metadata(metadata: object) -> dict[str, str]:
    """A copy; what it holds is checked with the instance."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidField(f"metadata must be a mapping, not {type(metadata).__name__}", field="metadata")
    return dict(metadata)


def checked_types(instance: Instance) -> Instance:
    """Each field has its type, and can be sent."""
    try:
        checked = typed(msgspec.to_builtins(instance), Instance)
        pack(checked)
    except RemoteProtocolError as error:
        raise InvalidField(error.message, field=error.field) from None
    except (TypeError, UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise InvalidField(f"instance: {error}", field="instance") from None
    return checked


def checked_clusters(clusters: Clusters) -> frozenset[str]:
    """Empty means all."""
    if clusters is None:
        return frozenset()
    try:
        return clusters_of(clusters if isinstance(clusters, str) else ",".join(clusters))
    except TypeError:
        raise InvalidField(f"clusters must be names, not {clusters!r}", field="clusters") from None


def checked_wait(wait: str) -> Wait:
    for known in get_args(Wait):
        if wait == known:
            return cast(Wait, known)
    raise InvalidField(f'wait must be "node", "cluster" or "subscribers", not {wait!r}', field="wait")
