"""PersistentStore: what it derives from rows, whom it tells in which order, and when it says that it is stale."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.base import Effects, Log, NodeIdentity, Now, Remind, Role, StoreKind, Tell
from actors.durable_rows import (
    STORE_ORIGIN,
    instance_row_key,
    instance_row_value,
    intent_row_key,
    intent_row_value,
    record_key,
)
from actors.durable_values import KeptIntent
from actors.messages.clients import PersistentServicesChanged
from actors.messages.health import LivingMembersChanged
from actors.messages.index import IntentsReviewed, OverlaysChanged, RecordsChanged, ServicesAnswered
from actors.messages.store import (
    ChangesSeen,
    Cut,
    CutTaken,
    FollowOrdered,
    IntentsUnclaimed,
    Operation,
    Outcome,
    PersistentOrders,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    Row,
    RowVersion,
    StoredChange,
    StoreFollowed,
    StoreSilent,
)
from actors.messages.values import Order, Route
from actors.node_shares import NodeShares, identity_of
from actors.persistent_store import PersistentSettings, PersistentStore
from rollbook.durable import Intent
from rollbook.durable_bodies import GetService, PublishPersistent
from rollbook.errors import Code
from rollbook.model import Instance, Service
from rollbook.wire import Done
from tests.support.settings import settings_of

SERVICE = Service("public", "shop", "orders")
WALL_MS = 1_700_000_000_000


def instance(port: int) -> Instance:
    return Instance("10.0.0.1", port, ephemeral=False)


def row(port: int, index: int) -> Row:
    return Row(instance_row_key(SERVICE, instance(port).key), instance_row_value(instance(port), "c", 5, 5), index)


def written(port: int, index: int) -> StoredChange:
    return StoredChange(index, (Operation(row(port, index).key, row(port, index).value),))


def removed(port: int, index: int) -> StoredChange:
    return StoredChange(index, (Operation(row(port, index).key, None),))


class PersistentBench:
    def __init__(self, epoch: int = 5, store: StoreKind = "alone", **overrides: Any) -> None:
        identity = NodeIdentity("n1", epoch, "test", "h:1", "h:2", 256, store=store)
        settings = settings_of("persistent", PersistentSettings, **overrides)
        self.actor = PersistentStore(identity, settings, random.Random(1))
        self.ms = 0
        self.effects: Effects = self.actor.start(Now(0, WALL_MS))
        self.look_due, self.review_due = (effect.message for effect in self.effects if isinstance(effect, Remind))

    def handle(self, message: Any) -> Effects:
        self.effects = self.actor.handle(message, Now(self.ms, WALL_MS + self.ms))
        self.actor.check_invariants()
        return self.effects

    def told(self, kind: type[Any]) -> list[Any]:
        return [effect.message for effect in self.effects if isinstance(effect, Tell) and type(effect.message) is kind]

    def order(self, *ports: int) -> Effects:
        body = PublishPersistent(SERVICE, tuple(instance(port) for port in ports))
        return self.handle(PersistentOrders((Order(Route(b"c", 1), 7, body, "client"),)))

    def replies(self) -> list[Any]:
        return [reply.body for changed in self.told(RecordsChanged) for reply in changed.replies]

    def settle(self, index: int) -> Any:
        """The one proposal that was just made is applied there; what it was."""
        [made] = self.told(ProposalsMade)
        [proposal] = made.proposals
        self.handle(ProposalsSettled((ProposalSettled(proposal.number, Outcome(True, index)),)))
        return proposal

    def load(self, *rows: Row, index: int = 10, store: str = "s1") -> None:
        self.handle(CutTaken(Cut(rows, index), store=store))

    def raise_fence(self) -> None:
        """After ``load``: at index 11."""
        proposal = self.settle(11)
        self.handle(ChangesSeen((StoredChange(11, proposal.operations),), 11))


@pytest.fixture
def bench() -> PersistentBench:
    return PersistentBench()


@pytest.fixture
def ready() -> PersistentBench:
    made = PersistentBench()
    made.load(row(1, 3))
    made.raise_fence()
    return made


def test_at_the_start_the_store_is_asked_and_nothing_is_known(bench: PersistentBench) -> None:
    assert bench.told(FollowOrdered) == [FollowOrdered()]
    assert bench.told(StoreFollowed) == [StoreFollowed(False, 0, "the store has not been read yet")]


def test_before_the_store_is_read_orders_are_refused_at_once(bench: PersistentBench) -> None:
    bench.order(1)
    [failed] = bench.replies()
    assert (failed.code, failed.retryable) == (Code.STORE_UNAVAILABLE, True)


def test_a_cut_is_told_as_kinds_then_records_then_that_it_is_known(bench: PersistentBench) -> None:
    bench.load(row(1, 3), row(2, 4))
    told = [effect.message for effect in bench.effects if isinstance(effect, Tell) and effect.to != Role.HEALTH]
    messages = [message for message in told if type(message) is not OverlaysChanged]
    assert [type(message) for message in messages] == [
        PersistentServicesChanged,
        RecordsChanged,
        StoreFollowed,
        ProposalsMade,
    ]
    assert messages[0] == PersistentServicesChanged((SERVICE,), ())
    assert [(record.origin, record.seq) for record in messages[1].records] == [(STORE_ORIGIN, 3), (STORE_ORIGIN, 4)]
    assert messages[2] == StoreFollowed(True, 0, "")


def test_news_without_a_cut_before_it_is_no_image_of_a_store(bench: PersistentBench) -> None:
    bench.handle(ChangesSeen((), 0))
    assert list(bench.effects) == []
    bench.handle(ChangesSeen((written(1, 4),), 4))
    assert list(bench.effects) == []
    assert not bench.actor.image.is_loaded


def test_many_records_are_told_in_several_messages_and_the_answer_with_the_last(ready: PersistentBench) -> None:
    bench = PersistentBench(records_per_message_max=2)
    bench.load()
    bench.raise_fence()
    bench.order(1, 2, 3)
    proposal = bench.settle(12)
    bench.handle(ChangesSeen((StoredChange(12, proposal.operations),), 12))
    assert [(len(each.records), len(each.replies)) for each in bench.told(RecordsChanged)] == [(2, 0), (1, 1)]
    assert bench.replies() == [Done(seq=12)]


def test_the_last_instance_that_goes_takes_the_kind_of_its_service_along(ready: PersistentBench) -> None:
    ready.handle(ChangesSeen((written(2, 12), removed(1, 13)), 13))
    assert ready.told(PersistentServicesChanged) == []
    ready.handle(ChangesSeen((removed(2, 14),), 14))
    assert ready.told(PersistentServicesChanged) == [PersistentServicesChanged((), (SERVICE,))]
    [changed] = ready.told(RecordsChanged)
    assert changed.removed == ((STORE_ORIGIN, record_key(SERVICE, instance(2).key)),)


def test_what_it_derives_in_pieces_is_what_a_restart_derives_at_once() -> None:
    chance = random.Random(3)
    bench = PersistentBench()
    bench.load()
    records: dict[Any, int] = {}
    rows: dict[int, Row] = {}
    for index in range(11, 300):
        port = chance.randrange(6)
        change = removed(port, index) if chance.random() < 0.4 else written(port, index)
        rows.pop(port, None)
        if change.operations[0].value is not None:
            rows[port] = row(port, index)
        bench.handle(ChangesSeen((change,), index))
        for changed in bench.told(RecordsChanged):
            records.update({record.key: record.seq for record in changed.records})
            for _, key in changed.removed:
                del records[key]
    again = PersistentBench()
    again.load(*(rows[port] for port in sorted(rows)), index=300)
    assert records == {record.key: record.seq for each in again.told(RecordsChanged) for record in each.records}


def test_numbers_of_proposals_are_above_those_of_earlier_lives() -> None:
    lives = []
    for epoch in (1_700_000_000_000 << 16, 1_700_000_000_001 << 16):
        bench = PersistentBench(epoch)
        bench.load()
        [made] = bench.told(ProposalsMade)
        lives.append(made.proposals[0].number)
    assert lives[0] < lives[1] - 60_000


def test_a_row_that_cannot_be_read_is_said_and_counted(ready: PersistentBench) -> None:
    ready.handle(ChangesSeen((StoredChange(12, (Operation("user bob", b"?"),)),), 12))
    facts = [effect for effect in ready.effects if isinstance(effect, Log)]
    assert [fact.level for fact in facts] == ["ERROR"]
    assert ready.actor.counters["rows_unreadable"] == 1


# -- silence


def test_a_silent_store_leaves_what_is_known_and_refuses_orders(ready: PersistentBench) -> None:
    ready.ms = 1_000
    ready.handle(StoreSilent("the disk is gone"))
    assert ready.told(StoreFollowed) == [StoreFollowed(True, WALL_MS + 1_000, "the disk is gone")]
    ready.ms = 5_000
    assert list(ready.handle(StoreSilent("the disk is gone"))) == [], "said once"
    ready.handle(StoreSilent("the node is away"))
    assert ready.told(StoreFollowed) == [StoreFollowed(True, WALL_MS + 1_000, "the node is away")], "since the first"
    ready.order(2)
    assert [failed.code for failed in ready.replies()] == [Code.STORE_UNAVAILABLE]
    assert ready.told(ProposalsMade) == []
    ready.handle(ChangesSeen((), 12))
    assert ready.told(StoreFollowed) == [StoreFollowed(True, 0, "")]
    ready.order(2)
    assert len(ready.told(ProposalsMade)) == 1


def test_orders_that_wait_while_the_store_falls_silent_are_answered_in_time(ready: PersistentBench) -> None:
    ready.order(2)
    ready.handle(StoreSilent("the disk is gone"))
    ready.ms = 2_500
    ready.handle(ready.look_due)
    assert [failed.code for failed in ready.replies()] == [Code.OUTCOME_UNKNOWN]


# -- a store that is not what it was


def test_another_store_changes_nothing_until_the_first_one_is_back(ready: PersistentBench) -> None:
    ready.load(row(9, 90), index=99, store="s2")
    assert (ready.told(RecordsChanged), ready.told(StoreFollowed)[0].stale_since_ms) == ([], WALL_MS)
    ready.handle(ChangesSeen((removed(1, 100),), 100))
    assert list(ready.effects) == []
    ready.load(row(1, 3), row(2, 12), index=12)
    assert ready.told(StoreFollowed) == [StoreFollowed(True, 0, "")]
    assert [record.seq for each in ready.told(RecordsChanged) for record in each.records] == [12]


def test_a_store_that_has_gone_back_is_never_followed_again(ready: PersistentBench) -> None:
    ready.load(row(1, 3), index=8)
    assert "lost" in ready.told(StoreFollowed)[0].reason
    ready.handle(ChangesSeen((removed(1, 12),), 12))
    assert list(ready.effects) == []
    ready.load(Row(row(1, 3).key, row(2, 3).value, 3), index=50)
    assert ready.told(RecordsChanged) == [], "what has an old index there may be another row by now"
    assert ready.actor.image.index == 11


def intent_row(port: int, index: int, expires_ms: int = 0) -> Row:
    kept = KeptIntent(SERVICE, instance(port).key, Intent(weight=2.0), "a process", "ann", 5, expires_ms, index)
    return Row(intent_row_key(kept.place), intent_row_value(kept), index)


VERSION = RowVersion(intent_row(7, 12).key, 12)


def proposed(bench: PersistentBench) -> list[tuple[str, bytes | None]]:
    return [
        (operation.key, operation.value)
        for made in bench.told(ProposalsMade)
        for proposal in made.proposals
        for operation in proposal.operations
    ]


def test_intents_that_end_together_go_a_few_at_a_time_and_leave_room_for_orders() -> None:
    bench = PersistentBench(drops_per_look_max=2, orders_max=3)
    bench.load(*(intent_row(port, port, WALL_MS + 1_000) for port in (1, 2, 3, 4)))
    bench.raise_fence()
    bench.ms = 2_000
    bench.handle(bench.look_due)
    (ended,) = bench.told(OverlaysChanged)
    assert [bound for _, bound in ended.intents] == [None] * 4, "all are over at once"
    assert len(proposed(bench)) == 2
    bench.order(9)
    assert bench.replies() == []
    assert len(proposed(bench)) == 1
    bench.ms = 2_500
    bench.handle(bench.look_due)
    assert bench.told(OverlaysChanged) == [], "said once"


def test_while_the_store_cannot_be_followed_no_fence_is_written_into_it(ready: PersistentBench) -> None:
    ready.order(2)
    [made] = ready.told(ProposalsMade)
    ready.handle(StoreSilent("it is away"))
    ready.handle(ProposalsSettled((ProposalSettled(made.proposals[0].number, None, "unknown", "lost"),)))
    assert proposed(ready) == []
    ready.handle(ready.look_due)
    assert proposed(ready) == []
    ready.handle(ChangesSeen((), 12))
    assert [key for key, _ in proposed(ready)] == ["fence n1"]


def look(bench: PersistentBench, version: RowVersion, for_ms: int) -> None:
    """Every ten minutes, and at the end, nobody is listed whom it was meant for."""
    since_ms = bench.ms
    for after_ms in (*range(0, for_ms, 600_000), for_ms):
        bench.ms = since_ms + after_ms
        bench.handle(IntentsUnclaimed((version,)))


def test_an_intent_goes_when_nobody_was_left_for_it_for_a_day(ready: PersistentBench) -> None:
    ready.handle(ChangesSeen((StoredChange(12, (Operation(intent_row(7, 12).key, intent_row(7, 12).value),)),), 12))
    ready.handle(ready.review_due)
    [asked] = ready.told(IntentsReviewed)
    assert [(number, key, incarnation) for number, _, key, incarnation in asked.intents] == [
        (VERSION, instance(7).key, "a process")
    ]
    look(ready, VERSION, 86_399_000)
    ready.ms += 1_000
    ready.handle(ready.look_due)
    assert proposed(ready) == [], "nobody has looked since"
    ready.handle(IntentsUnclaimed((VERSION,)))
    ready.handle(ready.look_due)
    assert proposed(ready) == [(intent_row(7, 12).key, None)]


def test_an_intent_whose_instance_was_back_meanwhile_stays(ready: PersistentBench) -> None:
    ready.handle(ChangesSeen((StoredChange(12, (Operation(intent_row(7, 12).key, intent_row(7, 12).value),)),), 12))
    look(ready, VERSION, 50_000_000)
    ready.handle(IntentsUnclaimed(()))
    look(ready, VERSION, 50_000_000)
    ready.handle(ready.look_due)
    assert proposed(ready) == []


def test_of_the_time_in_which_a_node_did_not_look_an_intent_loses_nothing(ready: PersistentBench) -> None:
    """Whom it was meant for may have been there for most of it."""
    ready.handle(ChangesSeen((StoredChange(12, (Operation(intent_row(7, 12).key, intent_row(7, 12).value),)),), 12))
    ready.handle(IntentsUnclaimed((VERSION,)))
    ready.ms += 90_000_000  # it stood still, or was not sure of its lists
    ready.handle(ready.look_due)
    assert proposed(ready) == []
    look(ready, VERSION, 86_399_000)
    ready.handle(ready.look_due)
    assert proposed(ready) == []
    look(ready, VERSION, 1_000)
    ready.handle(ready.look_due)
    assert proposed(ready) == [(intent_row(7, 12).key, None)]


def dropped_after_ms(bench: PersistentBench, patience_ms: int = 60_000) -> int:
    """How long the only intent row stays, counted from now."""
    since_ms = bench.ms
    while bench.ms - since_ms <= patience_ms:
        bench.handle(bench.look_due)
        if proposed(bench):
            return bench.ms - since_ms
        bench.ms += 500
    return patience_ms


@pytest.mark.parametrize("port", [1, 2, 3, 4, 5, 6])
def test_where_all_can_write_one_node_removes_a_row_first_and_the_others_later_if_it_is_still_there(port: int) -> None:
    shares = NodeShares(("n1", "n2", "n3"))
    turn = shares.turn_of("n1", identity_of(SERVICE, instance(port).key))
    bench = PersistentBench(store="etcd", drop_retry_ms=10_000)
    bench.load(intent_row(port, port, WALL_MS + 1_000))
    bench.raise_fence()
    bench.handle(LivingMembersChanged(("n1", "n2", "n3")))
    bench.ms = 1_000
    assert dropped_after_ms(bench) == {0: 0, 1: 10_000, 2: 20_000}[turn or 0]


def test_before_a_node_knows_the_others_it_removes_nothing_that_they_can_remove() -> None:
    bench = PersistentBench(store="etcd")
    bench.load(intent_row(1, 1, WALL_MS))
    bench.raise_fence()
    assert dropped_after_ms(bench) == 60_000
    bench.handle(LivingMembersChanged(("n1",)))
    assert dropped_after_ms(bench) == 0


def test_who_only_follows_removes_nothing() -> None:
    bench = PersistentBench(store="away")
    bench.load(intent_row(1, 1, WALL_MS))
    bench.raise_fence()
    bench.handle(LivingMembersChanged(("n1",)))
    assert dropped_after_ms(bench) == 60_000


def test_of_intents_that_were_written_together_each_ends_by_itself(ready: PersistentBench) -> None:
    rows = (intent_row(7, 12, WALL_MS + 1_000), intent_row(8, 12, WALL_MS + 60_000))
    ready.handle(ChangesSeen((StoredChange(12, tuple(Operation(each.key, each.value) for each in rows)),), 12))
    for ms, port in ((1_000, 7), (60_000, 8)):
        ready.ms = ms
        ready.handle(ready.look_due)
        assert [place.key.port for each in ready.told(OverlaysChanged) for place, _ in each.intents] == [port]


def test_of_intents_that_were_written_together_only_the_one_goes_that_nobody_is_left_for(
    ready: PersistentBench,
) -> None:
    rows = (intent_row(7, 12), intent_row(8, 12))
    ready.handle(ChangesSeen((StoredChange(12, tuple(Operation(each.key, each.value) for each in rows)),), 12))
    look(ready, RowVersion(rows[1].key, 12), 86_400_000)
    ready.handle(ready.look_due)
    assert proposed(ready) == [(rows[1].key, None)]


def test_a_question_about_a_service_is_answered_by_way_of_whoever_knows_what_is_listed(ready: PersistentBench) -> None:
    row_of_intent = intent_row(7, 12)
    ready.handle(ChangesSeen((StoredChange(12, (Operation(row_of_intent.key, row_of_intent.value),)),), 12))
    ready.handle(PersistentOrders((Order(Route(b"c", 1), 7, GetService(SERVICE), "client"),)))
    [asked] = ready.told(ServicesAnswered)
    [answer] = asked.answers
    assert (answer.route, answer.correlation, answer.incarnations) == (Route(b"c", 1), 7, ("a process",))
    assert [intent.key for intent in answer.shown.intents] == [instance(7).key]
