"""What durable data has to do with the lists of this node: orders about it pass through here, and so do questions.

Only the index knows which services have ephemeral instances and which incarnation of an instance is listed now. So it
refuses what stands against a list, binds an intent to whom it is meant for, and says later whether anybody is left whom
that was, and whether it has come back as another client. Pure rules; IndexManager owns the one instance, and the index
that it looks at.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.base import Effect, Effects, Log, Role, Tell
from actors.durable_orders import BindIntent
from actors.intent_heirs import IntentHeirs
from actors.messages.index import IntentHeirsWanted, IntentsReviewed, ServiceAnswer, ServicesAnswered
from actors.messages.io import AnswerClients, ClientFrame
from actors.messages.store import IntentHeirsFound, IntentsUnclaimed, PersistentOrders
from actors.messages.values import Order
from actors.service_index import ServiceIndex
from rollbook.durable_bodies import DeleteNamespace, DeleteService, PublishPersistent, ServiceShown, SetIntent
from rollbook.errors import Code, Refused, RollbookError
from rollbook.kept_rows import RestoreRows
from rollbook.wire import Failed, Tag, encode


class DurablePassage:
    """``counters``: those of IndexManager."""

    def __init__(self, index: ServiceIndex, counters: dict[str, int]) -> None:
        self.index = index
        self.counters = counters
        self._heirs = IntentHeirs(index)

    def pass_on(self, orders: Sequence[Order]) -> list[Effect]:
        """Those that nothing stands against go on; the others are answered here."""
        effects: list[Effect] = []
        admitted: list[Order] = []
        for order in orders:
            try:
                admitted.append(self._admitted(order))
            except RollbookError as error:
                self.counters["index_refused"] += 1
                failed = Failed(error.code, error.message, error.field, error.retryable)
                payload = encode(Tag.FAILED, order.correlation, order.route.session, failed)
                effects.append(Tell(Role.IO, AnswerClients((ClientFrame(order.route, payload),))))
        return [*effects, Tell(Role.PERSISTENT, PersistentOrders(tuple(admitted)))] if admitted else effects

    def _admitted(self, order: Order) -> Order:
        """A service is of one kind, what is in use is not deleted, and an intent is meant for the incarnation that is
        listed now."""
        body = order.body
        match body:
            case PublishPersistent() if self.index.is_ephemeral(body.service):
                sentence = f"{body.service.grouped_name} has ephemeral instances; a service is of one kind"
                raise Refused(sentence, code=Code.KIND_MISMATCH, field="ephemeral")
            case RestoreRows():
                for row in body.rows.instances:
                    if self.index.is_ephemeral(row.service):
                        sentence = f"{row.service.grouped_name} has ephemeral instances; a service is of one kind"
                        raise Refused(sentence, code=Code.KIND_MISMATCH, field="rows")
                return order
            case DeleteService() if self.index.is_ephemeral(body.service):
                raise Refused(f"{body.service.grouped_name} has instances", code=Code.SERVICE_IN_USE, field="service")
            case DeleteNamespace() if self.index.has_namespace(body.id):
                raise Refused(f"the namespace {body.id} has services", code=Code.SERVICE_IN_USE, field="id")
            case SetIntent():
                incarnation = self.index.incarnations(body.service).of(body.key)
                if not incarnation and self.index.views.is_store_unread:
                    sentence = "this node has not read the store yet, and does not know all instances"
                    raise Refused(sentence, code=Code.STORE_UNAVAILABLE)
                if not incarnation:
                    where = f"{body.key.ip}:{body.key.port} of {body.service.grouped_name}"
                    raise Refused(f"there is no instance {where}", code=Code.INSTANCE_NOT_FOUND, field="key")
                bound = BindIntent(body.service, body.key, body.intent, body.for_ms, incarnation)
                return Order(order.route, order.correlation, bound, order.client)
            case _:
                return order

    def handle(self, message: IntentsReviewed | IntentHeirsWanted | ServicesAnswered) -> Effects:
        match message:
            case IntentsReviewed():
                return self._on_intents_reviewed(message)
            case IntentHeirsWanted():
                return self._on_intent_heirs_wanted()
            case ServicesAnswered():
                return self._on_services_answered(message)

    def _on_intents_reviewed(self, message: IntentsReviewed) -> Effects:
        """A node that is not sure of its lists claims nothing."""
        index, views = self.index, self.index.views
        if views.warming or views.preserved or index.hides_nobody or views.is_store_unread:
            return []
        services = {service for _, service, _, _ in message.intents}
        listed = {service: index.incarnations(service) for service in services}
        unclaimed = tuple(
            version
            for version, service, key, incarnation in message.intents
            if not listed[service].are_one(key, incarnation)
        )
        return [Tell(Role.PERSISTENT, IntentsUnclaimed(unclaimed))]

    def _on_intent_heirs_wanted(self) -> Effects:
        """One line for all that end at once."""
        heirs, lost = self._heirs.look()
        effects: list[Effect] = []
        if lost:
            service, key, field = lost[0]
            fact = "decisions do not hold any more: their SDKs have moved, and the store could not be written in time"
            first = f"{field} of {key.ip}:{key.port}@{key.cluster} in {service.namespace}, {service.grouped_name}"
            effects.append(Log("WARNING", fact, {"decisions": len(lost), "first": first}))
        return [*effects, Tell(Role.PERSISTENT, IntentHeirsFound(heirs))]

    def _on_services_answered(self, message: ServicesAnswered) -> Effects:
        frames: list[ClientFrame] = []
        for answer in message.answers:
            shown = self._with_listed(answer)
            payload = encode(Tag.SERVICE_SHOWN, answer.correlation, answer.route.session, shown)
            frames.append(ClientFrame(answer.route, payload))
        return [Tell(Role.IO, AnswerClients(tuple(frames)))]

    def _with_listed(self, answer: ServiceAnswer) -> ServiceShown:
        shown = answer.shown
        listed = self.index.incarnations(shown.service)
        intents = tuple(
            msgspec.structs.replace(intent, listed=listed.are_one(intent.key, incarnation))
            for intent, incarnation in zip(shown.intents, answer.incarnations, strict=True)
        )
        return msgspec.structs.replace(shown, intents=intents)
