"""Rebalancing: how much a node gives away, to whom, and which sessions it asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.connection_manager import ConnectionsSettings
from actors.messages.connections import (
    MemberSessions,
    SessionCloseRequested,
    SessionsCompared,
    SessionsShed,
    StandingChanged,
)
from actors.messages.io import PushToClients
from actors.messages.members import SessionsCounted
from actors.messages.values import Route
from actors.rebalance import Share, plan
from rollbook.wire import MoveAdvised
from tests.actors.test_connection_manager import ISOLATED, READY, Node, advised, answers, told
from tests.support.settings import settings_of

SETTINGS = settings_of("connections", ConnectionsSettings)


def members(*sessions: int) -> tuple[MemberSessions, ...]:
    return tuple(MemberSessions(f"m{number}:1", count, True) for number, count in enumerate(sessions))


def shares(own: int, *others: int) -> list[int]:
    return [share.sessions for share in plan(own, members(*others), SETTINGS)]


def is_above(count: int, counts: list[int]) -> bool:
    """More than the mean times 1.2, and 20; in whole numbers, because that mean as a float can be too small."""
    return (count - 20) * 10 * len(counts) > 12 * sum(counts)


# The plan


def test_all_on_one_of_three_nodes_goes_in_equal_parts_ten_percent_at_a_time() -> None:
    assert plan(300, members(0, 0), SETTINGS) == (Share("m0:1", 15), Share("m1:1", 15))


def test_of_a_small_excess_half_is_given() -> None:
    assert shares(1_000, 715, 715) == [48, 47], "a tenth would be 100"


@pytest.mark.parametrize(("own", "other", "gives"), [(170, 80, False), (171, 80, True), (50, 0, False), (51, 0, True)])
def test_nothing_moves_up_to_the_mean_times_1_2_and_20_more(own: int, other: int, gives: bool) -> None:
    assert bool(shares(own, other)) is gives


@pytest.mark.parametrize(("own", "gives"), [(1_620, False), (1_621, True)])
def test_the_limit_is_exact_where_the_mean_is_no_whole_number(own: int, gives: bool) -> None:
    assert bool(shares(own, 1_620, 2_380 - own)) is gives, "the mean is 1,333 1/3"


def test_servers_are_filled_by_what_they_lack() -> None:
    assert shares(900, 0, 200, 300) == [57, 25, 8], "the mean is 350"


def test_a_node_above_the_mean_and_one_that_has_just_started_are_given_nothing() -> None:
    others = (MemberSessions("full:1", 250, True), MemberSessions("new:1", 0, False), MemberSessions("old:1", 0, True))
    assert {share.server for share in plan(400, others, SETTINGS)} == {"old:1"}
    assert plan(400, others[:2], SETTINGS) == ()


def test_two_nodes_that_give_at_once_do_not_overfill_the_third() -> None:
    assert shares(100, 100, 60) == []
    first, second = shares(1_000, 1_000, 940), shares(1_000, 940, 1_000)
    assert sum(first) + sum(second) <= 40


def test_alone_a_node_keeps_what_it_has() -> None:
    assert plan(20_000, (), SETTINGS) == ()


@given(st.lists(st.integers(0, 20_000), min_size=2, max_size=12), st.data())
def test_repeated_everywhere_at_once_it_converges_and_nobody_gives_what_it_was_given(
    counts: list[int], data: st.DataObject
) -> None:
    """Whatever the spread: the total stays, nobody falls below the mean or is filled above it, and it ends."""
    total, nodes = sum(counts), len(counts)
    fresh = data.draw(st.sets(st.integers(0, len(counts) - 1)))  # these have just started, and are settled later
    givers: set[int] = set()
    takers: set[int] = set()
    for turn in range(200):
        seen = [MemberSessions(str(i), count, turn >= 3 or i not in fresh) for i, count in enumerate(counts)]
        planned = [plan(seen[i].sessions, seen[:i] + seen[i + 1 :], SETTINGS) for i in range(len(counts))]
        if turn >= 3 and not any(planned):
            break
        for giver, given_ in enumerate(planned):
            for server, sessions in given_:
                assert sessions > 0
                assert seen[int(server)].is_settled
                givers.add(giver)
                takers.add(int(server))
                counts[giver] -= sessions
                counts[int(server)] += sessions
            assert not given_ or counts[giver] * nodes >= total
    assert not givers & takers
    assert sum(counts) == total
    assert all((counts[taker] - nodes) * nodes < total for taker in takers), "but for rounding"
    assert not is_above(max(counts), counts)


@given(st.integers(0, 20_000), st.lists(st.integers(0, 20_000), min_size=1, max_size=12))
def test_no_step_is_above_ten_percent_or_half_of_the_excess(own: int, others: list[int]) -> None:
    given_, counts = sum(shares(own, *others)), [own, *others]
    assert given_ * 10 <= own
    assert given_ * 2 * len(counts) <= max(0, own * len(counts) - sum(counts))
    assert not given_ or is_above(own, counts)


# Which sessions


def filled(sessions: int, **overrides: Any) -> Node:
    node = Node(**overrides)
    for number in range(sessions):
        node.open(f"s{number}")
    return node


def compare(node: Node, *others: int) -> list[bytes]:
    return advised(node.handle(SessionsCompared(members(*others))))


def test_each_advised_session_is_told_one_server_in_proportion() -> None:
    node = filled(100)
    told_to = [body for _, _, body in answers(node.handle(SessionsCompared(members(0, 0))), PushToClients)]
    assert sorted(told_to, key=lambda body: body.servers) == [
        MoveAdvised("rebalance", (server,)) for server in ("m0:1", "m1:1") for _ in range(5)
    ]
    assert node.actor.counters["sessions_rebalanced"] == 10


def test_no_session_is_advised_again_within_five_minutes_though_it_stays() -> None:
    node = filled(100)
    asked: list[bytes] = []
    for _ in range(30):
        asked += compare(node, 0, 0)
        node.pass_time(10_000)
    assert len(asked) == len(set(asked)) == 100, "all have been asked once, and then there is nobody left to ask"
    assert len(compare(node, 0, 0)) == 10, "those of five minutes ago"


def test_who_is_asked_is_left_to_chance_and_not_to_the_order_of_arrival() -> None:
    first = compare(filled(200), 0, 0)
    assert first != sorted(first)
    assert len({link[:2] for link in first}) > 3


def test_the_memory_of_advice_ends_with_the_session() -> None:
    node = filled(100)
    gone = compare(node, 0, 0)
    for link in gone:
        node.handle(SessionCloseRequested(Route(link, 1), 8, "moved"))
        node.open(link.decode())
    assert set(compare(node, 0, 0)) <= {f"s{number}".encode() for number in range(100)}


def test_many_sessions_are_advised_in_steps() -> None:
    node = filled(100, shed_sessions_per_step_max=4)
    first = compare(node, 0, 0)
    assert len(first) == 4
    assert compare(node, 0, 0) == [], "the last advice is still under way"
    assert len(advised(node.pass_time(100))) == 6


def test_an_isolated_or_leaving_node_has_other_worries() -> None:
    node = filled(100)
    node.handle(StandingChanged(ISOLATED))
    assert compare(node, 0, 0) == []
    node = filled(100)
    node.handle(SessionsShed(60_000))
    assert compare(node, 0, 0) == []


def test_leaving_takes_the_place_of_what_is_left_of_a_rebalancing() -> None:
    node = filled(100, shed_sessions_per_step_max=4)
    compare(node, 0, 0)
    node.handle(SessionsShed(60_000))
    reasons = {body.reason for _, _, body in answers(node.pass_time(10_000), PushToClients)}
    assert reasons == {"leaving"}


def test_isolation_that_ends_leaves_no_reminder_behind() -> None:
    node = filled(3)
    node.handle(StandingChanged(ISOLATED))
    node.handle(StandingChanged(READY))
    assert advised(node.pass_time(60_000)) == []
    assert node.reminders == []


# How many there are


def test_the_number_of_sessions_is_told_once_a_second_and_only_if_it_has_changed() -> None:
    node = filled(3)
    assert told(node.pass_time(999), SessionsCounted) == []
    assert told(node.pass_time(1), SessionsCounted) == [SessionsCounted(3)]
    node.open("x")
    node.handle(SessionCloseRequested(Route(b"x", 1), 8, "leave"))
    assert told(node.pass_time(5_000), SessionsCounted) == []
    node.handle(SessionCloseRequested(Route(b"s0", 1), 8, "leave"))
    assert told(node.pass_time(1_000), SessionsCounted) == [SessionsCounted(2)]
