"""The simulated network: what a connection promises, and what each fault takes from it."""

from __future__ import annotations

import pytest

from runtime.simulation.hosts import How, SimEnd, SimHost
from runtime.simulation.network import SimNetwork
from runtime.simulation.paths import PathFault
from runtime.simulation.scheduler import Scheduler

ADDRESS = "b:1"


class Party:
    """Holds one end and remembers what happened to it."""

    def __init__(self) -> None:
        self.ends: list[SimEnd] = []
        self.frames: list[bytes] = []
        self.closed: list[How] = []
        self.failed: list[How] = []

    def end_opened(self, end: SimEnd) -> None:
        self.ends.append(end)

    def dial_failed(self, address: str, how: How) -> None:
        self.failed.append(how)

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None:
        self.frames.append(payload)

    def end_closed(self, end: SimEnd, how: How) -> None:
        self.closed.append(how)


class Pair:
    """Two hosts; ``near`` has dialled ``far``."""

    def __init__(self, seed: int = 1, dial: bool = True) -> None:
        self.scheduler = Scheduler(seed)
        self.network = SimNetwork(self.scheduler)
        self.near, self.far = Party(), Party()
        self.a: SimHost = self.network.host("a")
        self.b: SimHost = self.network.host("b")
        self.network.listen(self.b, ADDRESS, self.far)
        if dial:
            self.dial()
            self.run_ms(10)

    def dial(self) -> None:
        self.network.dial(self.a, ADDRESS, self.near)

    def run_ms(self, duration_ms: int) -> None:
        self.scheduler.run_until(self.scheduler.now_us + duration_ms * 1_000)

    def send_near(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.network.send(self.near.ends[-1], payload)

    def cut(self) -> None:
        self.network.cut(self.a, self.b)
        self.network.cut(self.b, self.a)


@pytest.fixture(params=range(5), ids=lambda seed: f"seed{seed}")
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(seed=request.param)


MANY = [bytes([n]) * (1 + n * 50 % 997) for n in range(100)]


def test_frames_arrive_all_and_in_order(pair: Pair) -> None:
    pair.send_near(*MANY)
    pair.run_ms(100)
    assert pair.far.frames == MANY
    assert pair.network.counters["bytes"] == sum(map(len, MANY))


def test_what_waited_on_a_cut_path_arrives_in_order_if_it_heals_in_time(pair: Pair) -> None:
    pair.send_near(*MANY[:50])
    pair.cut()
    pair.send_near(*MANY[50:])
    pair.run_ms(2_000)
    assert pair.far.frames == []
    pair.network.heal()
    pair.run_ms(1_000)
    assert pair.far.frames == MANY
    assert not pair.near.closed


def test_both_ends_of_a_cut_connection_fall_silent_after_the_heartbeat_timeout(pair: Pair) -> None:
    pair.cut()
    pair.run_ms(2_900)
    assert not pair.near.closed
    pair.run_ms(1_200)
    assert (pair.near.closed, pair.far.closed) == (["silent"], ["silent"])


def test_a_one_way_cut_is_noticed_where_nothing_is_heard_and_told_to_the_other_side(pair: Pair) -> None:
    pair.network.cut(pair.a, pair.b)
    pair.run_ms(4_100)
    assert (pair.near.closed, pair.far.closed) == (["reset"], ["silent"])


def test_a_killed_process_resets_its_connections_after_what_it_had_sent(pair: Pair) -> None:
    pair.send_near(b"last words")
    pair.network.kill(pair.a)
    pair.run_ms(100)
    assert (pair.far.frames, pair.far.closed) == ([b"last words"], ["reset"])
    assert pair.near.closed == []


def test_a_machine_without_power_falls_silent(pair: Pair) -> None:
    pair.network.power_off(pair.b)
    pair.run_ms(2_900)
    assert pair.near.closed == []
    pair.run_ms(1_200)
    assert pair.near.closed == ["silent"]


def test_a_reset_loses_what_was_under_way(pair: Pair) -> None:
    pair.send_near(b"lost")
    pair.network.reset(pair.a, pair.b)
    pair.run_ms(100)
    assert pair.far.frames == []
    assert (pair.near.closed, pair.far.closed) == (["reset"], ["reset"])


def test_a_halted_host_is_given_up_by_others_and_finds_everything_when_it_runs_again(pair: Pair) -> None:
    pair.network.halt(pair.b)
    pair.send_near(b"one", b"two")
    pair.run_ms(40_000)
    assert (pair.near.closed, pair.far.frames, pair.far.closed) == (["silent"], [], [])
    pair.network.resume(pair.b)
    pair.run_ms(10)
    assert (pair.far.frames, pair.far.closed) == ([b"one", b"two"], ["reset"])


def test_a_short_halt_closes_nothing(pair: Pair) -> None:
    pair.network.halt(pair.b)
    pair.run_ms(2_500)
    pair.network.resume(pair.b)
    pair.run_ms(10_000)
    assert (pair.near.closed, pair.far.closed) == ([], [])


def test_sending_on_a_closed_end_is_counted_not_raised(pair: Pair) -> None:
    pair.network.close(pair.near.ends[0])
    assert not pair.network.send(pair.near.ends[0], b"nobody")
    assert pair.network.counters["frames_lost"] == 1


@pytest.mark.parametrize(
    ("fault", "how", "after_ms"),
    [("kill", "refused", 10), ("power_off", "silent", 1_010), ("halt", "silent", 2_010)],
)
def test_a_dial_that_fails_says_how(fault: str, how: How, after_ms: int) -> None:
    pair = Pair(dial=False)
    getattr(pair.network, fault)(pair.b)
    pair.dial()
    pair.run_ms(after_ms)
    assert (pair.near.failed, pair.near.ends) == ([how], [])


def test_a_dial_over_a_cut_path_is_silent_also_if_only_the_way_back_is_cut() -> None:
    pair = Pair(dial=False)
    pair.network.cut(pair.b, pair.a)
    pair.dial()
    pair.run_ms(1_010)
    assert pair.near.failed == ["silent"]


def test_a_dial_does_not_outlive_its_process() -> None:
    pair = Pair(dial=False)
    pair.dial()
    pair.network.kill(pair.a)
    pair.run_ms(5_000)
    assert (pair.near.ends, pair.near.failed, pair.far.ends) == ([], [], [])


def test_diallers_wait_longer_after_each_failure_but_never_more_than_the_maximum() -> None:
    network = SimNetwork(Scheduler(1))
    waits = [[network.reconnect_us(failures) for _ in range(50)] for failures in (0, 1, 20)]
    assert max(waits[0]) < 150_000 < max(waits[1]) < max(waits[2]) < 550_000
    assert min(min(each) for each in waits) >= 100_000


# -- paths that are not well


def arrivals_ms(pair: Pair, payloads: int, every_ms: int) -> list[int]:
    """Send one frame after the other; when each was heard."""
    heard: list[int] = []
    for number in range(payloads):
        pair.send_near(bytes([number]))
        for _ in range(every_ms):
            pair.run_ms(1)
            heard += [pair.scheduler.now_ms] * (len(pair.far.frames) - len(heard))
    return heard


def test_loss_makes_frames_late_and_never_missing_or_out_of_order(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(loss=0.1))
    sent_ms = pair.scheduler.now_ms
    heard_ms = arrivals_ms(pair, payloads=100, every_ms=20)
    pair.run_ms(10_000)
    assert pair.far.frames == [bytes([number]) for number in range(100)]
    late_ms = [at_ms - sent_ms - number * 20 for number, at_ms in enumerate(heard_ms)]
    assert max(late_ms) >= 200, "a lost segment waits for TCP's time-out"
    assert min(late_ms) <= 1, "others do not"
    assert pair.network.counters["retransmissions"] > 5


def test_a_path_that_loses_everything_silences_its_connection_though_nobody_speaks(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(loss=1.0))
    pair.run_ms(2_900)
    assert not pair.far.closed
    pair.run_ms(2_200)
    assert pair.far.closed == ["silent"]


def test_many_losses_in_a_row_end_an_idle_connection_sooner_or_later(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(loss=0.6))
    pair.run_ms(120_000)
    assert (pair.near.closed, pair.far.closed) == (["reset"], ["silent"])


def test_little_loss_ends_no_connection(pair: Pair) -> None:
    for source, target in ((pair.a, pair.b), (pair.b, pair.a)):
        pair.network.degrade(source, target, PathFault(loss=0.01))
    pair.run_ms(3_600_000)
    assert (pair.near.closed, pair.far.closed) == ([], [])


def test_a_slow_path_delays_one_direction_only(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(delay_us=500_000))
    pair.send_near(b"there")
    pair.network.send(pair.far.ends[0], b"back")
    pair.run_ms(499)
    assert (pair.near.frames, pair.far.frames) == ([b"back"], [])
    pair.run_ms(3)
    assert pair.far.frames == [b"there"]


def test_jitter_never_reorders_one_connection(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(jitter_us=300_000))
    assert arrivals_ms(pair, payloads=100, every_ms=3)
    pair.run_ms(1_000)
    assert pair.far.frames == [bytes([number]) for number in range(100)]


def test_a_delay_that_comes_suddenly_and_outlasts_heartbeats_silences_the_connection(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(delay_us=5_000_000))
    pair.run_ms(4_100)
    assert pair.far.closed == ["silent"]
    pair.dial()
    pair.run_ms(1_100)
    assert pair.near.failed == ["silent"], "nothing is answered within the time for a connection"


def test_all_connections_of_a_narrow_path_wait_for_each_other() -> None:
    pair = Pair()
    pair.dial()
    pair.run_ms(10)
    pair.network.degrade(pair.a, pair.b, PathFault(bytes_per_ms=10))
    for end in pair.near.ends:
        pair.network.send(end, bytes(10_000))
    pair.run_ms(1_010)
    assert len(pair.far.frames) == 1
    pair.run_ms(1_000)
    assert len(pair.far.frames) == 2


def test_lost_dials_leave_what_stands_and_the_other_direction_alone() -> None:
    pair = Pair()
    pair.network.refuse_dials(pair.a, pair.b)
    pair.dial()
    back = Party()
    pair.network.listen(pair.a, "a:1", back)
    pair.network.dial(pair.b, "a:1", back)
    pair.send_near(b"still here")
    pair.run_ms(1_010)
    assert (pair.near.failed, pair.near.closed, len(back.ends)) == (["silent"], [], 2)
    assert pair.far.frames == [b"still here"]
    pair.network.restore(pair.a, pair.b)
    pair.dial()
    pair.run_ms(10)
    assert len(pair.near.ends) == 2


def test_restoring_one_path_leaves_the_others_as_they_are(pair: Pair) -> None:
    pair.cut()
    pair.send_near(b"one way")
    pair.network.send(pair.far.ends[0], b"other way")
    pair.network.restore(pair.a, pair.b)
    pair.run_ms(500)
    assert (pair.far.frames, pair.near.frames) == ([b"one way"], [])


def test_a_fault_of_nothing_is_no_fault(pair: Pair) -> None:
    pair.network.degrade(pair.a, pair.b, PathFault(loss=0.5))
    assert pair.network.is_troubled
    pair.network.degrade(pair.a, pair.b, PathFault())
    assert not pair.network.is_troubled


def test_a_machine_that_has_power_again_knows_nothing_of_its_connections_and_says_so(pair: Pair) -> None:
    pair.network.power_off(pair.b)
    pair.run_ms(500)
    pair.network.power_on(pair.b)
    pair.run_ms(1_010)
    assert pair.near.closed == ["reset"]


def test_an_address_that_was_given_up_is_silent_not_refused() -> None:
    pair = Pair(dial=False)
    pair.network.withdraw(ADDRESS)
    pair.dial()
    pair.run_ms(1_010)
    assert pair.near.failed == ["silent"]
