"""The command behind scripts/story.sh: one run, told about one client, and made as small as it can be."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from tests.support.sim_cluster import instance
from tests.swarm.ablations import ABLATIONS
from tests.swarm.plan import Deed, Plan
from tests.swarm.rare import whole_plan
from tests.swarm.run import SeedOutcome, run_seed
from tests.swarm.shrink import shrink
from tests.swarm.telling import Line, Subject, Teller
from tests.swarm.world import World

EXIT_WRONG_USAGE = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def story(
    seed: Annotated[int, typer.Option(help="Which run.")],
    nodes: Annotated[int, typer.Option(min=2, help="Of how many nodes.")] = 5,
    client: Annotated[str, typer.Option(help="About this client (c12); else whom the violation is about.")] = "",
    service: Annotated[str, typer.Option(help="About this service (s3).")] = "",
    instance: Annotated[str, typer.Option(help="About this instance (10.1.0.5:80).")] = "",
    clients: Annotated[int, typer.Option(min=1, help="As the swarm was told.")] = 60,
    scale: Annotated[int, typer.Option(min=1, help="As the swarm was told.")] = 5,
    ablation: Annotated[str, typer.Option(help="As the swarm was told.")] = "",
    smaller: Annotated[bool, typer.Option("--shrink", help="Drop what the violation does not need first.")] = False,
    last: Annotated[int, typer.Option(help="Only the last so many milliseconds; 0: all.")] = 0,
) -> None:
    """What happened to one client, on all nodes, in order of time."""
    if ablation and ablation not in ABLATIONS:
        raise typer.BadParameter(f"no such ablation; there are {', '.join(ABLATIONS)}")
    console = Console()
    plan, subject = whole_plan(seed, nodes, clients, scale), Subject(client, service, instance)
    if absent := _absent(plan, subject):
        print(f"no {absent} in seed {seed} of {nodes} nodes", file=sys.stderr)
        raise typer.Exit(EXIT_WRONG_USAGE)
    outcome = run_seed(seed, nodes, ablation=ablation or None, plan=plan)
    if smaller and outcome.violation:
        plan = shrink(
            plan, outcome.invariant, ablation=ablation or None, tell=lambda text: console.print(text, style="dim")
        )
        _print_plan(console, plan)
    outcome, lines = tell(plan, subject, ablation or None)
    for line in lines:
        if not last or line.at_ms >= outcome.at_ms - last:
            _print(console, f"{line.at_ms:11.3f}  {line.place:<5} {line.text}")
    _print(console, outcome.violation.split("\n")[0] or "no violation")
    if outcome.violation:
        raise typer.Exit(1)


def tell(plan: Plan, subject: Subject, ablation: str | None) -> tuple[SeedOutcome, list[Line]]:
    """Play the plan with somebody listening. Without a subject: about whom the violation is, which a first run says."""
    if not any(subject):
        subject = Subject(run_seed(plan.seed, plan.nodes, ablation=ablation, plan=plan).subject)
    tellers: list[Teller] = []

    def observe(world: World) -> None:
        tellers.append(Teller(world, subject))

    outcome = run_seed(plan.seed, plan.nodes, ablation=ablation, plan=plan, observe=observe)
    return outcome, tellers[0].lines()


def _absent(plan: Plan, subject: Subject) -> str:
    """What the story should be about and nobody in this plan is; else empty."""
    clients = {f"c{deed.client}" for deed in plan.deeds if deed.kind == "come"}
    services = {f"s{deed.service}" for deed in plan.deeds if deed.service >= 0}
    published = [instance(deed.key) for deed in plan.deeds if deed.kind == "publish"]
    instances = {f"{one.ip}:{one.port}" for one in published}
    for what, name, known in zip(subject._fields, subject, (clients, services, instances), strict=True):
        if name and name not in known:
            return f"{what} {name}"
    return ""


def _print_plan(console: Console, plan: Plan) -> None:
    _print(console, f"The smallest plan found, {len(plan.deeds)} deeds:")
    for deed in plan.deeds:
        _print(console, f"{deed.at_ms:8d} ms  {described(deed)}")
    _print(console, "")


def described(deed: Deed) -> str:
    """The fields that say something, with their names."""
    fields = {name: value for name, value in msgspec.structs.asdict(deed).items() if value not in (-1, 0, "", ())}
    rest = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in fields.items() if name not in ("at_ms", "kind")
    )
    return f"{deed.kind}: {rest}"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app(prog_name="scripts/story.sh")
