"""The command behind scripts/durability.sh."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.durability.rounds import Result, Round, run_rounds

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def durability(
    nodes: Annotated[int, typer.Option(min=2, max=9, help="The first keeps the store, the others follow it.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Each kills some or all nodes, or stops the first.")] = 20,
    seed: Annotated[int, typer.Option(help="Chooses the faults.")] = 1,
) -> None:
    """Real nodes are killed under load; whatever was acknowledged must be listed at the end, by every node.

    Ends with 1 if anything was lost.
    """
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rollbook-durability-") as folder:
        number = iter(range(1, rounds + 1))

        def say(told: Round) -> None:
            console.print(f"{next(number):>5} {told.fault:<14} writes again after {told.again_s:.1f} s")

        result = run_rounds(Path(folder), nodes, rounds, seed, say)
    console.print(_table(result))
    for text in result.lost:
        console.print(f"lost: {text}")
    raise typer.Exit(1 if result.lost else 0)


def _table(result: Result) -> Table:
    table = Table("rounds", "acknowledged", "refused", "unknown", "lost", "s until writes go again: median", "worst")
    seconds = sorted(each.again_s for each in result.rounds)
    counts = (len(result.rounds), result.done, result.refused, result.unknown, len(result.lost))
    table.add_row(*(f"{count:,}" for count in counts), f"{seconds[len(seconds) // 2]:.1f}", f"{seconds[-1]:.1f}")
    return table


if __name__ == "__main__":
    app()
