"""One batch of orders: each is validated and computed, then committed, then its answer is queued behind the index.

This is the hot path: a registration costs one look-up of its session, its checks, one version and one reply.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Set
from typing import Any

from actors.base import Now
from actors.client_questions import answered
from actors.messages.distro import NativeAdvanced
from actors.messages.index import RecordsChanged, SubscriptionsWanted
from actors.messages.values import NOBODY, ClusterWait, Order, Record, RecordKey, Reply
from actors.owner_table import OwnerTable
from actors.records import HybridClock
from actors.sessions import Session, SessionTable
from actors.succession import going_on
from rollbook.catalog import CountServices, FindServices, ListCatalog, ListSubscribers
from rollbook.durable import check_intent, check_namespace, check_settings
from rollbook.durable_bodies import (
    PERSISTENT_PER_ORDER_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    SetHealth,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import Code, InvalidField
from rollbook.http_clients import Beats, HttpPatch, HttpPublish, HttpWithdraw
from rollbook.kept_rows import ReadDurable, RestoreRows, check_rows
from rollbook.known_clients import GetClient, ListClients, ListPublications, ListPublishers, ListSubscriptions
from rollbook.model import DEFAULT_GROUP, Instance, Service, check_instance, check_service, instance_key
from rollbook.wire import (
    Done,
    Failed,
    ListServices,
    LogLevel,
    Ping,
    Pong,
    Publish,
    Query,
    SetLogLevel,
    Subscribe,
    Tag,
    Unsubscribe,
    Withdraw,
)

_PONG = Pong()
_SESSION_REQUIRED = Failed(
    Code.SESSION_REQUIRED, "this connection has no open session; open one first", field="session", retryable=True
)


class OrderBatch:
    def __init__(
        self,
        native: OwnerTable,
        sessions: SessionTable,
        clock: HybridClock,
        persistent_services: Set[Service],
        publications_max: int,
        now: Now,
        *,
        has_stood_still: bool = False,
    ) -> None:
        """``has_stood_still``: this node has, until a moment ago; what it reads may be old."""
        self.native = native
        self.persistent_services = persistent_services
        self.sessions = sessions
        self.clock = clock
        self.publications_max = publications_max
        self.now = now
        self.has_stood_still = has_stood_still
        self.records: list[Record] = []
        self.replies: list[Reply] = []
        self.waits: list[ClusterWait] = []
        self.requests: list[Order] = []
        self.persistent: list[Order] = []
        self.http: list[Order] = []
        self.broken: list[tuple[Session, str]] = []  # sessions that an unexpected exception costs, and why
        self.log_level: LogLevel | None = None  # the last one that was ordered
        self.refused = 0

    def take(self, order: Order) -> None:
        """Carry out one order of an admitted session; refuse it with a typed error otherwise."""
        session = self.sessions.at(order.route)
        if session is None:
            self._refuse(order, _SESSION_REQUIRED)
            return
        try:
            _HANDLERS[type(order.body)](self, session, order)
        except InvalidField as error:
            self._refuse(order, Failed(error.code, error.message, error.field))
        except Exception as error:
            self._refuse(order, Failed(Code.INTERNAL, "this order could not be carried out"))
            if all(session is not known for known, _ in self.broken):
                self.broken.append((session, repr(error)))

    def changes(self) -> RecordsChanged:
        return RecordsChanged(
            records=tuple(self.records),
            replies=tuple(self.replies),
            waits=tuple(self.waits),
            requests=tuple(self.requests),
            persistent=tuple(self.persistent),
        )

    def advanced(self) -> NativeAdvanced:
        return self.advanced_to(self.native)

    @staticmethod
    def advanced_to(native: OwnerTable) -> NativeAdvanced:
        return NativeAdvanced(native.applied)

    # -- orders that change records

    def _publish(self, session: Session, order: Order) -> None:
        body: Publish = order.body
        service = check_service(body.service)
        for instance in body.instances:
            check_instance(instance)
        if service in self.persistent_services:
            raise InvalidField(
                f"{service.grouped_name} has persistent instances; a service is of one kind",
                code=Code.KIND_MISMATCH,
                field="ephemeral",
            )
        key = RecordKey(session.client, service)
        known = self.native.records.get(key)
        current = known if known is not None and known.session == session.number else None
        held = current.instances if current is not None else ()
        instances = _merged(held if body.mode == "add" else (), body.instances)
        if instances == held and (current is not None or body.mode == "add"):
            self._done(order, body, current)
            return
        if instances and (known is None or known.is_tombstone) and self._has_published_enough(session):
            raise InvalidField(
                f"one session may publish at most {self.publications_max} services",
                code=Code.OVER_LIMIT,
                field="service",
            )
        stamp = self.clock.next(self.now.wall_ms)
        if 0 < body.stamp < stamp:
            stamp = body.stamp  # a redo keeps its rank; one from the future does not
        self._done(order, body, self._commit(key, known, session, stamp, instances))

    def _withdraw(self, session: Session, order: Order) -> None:
        body: Withdraw = order.body
        key = RecordKey(session.client, check_service(body.service))
        known = self.native.records.get(key)
        current = known if known is not None and known.session == session.number else None
        instances: tuple[Instance, ...] = ()
        if current is not None and body.keys:
            keys = set(body.keys)
            instances = tuple(instance for instance in current.instances if instance.key not in keys)
        if current is not None and instances == current.instances:
            self._done(order, body, current)
            return
        # A tombstone is written even where nothing is held: it ends what older sessions left on other nodes.
        stamp = self.clock.next(self.now.wall_ms)
        self._done(order, body, self._commit(key, known, session, stamp, instances))

    def _has_published_enough(self, session: Session) -> bool:
        """Whether one more service is one too many. The redo of one that an older session published is none more."""
        return self.sessions.published_count(session.client) >= self.publications_max

    def _commit(
        self, key: RecordKey, known: Record | None, session: Session, stamp: int, instances: tuple[Instance, ...]
    ) -> Record:
        """``known`` is the record that is replaced, of whatever session."""
        trail = None if session.trail is None else going_on(session.trail, known, instances)
        version = (session.number, stamp, session.grace_ms)
        record = self.native.commit(key, *version, instances, self.now.monotonic_ms, trail)
        if known is None or known.is_tombstone or not instances:
            self.sessions.note_native(record)
        self.records.append(record)
        return record

    def _done(self, order: Order, body: Publish | Withdraw, record: Record | None) -> None:
        done = Done(self.native.origin.epoch, record.seq, record.stamp) if record is not None else Done()
        if body.wait != "node":
            seq = record.seq if record is not None else self.native.applied
            self.waits.append(ClusterWait(order.route, order.correlation, seq, body.wait_ms, Tag.DONE, done, body.wait))
        else:
            self.replies.append(Reply(order.route, order.correlation, Tag.DONE, done))

    # -- orders about durable data, which pass on

    def _publish_persistent(self, session: Session, order: Order) -> None:
        body: PublishPersistent = order.body
        check_service(body.service)
        for instance in body.instances:
            check_instance(instance, ephemeral=False)
        self._check_count(len(body.instances), "instances")
        self._pass_on(session, order)

    def _withdraw_persistent(self, session: Session, order: Order) -> None:
        body: WithdrawPersistent = order.body
        check_service(body.service)
        for ip, port, cluster in body.keys:
            check_instance(Instance(ip, port, cluster))
        self._check_count(len(body.keys), "keys")
        self._pass_on(session, order)

    def _check_count(self, count: int, field: str) -> None:
        if not 0 < count <= PERSISTENT_PER_ORDER_MAX:
            raise InvalidField(f"one order names 1 to {PERSISTENT_PER_ORDER_MAX} of them, not {count}", field=field)

    def _put_service(self, session: Session, order: Order) -> None:
        check_settings(order.body.settings)
        self._about_service(session, order)

    def _about_service(self, session: Session, order: Order) -> None:
        check_service(order.body.service)
        self._pass_on(session, order)

    def _put_namespace(self, session: Session, order: Order) -> None:
        check_namespace(order.body.namespace)
        self._pass_on(session, order)

    def _delete_namespace(self, session: Session, order: Order) -> None:
        check_service(Service(order.body.id, "any", "any"))
        self._pass_on(session, order)

    def _set_intent(self, session: Session, order: Order) -> None:
        check_intent(order.body.intent)
        self._about_instance(session, order)

    def _about_instance(self, session: Session, order: Order) -> None:
        check_instance(Instance(*order.body.key))
        self._about_service(session, order)

    def _restore_rows(self, session: Session, order: Order) -> None:
        check_rows(order.body.rows)
        self._check_count(len(order.body.rows), "rows")
        self._pass_on(session, order)

    def _pass_on(self, session: Session, order: Order) -> None:
        if self.has_stood_still and not isinstance(order.body, GetService | ListNamespaces | ReadDurable):
            # Its client may have said it again elsewhere, and others may have ordered something since.
            sentence = "nothing was written: this node has just stood still, and the order may be old"
            self._refuse(order, Failed(Code.STORE_UNAVAILABLE, sentence, retryable=True))
            return
        self.persistent.append(Order(order.route, order.correlation, order.body, session.client))

    # -- orders about HTTP clients, which pass on too

    def _pass_to_keeper(self, session: Session, order: Order) -> None:
        if self.has_stood_still:  # the same client may have beaten elsewhere since, or gone
            sentence = "this node has just stood still, try another"
            self._refuse(order, Failed(Code.NOT_READY, sentence, retryable=True))
            return
        self.http.append(Order(order.route, order.correlation, order.body, session.client))

    # -- orders that ask

    def _ask_index(self, _session: Session, order: Order) -> None:
        check_service(order.body.service)
        self.requests.append(order)

    def _subscribe(self, session: Session, order: Order) -> None:
        said = Order(order.route, order.correlation, order.body, session.client, session.subscriber)
        self._ask_index(session, said)

    def _list_services(self, _session: Session, order: Order) -> None:
        body: ListServices = order.body
        check_service(Service(body.namespace, body.group, "any"))
        self.requests.append(order)

    def _count_services(self, _session: Session, order: Order) -> None:
        self.requests.append(order)

    def _find_services(self, _session: Session, order: Order) -> None:
        body: FindServices | ListCatalog = order.body
        check_service(Service(body.namespace, DEFAULT_GROUP, "any"))
        self.requests.append(order)

    def _ask_of_clients(self, _session: Session, order: Order) -> None:
        self.replies.append(Reply(order.route, order.correlation, *answered(order.body, self.native, self.sessions)))

    def _list_subscriptions(self, _session: Session, order: Order) -> None:
        body: ListSubscriptions = order.body
        subscriber = self.sessions.of(body.client_id)
        wanted = SubscriptionsWanted(NOBODY if subscriber is None else subscriber.route, body.after, body.size)
        self.requests.append(Order(order.route, order.correlation, wanted))

    def _set_log_level(self, _session: Session, order: Order) -> None:
        self.log_level = order.body.level
        self.replies.append(Reply(order.route, order.correlation, Tag.DONE, Done()))

    def _ping(self, _session: Session, order: Order) -> None:
        self.replies.append(Reply(order.route, order.correlation, Tag.PONG, _PONG))

    def _refuse(self, order: Order, failed: Failed) -> None:
        self.refused += 1
        self.replies.append(Reply(order.route, order.correlation, Tag.FAILED, failed))


def _merged(held: tuple[Instance, ...], added: tuple[Instance, ...]) -> tuple[Instance, ...]:
    """Both, one per key, the later one winning, in order of key: the same set always gives the same bytes."""
    if len(added) == 1:
        return _with_one(held, added[0])
    instances = {instance_key(instance): instance for instance in (*held, *added)}
    return tuple(instances[key] for key in sorted(instances))


def _with_one(held: tuple[Instance, ...], instance: Instance) -> tuple[Instance, ...]:
    """The common case: ``held`` is in order already."""
    if not held:
        return (instance,)
    key = instance_key(instance)
    place = bisect_left(held, key, key=instance_key)
    replaces = place < len(held) and instance_key(held[place]) == key
    return (*held[:place], instance, *held[place + replaces :])


_HANDLERS: dict[type[Any], Callable[[OrderBatch, Session, Order], None]] = {
    Publish: OrderBatch._publish,
    Withdraw: OrderBatch._withdraw,
    Query: OrderBatch._ask_index,
    Subscribe: OrderBatch._subscribe,
    Unsubscribe: OrderBatch._ask_index,
    ListServices: OrderBatch._list_services,
    FindServices: OrderBatch._find_services,
    ListCatalog: OrderBatch._find_services,
    CountServices: OrderBatch._count_services,
    ListSubscribers: OrderBatch._ask_index,
    ListClients: OrderBatch._ask_of_clients,
    GetClient: OrderBatch._ask_of_clients,
    ListPublications: OrderBatch._ask_of_clients,
    ListSubscriptions: OrderBatch._list_subscriptions,
    ListPublishers: OrderBatch._ask_index,
    SetLogLevel: OrderBatch._set_log_level,
    Ping: OrderBatch._ping,
    PublishPersistent: OrderBatch._publish_persistent,
    WithdrawPersistent: OrderBatch._withdraw_persistent,
    PutService: OrderBatch._put_service,
    DeleteService: OrderBatch._about_service,
    GetService: OrderBatch._about_service,
    PutNamespace: OrderBatch._put_namespace,
    DeleteNamespace: OrderBatch._delete_namespace,
    ListNamespaces: OrderBatch._pass_on,
    SetIntent: OrderBatch._set_intent,
    ClearIntent: OrderBatch._about_instance,
    SetHealth: OrderBatch._about_instance,
    ReadDurable: OrderBatch._pass_on,
    RestoreRows: OrderBatch._restore_rows,
    HttpPublish: OrderBatch._pass_to_keeper,
    HttpWithdraw: OrderBatch._pass_to_keeper,
    HttpPatch: OrderBatch._pass_to_keeper,
    Beats: OrderBatch._pass_to_keeper,
}
