"""The swarm, a few seeds of it: random faults under random work; scripts/swarm.sh runs as many as one likes.

Other seeds: ROLLBOOK_SEEDS=1-20. And the swarm itself: its plans are data, its runs can be played again, its checks see
broken rules, and what it finds can be made small and told.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.swarm.campaign import run_campaign
from tests.swarm.plan import FAULTS, Deed, Plan, make_plan
from tests.swarm.run import run_seed
from tests.swarm.shrink import shrink, without
from tests.swarm.story import app, described, tell
from tests.swarm.telling import Subject

ROOT = Path(__file__).resolve().parents[2]
SIZES = (3, 5, 7)
ABLATION = "own-digests-only"
ABLATED_SEED, FEW = 8, 12  # a seed and so few clients with which breaking that rule shows soon


@pytest.mark.timeout(180)  # seconds of CPU at most, but the machine may be busy
@pytest.mark.parametrize("nodes", SIZES)
def test_whatever_happens_no_rule_is_broken_and_in_the_end_everybody_knows_the_truth(seed: int, nodes: int) -> None:
    outcome = run_seed(seed, nodes)
    if outcome.violation:
        pytest.fail(outcome.violation, pytrace=False)


def test_a_seed_looks_at_every_rule_and_begins_many_kinds_of_faults() -> None:
    outcome = run_seed(1, 5, clients=30)
    assert all(outcome.looks[rule] for rule in ("A2", "A3", "A7", "A8", "A10", "records", "deltas", "views"))
    assert len(outcome.kinds) >= 8, outcome.kinds


def test_seeds_of_a_hundred_begin_every_kind_of_fault() -> None:
    plans = [make_plan(seed, 5, 60, 5) for seed in range(1, 101)]
    assert {deed.kind for plan in plans for deed in plan.deeds} >= set(FAULTS)
    assert len(FAULTS) >= 16


def test_a_plan_is_data_and_is_made_of_its_seed_alone() -> None:
    plan = make_plan(7, 5, 60, 5)
    again = msgspec.json.decode(msgspec.json.encode(make_plan(7, 5, 60, 5)), type=Plan)
    assert again == plan
    assert make_plan(8, 5, 60, 5) != plan


def trace_in_a_process(hash_seed: str) -> str:
    program = "from tests.swarm.run import run_seed; print(run_seed(3, 3, clients=20).trace_hash)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return run.stdout.strip()


def test_a_run_is_the_same_in_another_process_with_other_hashes() -> None:
    assert trace_in_a_process("1") == trace_in_a_process("4711")


@pytest.mark.timeout(180)
def test_a_broken_rule_is_seen_made_small_and_told() -> None:
    plan = make_plan(ABLATED_SEED, 5, FEW, 5)
    outcome = run_seed(ABLATED_SEED, 5, ablation=ABLATION, plan=plan)
    assert outcome.invariant == "A10", outcome.violation
    said: list[str] = []
    small = shrink(plan, outcome.invariant, ablation=ABLATION, runs_max=10, tell=said.append)
    assert len(small.deeds) < len(plan.deeds) // 4, said
    again, lines = tell(small, Subject(), ABLATION)
    assert again.invariant == outcome.invariant
    assert any(line.place == again.subject for line in lines), "the story is about the client of the violation"
    assert any("LIST" in line.text for line in lines)


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Whoever runs the tests in the background has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_campaign_has_the_seeds_that_had_ended(heard_interrupts: None) -> None:
    def seeds() -> Iterator[int]:
        yield from (1, 2, 3)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # threads of the test runner would hear it at once
        yield from range(4, 60)

    campaign = run_campaign(
        (3,),
        seeds(),
        clients=1,
        scale=5,
        ablation=None,
        jobs=1,
        minutes=0,
        seeds_count=60,
        failures_max=10,
        console=Console(file=io.StringIO()),
    )
    assert campaign.is_interrupted
    (total,) = campaign.totals
    assert 2 <= total.seeds <= 4
    assert len(total.cpu_ms) == total.seeds


@pytest.mark.parametrize("subject", [("--client", "c999"), ("--service", "s999"), ("--instance", "10.0.0.1:1")])
def test_a_story_about_nobody_is_refused_in_one_line(subject: tuple[str, str]) -> None:
    told = CliRunner().invoke(app, ["--seed", "7", "--nodes", "3", *subject])
    what, name = subject
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr == f"no {what.removeprefix('--')} {name} in seed 7 of 3 nodes\n"


def test_who_drops_the_coming_of_a_client_drops_what_it_would_do() -> None:
    come, publish, other = Deed(1, "come", client=1), Deed(2, "publish", client=1), Deed(3, "come", client=2)
    assert without([come, publish, other], [come]) == [other]
    assert without([come, publish, other], [publish]) == [come, other]


def test_a_deed_is_described_by_the_fields_that_say_something() -> None:
    assert described(Deed(5, "cut", 300, nodes=(1, 2))) == "cut: lasts ms 300, nodes (1, 2)"
