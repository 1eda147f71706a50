"""Keep a plan for the museum: what under one broken rule makes a check object, shrunk, and clean with all rules.

python -m tests.swarm.keep no-settling no-ages    # or all that have no plan yet
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tests.swarm.ablations import ABLATIONS
from tests.swarm.museum import ROOM, written
from tests.swarm.plan import Plan
from tests.swarm.rare import whole_plan
from tests.swarm.run import run_seed
from tests.swarm.shrink import shrink
from tests.swarm.validation import OF_THE_ACTOR, is_flagged, short_name

CLIENTS, SCALE = 60, 5
END_MS = 200  # after the violation

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def keep(
    names: Annotated[list[str] | None, typer.Argument(help="Ablations; else those without a plan.")] = None,
    nodes: Annotated[int, typer.Option(help="Size of the cluster.")] = 3,
    first: Annotated[int, typer.Option(help="The first seed to try.")] = 1,
    seeds: Annotated[int, typer.Option(help="So many seeds.")] = 100,
    runs: Annotated[int, typer.Option(help="So many runs to make a plan small.")] = 60,
) -> None:
    """Ends with 1 if no seed gave a plan for one of them."""
    missing = [name for name in ABLATIONS if not (ROOM / f"{name}.json").exists()]
    kept = [_keep(name, nodes, range(first, first + seeds), runs) for name in names or missing]
    if not all(kept):
        raise typer.Exit(1)


def _keep(name: str, nodes: int, seeds: range, runs: int) -> bool:
    for tried, seed in enumerate(seeds, 1):
        outcome = run_seed(seed, nodes, clients=CLIENTS, scale=SCALE, ablation=name)
        if not is_flagged(outcome) or short_name(outcome) == OF_THE_ACTOR:
            continue
        if run_seed(seed, nodes, clients=CLIENTS, scale=SCALE).violation:
            continue
        plan = ended(whole_plan(seed, nodes, CLIENTS, SCALE), outcome.at_ms)
        small = shrink(plan, outcome.invariant, ablation=name, runs_max=runs, tell=lambda _: None)
        if shows(small, name):
            (ROOM / f"{name}.json").write_bytes(written(small))
            typer.echo(
                f"{name}: {short_name(outcome)}, {nodes} nodes, {tried} seeds tried, {len(small.deeds)} deeds kept"
            )
            return True
    typer.echo(f"{name}: nothing in {len(seeds)} seeds")
    return False


def ended(plan: Plan, at_ms: int) -> Plan:
    """As far as it matters for what happened at that time."""
    deeds = tuple(deed for deed in plan.deeds if deed.at_ms <= at_ms)
    return msgspec.structs.replace(plan, deeds=deeds, duration_ms=min(plan.duration_ms, at_ms + END_MS))


def shows(plan: Plan, name: str) -> bool:
    """Clean as the rules are, and not with this one broken."""
    clean, broken = (run_seed(plan.seed, plan.nodes, plan=plan, ablation=ablation) for ablation in (None, name))
    return not clean.violation and is_flagged(broken)


if __name__ == "__main__":
    app()
