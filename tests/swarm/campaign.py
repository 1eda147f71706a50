"""Many seeds on many processes: a bar while they run, failures at once, and what came of all of them together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.swarm.run import SeedOutcome, run_seed

_PR_SET_PDEATHSIG = 1


class Job(NamedTuple):
    seed: int
    nodes: int
    clients: int
    scale: int
    ablation: str | None


class Totals(msgspec.Struct):
    """The sum of many outcomes of one size of cluster."""

    nodes: int
    clients: int
    scale: int
    ablation: str = ""
    seeds: int = 0
    failed: list[SeedOutcome] = []
    cpu_ms: list[int] = []
    virtual_ms: int = 0
    ready_ms: list[int] = []
    equal_ms: list[int] = []
    settled_ms: list[int] = []
    zombie_ms: list[int] = []
    guarded_ms: list[int] = []
    removals_excused: int = 0
    looks: dict[str, int] = {}
    peaks: dict[str, int] = {}
    kinds: dict[str, int] = {}
    pairs: dict[str, int] = {}  # "kind + kind" → seeds in which both were seen at the same time
    failpoints: dict[str, int] = {}

    def add(self, outcome: SeedOutcome) -> None:
        self.seeds += 1
        self.cpu_ms.append(outcome.cpu_ms)
        self.virtual_ms += outcome.virtual_ms
        self.removals_excused += outcome.removals_excused
        self.zombie_ms += outcome.zombie_ms
        self.guarded_ms += outcome.guarded_ms
        self.looks = added(self.looks, outcome.looks)
        self.kinds = added(self.kinds, outcome.kinds)
        self.pairs = added(self.pairs, {" + ".join(pair): 1 for pair in outcome.pairs})
        self.failpoints = added(self.failpoints, outcome.failpoints)
        self.peaks = {
            name: max(self.peaks.get(name, 0), outcome.peaks.get(name, 0)) for name in {**self.peaks, **outcome.peaks}
        }
        if outcome.violation:
            self.failed.append(outcome)
            return
        self.ready_ms.append(outcome.ready_ms)
        self.equal_ms.append(outcome.equal_ms)
        self.settled_ms.append(outcome.settled_ms)


class Campaign(NamedTuple):
    totals: list[Totals]
    is_interrupted: bool


def added(some: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    return dict(sorted((Counter(some) + Counter(others)).items()))


def run_campaign(
    sizes: Sequence[int],
    seeds: Iterator[int],
    *,
    clients: int,
    scale: int,
    ablation: str | None,
    jobs: int,
    minutes: float,
    seeds_count: int,
    failures_max: int,
    console: Console,
) -> Campaign:
    """Every seed at every size; none begins after so many minutes or failures, and none is awaited after Ctrl-C."""
    totals = {nodes: Totals(nodes, clients, scale, ablation or "") for nodes in sizes}
    ends_s = time.monotonic() + minutes * 60 if minutes else None
    todo = (Job(seed, nodes, clients, scale, ablation) for seed in seeds for nodes in sizes)
    is_interrupted = False
    with _deaf_to_interrupts(), _progress(console) as progress, workers(jobs) as pool:
        bar = progress.add_task("seeds", total=seeds_count * len(sizes) if seeds_count else None)
        running: set[Future[SeedOutcome]] = set()
        while True:
            failed = sum(len(total.failed) for total in totals.values())
            is_over = failed >= failures_max or (ends_s is not None and time.monotonic() > ends_s)
            while len(running) < jobs * 2 and not is_over and (job := next(todo, None)) is not None:
                running.add(pool.submit(_work, job))
            if not running:
                break
            try:
                done, running = _first_ended(running)
            except KeyboardInterrupt:
                is_interrupted = True
                for worker in active_children():  # it would play its seed to the end
                    worker.kill()
                break
            for future in done:
                outcome = future.result()
                totals[outcome.nodes].add(outcome)
                progress.advance(bar)
                if outcome.violation:
                    say_failure(console, outcome)
    return Campaign(list(totals.values()), is_interrupted)


def workers(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=die_with_parent)


def say_failure(console: Console, outcome: SeedOutcome) -> None:
    options = f"--nodes {outcome.nodes}"
    options += f" --clients {outcome.clients}" if outcome.clients != 60 else ""
    options += f" --scale {outcome.scale}" if outcome.scale != 5 else ""
    options += f" --ablation {outcome.ablation}" if outcome.ablation else ""
    client = f" --client {outcome.subject}" if outcome.subject else ""
    console.print(f"[red]{outcome.nodes} nodes, seed {outcome.seed}, at {outcome.at_ms} ms[/]")
    console.print("  " + outcome.violation.split("\n")[0], markup=False, highlight=False, soft_wrap=True)
    console.print(f"  again:  scripts/swarm.sh --replay {outcome.seed} {options}", highlight=False, soft_wrap=True)
    story = f"scripts/story.sh --seed {outcome.seed} {options}{client} --shrink"
    console.print(f"  story:  {story}", highlight=False, soft_wrap=True)


def default_jobs() -> int:
    return os.cpu_count() or 1


def die_with_parent() -> None:
    """A worker whose campaign was killed would go on with what is queued. Where the system cannot help, it does."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is heard only while the campaign waits, so no outcome is counted by half; its workers never hear it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _first_ended(running: set[Future[SeedOutcome]]) -> tuple[set[Future[SeedOutcome]], set[Future[SeedOutcome]]]:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        done, still_running = wait(running, return_when=FIRST_COMPLETED)
        return done, still_running
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _work(job: Job) -> SeedOutcome:
    return run_seed(job.seed, job.nodes, clients=job.clients, scale=job.scale, ablation=job.ablation)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
