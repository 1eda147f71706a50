"""Whether a history of calls can be explained by calls that happen one at a time: the method of Wing and Gong, with the
memory of Lowe. https://www.cs.cmu.edu/~wing/publications/WingGong93.pdf

Each call has an effect at one moment between its start and its end. One of unknown outcome may have its effect at any
moment after its start, or never. Histories of different objects are checked one by one, since a history is
linearizable if each part about one object is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)
Action = TypeVar("Action")
Key = TypeVar("Key", bound=Hashable)

STEPS_MAX = 2_000_000  # of one search; beyond it a history is too wide to be judged

# What the object is after the action; None if the action cannot have ended as it did in this state.
Step = Callable[[State, Action], State | None]


class Call(NamedTuple, Generic[Action]):
    """``action`` holds what was asked and what was answered. ``end``: None if the outcome is not known."""

    start: float
    end: float | None
    action: Action


class HistoryTooWide(Exception):
    """So many calls overlap that no answer was found in time: neither yes nor no."""


def explanation(calls: Iterable[Call[Action]], initial: State, step: Step[State, Action]) -> list[Call[Action]] | None:
    """The calls in an order of effects that explains all answers, without those that had none; None: there is no such
    order."""
    pending = sorted(calls, key=lambda call: (call.start, _end_of(call)))
    required = sum(1 << place for place, call in enumerate(pending) if call.end is not None)
    seen: set[tuple[int, State]] = set()
    path: list[tuple[int, int, State]] = []  # the call that was chosen, and what was before it
    done, state, place = 0, initial, 0
    for _ in range(STEPS_MAX):
        if done & required == required:
            return [pending[chosen] for chosen, _, _ in path]
        chosen_next = _next(pending, done, state, place, step, seen)
        if chosen_next is not None:
            place, after = chosen_next
            path.append((place, done, state))
            done, state, place = done | 1 << place, after, 0
        elif path:
            place, done, state = path.pop()
            place += 1
        else:
            return None
    raise HistoryTooWide(f"{len(pending)} calls, {len(seen)} states seen")


def unexplained(
    calls: Iterable[Call[Action]], key_of: Callable[[Action], Key], initial: State, step: Step[State, Action]
) -> dict[Key, list[Call[Action]]]:
    """The histories of those objects that nothing explains, each in order of start."""
    by_key: dict[Key, list[Call[Action]]] = {}
    for call in calls:
        by_key.setdefault(key_of(call.action), []).append(call)
    return {
        key: sorted(own, key=lambda call: call.start)
        for key, own in by_key.items()
        if explanation(own, initial, step) is None
    }


def _next(
    pending: Sequence[Call[Action]],
    done: int,
    state: State,
    place: int,
    step: Step[State, Action],
    seen: set[tuple[int, State]],
) -> tuple[int, State] | None:
    """The first call from this place on that can have been the next, and what it makes of the state."""
    first_end = min((_end_of(call) for at, call in enumerate(pending) if not done >> at & 1), default=math.inf)
    for at in range(place, len(pending)):
        call = pending[at]
        if call.start > first_end:
            return None  # another call had ended before this and all later ones began
        if done >> at & 1:
            continue
        after = step(state, call.action)
        if after is not None and (done | 1 << at, after) not in seen:
            seen.add((done | 1 << at, after))
            return at, after
    return None


def _end_of(call: Call[Action]) -> float:
    return math.inf if call.end is None else call.end


class RegisterAction(NamedTuple):
    """On one value that is written and read as a whole; ``value`` None: there is none."""

    is_write: bool
    value: str | None


def register_step(state: str, action: RegisterAction) -> str | None:
    """The state is the value, empty for none: for rows that are absolutely written."""
    value = action.value or ""
    if action.is_write:
        return value
    return state if state == value else None
