"""Which views reach subscribers and callers."""

from __future__ import annotations

from rollbook.orders import Deliver, Send
from rollbook.wire import Query, Subscribe, Tag, Unsubscribe
from tests.support.session_bench import BILLING, ORDERS, SessionBench, view


def subscribed(*ports: int, version: int = 10) -> SessionBench:
    bench = SessionBench()
    bench.accept()
    bench.call(Subscribe(ORDERS))
    bench.answer(bench.last(Tag.SUBSCRIBE), Tag.VIEW, view(version, *ports))
    return bench


def test_the_answer_to_a_subscription_is_its_first_state() -> None:
    bench = subscribed(80, 81)
    assert bench.delivered() == [(80, 81)]
    assert bench.result(1).version == 10


def test_every_push_is_acknowledged_also_a_late_one() -> None:
    bench = subscribed(80)
    for version in (12, 11):
        bench.tell(1, Tag.PUSH, view(version, 80, 81))
    acks = bench.all(Tag.PUSH_ACK)
    assert [(ack.body.service, ack.body.version, ack.correlation) for ack in acks] == [(ORDERS, 12, 0), (ORDERS, 11, 0)]


def test_a_push_is_acknowledged_only_after_callers_have_it() -> None:
    """Somewhere a drain may wait for this acknowledgement, and end a process that is in the older list."""
    bench = subscribed(80)
    actions = bench.tell(1, Tag.PUSH, view(12, 81))
    assert [type(action) for action in actions] == [Deliver, Send]


def test_an_older_or_repeated_push_changes_nothing() -> None:
    bench = subscribed(80)
    bench.tell(1, Tag.PUSH, view(12, 80, 81))
    for version in (12, 11):
        bench.tell(1, Tag.PUSH, view(version, 99))
    assert bench.delivered() == [(80,), (80, 81)]


def test_a_query_never_shows_a_subscriber_an_older_list_than_a_push_did() -> None:
    bench = subscribed(80)
    call = bench.call(Query(ORDERS))
    bench.tell(1, Tag.PUSH, view(12, 80, 81))
    bench.answer(bench.last(Tag.QUERY), Tag.VIEW, view(11, 80))
    assert bench.result(call).version == 12
    newer = bench.call(Query(ORDERS))
    bench.answer(bench.last(Tag.QUERY), Tag.VIEW, view(13, 82))
    assert [shown.port for shown in bench.result(newer).instances] == [82]
    assert bench.delivered()[-1] == (82,), "a query that shows news is news for subscribers too"


def test_a_push_behind_a_newer_answer_is_dropped_and_acknowledged() -> None:
    bench = subscribed(80)
    bench.call(Query(ORDERS))
    bench.answer(bench.last(Tag.QUERY), Tag.VIEW, view(13, 82))
    bench.tell(1, Tag.PUSH, view(12, 80, 81))
    assert bench.delivered() == [(80,), (82,)]
    assert bench.last(Tag.PUSH_ACK).body.version == 12


def test_versions_start_anew_with_a_session() -> None:
    bench = subscribed(80)
    bench.lose(1)
    bench.pass_ms(100)
    second = bench.accept()
    bench.answer(bench.last(Tag.SUBSCRIBE, second), Tag.VIEW, view(3, 81))
    assert bench.delivered() == [(80,), (81,)]


def test_a_warming_view_adds_and_changes_but_removes_nothing_known_before_its_session() -> None:
    bench = subscribed(80, 81)
    bench.lose(1)
    bench.pass_ms(100)
    second = bench.accept()
    bench.answer(bench.last(Tag.SUBSCRIBE, second), Tag.VIEW, view(1, 81, 82, warming=True))
    assert bench.delivered()[-1] == (80, 81, 82)
    bench.tell(second, Tag.PUSH, view(2, 82, warming=True))
    assert bench.delivered()[-1] == (80, 82), "what this session showed and shows no more is gone"
    bench.tell(second, Tag.PUSH, view(3, 82))
    assert bench.delivered()[-1] == (82,), "a warm node is believed"


def test_a_fresh_cluster_that_still_warms_shows_removals() -> None:
    bench = SessionBench()
    bench.accept()
    bench.call(Subscribe(ORDERS))
    bench.answer(bench.last(Tag.SUBSCRIBE), Tag.VIEW, view(1, 80, 81, warming=True))
    bench.tell(1, Tag.PUSH, view(2, 81, warming=True))
    assert bench.delivered()[-1] == (81,)


def test_snapshots_go_stale_with_their_session() -> None:
    bench = subscribed(80)
    assert bench.session_of(1) in bench.live_sessions()
    bench.lose(1)
    assert bench.live_sessions() == frozenset()


def test_a_push_that_crosses_the_unsubscribe_is_acknowledged_and_not_shown() -> None:
    bench = subscribed(80)
    bench.call(Unsubscribe(ORDERS))
    bench.tell(1, Tag.PUSH, view(12, 81))
    assert bench.delivered() == [(80,)]
    assert len(bench.all(Tag.PUSH_ACK)) == 1


def test_a_query_of_a_service_without_subscription_is_not_kept() -> None:
    bench = subscribed(80)
    for version in (5, 4):
        call = bench.call(Query(BILLING))
        bench.answer(bench.last(Tag.QUERY), Tag.VIEW, view(version, 80, service=BILLING))
        assert bench.result(call).version == version
    assert bench.delivered() == [(80,)]
