"""The command behind scripts/swarm.sh."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.swarm.ablations import ABLATIONS
from tests.swarm.campaign import default_jobs, run_campaign, say_failure
from tests.swarm.report import record, save, show
from tests.swarm.run import run_seed
from tests.swarm.validation import Trial, run_trials, save_findings, show_findings

ABLATION_SEEDS = 100
EXIT_INTERRUPTED = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def swarm(
    nodes: Annotated[str, typer.Option(help="Sizes of clusters, separated by commas; else 3,5,7.")] = "",
    seeds: Annotated[int, typer.Option(min=0, help="So many seeds per size; 0: until the minutes are over.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="No seed begins later; 0: no such limit.")] = 0.0,
    first: Annotated[int, typer.Option(min=1, help="The first seed.")] = 1,
    clients: Annotated[int, typer.Option(min=1, help="Applications at a time.")] = 60,
    scale: Annotated[int, typer.Option(min=1, help="Divides every patience: 5 puts 20 leases into a minute.")] = 5,
    ablation: Annotated[str, typer.Option(help=f"Break a rule: {', '.join(ABLATIONS)}.")] = "",
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Break every rule, one at a time, on 3,5 nodes.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    failures: Annotated[int, typer.Option(min=1, help="End after so many failed seeds.")] = 10,
    replay: Annotated[int, typer.Option(min=0, help="Run this one seed again, here, and say its trace hash.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the results here, for machines.")] = None,
    keep: Annotated[bool, typer.Option("--record", help="Add them to the total in docs/swarm.jsonl.")] = False,
) -> None:
    """Random faults under random work, by seed; what breaks is told with the command that plays it again.

    Ends with 1 if any seed failed, with 130 if it was interrupted. Without --seeds and --minutes: 20 seeds per size.
    With --ablations: up to 100 seeds each, and 1 if one was not noticed.
    """
    console = Console()
    if ablation and ablation not in ABLATIONS:
        raise typer.BadParameter(f"no such ablation; there are {', '.join(ABLATIONS)}")
    if json is not None and not json.parent.is_dir():  # said now, not after hours
        raise typer.BadParameter(f"there is no folder {json.parent}")
    sizes = _sizes(nodes or ("3,5" if ablations else "3,5,7"))
    if ablations:
        trials = [Trial(name, tuple(sizes), first, seeds or ABLATION_SEEDS, clients, scale) for name in ABLATIONS]
        _break_rules(console, trials, jobs or default_jobs(), json)
        return
    if replay:
        _replay(console, replay, sizes, clients, scale, ablation)
        return
    seeds = seeds or (0 if minutes else 20)
    totals, is_interrupted = run_campaign(
        sizes,
        iter(range(first, first + seeds)) if seeds else count(first),
        clients=clients,
        scale=scale,
        ablation=ablation or None,
        jobs=jobs or default_jobs(),
        minutes=minutes,
        seeds_count=seeds,
        failures_max=failures,
        console=console,
    )
    if is_interrupted:
        console.print("interrupted; these are the seeds that had ended")
    show(console, totals)
    if json is not None:
        save(json, totals)
    if keep:
        record(totals, first)
    if any(total.failed for total in totals):
        raise typer.Exit(1)
    if is_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _break_rules(console: Console, trials: list[Trial], jobs: int, json: Path | None) -> None:
    findings = run_trials(trials, jobs, console)
    show_findings(console, findings)
    if json is not None:
        save_findings(json, findings)
    if not all(finding.flagged for finding in findings):
        raise typer.Exit(1)


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) >= 2 for part in parts):
        raise typer.BadParameter("sizes are numbers of 2 and more, like 3,5,7")
    return [int(part) for part in parts]


def _replay(console: Console, seed: int, sizes: list[int], clients: int, scale: int, ablation: str) -> None:
    failed = False
    for nodes in sizes:
        outcome = run_seed(seed, nodes, clients=clients, scale=scale, ablation=ablation or None)
        console.print(
            f"{nodes} nodes, seed {seed}: trace {outcome.trace_hash}, {outcome.cpu_ms} ms of CPU", highlight=False
        )
        if outcome.violation:
            failed = True
            say_failure(console, outcome)
            console.print(outcome.violation, markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="scripts/swarm.sh")
