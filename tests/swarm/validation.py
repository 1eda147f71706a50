"""Every ablation under one seed after the other until a check objects: does the swarm notice broken rules at all?

A seed counts only if it is clean with all rules in force. An exception that is no broken check is an ablation that does
not work, and ends everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.swarm.ablations import ABLATIONS
from tests.swarm.campaign import workers
from tests.swarm.plan import Plan
from tests.swarm.run import SeedOutcome, run_seed

_CHECKED = re.compile(r"A\d+|AssertionError")  # an invariant, or one that an actor checks of itself

OF_THE_ACTOR = "of the actor"


class Trial(NamedTuple):
    """One ablation, and what it may cost."""

    name: str
    sizes: tuple[int, ...]
    first: int
    seeds: int
    clients: int
    scale: int


class Finding(msgspec.Struct, frozen=True):
    name: str
    rule: str
    instead: str
    flagged: bool
    seeds: int  # tried, the one that flagged it included
    nodes: int = 0
    seed: int = 0
    invariant: str = ""
    violation: str = ""
    cpu_ms: int = 0


def run_trial(trial: Trial) -> Finding:
    """From the first seed on, at each size, until a check objects."""
    ablation, cpu_ms = ABLATIONS[trial.name], 0
    for tried, seed in enumerate(range(trial.first, trial.first + trial.seeds), 1):
        for nodes in trial.sizes:
            outcome = run_seed(seed, nodes, clients=trial.clients, scale=trial.scale, ablation=trial.name)
            cpu_ms += outcome.cpu_ms
            if is_flagged(outcome) and not run_seed(seed, nodes, clients=trial.clients, scale=trial.scale).violation:
                text = outcome.violation.split("\n")[0].removeprefix("ViolationFound: ")
                return Finding(
                    trial.name,
                    ablation.rule,
                    ablation.instead,
                    True,
                    tried,
                    nodes,
                    seed,
                    short_name(outcome),
                    text,
                    cpu_ms,
                )
    return Finding(trial.name, ablation.rule, ablation.instead, False, trial.seeds, cpu_ms=cpu_ms)


def is_flagged(outcome: SeedOutcome) -> bool:
    if not outcome.violation:
        return False
    if _CHECKED.match(outcome.invariant) is None:
        raise RuntimeError(f"{outcome.ablation} does not work: {outcome.violation}")
    return True


def noticed(plan: Plan, ablation: str, chances: int = 1) -> SeedOutcome | None:
    """The first run of the plan with this rule broken to which a check objects; None if none does.

    ``chances``: it is tried with so many sources of chance. A plan hits a narrow moment by chance, and with the product
    it changes how many numbers are drawn before.
    """
    for seed in range(plan.seed, plan.seed + chances):
        outcome = run_seed(seed, plan.nodes, plan=msgspec.structs.replace(plan, seed=seed), ablation=ablation)
        if is_flagged(outcome):
            return outcome
    return None


def short_name(outcome: SeedOutcome) -> str:
    """The invariant; of one that an actor checks of itself, so much as says that."""
    return outcome.invariant if outcome.invariant[1:].isdigit() else OF_THE_ACTOR


def run_trials(trials: Sequence[Trial], jobs: int, console: Console) -> list[Finding]:
    """In the order of the trials."""
    findings: dict[str, Finding] = {}
    with _progress(console) as progress, workers(jobs) as pool:
        bar = progress.add_task("ablations", total=len(trials))
        for future in as_completed([pool.submit(run_trial, trial) for trial in trials]):
            finding = future.result()
            findings[finding.name] = finding
            progress.advance(bar)
            if not finding.flagged:
                console.print(f"[red]{finding.name}: not noticed in {finding.seeds} seeds[/]", highlight=False)
    return [findings[trial.name] for trial in trials]


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    table = Table("ablation", "rule", "what is done instead", "seeds", "flagged by", title="Broken rules")
    for finding in findings:
        seeds = f"{finding.seeds} ({finding.nodes} nodes)" if finding.flagged else f"[red]{finding.seeds}[/]"
        table.add_row(finding.name, finding.rule, finding.instead, seeds, finding.invariant or "[red]nothing[/]")
    flagged = sum(finding.flagged for finding in findings)
    table.caption = f"{flagged} of {len(findings)} noticed; seeds: until a check objected"
    console.print(table)


def save_findings(path: Path, findings: Sequence[Finding]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(findings)), indent=2) + b"\n")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
