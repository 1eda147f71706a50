"""Advice to move: the new session stands and holds everything before the old one ends."""

from __future__ import annotations

import pytest

from rollbook.errors import Code
from rollbook.orders import Connect, ConnectionOpened, FrameReceived
from rollbook.wire import Failed, MoveAdvised, Publish, Query, SessionEnded, Subscribe, Tag
from tests.support.session_bench import BILLING, ORDERS, SessionBench, instance, view


@pytest.fixture
def bench() -> SessionBench:
    """One session, one publication, one subscription."""
    made = SessionBench()
    made.accept()
    made.call(Publish(ORDERS, (instance(),)))
    made.done(made.last(Tag.PUBLISH))
    made.call(Subscribe(BILLING))
    made.answer(made.last(Tag.SUBSCRIBE), Tag.VIEW, view(1, 80, service=BILLING))
    return made


def advise(bench: SessionBench, reason: str, *servers: str, connection: int = 1) -> None:
    bench.tell(connection, Tag.MOVE_ADVISED, MoveAdvised(reason, servers))  # type: ignore[arg-type]


def goodbyes(bench: SessionBench, connection: int) -> list[str]:
    return [sent.body.reason for sent in bench.all(Tag.CLOSE_SESSION, connection)]


def finish_redo(bench: SessionBench, connection: int) -> None:
    bench.done(bench.last(Tag.PUBLISH, connection))
    bench.answer(bench.last(Tag.SUBSCRIBE, connection), Tag.VIEW, view(1, 80, service=BILLING))


def test_the_old_session_ends_only_when_the_new_one_has_redone_everything(bench: SessionBench) -> None:
    advise(bench, "leaving", "d:1")
    assert bench.dialled().server == "d:1"
    second = bench.accept()
    assert bench.session_of(second) > bench.session_of(1)
    assert goodbyes(bench, 1) == []
    bench.done(bench.last(Tag.PUBLISH, second))
    assert goodbyes(bench, 1) == []
    bench.answer(bench.last(Tag.SUBSCRIBE, second), Tag.VIEW, view(1, 80, service=BILLING))
    assert goodbyes(bench, 1) == ["moved"]
    assert not bench.is_disconnected(1), "a close could overtake the goodbye"
    bench.tell(1, Tag.PUSH, view(2, 80, 81, service=BILLING))
    assert not bench.is_disconnected(1)
    bench.done(bench.last(Tag.CLOSE_SESSION, 1))
    assert bench.is_disconnected(1)


def test_a_node_that_does_not_answer_the_goodbye_is_left_after_a_second(bench: SessionBench) -> None:
    advise(bench, "leaving", "d:1")
    finish_redo(bench, bench.accept())
    bench.pass_ms(999)
    assert not bench.is_disconnected(1)
    bench.pass_ms(1)
    assert bench.is_disconnected(1)


@pytest.mark.parametrize("how", ["lost", "nonsense", "closed"])
def test_an_old_connection_that_ends_before_its_goodbye_was_answered_changes_nothing(
    bench: SessionBench, how: str
) -> None:
    advise(bench, "leaving", "d:1")
    second = bench.accept()
    finish_redo(bench, second)
    if how == "lost":
        bench.lose(1)
    elif how == "nonsense":
        bench.feed(FrameReceived(1, b"nonsense"))
        bench.pass_ms(1_000)
    else:
        bench.close()
        bench.done(bench.last(Tag.CLOSE_SESSION, second))
    assert bench.is_disconnected(1)
    assert [dial.connection for dial in bench.actions if isinstance(dial, Connect)] == [1, second]


def test_orders_go_to_the_old_session_until_the_new_one_stands_and_then_to_that(bench: SessionBench) -> None:
    advise(bench, "leaving", "d:1")
    bench.call(Publish(ORDERS, (instance(81),)))
    assert bench.last(Tag.PUBLISH).connection == 1
    second = bench.accept()
    assert bench.last(Tag.PUBLISH).body.instances == (instance(80), instance(81))
    bench.call(Publish(ORDERS, (instance(82),)))
    assert bench.last(Tag.PUBLISH).connection == second


def test_snapshots_of_both_sessions_are_fresh_during_the_move_and_pushes_of_the_old_one_count_until_the_new_speaks(
    bench: SessionBench,
) -> None:
    advise(bench, "rebalance", "d:1")
    second = bench.accept()
    assert bench.live_sessions() == {bench.session_of(1), bench.session_of(second)}
    bench.tell(1, Tag.PUSH, view(2, 80, 81, service=BILLING))
    assert bench.delivered()[-1] == (80, 81)
    bench.answer(bench.last(Tag.SUBSCRIBE, second), Tag.VIEW, view(1, 82, service=BILLING))
    bench.tell(1, Tag.PUSH, view(3, 83, service=BILLING))
    assert bench.delivered()[-1] == (82,)


def test_from_an_isolated_node_a_client_moves_only_to_one_of_the_majority(bench: SessionBench) -> None:
    advise(bench, "isolated", "d:1", "e:1")
    second = bench.accept(majority=False)
    assert goodbyes(bench, second) == ["moved"]
    bench.done(bench.last(Tag.CLOSE_SESSION, second))
    assert bench.is_disconnected(second)
    third = bench.accept(majority=True)
    finish_redo(bench, third)
    assert goodbyes(bench, 1) == ["moved"]


def test_where_no_node_of_the_majority_answers_a_client_stays(bench: SessionBench) -> None:
    advise(bench, "isolated", "d:1", "e:1")
    bench.accept(majority=False)
    bench.lose(bench.dialled().connection)
    assert not bench.is_disconnected(1)
    bench.call(Query(ORDERS))
    assert bench.last(Tag.QUERY).connection == 1
    assert bench.all(Tag.PUBLISH)[1:] == [], "nothing was published in the session that was tried"


def test_without_servers_named_all_known_ones_but_this_are_tried(bench: SessionBench) -> None:
    here = next(action.server for action in bench.actions if isinstance(action, Connect))
    advise(bench, "isolated")
    bench.lose(bench.dialled().connection)
    bench.lose(bench.dialled().connection)
    tried = [action.server for action in bench.actions if isinstance(action, Connect)][1:]
    assert len(tried) == len(set(tried)) == 2
    assert here not in tried


def test_when_the_old_node_dies_during_a_move_the_new_connection_is_the_reconnect(bench: SessionBench) -> None:
    advise(bench, "isolated", "d:1")
    bench.lose(1)
    second = bench.accept(majority=False)
    finish_redo(bench, second)
    assert not bench.is_disconnected(second)


def test_when_the_new_session_dies_in_the_redo_the_old_one_ends_too_and_a_third_is_opened(bench: SessionBench) -> None:
    """Its higher number has taken the publications over, so going back would leave them hidden."""
    advise(bench, "leaving", "d:1")
    second = bench.accept()
    bench.lose(second)
    assert goodbyes(bench, 1) == ["moved"]
    bench.pass_ms(100)
    third = bench.accept()
    assert bench.last(Tag.PUBLISH).connection == third


def test_advice_is_followed_at_most_three_times_in_a_row(bench: SessionBench) -> None:
    connection = 1
    for number in range(3):
        advise(bench, "leaving", f"x{number}:1", connection=connection)
        connection = bench.accept()
        finish_redo(bench, connection)
    advise(bench, "leaving", "y:1", connection=connection)
    assert bench.dialled().connection == connection
    assert not bench.is_disconnected(connection)


def test_after_a_rest_advice_is_followed_again(bench: SessionBench) -> None:
    connection = 1
    for number in range(3):
        advise(bench, "leaving", f"x{number}:1", connection=connection)
        connection = bench.accept()
        finish_redo(bench, connection)
    for version in range(2, 9):
        bench.pass_ms(5_000)
        bench.tell(connection, Tag.PUSH, view(version, 80, service=BILLING))
    advise(bench, "leaving", "y:1", connection=connection)
    assert bench.dialled().server == "y:1"


def test_for_the_sake_of_balance_a_client_moves_once_in_five_minutes(bench: SessionBench) -> None:
    advise(bench, "rebalance", "d:1")
    second = bench.accept()
    finish_redo(bench, second)
    for version in range(2, 61):
        bench.pass_ms(5_000)
        bench.tell(second, Tag.PUSH, view(version, 80, service=BILLING))
    advise(bench, "rebalance", "e:1", connection=second)
    assert bench.dialled().server == "d:1", "not yet"
    bench.pass_ms(5_000)
    advise(bench, "rebalance", "e:1", connection=second)
    assert bench.dialled().server == "e:1"


def test_a_node_that_is_about_to_end_is_left_though_the_client_has_just_moved_there(bench: SessionBench) -> None:
    advise(bench, "rebalance", "d:1")
    second = bench.accept()
    finish_redo(bench, second)
    advise(bench, "leaving", "e:1", connection=second)
    assert bench.dialled().server == "e:1"


@pytest.mark.parametrize("failure", ["refused", "full", "minority"])
def test_for_the_sake_of_balance_a_client_does_not_move_to_a_node_that_is_worse(
    bench: SessionBench, failure: str
) -> None:
    advise(bench, "rebalance", "d:1")
    match failure:
        case "refused":
            bench.lose(bench.dialled().connection)
        case "full":
            connection = bench.dialled().connection
            bench.feed(ConnectionOpened(connection))
            refusal = Failed(Code.OVER_LIMIT, "full", retryable=True, servers=("e:1",))
            bench.answer(bench.last(Tag.OPEN_SESSION, connection), Tag.FAILED, refusal)
        case _:
            bench.accept(majority=False)
    assert not bench.is_disconnected(1)
    assert bench.dialled().server == "d:1", "and it asks nobody else"
    bench.call(Query(ORDERS))
    assert bench.last(Tag.QUERY).connection == 1


def test_the_old_session_superseded_by_the_own_new_one_is_no_stranger(bench: SessionBench) -> None:
    advise(bench, "leaving", "d:1")
    second = bench.accept()
    ended = SessionEnded(Code.SESSION_SUPERSEDED, "superseded", bench.session_of(second))
    bench.tell(1, Tag.SESSION_ENDED, ended)
    assert bench.ended() is None
    finish_redo(bench, second)
    assert bench.live_sessions() == {bench.session_of(second)}


def test_an_order_refused_by_a_leaving_node_is_brought_by_the_next_session(bench: SessionBench) -> None:
    call = bench.call(Query(ORDERS))
    refusal = Failed(Code.NODE_LEAVING, "leaving", retryable=True, servers=("d:1",))
    bench.answer(bench.last(Tag.QUERY), Tag.FAILED, refusal)
    second = bench.accept()
    bench.answer(bench.last(Tag.QUERY, second), Tag.VIEW, view(1, 80))
    assert bench.result(call).instances == (instance(80),)
