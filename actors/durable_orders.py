"""What an order about durable data means for the store: the rows it is about, and what to write. Pure rules.

Orders about instances say how things shall be, and need no look at what is there; orders of people may, and then expect
the row as they have seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Literal, NamedTuple

import msgspec

from actors.base import Now
from actors.durable_image import DurableImage
from actors.durable_rows import (
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    is_intent_row,
    namespace_row_key,
    namespace_row_value,
    service_row_key,
    service_row_value,
)
from actors.durable_transfer import stored_rows
from actors.durable_values import KeptInstance, KeptIntent, KeptService
from actors.messages.index import ServiceAnswer
from actors.messages.store import Expectation, Operation
from actors.messages.values import IntentPlace, Order, Route
from rollbook.checkers import CheckerSettings
from rollbook.durable import INTENT_FIELDS, Intent, Namespace, ServiceSettings, decisions_of
from rollbook.durable_bodies import (
    NAMESPACES_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    Namespaces,
    PublishPersistent,
    PutMode,
    PutNamespace,
    PutService,
    ServiceShown,
    SetHealth,
    ShownIntent,
    WithdrawPersistent,
)
from rollbook.errors import RETRYABLE, Code
from rollbook.kept_rows import RestoreRows
from rollbook.model import DEFAULT_NAMESPACE, Instance, InstanceKey, Service
from rollbook.wire import Done, Failed, Tag

PUBLIC = Namespace(DEFAULT_NAMESPACE, DEFAULT_NAMESPACE, "built in")


class BindIntent(msgspec.Struct, frozen=True):
    """A SetIntent once IndexManager has found out which incarnation is listed."""

    service: Service
    key: InstanceKey
    intent: Intent
    for_ms: int
    incarnation: str


class DropIntent(msgspec.Struct, frozen=True):
    """A decision is over, if it is still this one. From PersistentStore itself."""

    place: IntentPlace
    index: int


class MoveIntent(msgspec.Struct, frozen=True):
    """A decision goes on for another incarnation, if it is still this one. From PersistentStore itself."""

    place: IntentPlace
    index: int
    incarnation: str


class OrderAnswer(NamedTuple):
    tag: Tag
    body: Any


class RowLimits(NamedTuple):
    """How much the store may hold. Orders under way at once may exceed it by their number."""

    rows_max: int
    intents_max: int


class Plan(NamedTuple):
    """What to write, and what to answer once that stands at an index."""

    operations: tuple[Operation, ...]
    expectations: tuple[Expectation, ...]
    seen: tuple[int, ...]  # of each operation: the index its row had when this was planned
    answer: Callable[[int], OrderAnswer]


Fate = Literal["applied", "not applied", "unknown"]


def row_keys(order: Order) -> tuple[str, ...]:
    """The rows that this order is about: of two orders with a common one the earlier is carried out first."""
    match body := order.body:
        case PublishPersistent():
            return tuple(dict.fromkeys(instance_row_key(body.service, instance.key) for instance in body.instances))
        case WithdrawPersistent():
            return tuple(dict.fromkeys(instance_row_key(body.service, key) for key in body.keys))
        case BindIntent() | ClearIntent():
            return tuple(intent_row_key(place) for place in _places(body))
        case RestoreRows():
            return tuple(stored_rows(body.rows))
        case _:
            return (_row_key(body),)


def _row_key(body: Any) -> str:
    match body:
        case PutService() | DeleteService():
            return service_row_key(body.service)
        case SetHealth():
            return instance_row_key(body.service, body.key)
        case PutNamespace():
            return namespace_row_key(body.namespace.id)
        case DeleteNamespace():
            return namespace_row_key(body.id)
        case DropIntent() | MoveIntent():
            return intent_row_key(body.place)
        case _:
            raise TypeError(f"{type(body).__name__} is no order about durable data")


def plan_of(order: Order, image: DurableImage, now: Now) -> Plan | OrderAnswer:
    """What to write as things stand here, or the answer if there is nothing to write."""
    match body := order.body:
        case PublishPersistent():
            return _published(body, order.client, image, now)
        case WithdrawPersistent():
            return _removed(order, image)
        case PutService():
            return _put_service(body, Operation(_row_key(body), _settings(body, order, now)), image)
        case DeleteService():
            return _deleted_service(body, image)
        case PutNamespace():
            return _put_namespace(body, order.client, image, now)
        case DeleteNamespace():
            return _deleted_namespace(body, image)
        case BindIntent():
            return _absolute(_bound(body, order.client, now), image)
        case ClearIntent():
            return _removed(order, image)
        case SetHealth():
            return _health_set(body, order.client, image, now)
        case RestoreRows():
            return _restored(body, image)
        case DropIntent():
            is_there = image.row_index(_row_key(body)) == body.index
            return _as_seen(Operation(_row_key(body), None), image) if is_there else _done(image.index)
        case MoveIntent():
            return _moved(body, image)
        case _:
            raise TypeError(f"{type(body).__name__} is no order about durable data")


def lack_of_room(plan: Plan, image: DurableImage, limits: RowLimits) -> OrderAnswer | None:
    """The refusal of a plan that would add what there is no room for; rows that are there may always be rewritten."""
    new = [at.key for at in plan.operations if at.value is not None and not image.row_index(at.key)]
    if new and len(image.rows) + len(new) > limits.rows_max:
        return _failed(Code.OVER_LIMIT, f"the store holds {len(image.rows)} of {limits.rows_max} rows", "rows")
    intents = sum(map(is_intent_row, new))
    if intents and image.intent_count + intents > limits.intents_max:
        sentence = f"there are {image.intent_count} of {limits.intents_max} decisions about instances; clear some"
        return _failed(Code.OVER_LIMIT, sentence, "intent")
    return None


def namespaces_listed(image: DurableImage) -> Namespaces:
    """From what this node knows: it needs no store."""
    kept = {**image.namespaces, PUBLIC.id: PUBLIC}
    return Namespaces(tuple(kept[namespace_id] for namespace_id in sorted(kept)))


def service_answer(service: Service, route: Route, correlation: int, image: DurableImage) -> ServiceAnswer:
    """Likewise; who is listed IndexManager will say."""
    kept, count = image.rows.get(service_row_key(service)), image.instances_of.get(service, 0)
    decisions = [decision for _, decision in sorted(image.intents_of.get(service, {}).items())]
    intents = tuple(map(_intent_shown, decisions))
    if isinstance(kept, KeptService):
        head = (kept.settings, kept.author, kept.written_ms, kept.index)
        shown = ServiceShown(service, *head, count, intents)
    else:
        shown = ServiceShown(service, ServiceSettings(), persistent_instances=count, intents=intents)
    return ServiceAnswer(route, correlation, shown, tuple(decision.incarnation for decision in decisions))


def fate_of(plan: Plan, touched: Set[str], image: DurableImage) -> Fate:
    """What became of a proposal whose answer was lost, once nothing of it can be written any more. ``touched``: rows
    that may have been written since it was planned, be it that they are gone again.

    It was written wholly or not at all, so one row that nobody has touched says that it was not, one row as it wants
    it that it was. Rows that are to go and are gone say neither, but if all are, nothing is left to do. Where only rows
    are left that others have written as well, nobody can tell.
    """
    fates = {
        _fate_of(operation, seen, operation.key in touched, image)
        for operation, seen in zip(plan.operations, plan.seen, strict=True)
    }
    if "not applied" in fates:
        return "not applied"
    return "applied" if "applied" in fates or fates == {"nothing left"} else "unknown"


def _fate_of(operation: Operation, seen: int, is_touched: bool, image: DurableImage) -> Fate | Literal["nothing left"]:
    index = image.row_index(operation.key)
    if operation.value is None and not index:
        return "nothing left"
    if index == seen and (index or not is_touched):
        return "not applied"
    if operation.value is None:
        return "unknown"
    return "applied" if image.shows(operation.key, operation.value) else "unknown"


# -- instances


def _published(body: PublishPersistent, author: str, image: DurableImage, now: Now) -> Plan:
    rows = {
        instance_row_key(body.service, instance.key): _instance_value(body.service, instance, author, image, now)
        for instance in body.instances
    }
    return _absolute(tuple(Operation(key, rows[key]) for key in sorted(rows)), image)


def _instance_value(service: Service, instance: Instance, author: str, image: DurableImage, now: Now) -> bytes:
    known = image.rows.get(instance_row_key(service, instance.key))
    added_ms = known.added_ms if isinstance(known, KeptInstance) else now.wall_ms
    return instance_row_value(instance, author, now.wall_ms, added_ms)


def _health_set(body: SetHealth, author: str, image: DurableImage, now: Now) -> Plan | OrderAnswer:
    kept, service = image.rows.get(_row_key(body)), image.rows.get(service_row_key(body.service))
    if not isinstance(kept, KeptInstance):
        where = f"{body.key.ip}:{body.key.port} of {body.service.grouped_name}"
        return _failed(Code.INSTANCE_NOT_FOUND, f"there is no persistent instance {where}", "key")
    checkers = service.settings.checkers if isinstance(service, KeptService) else {}
    if checkers.get(body.key.cluster, CheckerSettings()).kind != "none":
        sentence = f"the cluster {body.key.cluster} of {body.service.grouped_name} is probed"
        return _failed(Code.HEALTH_PROBED, sentence, "healthy")
    if kept.instance.healthy == body.healthy:
        return _done(image.index)
    instance = msgspec.structs.replace(kept.instance, healthy=body.healthy)
    return _as_seen(Operation(_row_key(body), instance_row_value(instance, author, now.wall_ms, kept.added_ms)), image)


# -- services


def _put_service(body: PutService, operation: Operation, image: DurableImage) -> Plan | OrderAnswer:
    if not body.index:
        return _put(body.mode, operation, image, "service")
    if body.index != image.row_index(operation.key):
        sentence = f"the settings of {body.service.grouped_name} have changed since {body.index}"
        return _failed(Code.CHANGED_MEANWHILE, sentence, "index")
    return _as_seen(operation, image)


def _settings(body: PutService, order: Order, now: Now) -> bytes:
    return service_row_value(body.settings, order.client, now.wall_ms)


def _deleted_service(body: DeleteService, image: DurableImage) -> Plan | OrderAnswer:
    name, key = body.service.grouped_name, service_row_key(body.service)
    if image.instances_of.get(body.service):
        return _failed(Code.SERVICE_IN_USE, f"{name} has persistent instances", "service")
    if not image.row_index(key):
        return _failed(Code.SERVICE_NOT_FOUND, f"nobody has put settings of {name}", "service")
    return _as_seen(Operation(key, None), image)


# -- namespaces


def _put_namespace(body: PutNamespace, author: str, image: DurableImage, now: Now) -> Plan | OrderAnswer:
    if body.namespace.id == PUBLIC.id:
        return _failed(Code.PARAMETER_INVALID, "the namespace public is built in", "id")
    if len(image.namespaces) >= NAMESPACES_MAX and body.namespace.id not in image.namespaces:
        return _failed(Code.OVER_LIMIT, f"there are {NAMESPACES_MAX} namespaces, the limit", "id")
    value = namespace_row_value(body.namespace, author, now.wall_ms)
    return _put(body.mode, Operation(namespace_row_key(body.namespace.id), value), image, "namespace")


def _deleted_namespace(body: DeleteNamespace, image: DurableImage) -> Plan | OrderAnswer:
    if body.id == PUBLIC.id:
        return _failed(Code.PARAMETER_INVALID, "the namespace public is built in", "id")
    if body.id in image.used_namespaces:
        return _failed(Code.SERVICE_IN_USE, f"services are kept in the namespace {body.id}", "id")
    if not image.row_index(namespace_row_key(body.id)):
        return _failed(Code.SERVICE_NOT_FOUND, f"there is no namespace {body.id}", "id")
    return _as_seen(Operation(namespace_row_key(body.id), None), image)


# -- intents


def _places(body: BindIntent | ClearIntent) -> list[IntentPlace]:
    fields = decisions_of(body.intent) if isinstance(body, BindIntent) else body.fields or INTENT_FIELDS
    return [IntentPlace(body.service, body.key, field) for field in sorted(set(fields))]


def _bound(body: BindIntent, author: str, now: Now) -> tuple[Operation, ...]:
    expires_ms = now.wall_ms + body.for_ms if body.for_ms else 0
    decisions = decisions_of(body.intent)
    operations: list[Operation] = []
    for place in _places(body):
        about = (body.service, body.key, decisions[place.field], body.incarnation)
        kept = KeptIntent(*about, author, now.wall_ms, expires_ms, 0)
        operations.append(Operation(intent_row_key(place), intent_row_value(kept)))
    return tuple(operations)


def _moved(body: MoveIntent, image: DurableImage) -> Plan | OrderAnswer:
    """Author, time and end stay those of the decision."""
    kept = image.rows.get(_row_key(body))
    if not isinstance(kept, KeptIntent) or kept.index != body.index:
        return _done(image.index)
    value = intent_row_value(msgspec.structs.replace(kept, incarnation=body.incarnation))
    return _as_seen(Operation(_row_key(body), value), image)


def _intent_shown(kept: KeptIntent) -> ShownIntent:
    return ShownIntent(kept.key, kept.intent, kept.author, kept.written_ms, kept.expires_ms)


# -- rows of a backup


def _restored(body: RestoreRows, image: DurableImage) -> Plan | OrderAnswer:
    """Only what is not there yet is written; whoever was interrupted says the same again."""
    wanted = stored_rows(body.rows)
    ids = {row.namespace.id for row in body.rows.namespaces}
    if len(image.namespaces.keys() | ids) > NAMESPACES_MAX:
        return _failed(Code.OVER_LIMIT, f"there are at most {NAMESPACES_MAX} namespaces", "rows")
    missing = [key for key in sorted(wanted) if not image.row_index(key)]
    for key in sorted(wanted.keys() - set(missing)):
        if not image.shows(key, wanted[key]):
            return _failed(Code.SERVICE_EXISTS, f"there is another one already: {key}", "rows")
    if not missing:
        return _done(image.index)
    operations = tuple(Operation(key, wanted[key]) for key in missing)
    return Plan(operations, tuple(Expectation(key, 0) for key in missing), (0,) * len(missing), _done)


# -- what all have in common


def _absolute(operations: tuple[Operation, ...], image: DurableImage) -> Plan:
    return Plan(operations, (), tuple(image.row_index(operation.key) for operation in operations), _done)


def _removed(order: Order, image: DurableImage) -> Plan:
    """What is not there here may be there by now."""
    return _absolute(tuple(Operation(key, None) for key in sorted(row_keys(order))), image)


def _as_seen(operation: Operation, image: DurableImage) -> Plan:
    index = image.row_index(operation.key)
    return Plan((operation,), (Expectation(operation.key, index),), (index,), _done)


def _put(mode: PutMode, operation: Operation, image: DurableImage, what: str) -> Plan | OrderAnswer:
    index = image.row_index(operation.key)
    if mode == "create" and index:
        return _failed(Code.SERVICE_EXISTS, f"there is one already: {operation.key}", what)
    if mode == "update" and not index:
        return _failed(Code.SERVICE_NOT_FOUND, f"there is nothing to update: {operation.key}", what)
    return _absolute((operation,), image) if mode == "put" else _as_seen(operation, image)


def _done(index: int) -> OrderAnswer:
    return OrderAnswer(Tag.DONE, Done(seq=index))


def _failed(code: Code, sentence: str, field: str) -> OrderAnswer:
    return OrderAnswer(Tag.FAILED, Failed(code, sentence, field, retryable=code in RETRYABLE))
