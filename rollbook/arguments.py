"""What a caller handed to NamingClient, checked before anything is sent: values need not have the types they should.

Each check returns the value as the client uses it, or raises InvalidField naming the argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast, get_args

import msgspec

from rollbook.checkers import CheckerSettings
from rollbook.codec import pack, typed
from rollbook.durable import INTENT_FIELDS, IntentField
from rollbook.durable_bodies import INTENT_MS_MAX, PERSISTENT_PER_ORDER_MAX, PutMode
from rollbook.errors import InvalidField, RemoteProtocolError
from rollbook.model import Instance, check_instance, clusters_of
from rollbook.wire import Wait

TIMEOUT_S_MAX = 86_400  # far more, and the operating system would refuse it

Clusters = str | Iterable[str] | None
Value = TypeVar("Value", bound=msgspec.Struct)


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
    """A copy; what it holds is checked with what it belongs to."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidField(f"metadata must be a mapping, not {type(metadata).__name__}", field="metadata")
    return dict(metadata)


def checked_checkers(checkers: object) -> dict[str, CheckerSettings]:
    """By cluster; what they hold is checked with the settings of the service."""
    if checkers is None:
        return {}
    if not isinstance(checkers, Mapping):
        raise InvalidField(f"checkers must be a mapping, not {type(checkers).__name__}", field="checkers")
    return dict(checkers)


def checked_duration_ms(field: str, seconds: object) -> int:
    """How long an intent holds: at least a millisecond."""
    most = INTENT_MS_MAX // 1_000
    if not isinstance(seconds, int | float) or not 0 < seconds <= most:
        raise InvalidField(f"{field} must lie between 0 and {most} seconds, not {seconds!r}", field=field)
    return max(1, round(seconds * 1_000))


def checked_fields(fields: object) -> tuple[IntentField, ...]:
    """Of an intent: at least one, each once, in their order."""
    named = list(fields) if isinstance(fields, Iterable) else [fields]  # of a plain text: its letters
    strange = [field for field in named if field not in INTENT_FIELDS]
    if strange or not named:
        known = ", ".join(INTENT_FIELDS)
        raise InvalidField(f"fields must name some of {known}, not {fields!r}", field="fields")
    return tuple(field for field in INTENT_FIELDS if field in named)


def checked_types(value: Value, field: str = "instance") -> Value:
    """Each field of this value has its type, and can be sent. ``field``: what the argument is called."""
    try:
        checked = typed(msgspec.to_builtins(value), type(value))
        pack(checked)
    except RemoteProtocolError as error:
        raise InvalidField(error.message, field=error.field) from None
    except (TypeError, UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise InvalidField(f"{field}: {error}", field=field) from None
    return checked


def checked_instances(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """What is registered in one step: at least one, all of one kind."""
    checked = tuple(checked_types(instance) for instance in instances)
    if not checked:
        raise InvalidField("instances must not be empty", field="instances")
    for instance in checked:
        check_instance(instance, ephemeral=checked[0].ephemeral)
    return checked


def checked_persistent(count: int, wait: str) -> None:
    """What an order about persistent instances may ask for."""
    if count > PERSISTENT_PER_ORDER_MAX:
        limit = PERSISTENT_PER_ORDER_MAX
        raise InvalidField(f"at most {limit} persistent instances are written in one step", field="instances")
    if checked_wait(wait) != "node":
        raise InvalidField("persistent instances are waited for on one node only", field="wait")


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


def checked_mode(mode: str) -> PutMode:
    for known in get_args(PutMode):
        if mode == known:
            return cast(PutMode, known)
    raise InvalidField(f'mode must be "put", "create" or "update", not {mode!r}', field="mode")
