"""When an instance is probed next, and what a result counts for. Pure rules, and the wheel that targets wait on.

The pace follows the instance: fast answers bring it down to the shortest interval, slow and failed ones up to the
longest. A verdict turns only after several results in a row that contradict it, or at once where nobody serves.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from actors.messages.health import Outcome

BUSY_STATUSES = (302, 503)  # it lives, but serves nobody now

Target = TypeVar("Target")


class Pace(NamedTuple):
    """Bounds of the interval of one kind of checker, and how much of the interval before a new one keeps."""

    interval_ms: int
    interval_ms_max: int
    factor_percent: int


class Tally(NamedTuple):
    """A verdict, and how many results in a row have spoken against it."""

    healthy: bool
    against: int = 0


def first_interval_ms(base_ms: int, pace: Pace, chance: random.Random) -> int:
    """What the pace begins with. Small values are more likely than large ones."""
    return base_ms + chance.randint(0, chance.randint(0, pace.interval_ms_max))


def next_interval_ms(interval_ms: int, outcome: Outcome, duration_ms: int, pace: Pace) -> int:
    """Moves towards what this probe has taken, or stands for."""
    if outcome == "void":
        return interval_ms
    taken_ms = {"ok": duration_ms, "busy": 2 * interval_ms}.get(outcome, pace.interval_ms_max)
    mixed_ms = (pace.factor_percent * interval_ms + (100 - pace.factor_percent) * taken_ms) // 100
    return max(pace.interval_ms, min(mixed_ms, pace.interval_ms_max))


def tallied(tally: Tally, outcome: Outcome, times: int) -> Tally:
    """The verdict after one more result: ``times`` in a row turn it, ``refused`` does so at once."""
    if outcome in ("void", "forbidden"):
        return tally
    if tally.healthy and outcome == "refused":
        return Tally(healthy=False)
    if (outcome == "ok") == tally.healthy:
        return Tally(tally.healthy)
    if tally.against + 1 >= times:
        return Tally(not tally.healthy)
    return Tally(tally.healthy, tally.against + 1)


def outcome_of_status(status: int, expected_status: int) -> Outcome:
    """What the status of an HTTP answer says of the instance."""
    if status == expected_status:
        return "ok"
    return "busy" if status in BUSY_STATUSES else "refused"


class TimerWheel(Generic[Target]):
    """What waits, by the tick at which it is due: one reminder for all of them."""

    def __init__(self, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._slots: dict[int, list[Target]] = {}

    def __iter__(self) -> Iterator[Target]:
        return (target for slot in self._slots.values() for target in slot)

    def add(self, target: Target, at_ms: int) -> None:
        """Due at the first tick that is not earlier."""
        self._slots.setdefault(-(-at_ms // self._tick_ms), []).append(target)

    def take_due(self, now_ms: int) -> list[Target]:
        """Everything that is due by now, in order of ticks, however long nobody has looked."""
        tick = now_ms // self._tick_ms
        due = sorted(number for number in self._slots if number <= tick)
        return [target for number in due for target in self._slots.pop(number)]
