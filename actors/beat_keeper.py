"""BeatKeeper: HTTP clients. They have no connection that could be seen to close, so beats keep what they publish.

Owns: what the nodes say of such clients (http_records.py), which of their publications this node keeps and until when
(kept_publications.py), which node an order is for (http_owners.py), and what is on its way there (forwards.py).
Accepts: messages/beats.py, the peers. Tells: ClientManager (what is to be published), IndexManager (answers, which
leave behind what they say), I/O (orders to other nodes, and answers to theirs).

A publication is kept by the owner of its record. Beats reach it from every node. Where it does not answer, whoever has
the order takes the publication over with a higher number, and it yields when it hears of that: so nobody is missing
because a node is gone, and of two who take over at once one stays. Silence is judged when MemberManager judges nodes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import assert_never

import msgspec

from actors.base import Effect, Effects, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.forwards import AskedByClient, AskedByPeer, Forward, Forwards, HttpBatch, HttpTask
from actors.http_orders import check_order, orders_of, refusal, reply_of, wish_of, with_health
from actors.http_owners import HERE, HttpOwners
from actors.http_records import HttpRecords, http_key
from actors.kept_publications import BeatPatience, KeptPublication, KeptPublications
from actors.messages.beats import ForwardReceived, HttpCommitted, HttpOrdersAdmitted, HttpRecordsHeld, NodesJudged
from actors.messages.clients import HttpPublication, HttpPublicationsOrdered
from actors.messages.distro import PeersChanged
from actors.messages.index import RecordsChanged
from actors.messages.io import PeerFrame
from actors.messages.peers import ForwardSettled, HttpOrder, HttpOutcome, OutcomeWord, PeerTag
from actors.messages.values import Origin, Record, RecordKey
from actors.peer_frames import encode_peer, sending
from actors.views import rank
from rollbook.errors import Code, InvalidField
from rollbook.http_clients import Beats
from rollbook.model import Instance, Service
from rollbook.wire import NUMBER_MAX

STALE_TIMES = 3  # a deadline that is noticed so many times its length too late: this node has stood still itself


_NO_KEY = RecordKey("", Service("", "", ""))
_OTHER_KIND = refusal(Code.KIND_MISMATCH, "the service has persistent instances; a service is of one kind", "ephemeral")


class BeatsSettings(msgspec.Struct, frozen=True):
    interval_ms: int
    timeout_ms: int
    delete_ms: int
    grace_ms: int
    forward_timeout_ms: int
    tick_interval_ms: int
    orders_under_way_max: int
    publications_max: int


class _OverdueLookDue(msgspec.Struct, frozen=True):
    """Some of what is on its way, or waited for, may be overdue."""


class _Unmade(msgspec.Struct):
    """A publication that ClientManager has been told to make; ``task``: who wants to know of it."""

    kept: KeptPublication | None
    task: HttpTask | None
    word: OutcomeWord = "done"


class _Awaited(msgspec.Struct):
    """Another node has made a record; the answer says so when it is here too."""

    task: HttpTask
    outcome: HttpOutcome
    due_ms: int


BeatsInput = (
    HttpOrdersAdmitted
    | HttpCommitted
    | HttpRecordsHeld
    | ForwardReceived
    | PeersChanged
    | NodesJudged
    | StatusRequested
    | _OverdueLookDue
)

_COUNTERS = (
    "beats_taken",
    "http_registered",
    "http_taken_over",
    "http_yielded",
    "http_unhealthy",
    "http_expired",
    "http_orders_refused",
    "orders_forwarded",
    "forwards_overdue",
    "forwards_refused",  # of links that are no peer's, copies, or answers to nothing
)


class BeatKeeper:
    role = Role.BEATS

    def __init__(self, identity: NodeIdentity, settings: BeatsSettings, chance: random.Random) -> None:
        del chance  # which node keeps what must be clear to all of them
        self.settings = settings
        self.origin = Origin(identity.node_id, identity.epoch)
        self.counters = dict.fromkeys(_COUNTERS, 0)
        self.records = HttpRecords(self.origin)
        self.kept = KeptPublications(BeatPatience(settings.interval_ms, settings.timeout_ms, settings.delete_ms))
        self._owners = HttpOwners(self.origin)
        self._forwards = Forwards(settings.orders_under_way_max)
        self._awaited: dict[tuple[Origin, RecordKey], list[_Awaited]] = {}
        self._unmade: deque[tuple[_Unmade, ...]] = deque()  # one for each HttpCommitted that will come
        self._ordered: list[tuple[_Unmade, HttpPublication]] = []  # in this turn
        self._settled: list[HttpBatch] = []  # likewise
        self._is_isolated = False
        self._heard_ms = 0  # nobody counts as silent since before this: the node could not hear, or not judge
        self._is_ticking = False

    def start(self, now: Now) -> Effects:
        self._heard_ms = now.monotonic_ms
        return []

    def handle(self, message: BeatsInput, now: Now) -> Effects:
        match message:
            case HttpOrdersAdmitted():
                self._on_orders(message, now)
            case HttpCommitted():
                self._on_committed(message)
            case HttpRecordsHeld():
                self._on_records_held(message, now)
            case ForwardReceived():
                self._on_forward_received(message, now)
            case PeersChanged():
                self._on_peers_changed(message, now)
            case NodesJudged():
                self._on_nodes_judged(message, now)
            case StatusRequested():
                counters = {**self.counters, "http_publications_kept": len(self.kept)}
                return [Tell(Role.INDEX, message.with_counters(counters))]
            case _OverdueLookDue():
                self._on_tick(now)
            case _:
                assert_never(message)
        return self._effects(now)

    # -- orders, from sessions and from other nodes

    def _on_orders(self, message: HttpOrdersAdmitted, now: Now) -> None:
        for order in message.orders:
            asked = tuple(orders_of(order.body, now))
            batch = HttpBatch(AskedByClient(order.route, order.correlation, isinstance(order.body, Beats)), len(asked))
            if not asked:
                self._settled.append(batch)  # beats of nobody
            self._take(batch, asked, 0, now)

    def _on_forward_received(self, message: ForwardReceived, now: Now) -> None:
        link, body = message.link, message.body
        if not self._owners.knows(link):
            self.counters["forwards_refused"] += 1
        elif isinstance(body, ForwardSettled):
            self._on_forward_settled(link, body, now)
        elif self._forwards.is_new(link, body.number):
            batch = HttpBatch(AskedByPeer(link, body.number), len(body.orders))
            self._take(batch, body.orders, body.hops, now)
        else:
            self.counters["forwards_refused"] += 1

    def _take(self, batch: HttpBatch, orders: Sequence[HttpOrder], hops: int, now: Now) -> None:
        for place, order in enumerate(orders):
            try:
                key = http_key(order.service, order.ip, order.port)
                kept = self.kept.get(key)
                if order.kind != "beat" or kept is None or kept.instance is None:
                    check_order(order)
            except InvalidField as error:
                self._settle(
                    HttpTask(batch, place, _NO_KEY, order), refusal(Code(error.code), error.message, error.field)
                )
                continue
            task = HttpTask(batch, place, key, order, hops)
            if kept is not None:
                self._carry_out(task, now)
            else:
                self._place(task, now)

    def _place(self, task: HttpTask, now: Now) -> None:
        """Here, or at the node that it is for."""
        best = self.records.best(task.key)
        link = self._owners.place(best, task.key.client, task.hops) if task.tries < 2 else HERE
        if link == HERE or self.kept.get(task.key) is not None:
            self._carry_out(task, now)
            return
        if best is not None and best.session >= task.order.session:
            number = min(best.session + 1, NUMBER_MAX)
            task = task._replace(order=msgspec.structs.replace(task.order, session=number))
        if self._forwards.add(link, task):
            self.counters["orders_forwarded"] += 1
        else:
            self._settle(task, refusal(Code.OVER_LIMIT, "too many orders are on their way to the node that keeps it"))

    def _carry_out(self, task: HttpTask, now: Now) -> None:
        """By this node, which keeps it or takes it over."""
        order, key = task.order, task.key
        kept, best = self.kept.get(key), None
        if order.kind == "beat":
            self.counters["beats_taken"] += 1
        if kept is not None:
            held = kept.instance
        else:
            best = self.records.best(key)
            held = best.instances[0] if best is not None and best.instances else None
        try:
            wish = wish_of(order, held)
        except InvalidField as error:
            wish = refusal(Code(error.code), error.message, error.field)
        if isinstance(wish, HttpOutcome):
            self._settle(task, msgspec.structs.replace(wish, interval_ms=self.settings.interval_ms))
            return
        if kept is not None:
            if wish.renews:
                kept.beaten_ms = now.monotonic_ms
            if wish.instance == held and (order.kind == "beat" or not kept.unmade):
                self._settle(task, self._outcome(wish.word, kept, self.records.native(key)))
                return
            if order.kind != "beat":  # above whatever a node that hears nobody has taken over before
                kept.session = max(kept.session, order.session)
            stamp = kept.stamp if order.kind != "register" else 0
            self._publish(kept, stamp, wish.instance, _Unmade(kept, task, wish.word))
        elif wish.instance is not None and len(self.kept) >= self.settings.publications_max:
            sentence = f"this node keeps as many publications as it may: {self.settings.publications_max}"
            self._settle(task, refusal(Code.OVER_LIMIT, sentence))
        else:
            self._take_over(task, wish.word, wish.instance, best, now)

    def _take_over(
        self, task: HttpTask, word: OutcomeWord, instance: Instance | None, best: Record | None, now: Now
    ) -> None:
        """Or in, if nobody has it."""
        key, order = task.key, task.order
        if instance is None and best is not None and best.origin == self.origin and not best.instances:
            self._settle(task, self._outcome(word, None, best))  # withdrawn here before
            return
        number, stamp = order.session, 0
        if best is not None:
            number = min(max(number, best.session + 1), NUMBER_MAX)
            stamp = best.stamp if best.instances and order.kind != "register" else 0
            self.counters["http_taken_over"] += bool(best.instances) and best.origin != self.origin
        kept = KeptPublication(key, number, stamp, instance)
        self.kept.keep(kept, now.monotonic_ms)
        self._publish(kept, stamp, instance, _Unmade(kept, task, word))

    def _publish(self, kept: KeptPublication, stamp: int, instance: Instance | None, unmade: _Unmade) -> None:
        self.kept.change(kept, instance)
        kept.unmade += 1
        self._ordered.append((unmade, HttpPublication(kept.key, kept.session, stamp, instance)))

    # -- what has become of it

    def _on_committed(self, message: HttpCommitted) -> None:
        for unmade, record in zip(self._unmade.popleft(), message.records, strict=True):
            if record is not None:
                self.records.put(record)
            kept = unmade.kept
            if kept is not None:
                kept.unmade -= 1
                kept.stamp = record.stamp if record is not None else kept.stamp
                self._drop_if_over(kept)
            if unmade.task is not None:
                if unmade.word == "registered":
                    self.counters["http_registered"] += 1
                self._settle(
                    unmade.task, self._outcome(unmade.word, kept, record) if record is not None else _OTHER_KIND
                )

    def _drop_if_over(self, kept: KeptPublication) -> None:
        """It has been withdrawn; or it could not be published at all."""
        if kept.unmade or self.kept.get(kept.key) is not kept:
            return
        native = self.records.native(kept.key)
        if native is None or not native.instances:
            self.kept.drop(kept)
        elif kept.instance != native.instances[0]:  # it was refused to be what it was to be
            self.kept.change(kept, native.instances[0])

    def _outcome(self, word: OutcomeWord, kept: KeptPublication | None, record: Record | None) -> HttpOutcome:
        interval_ms = self.settings.interval_ms
        if kept is not None and kept.instance is not None:
            interval_ms = self.kept.patience_of(kept.instance).interval_ms
        if record is None:
            return HttpOutcome(word, interval_ms)
        return HttpOutcome(word, interval_ms, 0, "", "", False, *record.origin, record.seq, record.stamp)

    def _settle(self, task: HttpTask, outcome: HttpOutcome) -> None:
        batch = task.batch
        batch.outcomes[task.place] = outcome
        batch.missing -= 1
        self.counters["http_orders_refused"] += outcome.word == "refused"
        if not batch.missing:
            self._settled.append(batch)

    # -- what is elsewhere

    def _on_forward_settled(self, link: str, body: ForwardSettled, now: Now) -> None:
        tasks = self._forwards.settled(link, body.number, body.outcomes)
        self.counters["forwards_refused"] += not tasks
        for task, outcome in zip(tasks, body.outcomes, strict=False):
            origin = Origin(outcome.owner, outcome.epoch)
            held = self.records.of(origin, task.key)
            is_here = held is not None and held.seq >= outcome.seq
            # A session that was told of it sees it in every later answer of this node.
            if isinstance(task.batch.asker, AskedByPeer) or not outcome.seq or is_here or outcome.word == "renewed":
                self._settle(task, outcome)
            else:
                due_ms = now.monotonic_ms + self.settings.forward_timeout_ms
                self._awaited.setdefault((origin, task.key), []).append(_Awaited(task, outcome, due_ms))

    def _on_records_held(self, message: HttpRecordsHeld, now: Now) -> None:
        for origin, key in message.removed:
            self.records.remove(origin, key)
        for record in message.records:
            self.records.put(record)
            kept = self.kept.get(record.key)
            if kept is not None and rank(record)[:3] > (kept.session, self.origin.epoch, self.origin.owner):
                self.counters["http_yielded"] += 1
                self.kept.leave(kept, now.monotonic_ms + self.settings.grace_ms)
            for awaited in self._awaited.pop((record.origin, record.key), ()):
                if record.seq >= awaited.outcome.seq:
                    self._settle(awaited.task, awaited.outcome)
                else:
                    self._awaited.setdefault((record.origin, record.key), []).append(awaited)

    def _on_peers_changed(self, message: PeersChanged, now: Now) -> None:
        self._owners.meet(message.peers)
        for forward in self._forwards.take_lost({peer.link for peer in message.peers}):
            for task in forward.tasks:
                self._place(task.again(), now)

    def _on_tick(self, now: Now) -> None:
        """What another node has not answered in time is taken over."""
        self._is_ticking = False
        for forward in self._forwards.take_due(now.monotonic_ms):
            self.counters["forwards_overdue"] += 1
            for task in forward.tasks:
                self._give_up(forward, task, now)
        for place, waiting in list(self._awaited.items()):
            overdue = [awaited for awaited in waiting if awaited.due_ms <= now.monotonic_ms]
            self._awaited[place] = [awaited for awaited in waiting if awaited.due_ms > now.monotonic_ms]
            if not self._awaited[place]:
                del self._awaited[place]
            for awaited in overdue:  # done where it is kept, and on its way
                self._settle(awaited.task, awaited.outcome)

    def _give_up(self, forward: Forward, task: HttpTask, now: Now) -> None:
        if now.monotonic_ms - forward.due_ms >= STALE_TIMES * self.settings.forward_timeout_ms:
            # Whatever happened to the client since is not here yet: it may have been withdrawn.
            sentence = "nobody answered in time, and this node has just stood still: try another"
            self._settle(task, refusal(Code.NOT_READY, sentence))
        else:
            self._carry_out(task.again(), now)

    # -- silence

    def _on_nodes_judged(self, message: NodesJudged, now: Now) -> None:
        self._owners.judge(message.keepers, message.living)
        self._is_isolated = message.isolated
        if message.suspended:
            self._heard_ms = now.monotonic_ms
        silent, left = self.kept.take_due(self._heard_ms, now.monotonic_ms)
        for kept, is_gone in silent:
            instance = kept.instance
            self.counters["http_expired" if is_gone else "http_unhealthy"] += 1
            wish = None if is_gone or instance is None else with_health(instance, healthy=False)
            self._publish(kept, kept.stamp, wish, _Unmade(kept, None))
        for key, number, _ in left:
            record = self.records.native(key)
            if record is not None and record.instances and record.session == number:
                self._ordered.append((_Unmade(None, None), HttpPublication(key, number, record.stamp, None)))

    # -- what leaves

    def _effects(self, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        if self._ordered:
            self._unmade.append(tuple(unmade for unmade, _ in self._ordered))
            publications = tuple(publication for _, publication in self._ordered)
            self._ordered.clear()
            effects.append(Tell(Role.CLIENTS, HttpPublicationsOrdered(publications, self.settings.grace_ms)))
        replies = []
        frames = self._forwards.take_frames(now, self.settings.forward_timeout_ms)
        for batch in self._settled:
            if isinstance(batch.asker, AskedByClient):
                replies.append(reply_of(batch, batch.asker, isolated=self._is_isolated))
            else:
                frames.append(_answer_to_peer(batch, batch.asker))
        self._settled.clear()
        if replies:
            effects.append(Tell(Role.INDEX, RecordsChanged(replies=tuple(replies))))
        effects += sending(frames)
        if not self._is_ticking and (self._forwards or self._awaited):
            self._is_ticking = True
            effects.append(Remind(self.settings.tick_interval_ms, _OverdueLookDue()))
        return effects

    def check_invariants(self) -> None:
        self.records.check_invariants()
        self.kept.check_invariants()
        self._forwards.check_invariants()
        assert not self._ordered, "what was ordered has left"
        assert not self._settled, "what is settled was answered"
        assert self._is_ticking or not (self._forwards or self._awaited), "what is on its way would never be overdue"
        for kept in self.kept:
            native = self.records.native(kept.key)
            is_made = native is not None and native.session == kept.session and native.instances == (kept.instance,)
            assert kept.unmade or is_made, "the records say what is kept"


def _answer_to_peer(batch: HttpBatch, asker: AskedByPeer) -> PeerFrame:
    outcomes = tuple(outcome for outcome in batch.outcomes if outcome is not None)
    return PeerFrame(asker.link, encode_peer(PeerTag.FORWARD_SETTLED, ForwardSettled(asker.number, outcomes)))
