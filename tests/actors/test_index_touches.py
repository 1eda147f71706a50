"""IndexManager: what it says of batches that touch subscribed services, so that nobody takes them for told too soon."""

from __future__ import annotations

import pytest

from actors.base import Effects, Role, Tell
from actors.messages.distro import ClusterWaitsAdded, OwnersApplied, Touches
from actors.messages.index import EchoWatermark, OwnersVisible, RecordsChanged
from actors.messages.members import DigestsTaken
from actors.messages.push import ServicesTouched, SubscriptionsChanged
from actors.messages.values import ClusterWait, Order, RecordKey, Watermark
from rollbook.wire import Done, Subscribe, Tag
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import HERE, ORDERS, STOCK, THERE, instance, record, route, told

ONE, TWO = instance(1), instance(2)


@pytest.fixture
def index() -> IndexUnderTest:
    index = IndexUnderTest()
    index.ask(Subscribe(ORDERS))
    index.ask(Subscribe(STOCK))
    return index


def touches(effects: Effects) -> list[Touches | None]:
    return [message.touches for message in told(effects, OwnersApplied, Role.DISTRO)]


def changes(effects: Effects) -> list[ServicesTouched]:
    return told(effects, ServicesTouched, Role.PUSH)


def test_both_are_told_the_lowest_seqs_under_the_same_number(index: IndexUnderTest) -> None:
    effects = index.put(
        record("a", ONE, seq=7),
        record("b", ONE, seq=4, origin=THERE),
        record("a", TWO, seq=8),
        record("c", ONE, service=STOCK, seq=5),
        record("d", ONE, seq=3, origin=THERE),
    )
    assert touches(effects) == [Touches(1, ((HERE, 5), (THERE, 3)))]
    expected = ((ORDERS, HERE, 7), (ORDERS, THERE, 3), (STOCK, HERE, 5))
    assert changes(effects) == [ServicesTouched((ORDERS, STOCK), expected, 1)]
    assert touches(index.put(record("a", ONE, seq=9))) == [Touches(2, ((HERE, 9),))]


def test_what_was_touched_is_said_before_anything_that_could_take_it_for_told(index: IndexUnderTest) -> None:
    wait = ClusterWait(route(2), 9, 1, 500, Tag.DONE, Done(), "subscribers")
    watermark = Watermark(THERE, 4, "link")
    changed = record("b", ONE, seq=4, origin=THERE)
    effects = index.handle(RecordsChanged(records=(changed,), waits=(wait,), watermarks=(watermark,)))
    messages = [effect.message for effect in effects if isinstance(effect, Tell) and effect.to is Role.DISTRO]
    assert messages == [OwnersApplied((watermark,), Touches(1, ((THERE, 4),))), ClusterWaitsAdded((wait,))]


def test_a_service_that_nobody_watches_is_no_touch() -> None:
    index = IndexUnderTest()
    assert list(index.put(record("a", ONE))) == []


def test_a_filter_of_owners_touches_services_by_no_change(index: IndexUnderTest) -> None:
    index.put(record("a", ONE, origin=THERE))
    effects = index.handle(OwnersVisible(((THERE, 15_000),)))
    assert touches(effects) == []
    assert changes(effects) == [ServicesTouched((ORDERS,))]


def test_what_is_removed_without_a_tombstone_was_removed_by_a_later_change(index: IndexUnderTest) -> None:
    index.put(record("a", ONE, seq=6, origin=THERE), record("b", seq=7, origin=THERE))
    removed = ((THERE, RecordKey("a", ORDERS)), (THERE, RecordKey("b", ORDERS)))
    effects = index.handle(RecordsChanged(removed=removed))
    assert touches(effects) == [Touches(2, ((THERE, 7),))], "the collected tombstone of b showed nobody anything"


def test_an_echo_says_that_what_came_before_is_indexed(index: IndexUnderTest) -> None:
    watermark = Watermark(HERE, 8)
    assert told(index.handle(EchoWatermark(watermark)), OwnersApplied, Role.DISTRO) == [OwnersApplied((watermark,))]


def test_a_digest_goes_on_once_what_came_before_is_indexed(index: IndexUnderTest) -> None:
    taken = DigestsTaken(3, (), 0)
    assert told(index.handle(taken), DigestsTaken, Role.MEMBERS) == [taken]


def test_push_actor_learns_who_subscribes(index: IndexUnderTest) -> None:
    effects = index.handle(RecordsChanged(requests=(Order(route(3), 1, Subscribe(ORDERS), "client-3"),)))
    [changed] = told(effects, SubscriptionsChanged, Role.PUSH)
    assert [(added.route, added.client) for added in changed.added] == [(route(3), "client-3")]
