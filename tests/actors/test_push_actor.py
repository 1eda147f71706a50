"""PushActor: touched services in; pushes, questions for views and one reminder out."""

from __future__ import annotations

import msgspec
import pytest

from actors.base import Log, Role, StatusRequested
from actors.messages.io import PushToClients
from actors.messages.push import (
    Acknowledgement,
    PushesAcknowledged,
    SubscriberHeard,
    SubscriptionsChanged,
    ViewsBuilt,
)
from actors.messages.values import Route
from actors.view_questions import VIEWS_WANTED_MAX
from rollbook.model import Service, View
from tests.support.pushing import EAST, ONE, TWO, A, B, PushUnderTest, pushes, view, wanted, watched
from tests.support.registry import ORDERS, STOCK, instance, route, told


@pytest.fixture
def push() -> PushUnderTest:
    return PushUnderTest()


# -- when a service is pushed


def test_the_first_change_leaves_at_once(push: PushUnderTest) -> None:
    push.subscribe(A, view(1, ONE))
    assert wanted(push.touch()) == [ORDERS]
    assert push.build(view(2, ONE, TWO)) == [(A, view(2, ONE, TWO))]


def test_later_changes_leave_once_per_interval(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    push.acknowledge(A, 2)
    assert [wanted(push.touch()) for _ in range(5)] == [[]] * 5
    assert wanted(push.advance(49)) == []
    assert wanted(push.advance(1)) == [ORDERS]
    assert push.build(view(3, TWO)) == [(A, view(3, TWO))]
    assert wanted(push.advance(1_000)) == [], "nothing changed since"
    assert wanted(push.touch()) == [ORDERS], "after a quiet interval the next change leaves at once again"


def test_touches_before_the_view_has_come_ask_for_it_once(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    assert wanted(push.touch()) == [ORDERS]
    assert wanted(push.touch()) == []
    push.build(view(2, ONE))
    assert wanted(push.advance(500)) == []


def test_a_view_that_has_not_moved_is_sent_to_nobody_and_delays_nothing(push: PushUnderTest) -> None:
    push.subscribe(A, view(1, ONE))
    assert push.push(view(1, ONE)) == []
    assert push.push(view(2, TWO)) == [(A, view(2, TWO))]


def test_services_without_subscribers_are_not_asked_for(push: PushUnderTest) -> None:
    assert list(push.touch(ORDERS, STOCK)) == []
    push.subscribe(A, view(1))
    push.touch()
    push.handle(SubscriptionsChanged(removed=((A, ORDERS),)))
    assert push.build(view(2, ONE)) == []
    assert (push.actor.topics, push.actor.subscribers) == ({}, {})


def test_questions_for_views_are_bounded_and_come_one_at_a_time(push: PushUnderTest) -> None:
    services = [Service("public", "g", f"s{number}") for number in range(VIEWS_WANTED_MAX + 10)]
    for service in services:
        push.subscribe(A, view(1, service=service))
    first = wanted(push.touch(*services))
    assert first == services[:VIEWS_WANTED_MAX]
    assert wanted(push.handle(ViewsBuilt(tuple(view(2, ONE, service=service) for service in first)))) == services[-10:]


def test_a_thousand_services_that_change_together_cost_one_message_and_one_reminder(push: PushUnderTest) -> None:
    services = [Service("public", "g", f"s{number}") for number in range(1_000)]
    for number, service in enumerate(services):
        push.subscribe(route(number), view(1, service=service))
    asked, sent = wanted(push.touch(*services)), 0
    while asked:
        effects = push.handle(ViewsBuilt(tuple(view(2, ONE, service=service) for service in asked)))
        sent, asked = sent + len(pushes(effects)), wanted(effects)
    assert sent == 1_000
    assert len(push.reminders) == 1
    everyone = zip(range(1_000), services, strict=True)
    push.handle(PushesAcknowledged(tuple(Acknowledgement(route(number), service, 2) for number, service in everyone)))
    push.touch(services[7])
    effects = push.advance(50)
    assert wanted(effects) == [services[7]]
    assert len(effects) <= 2, "one change costs one question and at most one reminder"


# -- who gets what


def test_each_subscriber_gets_its_clusters_and_only_its_own_session(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.subscribe(B, view(1), "east")
    assert push.push(view(2, ONE, EAST)) == [(A, view(2, ONE, EAST)), (B, view(2, EAST))]


def test_changes_of_other_clusters_wake_nobody_and_count_as_told(push: PushUnderTest) -> None:
    push.subscribe(A, view(1, EAST), "east")
    assert push.push(view(2, ONE, EAST)) == [], "also the very first change after the subscription"
    assert push.counters["push_suppressed"] == 1
    push.advance(50)
    assert push.push(view(3, ONE)) == [(A, view(3))]


def test_a_flag_wakes_every_filter(push: PushUnderTest) -> None:
    push.subscribe(A, view(1, EAST), "east")
    preserved = View(ORDERS, 2, (ONE, EAST), preserved=True)
    assert push.push(preserved) == [(A, msgspec.structs.replace(preserved, instances=(EAST,)))]


def test_a_view_is_encoded_once_per_filter_and_not_kept(push: PushUnderTest) -> None:
    for number in range(3):
        push.subscribe(route(number), view(1))
    push.touch()
    (message,) = told(push.handle(ViewsBuilt((view(2, ONE),))), PushToClients)
    topic = push.actor.topics[ORDERS]
    assert topic.filters[frozenset()].body is not None
    assert len(message.frames) == 3
    for number in range(3):
        push.acknowledge(route(number), 2)
    assert topic.filters[frozenset()].body is None


def test_a_new_subscriber_is_not_pushed_what_its_answer_carried(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.touch()
    push.subscribe(B, view(2, ONE))
    assert push.build(view(2, ONE)) == [(A, view(2, ONE))]


def test_a_newer_view_in_an_answer_reaches_the_other_subscribers_too(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    assert wanted(push.subscribe(B, view(2, ONE))) == [ORDERS]
    assert push.build(view(2, ONE)) == [(A, view(2, ONE))]


def test_a_second_subscription_replaces_the_filter_and_what_is_in_flight(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    push.subscribe(A, view(3, ONE, EAST), "east")
    assert push.counters["push_pending"] == 0
    assert pushes(push.advance(60_000)) == []
    assert push.push(view(4, EAST, TWO)) == []


def test_ended_sessions_and_subscriptions_leave_nothing_behind(push: PushUnderTest) -> None:
    for service in (ORDERS, STOCK):
        push.subscribe(A, view(1, service=service))
        push.subscribe(B, view(1, service=service), "east")
        push.push(view(2, EAST, service=service))
    push.handle(SubscriptionsChanged(gone=(A, route(99)), removed=((B, ORDERS), (B, Service("x", "y", "z")))))
    assert push.actor.topics.keys() == {STOCK}
    assert push.counters["push_pending"] == 1
    push.handle(SubscriptionsChanged(removed=((B, STOCK),)))
    assert (push.actor.topics, push.actor.subscribers, push.actor.silent.routes) == ({}, {}, {})
    assert pushes(push.advance(60_000)) == []


# -- acknowledgements, retries, subscribers that do not read


def test_one_push_is_in_flight_and_the_newest_follows_its_ack(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    assert len(push.push(view(2, ONE))) == 1
    for version in (3, 4):
        push.advance(50)
        assert push.push(view(version, *(instance(port) for port in range(version)))) == []
    newest = view(4, *(instance(port) for port in range(4)))
    assert pushes(push.acknowledge(A, 2)) == [(A, newest)], "version 3 was overtaken"
    assert pushes(push.acknowledge(A, 4)) == []
    assert (push.counters["push_sent"], push.counters["push_acknowledged"], push.counters["push_pending"]) == (2, 2, 0)


def test_a_push_without_an_ack_is_sent_again_with_the_newest_view(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    assert pushes(push.advance(2_999)) == []
    assert push.push(view(3, TWO)) == []
    assert pushes(push.advance(1)) == [(A, view(3, TWO))]
    assert push.counters["push_retries"] == 1
    push.acknowledge(A, 3)
    assert pushes(push.advance(60_000)) == []


def test_a_late_ack_of_an_earlier_attempt_keeps_the_newer_one_in_flight(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    push.advance(2_000)
    push.push(view(3, TWO))
    push.advance(1_000)
    assert pushes(push.acknowledge(A, 2)) == []
    assert push.counters["push_pending"] == 1
    assert [version.version for _, version in pushes(push.advance(7_000))] == [3, 3], "it reads: attempts begin anew"
    push.acknowledge(A, 3)
    assert push.counters["push_pending"] == 0


def test_an_ack_of_a_version_that_was_never_sent_hides_nothing_later(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    push.acknowledge(A, 1 << 62)
    push.acknowledge(A, 1 << 62)
    push.advance(50)
    assert push.push(view(3, TWO)) == [(A, view(3, TWO))]


def test_after_its_last_attempt_a_subscriber_is_left_alone_until_its_next_frame(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.subscribe(A, view(1, service=STOCK))
    push.push(view(2, ONE))
    assert len(pushes(push.advance(8_999))) == 2
    assert watched(push.advance(1)) == [A.link]
    assert push.push(view(2, ONE, service=STOCK)) == [], "also other services wait"
    assert pushes(push.advance(1_000)) == []
    sent = pushes(push.handle(SubscriberHeard(A.link)))
    assert sent == [(A, view(2, ONE)), (A, view(2, ONE, service=STOCK))]
    assert pushes(push.handle(SubscriberHeard(A.link))) == [], "told once"


def test_a_subscriber_that_does_not_read_is_cut_and_gets_fresh_views_when_it_does(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.subscribe(B, view(1))
    push.subscribe(A, view(1, service=STOCK))
    push.push(view(2, ONE))
    push.acknowledge(B, 2)
    effects = push.advance(30_000)
    assert [effect.level for effect in effects if isinstance(effect, Log)] == ["WARNING"]
    assert (push.counters["push_subscribers_cut"], push.counters["push_pending"]) == (1, 0)
    assert push.push(view(3, TWO)) == [(B, view(3, TWO))], "others are served as ever"
    push.acknowledge(B, 3)
    assert pushes(push.advance(60_000)) == []
    assert pushes(push.handle(SubscriberHeard(A.link))) == [(A, view(3, TWO))], "the other service has not moved"
    push.acknowledge(A, 3)
    assert pushes(push.advance(60_000)) == []


def test_an_ack_revives_too_and_what_it_confirms_is_not_sent_again(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.subscribe(A, view(1, service=STOCK))
    push.push(view(2, ONE))
    push.push(view(2, ONE, service=STOCK))
    push.advance(10_000)
    assert push.actor.subscribers[A].state == "slow"
    assert pushes(push.acknowledge(A, 2)) == [(A, view(2, ONE, service=STOCK))]
    assert push.actor.silent.routes == {}


def test_a_gateway_link_that_is_heard_revives_all_its_sessions(push: PushUnderTest) -> None:
    first, second = Route(b"gateway", 1), Route(b"gateway", 2)
    push.subscribe(first, view(1))
    push.subscribe(second, view(1))
    push.push(view(2, ONE))
    assert set(watched(push.advance(40_000))) == {b"gateway"}
    assert pushes(push.handle(SubscriberHeard(b"gateway"))) == [(first, view(2, ONE)), (second, view(2, ONE))]


def test_pushes_in_flight_per_subscriber_are_bounded_and_the_rest_follows_the_acks() -> None:
    push = PushUnderTest(in_flight_per_subscriber_max=2)
    services = [Service("public", "g", f"s{number}") for number in range(5)]
    for service in services:
        push.subscribe(A, view(1, service=service))
    push.touch(*services)
    sent = push.build(*(view(2, ONE, service=service) for service in services))
    assert [body.service for _, body in sent] == services[:2]
    push.handle(SubscriptionsChanged(removed=((A, services[2]),)))
    order = [body.service for _, body in sent]
    for service in order:
        order += [body.service for _, body in pushes(push.acknowledge(A, 2, service))]
    assert order == [services[0], services[1], services[3], services[4]]


def test_an_unsubscription_of_what_is_in_flight_lets_the_waiting_go() -> None:
    push = PushUnderTest(in_flight_per_subscriber_max=1)
    push.subscribe(A, view(1))
    push.subscribe(A, view(1, service=STOCK))
    push.touch(ORDERS, STOCK)
    assert push.build(view(2, ONE), view(2, TWO, service=STOCK)) == [(A, view(2, ONE))]
    effects = push.handle(SubscriptionsChanged(removed=((A, ORDERS),)))
    assert pushes(effects) == [(A, view(2, TWO, service=STOCK))]


def test_reminders_under_way_do_not_pile_up(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    for version in range(2, 200):
        push.touch()
        push.build(view(version, instance(version)))
        push.acknowledge(A, version)
        push.advance(13)
        assert len(push.reminders) <= 3


def test_status_passes_on_with_the_counters_of_those_before(push: PushUnderTest) -> None:
    push.subscribe(A, view(1))
    push.push(view(2, ONE))
    (status,) = told(
        push.handle(StatusRequested(b"l", 1, 1, {"counters": {"orders": 3}})), StatusRequested, Role.DISTRO
    )
    assert status.parts["counters"]["orders"] == 3
    assert (status.parts["counters"]["push_sent"], status.parts["counters"]["push_pending"]) == (1, 1)
