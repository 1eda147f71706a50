"""The parts of a chaos round that can be tried anywhere: rules, the slow line, plans, journals, labels, the command."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.processes import mark_of
from tests.chaos.firewall import Drop, both_ways, table_text
from tests.chaos.journal import NOW, Journal, merged, now_ms
from tests.chaos.nemesis import KINDS, Plan, Planner
from tests.chaos.relay import Line, LineQuality
from tests.chaos.stalls import Stall, longest_between
from tests.chaos.world import label_of, own_label
from tests.support.history import FaultEnded
from tests.support.real_cluster import ROOT

PACKETS = [bytes([number]) for number in range(200)]


def rules(*drops: Drop) -> list[str]:
    return [line.strip() for line in table_text(drops).splitlines() if "saddr" in line]


def test_a_rule_says_who_what_and_how_much() -> None:
    assert rules(Drop(("10.0.0.1",), ("10.0.0.2", "10.0.0.3"))) == [
        "ip saddr { 10.0.0.1 } ip daddr { 10.0.0.2, 10.0.0.3 } drop"
    ]
    assert rules(Drop(("a",), ("b",), 30)) == ["ip saddr { a } ip daddr { b } numgen random mod 100 < 30 drop"]
    assert rules(Drop(("a",), ("b",), only_syn=True)) == [
        "ip saddr { a } ip daddr { b } tcp flags & (syn | ack) == syn drop"
    ]


def test_a_table_takes_the_place_of_the_one_before() -> None:
    assert table_text([]).splitlines()[:2] == ["table inet chaos", "delete table inet chaos"]
    assert len(rules(*both_ways(["a"], ["b", "c"], 10))) == 2


@pytest.mark.parametrize(("sources", "percent"), [((), 100), (("a",), 0), (("a",), 101)])
def test_a_rule_that_drops_nothing_is_refused(sources: tuple[str, ...], percent: int) -> None:
    with pytest.raises(ValueError, match="drops nothing"):
        Drop(sources, ("b",), percent)


def carried(quality: LineQuality, seed: int = 1) -> list[bytes]:
    """All packets, a millisecond apart, and what arrives by the end, in order of arrival."""
    line = Line(quality, random.Random(seed))
    for number, packet in enumerate(PACKETS):
        line.offer(0, packet, number / 1000)
    return [packet for _, packet in line.due(10.0)]


def test_a_slow_line_keeps_every_packet_for_its_delay() -> None:
    line = Line(LineQuality(delay_ms=50), random.Random(1))
    line.offer(1, b"packet", 2.0)
    assert line.due(2.049) == []
    assert line.pause_s(2.04) == pytest.approx(0.01)
    assert line.due(2.051) == [(1, b"packet")]
    assert line.pause_s(2.051) is None


def test_jitter_lets_packets_overtake_each_other_and_loses_none() -> None:
    arrived = carried(LineQuality(delay_ms=5, jitter_ms=20))
    assert sorted(arrived) == PACKETS
    assert arrived != PACKETS


def test_loss_and_duplicates_are_as_frequent_as_asked() -> None:
    lost, doubled = carried(LineQuality(loss_percent=20)), carried(LineQuality(duplicate_percent=20))
    assert 130 < len(lost) < 190
    assert 210 < len(doubled) < 270
    assert set(doubled) == set(PACKETS)


def test_a_line_holds_no_more_than_its_queue() -> None:
    line = Line(LineQuality(delay_ms=1_000), random.Random(1))
    for _ in range(30_000):
        line.offer(0, b"packet", 0.0)
    assert len(line.due(5.0)) == 20_000


def plans(nodes: int, seed: int, kinds: tuple[str, ...] = tuple(KINDS)) -> list[Plan]:
    planner = Planner(nodes, kinds, random.Random(seed))
    return [planner.next() for _ in range(60)]


def test_a_seed_plans_the_same_again() -> None:
    assert plans(3, 7) == plans(3, 7)
    assert plans(3, 7) != plans(3, 8)


@pytest.mark.parametrize("seed", range(20))
def test_faults_under_way_never_touch_more_than_a_minority(seed: int) -> None:
    for plan in plans(3, seed):
        assert not plan.second or plan.victim == plan.second_victim
    five = plans(5, seed)
    assert any(plan.second and plan.victim != plan.second_victim for plan in five)
    for plan in five:
        assert not (plan.second and (KINDS[plan.first].is_alone or KINDS[plan.second].is_alone))
        same_node = plan.second and plan.victim == plan.second_victim
        assert not (same_node and KINDS[plan.first].stops_process and KINDS[plan.second].stops_process)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_before_any_comes_again(seed: int) -> None:
    seen = [kind for plan in plans(3, seed) for kind in (plan.first, plan.second) if kind]
    assert sorted(seen[: len(KINDS)]) == sorted(KINDS)


def test_a_single_kind_can_be_asked_for() -> None:
    assert {plan.first for plan in plans(3, 1, ("stop",))} == {"stop"}
    assert not any(plan.second for plan in plans(3, 1, ("stop",)))


def test_journals_become_one_history_in_order_of_time_without_torn_lines(tmp_path: Path) -> None:
    one, other = Journal(tmp_path / "b.jsonl"), Journal(tmp_path / "a.jsonl")
    before_ms = now_ms()
    for number, journal in enumerate((one, other, one, other, other, one)):
        journal.note(FaultEnded(NOW, number))
    one.close()
    other.close()
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b'{"type":"FaultEn')
    history = list(merged(tmp_path.glob("*.jsonl")))
    times = [event.at_ms for event in history]
    assert times == sorted(times)
    assert before_ms <= times[0] <= times[-1] <= now_ms()
    assert sorted(event.number for event in history if isinstance(event, FaultEnded)) == list(range(6))


def test_only_stalls_that_touch_the_time_count() -> None:
    stalls = [Stall(1_000, 300), Stall(5_000, 900), Stall(9_000, 2_000)]
    assert longest_between(stalls, 1_200, 4_000) == 0
    assert longest_between(stalls, 900, 4_000) == 300
    assert longest_between(stalls, 4_000, 8_000) == 2_000


def test_a_label_is_of_one_process_for_all_time() -> None:
    mark = mark_of(os.getpid())
    parent = mark_of(os.getppid())
    assert mark is not None
    assert own_label() == label_of(mark)
    assert parent is None or label_of(parent) != own_label()


def refused(*arguments: str, **environment: str) -> str:
    """The one line with which the command refuses."""
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


def test_the_command_refuses_what_it_cannot_do_in_one_line() -> None:
    assert refused("--nodes", "4") == "--nodes must be 3 or 5\n"
    line = refused("--faults", "loss,gremlins")
    assert line.startswith("unknown faults: gremlins; there are loss, ")
    assert line.count("\n") == 1


def test_a_machine_without_what_a_round_needs_gets_one_line() -> None:
    """Root or not: without any program on the path there is something to say."""
    line = refused("--nodes", "3", PATH="")
    assert line.startswith("chaos rounds need ")
    assert line.count("\n") == 1
