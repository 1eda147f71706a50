"""The scheduler and the stage, tried with tiny behaviours: order, time, chance, halts and ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.base import Effects, Log, Now, Remind, Role, Tell, Terminate
from runtime.simulation.scheduler import NodeClock, Scheduler, SimStage


class Script:
    """A behaviour that does what a function says, and remembers what it was told and when."""

    def __init__(self, role: Role, react: Callable[[Any], Effects], at_start: Effects = ()) -> None:
        self.role = role
        self.heard: list[tuple[int, Any]] = []
        self.broken = False
        self._react = react
        self._at_start = at_start

    def start(self, now: Now) -> Effects:
        return self._at_start

    def handle(self, message: Any, now: Now) -> Effects:
        self.heard.append((now.monotonic_ms, message))
        return self._react(message)

    def check_invariants(self) -> None:
        assert not self.broken, "a table contradicts itself"

    @property
    def messages(self) -> list[Any]:
        return [message for _, message in self.heard]


def stage_of(*behaviours: Script, seed: int = 1, clock: NodeClock | None = None) -> tuple[Scheduler, SimStage]:
    scheduler = Scheduler(seed)
    stage = SimStage(scheduler, clock or NodeClock(scheduler), "n0")
    stage.start(behaviours)
    return scheduler, stage


def silent(role: Role, at_start: Effects = ()) -> Script:
    return Script(role, lambda _: [], at_start)


def test_two_actors_play_ping_pong_until_one_stops() -> None:
    ping = Script(Role.CLIENTS, lambda count: [Tell(Role.INDEX, count + 1)] if count < 9 else [])
    pong = Script(Role.INDEX, lambda count: [Tell(Role.CLIENTS, count + 1)], [Tell(Role.CLIENTS, 0)])
    scheduler, _ = stage_of(ping, pong)
    scheduler.run_until(1_000_000)
    assert (ping.messages, pong.messages) == ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9])


def test_time_jumps_over_an_hour_in_which_nothing_happens() -> None:
    sleeper = silent(Role.MEMBERS, [Remind(3_600_000, "wake up")])
    scheduler, _ = stage_of(sleeper)
    scheduler.run_until(3_700_000_000)
    assert sleeper.messages == ["wake up"]
    assert sleeper.heard[0][0] >= 3_600_000
    assert scheduler.events <= 3


@pytest.mark.parametrize("drift_ppm", [-200, -1, 0, 1, 200])
def test_a_reminder_never_comes_early_by_the_clock_of_its_node(drift_ppm: int) -> None:
    scheduler = Scheduler(1)
    clock = NodeClock(scheduler, boot_ms=77, drift_ppm=drift_ppm)
    sleeper = silent(Role.MEMBERS, [Remind(delay_ms, delay_ms) for delay_ms in (1, 999, 15_000, 86_400_000)])
    SimStage(scheduler, clock, "n0").start([sleeper])
    started_ms = clock.now().monotonic_ms
    scheduler.run_until(90_000_000_000)
    assert [message for at_ms, message in sleeper.heard if at_ms - started_ms >= message] == [
        1,
        999,
        15_000,
        86_400_000,
    ]


def test_a_step_of_the_wall_clock_does_not_move_the_monotonic_one() -> None:
    scheduler = Scheduler(1)
    clock = NodeClock(scheduler)
    before = clock.now()
    clock.step_wall(-60_000)
    assert clock.now() == Now(before.monotonic_ms, before.wall_ms - 60_000)


def two_senders(seed: int) -> list[str]:
    """What a third actor hears when two others are set off at the same moment."""
    first = Script(Role.CLIENTS, lambda n: [Tell(Role.PUSH, f"a{n}")], [Tell(Role.CLIENTS, n) for n in range(5)])
    second = Script(Role.INDEX, lambda n: [Tell(Role.PUSH, f"b{n}")], [Tell(Role.INDEX, n) for n in range(5)])
    listener = silent(Role.PUSH)
    scheduler, _ = stage_of(listener, first, second, seed=seed)
    scheduler.run_until(1_000_000)
    return listener.messages


def test_each_senders_messages_stay_in_order_under_every_seed() -> None:
    for seed in range(20):
        heard = two_senders(seed)
        assert [text for text in heard if text[0] == "a"] == ["a0", "a1", "a2", "a3", "a4"]
        assert [text for text in heard if text[0] == "b"] == ["b0", "b1", "b2", "b3", "b4"]


def test_seeds_interleave_two_senders_differently() -> None:
    assert len({tuple(two_senders(seed)) for seed in range(20)}) > 10


def test_a_halted_stage_takes_no_turn_and_its_overdue_timers_go_off_at_the_resume() -> None:
    sleeper = silent(Role.MEMBERS, [Remind(1_000, "first"), Remind(2_000, "second")])
    scheduler, stage = stage_of(sleeper)
    stage.halt()
    stage.tell(Role.MEMBERS, "told while halted")
    scheduler.run_until(5_000_000)
    assert sleeper.messages == []
    stage.resume()
    scheduler.run_until(6_000_000)
    assert sleeper.messages == ["told while halted", "first", "second"]


def test_an_ended_stage_never_takes_a_turn_again() -> None:
    sleeper = silent(Role.MEMBERS, [Remind(1_000, "too late")])
    scheduler, stage = stage_of(sleeper)
    stage.tell(Role.MEMBERS, "too late as well")
    stage.end()
    scheduler.run_until(5_000_000)
    assert sleeper.messages == []


def test_logs_are_recorded_and_a_termination_reaches_the_node() -> None:
    fact, order = Log("INFO", "done", {"n": 1}), Terminate(3, "told so")
    scheduler, stage = stage_of(Script(Role.VERIFY, lambda _: [fact, order]))
    orders: list[Terminate] = []
    stage.on_terminate = orders.append
    stage.tell(Role.VERIFY, "go")
    scheduler.run_until(1_000_000)
    assert (stage.logs, orders) == ([fact], [order])


def test_an_invariant_is_checked_right_after_the_turn_that_broke_it() -> None:
    actor = silent(Role.VERIFY)
    scheduler, stage = stage_of(actor)
    actor.broken = True
    stage.tell(Role.VERIFY, "go")
    with pytest.raises(AssertionError, match="contradicts"):
        scheduler.run_until(1_000_000)


def test_the_trace_tells_runs_apart_that_differ_in_one_payload() -> None:
    def trace_of(payload: str) -> str:
        scheduler, stage = stage_of(silent(Role.VERIFY))
        stage.tell(Role.VERIFY, payload)
        scheduler.run_until(1_000)
        return scheduler.trace_hash

    assert trace_of("one") == trace_of("one")
    assert trace_of("one") != trace_of("two")
