"""Frames to the node: few leave at once, many together."""

from __future__ import annotations

from runtime.gateway.frame_pace import FramePace

PERIOD = 4.0
FEW = 3


def delays(*times: float) -> list[float]:
    pace = FramePace(PERIOD, FEW)
    return [pace.delay(time) for time in times]


def test_few_frames_leave_at_once() -> None:
    assert delays(10.0, 11.0, 12.0) == [0.0, 0.0, 0.0]


def test_those_that_are_too_many_in_a_period_wait_for_its_end() -> None:
    assert delays(10.0, 10.5, 11.0, 11.5, 13.0) == [0.0, 0.0, 0.0, 2.5, 1.0]


def test_after_a_period_of_many_all_of_the_next_one_wait_and_leave_together() -> None:
    assert delays(10.0, 10.0, 10.0, 10.0, 15.0, 16.0, 18.0)[4:] == [4.0, 3.0, 1.0]


def test_after_a_period_of_few_frames_leave_at_once_again() -> None:
    assert delays(*[10.0] * 4, 15.0, 20.0)[4:] == [4.0, 0.0]


def test_after_silence_the_crowd_before_it_does_not_count() -> None:
    assert delays(*[10.0] * 4, 18.0, 18.0) == [0.0, 0.0, 0.0, 4.0, 0.0, 0.0]


def test_one_who_asks_again_when_he_is_answered_never_waits() -> None:
    assert not any(delays(*[10.0 + 1.5 * number for number in range(100)]))
