"""Orders about what is persistent: they belong to no session, and nobody guesses what became of them."""

from __future__ import annotations

from typing import Any

import pytest

from rollbook import InvalidField, NamingClient
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import (
    PERSISTENT_PER_ORDER_MAX,
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    Namespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    ServiceShown,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import ClusterUnreachable, Code, OutcomeUnknown, Refused
from rollbook.kept_rows import DurablePage, DurableRows, NamespaceRow, ReadDurable, RestoreRows
from rollbook.model import Instance, InstanceKey
from rollbook.orders import DurableBody, QuestionBody
from rollbook.wire import Done, Failed, Publish, Tag, Withdraw
from tests.support.session_bench import ORDERS, SessionBench, instance

KEPT = Instance("10.0.0.1", 80, ephemeral=False)
ROWS = DurableRows(namespaces=(NamespaceRow(Namespace("prod", "production"), "c1", 5),))
BODIES: dict[Tag, DurableBody] = {
    Tag.PUBLISH_PERSISTENT: PublishPersistent(ORDERS, (KEPT,)),
    Tag.WITHDRAW_PERSISTENT: WithdrawPersistent(ORDERS, (KEPT.key,)),
    Tag.PUT_SERVICE: PutService(ORDERS, ServiceSettings(0.5)),
    Tag.DELETE_SERVICE: DeleteService(ORDERS),
    Tag.PUT_NAMESPACE: PutNamespace(Namespace("prod", "production"), "create"),
    Tag.DELETE_NAMESPACE: DeleteNamespace("prod"),
    Tag.SET_INTENT: SetIntent(ORDERS, KEPT.key, Intent(enabled=False)),
    Tag.CLEAR_INTENT: ClearIntent(ORDERS, KEPT.key),
    Tag.RESTORE_ROWS: RestoreRows(ROWS),
}
SHOWN = ServiceShown(ORDERS, ServiceSettings(0.5), "c1", 5, 41)
QUESTIONS: list[tuple[QuestionBody, Tag, Tag, Any]] = [
    (GetService(ORDERS), Tag.GET_SERVICE, Tag.SERVICE_SHOWN, SHOWN),
    (ListNamespaces(), Tag.LIST_NAMESPACES, Tag.NAMESPACES, Namespaces((Namespace("public", "public"),))),
    (ReadDurable(), Tag.READ_DURABLE, Tag.DURABLE_PAGE, DurablePage("s1", 41, 0, 1, ROWS, is_complete=True)),
]
UNKNOWN = Failed(Code.OUTCOME_UNKNOWN, "it may have been written", retryable=True)
WRITTEN = Done(seq=41)
every_order = pytest.mark.parametrize("tag", BODIES)


def reconnected(bench: SessionBench, connection: int) -> int:
    bench.lose(connection)
    bench.pass_ms(100)
    return bench.accept()


@every_order
def test_what_was_answered_is_not_said_again_in_a_new_session(tag: Tag) -> None:
    bench = SessionBench()
    first = bench.accept()
    call = bench.call(BODIES[tag])
    bench.answer(bench.last(tag), Tag.DONE, WRITTEN)
    assert bench.result(call) == WRITTEN
    assert bench.tags(reconnected(bench, first)) == []


@every_order
def test_while_its_call_waits_an_order_is_said_again_in_each_new_session(tag: Tag) -> None:
    bench = SessionBench()
    connection = bench.accept()
    call = bench.call(BODIES[tag])
    for _ in range(2):
        connection = reconnected(bench, connection)
        assert [sent.body for sent in bench.all(tag, connection)] == [BODIES[tag]]
    bench.answer(bench.last(tag), Tag.DONE, WRITTEN)
    assert bench.result(call) == WRITTEN


def test_it_is_said_behind_everything_that_the_session_itself_needs() -> None:
    bench = SessionBench()
    for body in (BODIES[Tag.PUBLISH_PERSISTENT], Publish(ORDERS, (instance(),))):
        bench.call(body)
    assert bench.tags(bench.accept()) == [Tag.PUBLISH, Tag.PUBLISH_PERSISTENT]


@every_order
def test_an_order_whose_outcome_the_node_does_not_know_is_said_again_until_it_is_known(tag: Tag) -> None:
    bench = SessionBench()
    bench.accept()
    call = bench.call(BODIES[tag])
    for times in (1, 2, 3):
        bench.answer(bench.last(tag), Tag.FAILED, UNKNOWN)
        assert bench.is_waiting(call)
        bench.pass_ms(500)
        assert [sent.body for sent in bench.all(tag)] == [BODIES[tag]] * (times + 1)
    bench.answer(bench.last(tag), Tag.DONE, WRITTEN)
    assert bench.result(call) == WRITTEN


@every_order
def test_an_order_is_said_again_until_its_deadline_and_then_no_more(tag: Tag) -> None:
    bench = SessionBench()
    bench.accept()
    call = bench.call(BODIES[tag], timeout_ms=1_000)
    bench.answer(bench.last(tag), Tag.FAILED, UNKNOWN)
    bench.pass_ms(999)
    assert len(bench.all(tag)) == 2
    bench.answer(bench.last(tag), Tag.FAILED, UNKNOWN)
    bench.pass_ms(1)
    assert isinstance(bench.result(call), OutcomeUnknown)
    assert bench.result(call).retryable
    bench.pass_ms(5_000)
    assert len(bench.all(tag)) == 2, "nobody waits for it any more"


def test_between_attempts_of_unknown_outcome_a_session_pauses_longer_each_time_up_to_a_bound() -> None:
    bench = SessionBench()
    bench.accept()
    call = bench.call(BODIES[Tag.SET_INTENT], timeout_ms=60_000)
    pauses_ms = []
    for attempt in range(1, 12):
        bench.answer(bench.last(Tag.SET_INTENT), Tag.FAILED, UNKNOWN)
        since_ms = bench.now_ms
        while len(bench.all(Tag.SET_INTENT)) == attempt:
            bench.pass_ms(5)
        pauses_ms.append(bench.now_ms - since_ms)
    bounds_ms = [min(1_000, 50 << number) for number in range(11)]
    for pause_ms, bound_ms in zip(pauses_ms, bounds_ms, strict=True):
        assert bound_ms // 2 <= pause_ms <= bound_ms + 5
    assert len(set(pauses_ms[5:])) > 1, "with jitter"
    bench.answer(bench.last(Tag.SET_INTENT), Tag.DONE, WRITTEN)
    assert bench.result(call) == WRITTEN


def test_while_one_order_pauses_others_go_on() -> None:
    bench = SessionBench()
    bench.accept()
    first = bench.call(BODIES[Tag.SET_INTENT])
    bench.answer(bench.last(Tag.SET_INTENT), Tag.FAILED, UNKNOWN)
    second = bench.call(BODIES[Tag.PUT_SERVICE])
    bench.answer(bench.last(Tag.PUT_SERVICE), Tag.DONE, WRITTEN)
    assert bench.result(second) == WRITTEN
    assert bench.is_waiting(first)
    assert len(bench.all(Tag.SET_INTENT)) == 1


def test_a_pause_ends_with_its_session_and_the_next_one_says_the_order_once() -> None:
    bench = SessionBench()
    connection = bench.accept()
    call = bench.call(BODIES[Tag.SET_INTENT])
    bench.answer(bench.last(Tag.SET_INTENT), Tag.FAILED, UNKNOWN)
    second = reconnected(bench, connection)
    bench.pass_ms(2_000)
    assert len(bench.all(Tag.SET_INTENT, second)) == 1
    assert len(bench.all(Tag.SET_INTENT)) == 2
    bench.answer(bench.last(Tag.SET_INTENT), Tag.DONE, WRITTEN)
    assert bench.result(call) == WRITTEN


def test_who_closes_while_an_order_pauses_says_it_no_more() -> None:
    bench = SessionBench()
    bench.accept()
    bench.call(BODIES[Tag.SET_INTENT])
    bench.answer(bench.last(Tag.SET_INTENT), Tag.FAILED, UNKNOWN)
    bench.close()
    bench.pass_ms(500)
    assert len(bench.all(Tag.SET_INTENT)) == 1


@every_order
def test_a_call_that_ran_out_before_its_order_was_sent_has_changed_nothing(tag: Tag) -> None:
    bench = SessionBench()
    call = bench.call(BODIES[tag], timeout_ms=500)
    bench.pass_ms(500)
    assert isinstance(bench.result(call), ClusterUnreachable)
    assert bench.tags(bench.accept()) == [], "and will change nothing: the order ended with its call"


def test_an_order_that_waited_for_room_until_its_call_ran_out_is_not_sent_any_more() -> None:
    bench = SessionBench()
    bench.accept(requests_in_flight_max=20)
    bodies = [PublishPersistent(ORDERS, (Instance("10.0.0.1", port, ephemeral=False),)) for port in range(80, 85)]
    calls = [bench.call(body, timeout_ms=500 if body is bodies[4] else 3_000) for body in bodies]
    bench.pass_ms(500)
    assert isinstance(bench.result(calls[4]), ClusterUnreachable)
    bench.answer(bench.all(Tag.PUBLISH_PERSISTENT)[0], Tag.DONE, WRITTEN)
    assert [sent.body for sent in bench.all(Tag.PUBLISH_PERSISTENT)] == bodies[:4]


@every_order
@pytest.mark.parametrize("is_lost", [False, True])
def test_of_a_call_that_ran_out_after_its_order_was_sent_nobody_knows(tag: Tag, *, is_lost: bool) -> None:
    bench = SessionBench()
    connection = bench.accept()
    call = bench.call(BODIES[tag], timeout_ms=1_000)
    assert len(bench.all(tag)) == 1
    if is_lost:
        bench.lose(connection)
    bench.pass_ms(1_000)
    error = bench.result(call)
    assert isinstance(error, OutcomeUnknown)
    assert error.message.startswith("it may have been written: ")


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(Code.STORE_UNAVAILABLE, True), (Code.KIND_MISMATCH, False), (Code.PARAMETER_INVALID, False)],
)
def test_a_refusal_is_told_at_once_for_nothing_was_written(code: Code, *, retryable: bool) -> None:
    bench = SessionBench()
    first = bench.accept()
    call = bench.call(BODIES[Tag.PUBLISH_PERSISTENT])
    bench.answer(bench.last(Tag.PUBLISH_PERSISTENT), Tag.FAILED, Failed(code, "no", "ephemeral", retryable))
    refusal = bench.result(call)
    assert isinstance(refusal, Refused)
    assert (refusal.code, refusal.field, refusal.retryable) == (code, "ephemeral", retryable)
    assert bench.tags(reconnected(bench, first)) == []


def test_an_order_that_a_leaving_node_did_not_take_is_said_to_the_next_one() -> None:
    bench = SessionBench()
    bench.accept(servers=("a:1", "b:1", "c:1"))
    call = bench.call(BODIES[Tag.PUBLISH_PERSISTENT])
    leaving = Failed(Code.NODE_LEAVING, "leaving", retryable=True, servers=("b:1", "c:1"))
    bench.answer(bench.last(Tag.PUBLISH_PERSISTENT), Tag.FAILED, leaving)
    second = bench.accept()
    bench.answer(bench.last(Tag.PUBLISH_PERSISTENT, second), Tag.DONE, WRITTEN)
    assert bench.result(call) == WRITTEN


def test_the_end_of_the_client_withdraws_what_it_published_and_nothing_that_is_persistent() -> None:
    bench = SessionBench()
    first = bench.accept()
    for body in (BODIES[Tag.PUBLISH_PERSISTENT], Publish(ORDERS, (instance(81),))):
        bench.call(body)
    bench.answer(bench.last(Tag.PUBLISH_PERSISTENT), Tag.DONE, WRITTEN)
    bench.done(bench.last(Tag.PUBLISH))
    bench.lose(first)
    bench.close()
    bench.pass_ms(100)
    second = bench.accept()
    assert [sent.body for sent in bench.sent if sent.connection == second and sent.tag != Tag.OPEN_SESSION] == [
        Withdraw(ORDERS)
    ]


@every_order
@pytest.mark.parametrize("code", [Code.SERVICE_EXISTS, Code.SERVICE_NOT_FOUND, Code.STORE_UNAVAILABLE])
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_refusal_of_a_repetition_is_none_of_the_first_attempt(tag: Tag, code: Code, *, is_lost: bool) -> None:
    """Whatever is there may be what the first attempt has made of it."""
    bench = SessionBench()
    connection = bench.accept()
    call = bench.call(BODIES[tag])
    if is_lost:
        reconnected(bench, connection)
    else:
        bench.answer(bench.last(tag), Tag.FAILED, UNKNOWN)
        bench.pass_ms(50)
    bench.answer(bench.last(tag), Tag.FAILED, Failed(code, "as things stand, no", "mode"))
    error = bench.result(call)
    assert isinstance(error, OutcomeUnknown)
    assert error.message == "it may have been written before: as things stand, no"


def test_an_order_that_a_node_had_no_room_for_was_not_carried_out_so_its_refusal_counts() -> None:
    bench = SessionBench()
    bench.accept()
    call = bench.call(BODIES[Tag.PUT_NAMESPACE])
    bench.answer(bench.last(Tag.PUT_NAMESPACE), Tag.FAILED, Failed(Code.OVER_LIMIT, "too much", retryable=True))
    bench.pass_ms(1_000)
    assert len(bench.all(Tag.PUT_NAMESPACE)) == 2
    bench.answer(bench.last(Tag.PUT_NAMESPACE), Tag.FAILED, Failed(Code.SERVICE_EXISTS, "it is there", "mode"))
    assert isinstance(bench.result(call), Refused)


@pytest.mark.parametrize(("body", "tag", "answer_tag", "answer"), QUESTIONS)
def test_a_question_is_asked_again_in_a_new_session_while_somebody_waits_and_of_no_unknown_outcome(
    body: QuestionBody, tag: Tag, answer_tag: Tag, answer: Any
) -> None:
    bench = SessionBench()
    first = bench.accept()
    call, late = bench.call(body), bench.call(body, timeout_ms=500)
    second = reconnected(bench, first)
    assert [sent.body for sent in bench.all(tag, second)] == [body, body]
    bench.answer(bench.all(tag, second)[0], answer_tag, answer)
    assert bench.result(call) == answer
    bench.pass_ms(500)
    assert isinstance(bench.result(late), ClusterUnreachable)


MANY = [Instance("10.0.0.1", port, ephemeral=False) for port in range(1, PERSISTENT_PER_ORDER_MAX + 2)]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"instances": [Instance("10.0.0.1", 80), KEPT]}, "ephemeral"),
        ({"instances": [KEPT, Instance("10.0.0.1", 81)]}, "ephemeral"),
        ({"instances": MANY}, "instances"),
        ({"instances": [KEPT], "wait": "cluster"}, "wait"),
        ({"instances": [KEPT], "wait": "subscribers"}, "wait"),
        ({"instances": [KEPT], "wait": "everybody"}, "wait"),
        ({"instances": [Instance("", 80, ephemeral=False)]}, "ip"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_before_anything_is_sent(arguments: dict[str, Any], field: str) -> None:
    with NamingClient("127.0.0.1:1") as client, pytest.raises(InvalidField) as raised:
        client.register_instances("orders", **arguments)
    assert raised.value.field == field


def test_a_persistent_instance_is_deregistered_on_one_node_only() -> None:
    with NamingClient("127.0.0.1:1") as client, pytest.raises(InvalidField) as raised:
        client.deregister_instance("orders", *InstanceKey("10.0.0.1", 80)[:2], ephemeral=False, wait="cluster")
    assert raised.value.field == "wait"
