"""When an instance is probed next and what a result counts for."""

from __future__ import annotations

import random

import pytest

from actors.messages.health import Outcome
from actors.probe_schedule import (
    Pace,
    Tally,
    TimerWheel,
    first_interval_ms,
    next_interval_ms,
    outcome_of_status,
    tallied,
)

TCP = Pace(1_000, 5_000, 75)
HEALTHY = Tally(True)


def after(outcomes: list[Outcome], tally: Tally = HEALTHY) -> Tally:
    for outcome in outcomes:
        tally = tallied(tally, outcome, 3)
    return tally


@pytest.mark.parametrize(
    ("outcome", "duration_ms", "expected_ms"),
    [
        ("ok", 0, 3_000),  # 0.75 * 4000 + 0.25 * 0
        ("ok", 400, 3_100),
        ("busy", 500, 5_000),  # twice the interval counts, not what it took
        ("error", 1, 4_250),  # the longest interval counts
        ("refused", 1, 4_250),
        ("forbidden", 0, 4_250),
        ("void", 0, 4_000),
    ],
)
def test_the_interval_moves_towards_what_a_probe_has_taken(
    outcome: Outcome, duration_ms: int, expected_ms: int
) -> None:
    assert next_interval_ms(4_000, outcome, duration_ms, TCP) == expected_ms


def test_the_interval_stays_within_its_bounds() -> None:
    assert next_interval_ms(1_000, "ok", 1, TCP) == 1_000
    assert next_interval_ms(5_000, "ok", 60_000, TCP) == 5_000


def test_the_first_interval_is_spread_by_chance() -> None:
    chance = random.Random(1)
    found = [first_interval_ms(2_000, TCP, chance) for _ in range(200)]
    assert all(2_000 <= each <= 7_000 for each in found)
    assert len(set(found)) > 100
    assert sum(each < 4_500 for each in found) > 120, "small values are more likely"


def test_three_failures_in_a_row_turn_a_verdict_and_three_answers_turn_it_back() -> None:
    assert after(["busy", "error"]) == Tally(True, 2)
    assert after(["busy", "error", "busy"]) == Tally(False)
    assert after(["ok", "ok"], Tally(False)) == Tally(False, 2)
    assert after(["ok", "ok", "ok"], Tally(False)) == Tally(True)


def test_a_result_that_agrees_begins_the_count_anew() -> None:
    assert after(["busy", "busy", "ok", "busy", "busy"]) == Tally(True, 2)
    assert after(["ok", "ok", "refused", "ok", "ok"], Tally(False)) == Tally(False, 2)


def test_where_nobody_serves_the_verdict_turns_at_once() -> None:
    assert after(["refused"]) == Tally(False)


def test_what_was_no_probe_counts_for_nothing() -> None:
    assert after(["busy", "busy", "void", "forbidden"]) == Tally(True, 2)


@pytest.mark.parametrize(
    ("status", "expected", "outcome"),
    [
        *((200, 200, "ok"), (204, 204, "ok"), (302, 302, "ok"), (200, 204, "refused")),
        *((302, 200, "busy"), (503, 200, "busy"), (404, 200, "refused"), (500, 200, "refused")),
    ],
)
def test_the_expected_status_is_honoured(status: int, expected: int, outcome: Outcome) -> None:
    assert outcome_of_status(status, expected) == outcome


def test_the_wheel_gives_each_at_its_tick_and_not_before() -> None:
    wheel: TimerWheel[str] = TimerWheel(50)
    wheel.add("b", 101)
    wheel.add("a", 100)
    assert wheel.take_due(99) == []
    assert wheel.take_due(100) == ["a"]
    assert list(wheel) == ["b"]
    assert wheel.take_due(149) == []
    assert wheel.take_due(150) == ["b"]


def test_the_wheel_gives_everything_after_a_long_pause_in_order() -> None:
    wheel: TimerWheel[int] = TimerWheel(50)
    for at_ms in (9_000, 50, 5_000):
        wheel.add(at_ms, at_ms)
    assert wheel.take_due(60_000) == [50, 5_000, 9_000]
    assert wheel.take_due(60_000) == []
