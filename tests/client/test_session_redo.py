"""What a new session is filled with, and what becomes of calls in between."""

from __future__ import annotations

import pytest

from rollbook.errors import ClusterUnreachable, Code, InvalidField, NotConfirmed, Refused
from rollbook.model import InstanceKey, Service
from rollbook.patience import SessionSettings
from rollbook.wire import Failed, Ping, Publish, Query, Subscribe, Tag, Unsubscribe, Wait, Withdraw
from tests.support.session_bench import BILLING, ORDERS, SessionBench, instance, view


def test_a_call_made_before_any_session_is_sent_when_one_opens() -> None:
    bench = SessionBench()
    call = bench.call(Publish(ORDERS, (instance(),)))
    assert bench.sent == []
    bench.accept()
    bench.done(bench.last(Tag.PUBLISH))
    assert bench.result(call).stamp == 5


def test_an_order_sends_only_what_is_new() -> None:
    bench = SessionBench()
    bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH))
    bench.call(Publish(ORDERS, (instance(81),)))
    body = bench.last(Tag.PUBLISH).body
    assert body.mode == "add"
    assert body.instances == (instance(81),)


def test_a_redo_replaces_everything_at_once_and_keeps_the_stamp_of_the_acknowledgement() -> None:
    bench = SessionBench()
    first = bench.accept()
    for port in (81, 80):
        bench.call(Publish(ORDERS, (instance(port),)))
        bench.done(bench.last(Tag.PUBLISH), stamp=port)
    bench.pass_ms(2_000)
    bench.lose(first)
    bench.tick()
    second = bench.accept()
    (redo,) = bench.all(Tag.PUBLISH, second)
    assert redo.body == Publish(ORDERS, (instance(80), instance(81)), mode="replace", stamp=80)
    bench.done(redo, stamp=80)
    bench.pass_ms(2_000)
    bench.lose(second)
    bench.tick()
    third = bench.accept()
    assert bench.last(Tag.PUBLISH, third).body.stamp == 80


def test_a_stamp_from_the_future_of_another_node_is_claimed_once_and_not_at_every_redo() -> None:
    """The node puts its own time in its place: with the old one the client would overtake others at each reconnect."""
    bench = SessionBench()
    connection = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH), stamp=5_000)
    for claimed, given in ((5_000, 2_000), (2_000, 2_000), (2_000, 2_000)):
        bench.pass_ms(2_000)
        bench.lose(connection)
        bench.tick()
        connection = bench.accept()
        assert bench.last(Tag.PUBLISH, connection).body.stamp == claimed
        bench.done(bench.last(Tag.PUBLISH, connection), stamp=given)


def test_a_change_that_no_node_acknowledged_claims_no_old_stamp() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH), stamp=7)
    changed = bench.call(Publish(ORDERS, (instance(80, weight=2.0),)))
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    (redo,) = bench.all(Tag.PUBLISH, second)
    assert redo.body == Publish(ORDERS, (instance(80, weight=2.0),), mode="replace", stamp=0)
    bench.done(redo, stamp=9)
    assert bench.result(changed).stamp == 9


def test_pending_registrations_ride_on_the_redo_so_no_older_value_comes_after_a_newer_one() -> None:
    bench = SessionBench()
    first = bench.accept()
    calls = [bench.call(Publish(ORDERS, (instance(80, weight=weight),))) for weight in (1.0, 2.0)]
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    (redo,) = bench.all(Tag.PUBLISH, second)
    assert redo.body.instances == (instance(80, weight=2.0),)
    bench.done(redo)
    assert [bench.result(call).stamp for call in calls] == [5, 5]


def test_a_withdrawal_that_no_node_acknowledged_is_redone_even_when_its_caller_has_given_up() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH))
    call = bench.call(Withdraw(ORDERS, (instance(80).key,)))
    bench.lose(first)
    bench.pass_ms(4_000)
    assert isinstance(bench.result(call), ClusterUnreachable)
    second = bench.accept()
    assert bench.tags(second) == [Tag.WITHDRAW]
    bench.done(bench.last(Tag.WITHDRAW))
    bench.pass_ms(2_000)
    bench.lose(second)
    bench.tick()
    assert bench.tags(bench.accept()) == [Tag.WITHDRAW], "one session has acknowledged it; the next is told too"


def test_a_withdrawal_is_redone_in_the_next_session_and_then_no_more() -> None:
    """Its node may have been cut off when it acknowledged."""
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH))
    bench.call(Withdraw(ORDERS))
    bench.done(bench.last(Tag.WITHDRAW))
    bench.pass_ms(2_000)
    bench.lose(first)
    bench.tick()
    second = bench.accept()
    (redo,) = bench.all(Tag.WITHDRAW, second)
    assert redo.body == Withdraw(ORDERS)
    bench.done(redo)
    bench.pass_ms(2_000)
    bench.lose(second)
    bench.tick()
    third = bench.accept()
    assert bench.all(Tag.WITHDRAW, third) == []


def test_what_is_published_again_is_not_withdrawn_in_the_next_session() -> None:
    bench = SessionBench()
    first = bench.accept()
    for body in (Publish(ORDERS, (instance(80),)), Withdraw(ORDERS), Publish(ORDERS, (instance(81),))):
        bench.call(body)
        bench.done(bench.last(Tag.WITHDRAW if isinstance(body, Withdraw) else Tag.PUBLISH))
    bench.pass_ms(2_000)
    bench.lose(first)
    bench.tick()
    second = bench.accept()
    assert bench.all(Tag.WITHDRAW, second) == []
    assert bench.last(Tag.PUBLISH, second).body.instances == (instance(81),)


def test_a_partial_withdrawal_is_part_of_the_replace() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80), instance(81))))
    bench.done(bench.last(Tag.PUBLISH))
    bench.call(Withdraw(ORDERS, (InstanceKey("10.0.0.1", 80),)))
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    assert bench.tags(second) == [Tag.PUBLISH]
    assert bench.last(Tag.PUBLISH).body.instances == (instance(81),)


def test_a_session_is_filled_in_order_publications_subscriptions_questions() -> None:
    bench = SessionBench()
    bench.call(Query(BILLING))
    bench.call(Subscribe(ORDERS))
    bench.call(Publish(ORDERS, (instance(),)))
    connection = bench.accept()
    assert bench.tags(connection) == [Tag.PUBLISH, Tag.SUBSCRIBE, Tag.QUERY]


def test_a_question_survives_a_reconnect() -> None:
    bench = SessionBench()
    first = bench.accept()
    call = bench.call(Query(ORDERS))
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    bench.answer(bench.last(Tag.QUERY, second), Tag.VIEW, view(3, 80))
    assert bench.result(call).instances == (instance(80),)


@pytest.mark.parametrize("wait", ["cluster", "subscribers"])
def test_a_call_that_waits_for_others_does_so_again_in_the_new_session(wait: Wait) -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    call = bench.call(Publish(ORDERS, (instance(81),), wait=wait))
    assert bench.last(Tag.PUBLISH).body.wait_ms == 2_800
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    redo, again = bench.all(Tag.PUBLISH, second)
    assert redo.body.wait == "node"
    assert again.body.wait == wait
    assert again.body.wait_ms == 2_700
    bench.done(redo)
    assert bench.is_waiting(call)
    bench.answer(again, Tag.FAILED, Failed(Code.NOT_CONFIRMED, "not yet", nodes=("n2",), subscribers=("c@n2",)))
    assert isinstance(bench.result(call), NotConfirmed)
    assert bench.result(call).nodes == ("n2",)
    assert bench.result(call).subscribers == ("c@n2",)


def test_a_refused_registration_is_told_and_forgotten() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH), stamp=7)
    call = bench.call(Publish(ORDERS, (instance(80, weight=2.0), instance(81))))
    bench.answer(bench.last(Tag.PUBLISH), Tag.FAILED, Failed(Code.INSTANCE_INVALID, "no", field="ip"))
    assert isinstance(bench.result(call), Refused)
    assert bench.result(call).field == "ip"
    bench.pass_ms(2_000)
    bench.lose(first)
    bench.tick()
    bench.accept()
    assert bench.last(Tag.PUBLISH).body == Publish(ORDERS, (instance(80),), mode="replace", stamp=7)


def test_when_a_redo_is_refused_for_a_new_instance_the_older_ones_are_redone_without_it() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(80),)))
    bench.done(bench.last(Tag.PUBLISH), stamp=7)
    bench.lose(first)
    call = bench.call(Publish(ORDERS, (instance(81),)))
    bench.pass_ms(100)
    second = bench.accept()
    bench.answer(bench.last(Tag.PUBLISH), Tag.FAILED, Failed(Code.INSTANCE_INVALID, "no"))
    assert isinstance(bench.result(call), Refused)
    assert bench.last(Tag.PUBLISH, second).body == Publish(ORDERS, (instance(80),), mode="replace", stamp=7)


def test_what_a_node_has_no_room_for_is_sent_again_as_the_newest_state() -> None:
    bench = SessionBench()
    bench.accept()
    first = bench.call(Publish(ORDERS, (instance(80),)))
    refused = bench.last(Tag.PUBLISH)
    second = bench.call(Publish(ORDERS, (instance(80, weight=2.0),)))
    bench.done(bench.last(Tag.PUBLISH))
    bench.answer(refused, Tag.FAILED, Failed(Code.OVER_LIMIT, "busy", retryable=True))
    assert len(bench.all(Tag.PUBLISH)) == 2, "not at once"
    bench.pass_ms(100)
    again = bench.last(Tag.PUBLISH)
    assert again.body.instances == (instance(80, weight=2.0),)
    bench.done(again)
    assert bench.result(second).stamp == bench.result(first).stamp == 5


def test_what_is_over_a_limit_for_good_is_told_and_not_sent_again() -> None:
    bench = SessionBench()
    bench.accept()
    subscribed = bench.call(Subscribe(ORDERS))
    refusal = Failed(Code.OVER_LIMIT, "too many services", "service", retryable=False)
    bench.answer(bench.last(Tag.SUBSCRIBE), Tag.FAILED, refusal)
    assert bench.result(subscribed).code == Code.OVER_LIMIT
    bench.pass_ms(1_000)
    assert len(bench.all(Tag.SUBSCRIBE)) == 1


def test_only_as_many_requests_are_in_flight_as_the_node_allows_less_a_reserve() -> None:
    bench = SessionBench()
    bench.accept(requests_in_flight_max=20)
    for number in range(10):
        bench.call(Query(Service("public", "DEFAULT_GROUP", f"s{number}")))
    assert len(bench.all(Tag.QUERY)) == 4
    bench.answer(bench.all(Tag.QUERY)[0], Tag.VIEW, view(1))
    assert len(bench.all(Tag.QUERY)) == 5


def test_more_calls_in_progress_than_the_limit_are_refused_at_once() -> None:
    bench = SessionBench(settings=SessionSettings(calls_max=2))
    calls = [bench.call(Ping()) for _ in range(3)]
    assert [bench.is_waiting(call) for call in calls] == [True, True, False]
    assert bench.result(calls[2]).code == Code.OVER_LIMIT
    assert bench.result(calls[2]).retryable


def test_a_publication_that_no_record_could_hold_is_refused_before_it_is_sent() -> None:
    bench = SessionBench()
    bench.accept()
    many = tuple(instance(port) for port in range(1, 1_002))
    call = bench.call(Publish(ORDERS, many))
    assert isinstance(bench.result(call), InvalidField)
    assert bench.all(Tag.PUBLISH) == []
    bench.call(Publish(ORDERS, many[:1_000]))
    assert len(bench.all(Tag.PUBLISH)) == 1


def test_an_unsubscribed_service_is_not_subscribed_again() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Subscribe(ORDERS))
    bench.answer(bench.last(Tag.SUBSCRIBE), Tag.VIEW, view(1, 80))
    call = bench.call(Unsubscribe(ORDERS))
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    assert bench.tags(second) == []
    assert not bench.is_waiting(call), "in the new session nothing is subscribed"


def test_a_call_in_time_of_no_session_is_rejected_at_its_deadline_with_what_was_tried() -> None:
    bench = SessionBench(("a:1",))
    call = bench.call(Ping(), timeout_ms=500)
    bench.lose(bench.dialled().connection)
    bench.pass_ms(499)
    assert bench.is_waiting(call)
    bench.pass_ms(1)
    assert isinstance(bench.result(call), ClusterUnreachable)
    assert "a:1" in str(bench.result(call))
