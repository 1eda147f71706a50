"""Where a session connects, when it gives a node up, and what ends it for good."""

from __future__ import annotations

import random

from rollbook import wire
from rollbook.codec import pack
from rollbook.errors import ClientClosed, ClientIdInUse, ClusterUnreachable, Code
from rollbook.orders import Connect, ConnectionOpened, FrameReceived
from rollbook.servers import ServerList
from rollbook.wire import Failed, Ping, Pong, Probe, Publish, Query, SessionEnded, Tag
from tests.support.session_bench import ORDERS, SERVERS, WALL_OFFSET_MS, SessionBench, instance


def dials(bench: SessionBench) -> list[str]:
    return [action.server for action in bench.actions if isinstance(action, Connect)]


def test_session_numbers_follow_the_wall_clock_and_never_fall() -> None:
    bench = SessionBench()
    first = bench.accept()
    assert bench.session_of(first) == bench.now_ms + WALL_OFFSET_MS
    bench.pass_ms(2_000)
    bench.now_ms -= 1_000  # The wall clock is set back.
    bench.lose(first)
    bench.now_ms += 1_000
    bench.tick()
    assert bench.session_of(bench.accept()) > bench.session_of(first)


def test_the_loss_of_a_steady_session_is_answered_at_once_at_the_next_server() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.pass_ms(5_000)
    bench.lose(first)
    assert bench.session.wake_at_ms() == bench.now_ms
    bench.tick()
    assert len(set(dials(bench))) == 2


def test_refusals_walk_round_the_list_with_growing_pauses() -> None:
    bench = SessionBench()
    pauses = []
    for _ in range(12):
        bench.lose(bench.dialled().connection)
        started_ms = bench.now_ms
        wake_at_ms = bench.session.wake_at_ms()
        assert wake_at_ms is not None
        bench.pass_ms(wake_at_ms - started_ms)
        pauses.append(wake_at_ms - started_ms)
    tried = dials(bench)
    assert set(tried[:3]) == set(SERVERS)
    assert tried[3:6] == tried[:3]
    assert pauses[0] <= 50
    assert 1_000 <= pauses[-1] <= 2_000


def test_a_silent_server_costs_a_second() -> None:
    bench = SessionBench()
    bench.pass_ms(999)
    assert len(dials(bench)) == 1
    bench.pass_ms(52)
    assert len(dials(bench)) == 2
    assert bench.is_disconnected(1)


def test_a_server_that_connects_but_opens_no_session_costs_a_second_more() -> None:
    bench = SessionBench()
    bench.pass_ms(900)
    bench.feed(ConnectionOpened(bench.dialled().connection))
    bench.pass_ms(900)
    assert len(dials(bench)) == 1
    bench.pass_ms(152)
    assert len(dials(bench)) == 2


def test_a_stale_number_is_raised_above_the_highest_known_one() -> None:
    bench = SessionBench()
    connection = bench.dialled().connection
    bench.feed(ConnectionOpened(connection))
    asked = bench.last(Tag.OPEN_SESSION)
    bench.answer(asked, Tag.FAILED, Failed(Code.SESSION_STALE, "stale", session=asked.session + 5_000))
    again = bench.last(Tag.OPEN_SESSION)
    assert again.connection == connection
    assert again.session == again.body.session == asked.session + 5_001
    bench.open_session(connection)
    assert bench.live_sessions() == {again.session}


def test_a_node_that_calls_every_number_stale_is_left() -> None:
    bench = SessionBench()
    connection = bench.dialled().connection
    bench.feed(ConnectionOpened(connection))
    for _ in range(6):
        asked = bench.last(Tag.OPEN_SESSION)
        bench.answer(asked, Tag.FAILED, Failed(Code.SESSION_STALE, "stale", session=asked.session + 1))
    assert bench.is_disconnected(connection)


def test_a_node_that_is_not_ready_may_name_a_better_one() -> None:
    bench = SessionBench()
    connection = bench.dialled().connection
    bench.feed(ConnectionOpened(connection))
    refusal = Failed(Code.NOT_READY, "loading", retryable=True, servers=("d:1",))
    bench.answer(bench.last(Tag.OPEN_SESSION), Tag.FAILED, refusal)
    bench.tick()
    assert bench.dialled().server == "d:1"


def test_hints_lead_on_at_most_three_times_in_a_row() -> None:
    bench = SessionBench()
    for number in range(4):
        connection = bench.dialled().connection
        bench.feed(ConnectionOpened(connection))
        refusal = Failed(Code.OVER_LIMIT, "full", retryable=True, servers=(f"hint{number}:1",))
        bench.answer(bench.last(Tag.OPEN_SESSION), Tag.FAILED, refusal)
        bench.pass_ms(500)
    assert dials(bench)[1:4] == ["hint0:1", "hint1:1", "hint2:1"]
    assert dials(bench)[4] in SERVERS


def test_a_hint_leads_to_a_server_that_has_not_refused_yet() -> None:
    for seed in range(20):
        servers = ServerList(SERVERS, random.Random(seed), 50, 2_000)
        asked = [servers.next()]
        while len(asked) < len(SERVERS):
            assert servers.hint(server for server in SERVERS if server != asked[-1])
            asked.append(servers.next())
        assert sorted(asked) == list(SERVERS), "all were asked before any was asked again"


def test_servers_the_cluster_reports_are_tried_after_the_configured_ones_until_it_reports_others() -> None:
    bench = SessionBench(("a:1",))
    first = bench.accept(servers=("a:1", "x:1", "not an address"))
    bench.pass_ms(2_000)
    bench.lose(first)
    bench.tick()
    assert bench.dialled().server == "x:1"
    second = bench.accept(servers=("a:1", "y:1"))
    bench.pass_ms(2_000)
    bench.lose(second)
    bench.tick()
    assert bench.dialled().server == "a:1"
    bench.lose(bench.dialled().connection)
    bench.pass_ms(2_000)
    assert "x:1" not in dials(bench)[2:]
    assert "y:1" in dials(bench)


def test_an_idle_node_is_pinged_and_left_when_it_stays_silent() -> None:
    bench = SessionBench()
    connection = bench.accept()
    bench.pass_ms(5_999)
    assert bench.all(Tag.PING) == []
    bench.pass_ms(1)
    bench.answer(bench.last(Tag.PING), Tag.PONG, Pong())
    bench.pass_ms(6_000)
    assert len(bench.all(Tag.PING)) == 2
    bench.pass_ms(2_999)
    assert not bench.is_disconnected(connection)
    bench.pass_ms(1)
    assert bench.is_disconnected(connection)


def test_any_frame_shows_that_a_node_lives() -> None:
    bench = SessionBench()
    connection = bench.accept()
    bench.pass_ms(5_000)
    bench.tell(connection, Tag.PROBE, Probe())
    bench.pass_ms(5_000)
    assert bench.all(Tag.PING) == []


def test_a_call_that_times_out_doubts_the_node() -> None:
    bench = SessionBench()
    connection = bench.accept()
    call = bench.call(Query(ORDERS), timeout_ms=1_000)
    bench.pass_ms(1_000)
    assert isinstance(bench.result(call), ClusterUnreachable)
    assert len(bench.all(Tag.PING)) == 1
    bench.pass_ms(3_000)
    assert bench.is_disconnected(connection)


def test_a_node_that_answers_pings_but_not_a_request_is_left_in_the_end() -> None:
    bench = SessionBench()
    connection = bench.accept()
    bench.call(Publish(ORDERS, (instance(),)), timeout_ms=60_000)
    answered = 0
    while not bench.is_disconnected(connection):
        bench.pass_ms(100)
        for ping in bench.all(Tag.PING)[answered:]:
            bench.answer(ping, Tag.PONG, Pong())
            answered += 1
    assert answered > 0
    second = bench.accept()
    assert bench.last(Tag.PUBLISH).connection == second


def test_a_process_that_stood_still_itself_does_not_blame_the_node() -> None:
    bench = SessionBench()
    connection = bench.accept()
    bench.call(Query(ORDERS), timeout_ms=60_000)
    bench.now_ms += 20_000
    bench.tick()
    assert not bench.is_disconnected(connection)


def test_a_stranger_with_this_id_ends_the_client_for_good() -> None:
    bench = SessionBench()
    connection = bench.accept()
    waiting = bench.call(Query(ORDERS))
    stranger = bench.session_of(connection) + 1
    bench.tell(connection, Tag.SESSION_ENDED, SessionEnded(Code.SESSION_SUPERSEDED, "superseded", stranger))
    assert isinstance(bench.result(waiting), ClientIdInUse)
    assert isinstance(bench.result(bench.call(Ping())), ClientIdInUse)
    assert isinstance(bench.ended(), ClientIdInUse)
    assert bench.session.wake_at_ms() is None
    assert len(dials(bench)) == 1


def test_a_session_that_this_client_opened_itself_is_no_stranger() -> None:
    bench = SessionBench()
    connection = bench.accept()
    own = bench.session_of(connection)
    bench.tell(connection, Tag.SESSION_ENDED, SessionEnded(Code.SESSION_SUPERSEDED, "superseded", own))
    bench.pass_ms(100)
    assert bench.ended() is None
    assert len(dials(bench)) == 2


def test_a_node_that_does_not_know_the_session_gets_a_new_one() -> None:
    bench = SessionBench()
    first = bench.accept()
    call = bench.call(Query(ORDERS))
    bench.answer(bench.last(Tag.QUERY), Tag.FAILED, Failed(Code.SESSION_REQUIRED, "who?", retryable=True))
    assert bench.is_disconnected(first)
    bench.pass_ms(100)
    second = bench.accept()
    assert bench.last(Tag.QUERY).connection == second
    assert bench.is_waiting(call)


def test_a_node_that_talks_nonsense_is_left_and_the_call_asked_elsewhere() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Query(ORDERS))
    bench.feed(FrameReceived(first, b"\xc1 nonsense"))
    assert bench.is_disconnected(first)
    bench.pass_ms(100)
    second = bench.accept()
    bench.answer(bench.last(Tag.QUERY, second), Tag.PONG, Pong())
    assert bench.is_disconnected(second), "a Pong is no answer to a Query"


def test_what_a_later_version_says_is_no_fault() -> None:
    bench = SessionBench()
    connection = bench.accept()
    payload = pack((wire.WIRE_VERSION, 127, 0, 0, ["news"]))
    bench.feed(FrameReceived(connection, payload))
    assert not bench.is_disconnected(connection)


def test_close_says_goodbye_and_waits_for_the_answer() -> None:
    bench = SessionBench()
    connection = bench.accept()
    bench.call(Publish(ORDERS, (instance(),)))
    bench.done(bench.last(Tag.PUBLISH))
    waiting = bench.call(Query(ORDERS))
    close = bench.close()
    assert isinstance(bench.result(waiting), ClientClosed)
    goodbye = bench.last(Tag.CLOSE_SESSION)
    assert goodbye.body.reason == "leave"
    assert bench.is_waiting(close)
    bench.done(goodbye)
    assert not bench.is_waiting(close)
    assert bench.is_disconnected(connection)
    assert isinstance(bench.result(bench.call(Ping())), ClientClosed)


def test_close_without_a_session_and_without_traces_is_immediate() -> None:
    bench = SessionBench()
    close = bench.close()
    assert not bench.is_waiting(close)
    assert bench.session.wake_at_ms() is None


def test_close_after_the_node_died_withdraws_at_another_one() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(),)))
    bench.done(bench.last(Tag.PUBLISH))
    bench.lose(first)
    close = bench.close()
    bench.pass_ms(100)
    second = bench.accept()
    assert bench.tags(second) == [Tag.WITHDRAW]
    bench.done(bench.last(Tag.WITHDRAW))
    assert bench.tags(second) == [Tag.WITHDRAW, Tag.CLOSE_SESSION]
    bench.done(bench.last(Tag.CLOSE_SESSION))
    assert not bench.is_waiting(close)


def test_close_with_every_node_down_ends_at_its_deadline() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(),)))
    bench.lose(first)
    close = bench.close(timeout_ms=1_500)
    bench.pass_ms(1_499)
    assert bench.is_waiting(close)
    bench.pass_ms(1)
    assert not bench.is_waiting(close)
    assert bench.session.wake_at_ms() is None


def test_close_in_the_middle_of_a_redo_withdraws_instead() -> None:
    bench = SessionBench()
    first = bench.accept()
    bench.call(Publish(ORDERS, (instance(),)))
    bench.done(bench.last(Tag.PUBLISH))
    bench.lose(first)
    bench.pass_ms(100)
    second = bench.accept()
    redo = bench.last(Tag.PUBLISH, second)
    bench.close()
    assert bench.tags(second) == [Tag.PUBLISH, Tag.WITHDRAW]
    bench.done(redo)
    assert bench.all(Tag.CLOSE_SESSION) == []
    bench.done(bench.last(Tag.WITHDRAW))
    assert len(bench.all(Tag.CLOSE_SESSION, second)) == 1
