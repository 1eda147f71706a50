"""PersistentStore: what must not be lost, as this node knows it, and the way of orders into the store.

Owns: the image of the store (durable_image.py), the orders under way (proposals.py), whether the store can be followed.
Accepts: messages/store.py. Tells: the store port (proposals), IndexManager (records made of rows, and behind them the
answers; how well the store is known, which passes on to MemberManager), ClientManager (which services are persistent),
HealthChecker (which instances are kept).

It is the only one that turns rows into records for the index. Whatever it derives comes from rows, never from the
orders that wrote them, so a node that starts knows as much as one that was there.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.durable_image import DurableImage, ImageChange
from actors.durable_news import news_of
from actors.durable_orders import DropIntent, MoveIntent, OrderAnswer, RowLimits, namespaces_listed, service_answer
from actors.durable_reading import ReadingDesk, ReadingLimits
from actors.intent_upkeep import IntentUpkeep, Turns, version_of
from actors.messages.health import LivingMembersChanged
from actors.messages.index import (
    IntentHeirsWanted,
    IntentsReviewed,
    OverlaysChanged,
    RecordsChanged,
    ServiceAnswer,
    ServicesAnswered,
)
from actors.messages.store import (
    ChangesSeen,
    CutTaken,
    FollowOrdered,
    IntentHeirsFound,
    IntentsUnclaimed,
    PersistentOrders,
    ProposalsMade,
    ProposalsSettled,
    StoreFollowed,
    StoreMembersSeen,
    StoreSilent,
)
from actors.messages.values import NOBODY, Order, Reply
from actors.proposals import ProposalDesk
from rollbook.durable_bodies import GetService, ListNamespaces
from rollbook.errors import Code
from rollbook.kept_rows import ReadDurable
from rollbook.status import DurableStatus, StoreMember
from rollbook.wire import Failed, Tag


class PersistentSettings(msgspec.Struct, frozen=True):
    orders_max: int
    order_ms: int
    attempts_max: int
    rows_max: int
    intents_max: int
    look_interval_ms: int
    records_per_message_max: int
    drop_retry_ms: int
    drops_per_look_max: int
    heir_wait_ms: int
    heirs_per_look_max: int
    intents_review_ms: int
    intent_orphan_ms: int
    readings_max: int
    reading_idle_ms: int
    reading_ms: int
    page_rows_max: int
    page_bytes_max: int


class _ReviewIntentsDue(msgspec.Struct, frozen=True):
    """Time to see whether anybody is left whom intents were meant for."""


class _DeskLookDue(msgspec.Struct, frozen=True):
    """Time to see who has waited for too long, and to try for a fence again."""


_STATUS_TO = {"home": Role.HOME, "away": Role.STORE}

PersistentInput = (
    PersistentOrders
    | CutTaken
    | ChangesSeen
    | StoreSilent
    | ProposalsSettled
    | StoreMembersSeen
    | IntentsUnclaimed
    | IntentHeirsFound
    | LivingMembersChanged
    | StatusRequested
    | _DeskLookDue
    | _ReviewIntentsDue
)


class PersistentStore:
    role = Role.PERSISTENT

    def __init__(self, identity: NodeIdentity, settings: PersistentSettings, chance: random.Random) -> None:
        del chance  # nothing here is left to chance
        self.settings = settings
        self._place = identity.store
        self.image = DurableImage()
        self.desk = ProposalDesk(
            identity.node_id,
            self.image,
            first_number=identity.epoch,
            orders_max=settings.orders_max,
            order_ms=settings.order_ms,
            attempts_max=settings.attempts_max,
            row_limits=RowLimits(settings.rows_max, settings.intents_max),
        )
        self.counters = dict.fromkeys(
            ("persistent_orders", "persistent_orders_refused", "rows_unreadable", "store_silences"), 0
        )
        wait_ms = settings.heir_wait_ms
        self._upkeep = IntentUpkeep(
            identity.node_id,
            review_ms=settings.intents_review_ms,
            orphan_ms=settings.intent_orphan_ms,
            drops=Turns(first_ms=0, retry_ms=settings.drop_retry_ms, at_once_max=settings.drops_per_look_max),
            moves=Turns(first_ms=wait_ms, retry_ms=wait_ms, at_once_max=settings.heirs_per_look_max),
        )
        self.readings = ReadingDesk(
            self.image,
            ReadingLimits(
                readings_max=settings.readings_max,
                reading_idle_ms=settings.reading_idle_ms,
                reading_ms=settings.reading_ms,
                page_rows_max=settings.page_rows_max,
                page_bytes_max=settings.page_bytes_max,
            ),
        )
        if self._place in ("alone", "home"):
            self._upkeep.share((identity.node_id,))
        self._followed = StoreFollowed(False, 0, "the store has not been read yet")
        self._store = ""  # which one it is
        self._members: tuple[StoreMember, ...] = ()
        # What is here stays as it is, for people to look at, while the store is another one, and for good once it has
        # gone back: what it writes since has indices that mean other rows here.
        self._is_strange = self._has_forked = False

    def start(self, now: Now) -> Effects:
        look = Remind(self.settings.look_interval_ms, _DeskLookDue())
        review = Remind(self.settings.intents_review_ms, _ReviewIntentsDue())
        return [Tell(Role.STORE, FollowOrdered()), look, review, *self._tell_followed(self._followed)]

    def handle(self, message: PersistentInput, now: Now) -> Effects:
        match message:
            case PersistentOrders():
                return self._on_orders(message, now)
            case CutTaken():
                return self._on_cut(message, now)
            case ChangesSeen():
                return self._on_changes(message, now)
            case StoreSilent():
                return self._on_silent(message, now)
            case ProposalsSettled():
                for settled in message.settled:
                    self.desk.settled(settled, now)
                return self._passed_on()
            case StoreMembersSeen():
                self._members = tuple(StoreMember(member.name, member.state) for member in message.members)
                return []
            case IntentsUnclaimed() | IntentHeirsFound():
                return self._on_whereabouts(message, now)
            case LivingMembersChanged():
                if self._place == "etcd":
                    self._upkeep.share(message.node_ids)
                return []
            case StatusRequested():
                return self._on_status(message)
            case _DeskLookDue():
                return self._on_look(now)
            case _ReviewIntentsDue():
                return self._on_review_due()
            case _:
                assert_never(message)

    # -- orders

    def _on_orders(self, message: PersistentOrders, now: Now) -> Effects:
        self.counters["persistent_orders"] += len(message.orders)
        if not self._is_followed:
            self.counters["persistent_orders_refused"] += len(message.orders)
        services: list[ServiceAnswer] = []
        replies: list[Reply] = []
        for order in message.orders:
            match order.body:
                case GetService(service=service) if self.image.is_loaded:
                    services.append(service_answer(service, order.route, order.correlation, self.image))
                case ListNamespaces() if self.image.is_loaded:
                    listed = namespaces_listed(self.image)
                    replies.append(Reply(order.route, order.correlation, Tag.NAMESPACES, listed))
                case ReadDurable():
                    replies.append(Reply(order.route, order.correlation, *self._read(order.body, now)))
                case _ if self._is_followed:
                    self.desk.take(order, now)
                case _:
                    self.desk.refuse(order, self._followed.reason)
        shown = [Tell(Role.INDEX, ServicesAnswered(tuple(services)))] if services else []
        return [*shown, *self._passed_on(replies)]

    def _read(self, body: ReadDurable, now: Now) -> OrderAnswer:
        """Whoever takes what is here for what the store holds has to say that it may be old."""
        if not self.image.is_loaded or not (self._is_followed or body.stale):
            sentence = f"nothing was read: {self._followed.reason}"
            return OrderAnswer(Tag.FAILED, Failed(Code.STORE_UNAVAILABLE, sentence, retryable=True))
        return self.readings.page(body, self._store, self._followed.stale_since_ms, now)

    # -- what the store holds

    def _on_cut(self, message: CutTaken, now: Now) -> Effects:
        is_other = self.image.is_loaded and message.store != self._store
        is_short = self.image.is_loaded and not is_other and message.cut.index < self.image.index
        self._has_forked = self._has_forked or is_short
        self._is_strange = is_other or self._has_forked
        if self._is_strange:
            reason = "it is another one than before" if is_other else "it has lost what it had"
            return self._on_silent(StoreSilent(f"{reason} (at {message.cut.index}, not {self.image.index})"), now)
        self._store = message.store
        changes, reasons = self.image.replace(message.cut)
        return self._taken_in(changes, reasons, now, is_cut=True)

    def _on_changes(self, message: ChangesSeen, now: Now) -> Effects:
        if self._is_strange or not self.image.is_loaded:
            return []  # without a cut before it, news is no image of a store
        changes, reasons = self.image.follow(message.changes, message.index)
        return self._taken_in(changes, reasons, now, is_cut=False)

    def _on_silent(self, message: StoreSilent, now: Now) -> Effects:
        """Lists stay as they are, and say since when."""
        since_ms = self._followed.stale_since_ms or now.wall_ms
        self.counters["store_silences"] += self._followed.stale_since_ms == 0
        fact = Log("WARNING", "the store cannot be followed", {"reason": message.reason})
        news = StoreFollowed(self._followed.is_read, since_ms, message.reason)
        return [fact, *self._tell_followed(news)] if news != self._followed else []

    def _taken_in(self, changes: list[ImageChange], reasons: list[str], now: Now, *, is_cut: bool) -> Effects:
        self.counters["rows_unreadable"] += len(reasons)
        effects: list[Effect] = [Log("ERROR", "a row of the store cannot be read", {"row": row}) for row in reasons]
        self.desk.followed(changes, now, is_cut=is_cut)
        size_max, replies = self.settings.records_per_message_max, self.desk.take_replies()
        effects += news_of(changes, self.image, now.wall_ms, size_max, replies)
        if not self._is_followed:
            effects += self._tell_followed(StoreFollowed(True, 0, ""))
            self.desk.ask_for_fence(now)
        return [*effects, *self._passed_on()]

    # -- status and time

    def _on_status(self, message: StatusRequested) -> Effects:
        followed = self._followed
        durable = DurableStatus(
            self._place,
            self.image.index,
            len(self.image.rows),
            followed.is_read,
            followed.stale_since_ms,
            followed.reason,
        )
        parts = {"durable": durable, "store_members": self._members}
        following = _STATUS_TO.get(self._place, Role.HEALTH)
        counters = {**self.counters, "persistent_instances": sum(self.image.instances_of.values())}
        return [Tell(following, message.with_counters(counters).with_parts(**parts))]

    def _on_look(self, now: Now) -> Effects:
        self.desk.expire(now)
        self.readings.expire(now)
        effects = self._keep_up_intents(now)
        if self._is_followed:
            self.desk.ask_for_fence(now)
        return [*effects, *self._passed_on(), Remind(self.settings.look_interval_ms, _DeskLookDue())]

    def _keep_up_intents(self, now: Now) -> list[Effect]:
        """They are over on every node by its own clock; the rows go when the store can be written."""
        intents = self.image.intents()
        if self._is_followed:
            for kept in self._upkeep.drops(intents, self.image, now):
                self.desk.take(Order(NOBODY, 0, DropIntent(kept.place, kept.index)), now)
        news = tuple((kept.place, None) for kept in self._upkeep.over(intents, now.wall_ms))
        effects: list[Effect] = [Tell(Role.INDEX, OverlaysChanged(intents=news))] if news else []
        return [*effects, Tell(Role.INDEX, IntentHeirsWanted())] if intents else effects

    def _on_whereabouts(self, message: IntentsUnclaimed | IntentHeirsFound, now: Now) -> Effects:
        """Of those whom intents are meant for. What cannot be written now is asked about again at the next look."""
        if isinstance(message, IntentsUnclaimed):
            self._upkeep.review(self.image.intents(), message.rows, now.monotonic_ms)
            return []
        if not self._is_followed:
            return []
        for kept, heir in self._upkeep.moves(message.heirs, self.image, now):
            self.desk.take(Order(NOBODY, 0, MoveIntent(kept.place, kept.index, heir)), now)
        return self._passed_on()

    def _on_review_due(self) -> Effects:
        asked = tuple((version_of(kept), kept.service, kept.key, kept.incarnation) for kept in self.image.intents())
        again = Remind(self.settings.intents_review_ms, _ReviewIntentsDue())
        return [Tell(Role.INDEX, IntentsReviewed(asked)), again] if asked else [again]

    # -- what others are told

    @property
    def _is_followed(self) -> bool:
        return self._followed.is_read and not self._followed.stale_since_ms

    def _passed_on(self, answers: Iterable[Reply] = ()) -> list[Effect]:
        """Proposals to the store; answers by way of the index, behind the records that were told before."""
        effects: list[Effect] = []
        proposals, replies = self.desk.take_proposals(), (*answers, *self.desk.take_replies())
        if proposals:
            effects.append(Tell(Role.STORE, ProposalsMade(proposals)))
        if replies:
            effects.append(Tell(Role.INDEX, RecordsChanged(replies=replies)))
        return effects

    def _tell_followed(self, news: StoreFollowed) -> list[Effect]:
        self._followed = news
        self.desk.may_write = self._is_followed
        return [Tell(Role.INDEX, news)]

    def check_invariants(self) -> None:
        self.image.check_invariants()
        self.desk.check_invariants()
