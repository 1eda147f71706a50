"""Real nodes in network namespaces under real faults: one bounded round, and that nothing is left of any.

Each round is the command that people run, in a process of its own, because it enters its namespaces.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.machine import missing
from tests.chaos.world import PREFIX, World, own_label, sweep
from tests.support.real_cluster import ROOT, until

LACK = missing()
if LACK:
    pytest.skip(LACK, allow_module_level=True)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

KINDS = "loss,partition,crash,stop,isolation,clients_killed,delay,clock,plug,syn_only,disk_full,one_way"
BUILD_A_WORLD = """
import sys
from tests.chaos.world import World
with World(3, 1) as world:
    world.disk("n1")
    print(world.label, flush=True)
    sys.stdin.read()
"""


def chaos(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.fixture
def world_process() -> Iterator[subprocess.Popen[str]]:
    """A process that has made a world and stays; its first line is the label."""
    command = [sys.executable, "-c", BUILD_A_WORLD]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()
    sweep()


def traces(label: str) -> list[str]:
    """Everything on this machine that carries the label."""
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.split()
    places = [*names, *os.listdir(tempfile.gettempdir()), *Path("/proc/mounts").read_text().split()]
    return [place for place in places if label in place]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_bounded_round_of_mixed_faults_keeps_every_promise(tmp_path: Path) -> None:
    round_ = chaos("--minutes", "1.7", "--seed", "20", "--faults", KINDS, "--keep", str(tmp_path / "kept"))
    text, _ = round_.communicate()
    assert round_.returncode == 0, text
    kinds = {line.split()[1] for line in text.splitlines() if re.match(r" +\d+ ", line)}
    assert len(kinds) >= 5, text
    assert (tmp_path / "kept" / "history.jsonl").stat().st_size > 100_000
    assert traces(f"{PREFIX}-{round_.pid}-") == []


@pytest.mark.parametrize(
    ("number", "after"), [(signal.SIGINT, "seed"), (signal.SIGTERM, "nodes are ready"), (signal.SIGINT, "plug")]
)
def test_an_interrupted_round_leaves_nothing_behind(number: signal.Signals, after: str) -> None:
    round_ = chaos("--minutes", "1", "--seed", "2", "--faults", "plug,delay")  # a seed that pulls the plug first
    label = f"{PREFIX}-{round_.pid}-"
    until(lambda: after in first_line(round_), 90, f"the round says {after!r}")
    if after != "seed":
        assert len(traces(label)) > 8
    round_.send_signal(number)
    text, _ = round_.communicate(timeout=60)
    assert (round_.returncode, "everything is removed" in text) == (130, True), text
    assert "history" not in text
    assert traces(label) == []


def test_a_killed_round_is_swept_by_the_next_and_a_living_one_is_not(world_process: subprocess.Popen[str]) -> None:
    label = first_line(world_process)
    assert label not in sweep()
    assert len(traces(label)) > 5
    world_process.kill()
    world_process.wait()
    with ThreadPoolExecutor(2) as rounds:  # that begin at the same time
        swept = [each.result() for each in [rounds.submit(sweep) for _ in range(2)]]
    assert sorted(label in left for left in swept) == [False, True]
    assert traces(label) == []


def test_a_slow_line_that_is_ready_carries_what_comes_from_either_end(world_process: subprocess.Popen[str]) -> None:
    label = first_line(world_process)
    ends = (f"{label}.n1", f"{label}.switch")
    command = [sys.executable, "-m", "tests.chaos.relay", *ends, "slow1", *("0" * 5)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert first_line(relay) == "ready"
        # The system itself sends into an end that is up; into one that is down nothing can be written.
        shown = [subprocess.check_output(["ip", "-n", end, "link", "show", "slow1"], text=True) for end in ends]
        assert all(",UP," in link for link in shown), shown
        relay.communicate(timeout=20)
    assert relay.returncode == 0


def test_a_world_that_cannot_be_finished_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(world: World, drops: object) -> None:
        raise RuntimeError("no rules today")

    monkeypatch.setattr(World, "drop", refused)
    with pytest.raises(RuntimeError, match="no rules today"), World(3, 1):
        pytest.fail("the world must not begin")
    assert traces(own_label()) == []
