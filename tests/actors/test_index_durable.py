"""IndexManager and durable data: what lists say of the store, whom an intent is meant for, and who is listed."""

from __future__ import annotations

import pytest

from actors.base import Log, Role
from actors.durable_rows import STORE_ORIGIN
from actors.messages.connections import StandingChanged
from actors.messages.index import (
    IntentHeirsWanted,
    IntentsReviewed,
    OverlaysChanged,
    OwnersVisible,
    RecordsChanged,
    ServiceAnswer,
    ServicesAnswered,
)
from actors.messages.io import AnswerClients
from actors.messages.store import IntentHeir, IntentHeirsFound, IntentsUnclaimed, RowVersion, StoreFollowed
from actors.messages.values import BoundIntent, IntentPlace, Order, Record, RecordKey, Standing, Trail
from actors.records import make_record
from rollbook.durable import Intent, ServiceSettings
from rollbook.durable_bodies import ServiceShown, SetIntent, ShownIntent
from rollbook.errors import Code
from rollbook.model import Instance, Service
from rollbook.wire import Tag
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import HERE, ORDERS, STOCK, THERE, WALL_MS, instance, opened, record, route, told

ONE, TWO = instance(1), instance(2)
EAST = instance(3, "east")


@pytest.fixture
def index() -> IndexUnderTest:
    return IndexUnderTest()


def test_as_long_as_the_store_is_not_read_lists_of_it_may_lack_something_and_those_of_others_do_not(
    index: IndexUnderTest,
) -> None:
    index.put(record("a", ONE), record("kept 1", TWO, service=STOCK, origin=STORE_ORIGIN))
    index.handle(StoreFollowed(False, 0, "it is being read"))
    assert (index.view(ORDERS).warming, index.view(STOCK).warming) == (False, True)
    assert index.view(Service("public", "DEFAULT_GROUP", "unknown")).warming
    index.handle(StoreFollowed(True, 0, ""))
    assert not index.view(STOCK).warming


def test_lists_of_the_store_say_since_when_it_is_out_of_reach(index: IndexUnderTest) -> None:
    index.put(record("a", ONE), record("kept 1", TWO, service=STOCK, origin=STORE_ORIGIN))
    index.handle(StoreFollowed(True, 77, "the disk is full"))
    assert (index.view(ORDERS).stale_since_ms, index.view(STOCK).stale_since_ms) == (0, 77)


def test_an_intent_for_an_instance_that_may_yet_be_read_is_worth_a_repeat(index: IndexUnderTest) -> None:
    index.handle(StoreFollowed(False, 0, "it is being read"))
    order = Order(route(1), 1, SetIntent(ORDERS, ONE.key, Intent(enabled=False)))
    effects = index.handle(RecordsChanged(persistent=(order,)))
    ((_, failed),) = [opened(frame.payload) for frame in told(effects, AnswerClients)[0].frames]
    assert (failed.code, failed.retryable) == (Code.STORE_UNAVAILABLE, True)


def test_whom_an_intent_is_meant_for_is_looked_up_unless_lists_may_lack_somebody(index: IndexUnderTest) -> None:
    index.put(record("a", ONE), record("b", TWO))
    meant = [(ORDERS, ONE.key, "a"), (ORDERS, TWO.key, "a"), (STOCK, ONE.key, "a")]
    rows = [RowVersion(f"row {number}", 3) for number in range(3)]  # written together
    question = IntentsReviewed(tuple((row, *whom) for row, whom in zip(rows, meant, strict=True)))
    assert told(index.handle(question), IntentsUnclaimed, Role.PERSISTENT) == [IntentsUnclaimed(tuple(rows[1:]))]
    for doubt in (Standing(warming=True), Standing(preserved=True), Standing(hides_nobody=True)):
        index.handle(StandingChanged(doubt))
        assert told(index.handle(question), IntentsUnclaimed) == []


def moved(client: str, *instances: Instance, connected: int, orphaned: int = 0, service: Service = ORDERS) -> Record:
    """What a connection of one SDK publishes; without instances it has withdrawn the first one."""
    trail = Trail(7, connected, orphaned, () if instances else (ONE.key,))
    return make_record(HERE, RecordKey(client, service), connected, connected, connected, 45_000, instances, trail)


LOST = moved("old", ONE, connected=10_000, orphaned=100_000)
BACK = moved("new", ONE, connected=100_900)


def test_an_sdk_that_has_come_back_is_whom_an_intent_is_meant_for(index: IndexUnderTest) -> None:
    index.put(LOST, BACK)
    old, stranger = RowVersion("row 1", 3), RowVersion("row 2", 3)
    question = IntentsReviewed(((old, ORDERS, ONE.key, "old"), (stranger, ORDERS, ONE.key, "stranger")))
    assert told(index.handle(question), IntentsUnclaimed) == [IntentsUnclaimed((stranger,))]
    intents = (ShownIntent(ONE.key, Intent(weight=2.0), "ann", 5, 0),) * 2
    answer = ServiceAnswer(route(1), 9, ServiceShown(ORDERS, ServiceSettings(), intents=intents), ("old", "stranger"))
    [answers] = told(index.handle(ServicesAnswered((answer,))), AnswerClients)
    ((_, body),) = [opened(frame.payload) for frame in answers.frames]
    assert [intent.listed for intent in body.intents] == [True, False]


def test_no_list_lacks_what_an_operator_wants_while_its_sdk_moves(index: IndexUnderTest) -> None:
    place = IntentPlace(ORDERS, ONE.key, "enabled")
    index.handle(OverlaysChanged(intents=((place, BoundIntent(Intent(enabled=False), "old")),)))
    standing = moved("old", ONE, connected=10_000)
    second = moved("new", ONE, connected=100_900, orphaned=101_000)
    for change in (standing, BACK, LOST, second, moved("third", ONE, connected=101_500)):
        index.put(change)
        assert [found.enabled for found in index.view().instances] == [False], change
    index.handle(OverlaysChanged(intents=((place, None),)))
    assert [found.enabled for found in index.view().instances] == [True], "a person has cleared it"


def test_of_a_service_each_intent_says_whether_its_instance_is_listed(index: IndexUnderTest) -> None:
    index.put(record("a", ONE), record("b", TWO))
    meant = [(ONE.key, "a"), (TWO.key, "a"), (EAST.key, "a")]
    intents = tuple(ShownIntent(key, Intent(weight=2.0), "ann", 5, 0) for key, _ in meant)
    shown = ServiceShown(ORDERS, ServiceSettings(), intents=intents)
    answer = ServiceAnswer(route(1), 9, shown, tuple(incarnation for _, incarnation in meant))
    [answers] = told(index.handle(ServicesAnswered((answer,))), AnswerClients)
    ((envelope, body),) = [opened(frame.payload) for frame in answers.frames]
    assert (envelope.tag, envelope.correlation) == (Tag.SERVICE_SHOWN, 9)
    assert [intent.listed for intent in body.intents] == [True, False, False]


PLACE = IntentPlace(ORDERS, ONE.key, "enabled")
ELSEWHERE = IntentPlace(STOCK, ONE.key, "weight")
OFFLINE = BoundIntent(Intent(enabled=False), "old")


def heirs(index: IndexUnderTest) -> tuple[IntentHeir, ...]:
    [found] = told(index.handle(IntentHeirsWanted()), IntentHeirsFound, Role.PERSISTENT)
    return found.heirs


def complaints(index: IndexUnderTest) -> list[Log]:
    return [effect for effect in index.handle(IntentHeirsWanted()) if isinstance(effect, Log)]


def gone(record: Record) -> RecordsChanged:
    return RecordsChanged(removed=((record.origin, record.key),))


def test_decisions_about_sdks_that_have_moved_wait_for_their_rows_and_no_others_do(index: IndexUnderTest) -> None:
    index.handle(OverlaysChanged(intents=((PLACE, OFFLINE), (ELSEWHERE, BoundIntent(Intent(weight=3.0), "a")))))
    index.put(record("a", ONE, service=STOCK), moved("old", ONE, connected=10_000), BACK)
    assert heirs(index) == (), "nothing is known to be lost"
    index.put(LOST)
    assert heirs(index) == (IntentHeir(PLACE, "old", "new"),)
    second = moved("new", ONE, connected=100_900, orphaned=101_000)
    index.put(second, moved("third", ONE, connected=101_500))
    assert heirs(index) == (IntentHeir(PLACE, "old", "third"),), "where the chain has led"
    index.handle(OverlaysChanged(intents=((PLACE, OFFLINE._replace(incarnation="third")),)))
    assert heirs(index) == ()
    index.handle(gone(LOST))
    assert complaints(index) == []


def test_what_could_not_be_bound_in_time_is_said_once(index: IndexUnderTest) -> None:
    index.handle(OverlaysChanged(intents=((PLACE, OFFLINE),)))
    index.put(LOST, BACK)
    assert complaints(index) == []
    index.handle(gone(LOST))
    [said] = complaints(index)
    assert said.fields["decisions"] == 1
    assert [found.enabled for found in index.view().instances] == [True]
    assert complaints(index) == []


def test_a_decision_that_somebody_has_cleared_is_not_missed(index: IndexUnderTest) -> None:
    index.handle(OverlaysChanged(intents=((PLACE, OFFLINE),)))
    index.put(LOST, BACK)
    assert heirs(index) != ()
    index.handle(OverlaysChanged(intents=((PLACE, None),)))
    index.handle(gone(LOST))
    assert complaints(index) == []


def test_a_connection_that_was_not_lost_after_all_keeps_its_decision(index: IndexUnderTest) -> None:
    index.handle(OverlaysChanged(intents=((PLACE, OFFLINE),)))
    there = make_record(THERE, RecordKey("old", ORDERS), 10_000, 1, 1, 45_000, (ONE,), Trail(7, 10_000))
    index.put(there, moved("new", ONE, connected=WALL_MS + 500))
    index.handle(OwnersVisible(((THERE, 15_000),), ((THERE, 500),)))
    assert heirs(index) == (IntentHeir(PLACE, "old", "new"),), "its owner is silent"
    index.handle(OwnersVisible(()))
    assert complaints(index) == []
    assert [found.enabled for found in index.view().instances] == [False]
