"""IndexManager: batches of the record table in, answers, views and touched services out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.base import Effects, Log, Role, StatusRequested, Tell
from actors.messages.connections import StandingChanged
from actors.messages.distro import ClusterWaitsAdded, OwnersApplied
from actors.messages.index import (
    OwnersVisible,
    RecordsChanged,
    SubscribersReleased,
    ViewsWanted,
)
from actors.messages.io import AnswerClients
from actors.messages.push import ServicesTouched, Subscription, SubscriptionsChanged, ViewsBuilt
from actors.messages.values import ClusterWait, Order, RecordKey, Reply, Standing, Watermark
from rollbook.catalog import FindServices, ListCatalog, ListSubscribers
from rollbook.errors import Code
from rollbook.model import Service, View
from rollbook.wire import (
    Done,
    Failed,
    ListServices,
    Ping,
    Query,
    Services,
    Subscribe,
    Tag,
    Unsubscribe,
)
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import HERE, ORDERS, STOCK, THERE, at, instance, opened, record, route, told

ONE, TWO = instance(1), instance(2)
EAST, WEST = instance(3, "east"), instance(4, "west")


@pytest.fixture
def index() -> IndexUnderTest:
    return IndexUnderTest()


def touched(effects: Effects) -> list[tuple[Service, ...]]:
    return [message.services for message in told(effects, ServicesTouched, Role.PUSH)]


def test_a_batch_leaves_as_one_answer_then_waits_and_watermarks(index: IndexUnderTest) -> None:
    wait = ClusterWait(route(2), 9, 1, 500, Tag.DONE, Done(5, 1, 1))
    watermark = Watermark(THERE, 44, "link")
    effects = index.handle(
        RecordsChanged(
            records=(record("a", ONE), record("b", TWO, seq=2)),
            replies=(Reply(route(1), 7, Tag.DONE, Done(5, 1, 1)), Reply(route(2), 8, Tag.DONE, Done(5, 2, 2))),
            waits=(wait,),
            watermarks=(watermark,),
            requests=(Order(route(3), 3, Query(ORDERS)),),
        )
    )
    assert [effect.to for effect in effects if isinstance(effect, Tell)] == [Role.IO, Role.DISTRO, Role.DISTRO]
    (answers,) = told(effects, AnswerClients)
    frames = [(frame.route, *opened(frame.payload)) for frame in answers.frames]
    assert [(to, envelope.tag, envelope.correlation) for to, envelope, _ in frames] == [
        (route(3), Tag.VIEW, 3),
        (route(1), Tag.DONE, 7),
        (route(2), Tag.DONE, 8),
    ]
    assert frames[0][2].instances == (ONE, TWO), "what came in the same batch is indexed before it is asked for"
    assert frames[2][2] == Done(5, 2, 2)
    assert told(effects, ClusterWaitsAdded, Role.DISTRO) == [ClusterWaitsAdded((wait,))]
    assert told(effects, OwnersApplied, Role.DISTRO) == [OwnersApplied((watermark,))]


def test_a_batch_that_concerns_nobody_tells_nobody(index: IndexUnderTest) -> None:
    assert list(index.put(record("a", ONE))) == []


def test_a_record_replaces_its_predecessor_of_the_same_origin(index: IndexUnderTest) -> None:
    index.put(record("a", ONE), record("a", TWO, seq=2))
    assert index.ports() == [2]
    index.put(record("a", seq=3))
    assert index.ports() == []
    assert index.counters()["index_records"] == 1, "the tombstone is still held"


def test_a_removed_record_takes_along_what_older_sessions_of_its_client_have_left(index: IndexUnderTest) -> None:
    """Its owner was given up; that of the older one, which may have died with it, is still to be judged."""
    newer, older = record("a", TWO, origin=THERE, session=2), record("a", ONE, session=1)
    index.put(older, record("b", instance(3), session=1), newer)
    assert index.ports() == [2, 3]
    index.handle(RecordsChanged(removed=((newer.origin, newer.key),)))
    assert index.ports() == [3]
    index.handle(RecordsChanged(removed=((older.origin, older.key),)))
    assert index.counters()["index_records"] == 1


def test_a_removed_record_leaves_what_newer_sessions_of_its_client_have(index: IndexUnderTest) -> None:
    older = record("a", ONE, session=1)
    index.put(older, record("a", TWO, origin=THERE, session=2))
    index.handle(RecordsChanged(removed=((older.origin, older.key),)))
    assert index.ports() == [2]


def test_a_removal_of_what_was_never_indexed_changes_nothing(index: IndexUnderTest) -> None:
    kept = record("a", ONE)
    index.put(kept)
    index.handle(RecordsChanged(removed=((THERE, kept.key), (HERE, record("x", ONE, service=STOCK).key))))
    assert index.ports() == [1]


def test_a_service_without_records_and_subscribers_is_forgotten(index: IndexUnderTest) -> None:
    held = record("a", ONE)
    index.put(held)
    index.ask(Subscribe(ORDERS))
    index.handle(RecordsChanged(removed=((held.origin, held.key),)))
    assert index.counters()["index_services"] == 1
    index.ask(Unsubscribe(ORDERS))
    counters = index.counters()
    assert (counters["index_services"], counters["index_subscriptions"], counters["index_records"]) == (0, 0, 0)


def test_an_unknown_service_has_an_empty_view_with_rising_versions_and_is_not_kept(index: IndexUnderTest) -> None:
    first, second = index.view(ms=5), index.view(ms=5)
    assert (first.service, first.instances) == (ORDERS, ())
    assert first.version < second.version
    index.put(record("a", ONE))
    assert second.version < index.view(ms=5).version
    assert index.counters()["index_services"] == 1


def test_versions_carry_the_wall_clock_and_rise_also_when_it_goes_back(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    before = index.view(ms=9_000).version
    assert before >> 16 == at(9_000).wall_ms
    index.put(record("a", TWO, seq=2))
    assert index.view(ms=10).version == before + 1


def test_a_change_that_changes_nothing_keeps_the_version(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    before = index.view(ms=10)
    index.put(record("a", ONE, origin=THERE, session=2), ms=20)
    assert index.view(ms=30) == before
    index.put(record("b", TWO, seq=2), ms=40)
    assert index.view(ms=50).version > before.version


def test_a_view_is_built_once_until_something_changes(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    index.ports()
    index.ports(clusters="DEFAULT")
    assert index.counters()["view_builds"] == 1
    assert index.counters()["index_queries"] == 2
    index.put(record("a", TWO, seq=2))
    assert index.ports() == [2]
    assert index.counters()["view_builds"] == 2


def test_a_cluster_filter_keeps_its_clusters_in_the_version_of_the_whole(index: IndexUnderTest) -> None:
    index.put(record("a", ONE, EAST, WEST))
    assert index.ports(clusters="east, west") == [3, 4]
    assert index.ports(clusters="nowhere") == []
    assert index.view(clusters="east").version == index.view().version
    index.put(record("a", ONE, WEST, seq=2))
    assert index.ports(clusters="east,west") == [4], "an encoded view does not outlive the view"


def test_many_different_filters_are_answered_and_not_all_kept(index: IndexUnderTest) -> None:
    index.put(record("a", *(instance(port, f"c{port}") for port in range(100))))
    assert [index.ports(clusters=f"c{port}") for port in range(100)] == [[port] for port in range(100)]
    assert len(index.actor.index.entries[ORDERS].bodies) <= 32


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (Query(ORDERS, "no spaces here"), "clusters"),
        (Subscribe(ORDERS, ",".join(f"c{n}" for n in range(65))), "clusters"),
        (ListServices("public", "DEFAULT_GROUP", page=0), "page"),
        (ListServices("public", "DEFAULT_GROUP", size=0), "size"),
        (ListServices("public", "DEFAULT_GROUP", size=1_001), "size"),
        (FindServices("public", size=1_001), "size"),
        (ListCatalog("public", first=-1), "first"),
        (ListCatalog("public", size=1_001), "size"),
        (ListSubscribers(ORDERS, -1), "first"),
        (ListSubscribers(ORDERS, 0, 0), "size"),
    ],
)
def test_bad_input_is_refused_by_field_and_costs_only_its_own_answer(
    index: IndexUnderTest, body: Any, field: str
) -> None:
    index.put(record("a", ONE))
    (failed, view), effects = index.ask(body, Query(ORDERS))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.field, failed.retryable) == (Code.PARAMETER_INVALID, field, False)
    assert view.instances == (ONE,)
    assert not told(effects, SubscriptionsChanged)


def test_a_request_that_cannot_be_carried_out_is_answered_internal_and_logged(index: IndexUnderTest) -> None:
    (failed, view), effects = index.ask(Ping(), Query(ORDERS))
    assert failed.code == Code.INTERNAL
    assert isinstance(view, View)
    assert [effect.level for effect in effects if isinstance(effect, Log)] == ["ERROR"]
    assert index.counters()["index_failed"] == 1


def test_a_subscription_is_answered_with_the_view_and_told_to_push_after_it(index: IndexUnderTest) -> None:
    index.put(record("a", EAST, WEST))
    (view,), effects = index.ask(Subscribe(ORDERS, "east"), to=route(4))
    assert view.instances == (EAST,)
    assert [effect.to for effect in effects if isinstance(effect, Tell)] == [Role.IO, Role.PUSH]
    (change,) = told(effects, SubscriptionsChanged)
    assert change.added == (Subscription(route(4), ORDERS, "east", view.version),)
    assert [(whole.version, whole.instances) for whole in change.views] == [(view.version, (EAST, WEST))]


def test_the_last_word_of_a_batch_on_a_subscription_is_told(index: IndexUnderTest) -> None:
    answers, effects = index.ask(
        Subscribe(ORDERS), Unsubscribe(ORDERS), Subscribe(STOCK), Subscribe(STOCK, "east"), Unsubscribe(STOCK)
    )
    assert [type(answer) for answer in answers] == [View, Done, View, View, Done]
    (change,) = told(effects, SubscriptionsChanged)
    assert (change.added, change.views) == ((), ())
    assert set(change.removed) == {(route(1), ORDERS), (route(1), STOCK)}
    _, effects = index.ask(Subscribe(ORDERS), Subscribe(ORDERS, "west"))
    (change,) = told(effects, SubscriptionsChanged)
    assert [(added.clusters, change.removed) for added in change.added] == [("west", ())]


def test_an_unsubscription_of_nothing_is_done_and_told_to_nobody(index: IndexUnderTest) -> None:
    (answer,), effects = index.ask(Unsubscribe(ORDERS))
    assert isinstance(answer, Done)
    assert not told(effects, SubscriptionsChanged)


def test_changed_services_are_told_once_and_only_while_somebody_subscribes(index: IndexUnderTest) -> None:
    index.ask(Subscribe(ORDERS))
    effects = index.put(record("a", ONE), record("b", TWO, seq=2), record("c", ONE, service=STOCK, seq=3))
    assert touched(effects) == [(ORDERS,)]
    index.ask(Unsubscribe(ORDERS))
    assert touched(index.put(record("a", TWO, seq=4))) == []


def test_ended_sessions_lose_their_subscriptions_and_push_is_told_of_them(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    index.ask(Subscribe(ORDERS), Subscribe(STOCK), to=route(1))
    index.ask(Subscribe(ORDERS), to=route(2))
    effects = index.handle(SubscribersReleased((route(1), route(9))))
    assert told(effects, SubscriptionsChanged, Role.PUSH) == [SubscriptionsChanged(gone=(route(1),))]
    assert touched(index.put(record("a", TWO, seq=2))) == [(ORDERS,)], "the other session still subscribes"
    assert index.counters()["index_services"] == 1
    assert list(index.handle(SubscribersReleased((route(1),)))) == []


def test_subscriptions_of_a_session_are_limited() -> None:
    small = IndexUnderTest(subscriptions_per_session_max=1)
    (view, failed, again), _ = small.ask(Subscribe(ORDERS), Subscribe(STOCK), Subscribe(ORDERS, "east"))
    assert isinstance(view, View)
    assert isinstance(again, View), "a new filter is no new subscription"
    assert (failed.code, failed.retryable) == (Code.OVER_LIMIT, False), "to ask again changes nothing"
    assert small.counters()["index_subscriptions"] == 1


def test_services_that_only_a_subscriber_knows_are_limited_and_records_are_not() -> None:
    small = IndexUnderTest(services_max=1)
    small.put(record("a", ONE), record("a", TWO, service=STOCK, seq=2))
    (failed, view), _ = small.ask(Subscribe(Service("public", "g", "new")), Subscribe(STOCK))
    assert failed.code == Code.OVER_LIMIT
    assert view.instances == (TWO,)


def test_a_filter_hides_an_origin_up_to_its_grace_and_touches_only_its_services(index: IndexUnderTest) -> None:
    long = record("sdk", TWO, origin=THERE, grace_ms=45_000, seq=2)
    index.put(record("a", ONE, origin=THERE), long, record("b", ONE, service=STOCK))
    index.ask(Subscribe(ORDERS), Subscribe(STOCK))
    assert touched(index.handle(OwnersVisible(((THERE, 15_000),)))) == [(ORDERS,)]
    assert (index.ports(), index.ports(STOCK)) == ([2], [1])
    assert touched(index.handle(OwnersVisible(((THERE, 15_000),)))) == [], "the same filter again"
    assert touched(index.handle(OwnersVisible(((THERE, 45_000),)))) == [(ORDERS,)]
    assert index.ports() == []
    assert touched(index.handle(OwnersVisible(()))) == [(ORDERS,)]
    assert index.ports() == [1, 2]


def test_a_flag_alone_gives_a_new_version_and_touches_all_subscribed(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    index.ask(Subscribe(STOCK))
    before = index.view()
    assert touched(index.handle(StandingChanged(Standing(ready=True, warming=True)))) == [(STOCK,)]
    warming = index.view()
    assert (warming.warming, warming.preserved, warming.instances) == (True, False, (ONE,))
    assert warming.version > before.version
    assert touched(index.handle(StandingChanged(Standing(ready=False, warming=True, isolated=True)))) == []
    assert index.view() == warming
    index.handle(StandingChanged(Standing(preserved=True)))
    assert (index.view().warming, index.view().preserved) == (False, True)
    assert index.view(Service("public", "g", "unknown")).preserved


def test_wanted_views_are_built_for_push_whole_and_with_the_versions_of_answers(index: IndexUnderTest) -> None:
    index.put(record("a", EAST, WEST))
    answered = index.view(clusters="east")
    (built,) = told(index.handle(ViewsWanted((ORDERS, STOCK))), ViewsBuilt, Role.PUSH)
    assert [(view.service, view.instances) for view in built.views] == [(ORDERS, (EAST, WEST)), (STOCK, ())]
    assert built.views[0].version == answered.version


def test_a_conflict_between_clients_is_counted_while_it_lasts_and_logged_once(index: IndexUnderTest) -> None:
    index.put(record("a", ONE), record("b", ONE, TWO, seq=2, stamp=2))
    (view,), effects = index.ask(Query(ORDERS))
    assert view.instances == (ONE, TWO)
    (log,) = (effect for effect in effects if isinstance(effect, Log))
    assert (log.level, log.fields["clients"], log.fields["instance"]) == ("WARNING", ("a", "b"), "10.0.0.1:1@DEFAULT")
    assert index.counters()["instance_conflicts"] == 1
    index.put(record("c", EAST, seq=3))
    _, effects = index.ask(Query(ORDERS))
    assert not [effect for effect in effects if isinstance(effect, Log)]
    index.put(record("b", TWO, seq=4))
    index.ports()
    assert index.counters()["instance_conflicts"] == 0


def test_services_of_a_group_are_listed_sorted_by_pages_while_they_have_a_live_publisher(index: IndexUnderTest) -> None:
    names = [f"s{number:02}" for number in range(25)]
    shuffled = random.Random(3).sample(names, len(names))
    for seq, name in enumerate(shuffled, 1):
        index.put(record("a", ONE, service=Service("public", "g", name), seq=seq))
    index.put(record("a", ONE, service=Service("other", "g", "elsewhere"), seq=90))
    index.ask(Subscribe(Service("public", "g", "only-subscribed")))

    def page(number: int, size: int = 10) -> Services:
        (answer,), _ = index.ask(ListServices("public", "g", number, size))
        assert isinstance(answer, Services)
        return answer

    assert page(1) == Services(25, tuple(names[:10]))
    assert page(3) == Services(25, tuple(names[20:]))
    assert page(4) == Services(25, ())
    index.put(record("a", service=Service("public", "g", "s00"), seq=91))
    index.put(record("a", ONE, service=Service("public", "g", "s005"), seq=92))
    assert page(1, 3) == Services(25, ("s005", "s01", "s02"))
    index.handle(OwnersVisible(((HERE, 15_000),)))
    assert page(1) == Services(0, ())
    index.handle(OwnersVisible(()))
    assert page(1, 1_000).names == tuple(sorted([*names[1:], "s005"]))


def test_services_of_an_unknown_group_are_none(index: IndexUnderTest) -> None:
    (answer,), _ = index.ask(ListServices("public", "nobody"))
    assert answer == Services(0, ())


def test_status_passes_on_with_the_counters_of_those_before(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    before = StatusRequested(b"l", 1, 1, {"counters": {"orders": 3}, "seq": 8})
    (status,) = told(index.handle(before), StatusRequested, Role.PUSH)
    assert status.parts["seq"] == 8
    assert status.parts["counters"]["orders"] == 3
    assert status.parts["counters"]["index_records"] == 1


def test_names_of_services_that_come_and_go_do_not_pile_up_while_nobody_lists(index: IndexUnderTest) -> None:
    stays = Service("public", "g", "stays")
    index.put(record("c0", ONE, service=stays))
    index.view(stays)
    for number in range(20):
        passing = Service("public", "g", f"passing-{number}")
        index.put(record("c1", TWO, service=passing))
        index.view(passing)
        index.handle(RecordsChanged(removed=((HERE, RecordKey("c1", passing)),)))
    (group,) = index.actor.index.groups.values()
    assert group.names_changed == {"stays"}
    (listed,), _ = index.ask(ListServices("public", "g"))
    assert listed.names == ("stays",)
