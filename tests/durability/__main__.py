"""The command behind scripts/durability.sh."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.durability.faults import Engine, drawn, faults_of
from tests.durability.rounds import Plan, Result, Round, run_rounds
from tests.support.etcd_installed import why_no_etcd

EXIT_LOST, EXIT_USAGE = 1, 2
ETCD_NODES = 3  # each with a member, so that every one can be the leader

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def durability(
    store: Annotated[Engine, typer.Option(help="single_home: the first node keeps it. etcd: beside each node.")],
    nodes: Annotated[int, typer.Option(min=2, max=9, help="With etcd 3.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Each kills, or stops, something.")] = 20,
    faults: Annotated[str, typer.Option(help="Only these kinds, separated by commas; empty: all of them.")] = "",
    seed: Annotated[int, typer.Option(help="Chooses the order of faults, and whom they hit.")] = 1,
) -> None:
    """Real nodes are killed under load; whatever was acknowledged must be listed at the end, by every node.

    Ends with 1 if anything was lost.
    """
    console = Console()
    kinds = _chosen(faults, [*faults_of(store, nodes)])
    if store == "etcd" and (why_no_etcd() or nodes != ETCD_NODES):
        console.print(why_no_etcd() or f"with etcd there are {ETCD_NODES} nodes")
        raise typer.Exit(EXIT_USAGE)
    with tempfile.TemporaryDirectory(prefix="rollbook-durability-") as folder:
        number = iter(range(1, rounds + 1))

        def say(told: Round) -> None:
            console.print(f"{next(number):>5} {told.fault:<22} writes again after {told.again_s:.2f} s")

        plan = Plan(store, nodes, drawn(kinds, rounds, random.Random(seed)), seed)
        result = run_rounds(Path(folder), plan, say)
    console.print(_by_fault(result.rounds), _totals(result), sep="\n")
    for text in result.lost:
        console.print(f"lost: {text}")
    raise typer.Exit(EXIT_LOST if result.lost else 0)


def _chosen(text: str, known: Sequence[str]) -> Sequence[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there is {', '.join(known)}", param_hint="--faults")
    return names or known


def _by_fault(rounds: Sequence[Round]) -> Table:
    table = Table("fault", "rounds", "s until writes go again: median", "worst")
    for fault in sorted({each.fault for each in rounds}):
        table.add_row(fault, *_seconds([each for each in rounds if each.fault == fault]))
    table.add_row("all", *_seconds(rounds))
    return table


def _seconds(rounds: Sequence[Round]) -> tuple[str, str, str]:
    seconds = sorted(each.again_s for each in rounds)
    return str(len(seconds)), f"{seconds[len(seconds) // 2]:.2f}", f"{seconds[-1]:.2f}"


def _totals(result: Result) -> Table:
    table = Table("acknowledged", "refused", "unknown", "lost")
    table.add_row(*(f"{count:,}" for count in (result.done, result.refused, result.unknown, len(result.lost))))
    return table


if __name__ == "__main__":
    app()
