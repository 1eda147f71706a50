"""The checker of histories itself: what it must accept, what it must refuse, and against all orders tried out."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from tests.support import linearizability
from tests.support.linearizability import (
    Call,
    HistoryTooWide,
    RegisterAction,
    explanation,
    register_step,
    unexplained,
)

Register = Call[RegisterAction]


def write(start: float, end: float | None, value: str | None) -> Register:
    return Call(start, end, RegisterAction(True, value))


def read(start: float, end: float | None, value: str | None) -> Register:
    return Call(start, end, RegisterAction(False, value))


def is_explained(*calls: Register) -> bool:
    return explanation(calls, "", register_step) is not None


def test_a_read_sees_the_last_write_that_ended() -> None:
    assert is_explained(write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "b"))
    assert not is_explained(write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a"))


def test_a_read_may_see_a_write_that_overlaps_or_not_but_never_both_ways() -> None:
    assert is_explained(write(0, 9, "a"), read(1, 2, None), read(3, 4, "a"))
    assert not is_explained(write(0, 9, "a"), read(1, 2, "a"), read(3, 4, None))


def test_a_write_of_unknown_outcome_may_have_its_effect_late_or_never_but_once() -> None:
    assert is_explained(write(0, None, "a"), read(1, 2, None), read(8, 9, "a"))
    assert is_explained(write(0, None, "a"), read(8, 9, None))
    assert not is_explained(write(0, None, "a"), read(1, 2, "a"), write(3, 4, None), read(5, 6, "a"))


def test_a_value_that_nobody_wrote_is_explained_by_nothing() -> None:
    assert not is_explained(read(0, 1, "a"))
    assert not is_explained(write(5, 6, "a"), read(0, 1, "a"))


def test_calls_that_touch_at_one_moment_overlap() -> None:
    assert is_explained(write(0, 1, "a"), read(1, 2, None))


def test_the_order_that_is_found_explains_the_answers() -> None:
    calls = [write(0, 9, "a"), write(0, 9, "b"), read(1, 8, "a"), write(0, None, "c"), read(10, 11, "b")]
    found = explanation(calls, "", register_step)
    assert found is not None
    state: str | None = ""
    for call in found:
        assert state is not None
        state = register_step(state, call.action)
    assert state == "b"


def test_objects_are_judged_one_by_one() -> None:
    def step(state: str, action: tuple[str, RegisterAction]) -> str | None:
        return register_step(state, action[1])

    calls = [Call(each.start, each.end, ("good", each.action)) for each in (write(0, 1, "a"), read(2, 3, "a"))]
    calls += [Call(each.start, each.end, ("bad", each.action)) for each in (write(0, 1, "a"), read(2, 3, None))]
    assert list(unexplained(calls, lambda action: action[0], "", step)) == ["bad"]


def test_a_history_that_takes_too_long_is_neither_right_nor_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "STEPS_MAX", 3)
    with pytest.raises(HistoryTooWide):
        is_explained(*(write(0, 9, str(number)) for number in range(9)))


def test_a_long_history_of_few_at_a_time_is_judged_quickly() -> None:
    calls = [write(number, number + 2.5, str(number)) for number in range(1_000)]
    calls += [read(number + 2.6, number + 3, str(number)) for number in range(0, 1_000, 7) if number > 990]
    assert is_explained(*calls)


def test_all_orders_tried_out_say_the_same() -> None:
    chance = random.Random(3)
    verdicts = {True: 0, False: 0}
    for _ in range(400):
        calls = [_random_call(chance) for _ in range(chance.randrange(1, 6))]
        verdict = is_explained(*calls)
        assert verdict == _is_explained_by_trying(calls), calls
        verdicts[verdict] += 1
    assert min(verdicts.values()) > 50


def _random_call(chance: random.Random) -> Register:
    start = chance.randrange(10)
    value = chance.choice(["a", "b", None])
    if chance.random() < 0.5:
        return read(start, start + chance.randrange(1, 6), value)
    return write(start, None if chance.random() < 0.3 else start + chance.randrange(1, 6), value)


def _is_explained_by_trying(calls: list[Register]) -> bool:
    known = [call for call in calls if call.end is not None]
    unknown = [call for call in calls if call.end is None]
    for mask in range(1 << len(unknown)):
        chosen = known + [call for place, call in enumerate(unknown) if mask >> place & 1]
        if any(_fits(order) for order in permutations(chosen)):
            return True
    return False


def _fits(order: tuple[Register, ...]) -> bool:
    state: str | None = ""
    for place, call in enumerate(order):
        if any(later.end is not None and later.end < call.start for later in order[place + 1 :]):
            return False
        assert state is not None
        state = register_step(state, call.action)
        if state is None:
            return False
    return True
