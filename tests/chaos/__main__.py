"""``scripts/chaos.sh``: real nodes and real clients in network namespaces of their own, under real faults.

Exit code 0: every promise was kept; 1: one was broken, and the history is kept; 2: this machine or the command line
does not allow a round. Leaves no namespace, process, rule, mount or file behind, but for what it says it keeps.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from tests.chaos.chaos_round import ChaosRound, RoundSettings
from tests.chaos.clock_shim import ClockShim
from tests.chaos.machine import missing
from tests.chaos.nemesis import KINDS
from tests.chaos.report import print_report
from tests.chaos.world import INTERRUPTIONS, World, sweep

EXIT_BROKEN, EXIT_IMPOSSIBLE = 1, 2
_CLIENT_PLACES = 2

console = Console(highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def chaos(
    nodes: Annotated[int, typer.Option(help="How many nodes: 3 or 5.")] = 3,
    minutes: Annotated[float, typer.Option(min=0.2, help="For how long faults happen.")] = 3.0,
    seed: Annotated[int | None, typer.Option(help="Of the faults and orders; drawn and shown if not given.")] = None,
    faults: Annotated[str, typer.Option(metavar="KIND[,KIND]", help=f"Of: {', '.join(KINDS)}.")] = ",".join(KINDS),
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the history and the logs there.")] = None,
) -> None:
    """Nodes and more than 200 client sessions under faults, then a verdict on everything that was seen. Needs root."""
    if nodes not in (3, 5):
        refuse("--nodes must be 3 or 5")
    kinds = _kinds(faults)
    lack = missing()
    if lack:
        refuse(lack)
    if keep is not None:
        _make(keep)
    for label in sweep():
        console.print(f"removed what {label} left behind")
    if "clock" in kinds and not ClockShim.is_possible():
        console.print("no C compiler (cc), so no fault of the wall clock")
        kinds = tuple(kind for kind in kinds if kind != "clock")
    settings = RoundSettings(nodes, minutes, random.SystemRandom().randrange(1 << 31) if seed is None else seed, kinds)
    raise typer.Exit(run_round(settings, keep))


def run_round(settings: RoundSettings, keep: Path | None) -> int:
    """One round; what it comes to as an exit code."""
    for number in INTERRUPTIONS:
        signal.signal(number, _interrupted)
    again = f"scripts/chaos.sh --nodes {settings.nodes} --minutes {settings.minutes:g} --seed {settings.seed}"
    try:
        console.print(f"seed {settings.seed}")
        with World(settings.nodes, _CLIENT_PLACES) as world, ChaosRound(settings, world, _tell) as chaos_round:
            return _judged(chaos_round, keep, again)
    except KeyboardInterrupt:
        console.print("interrupted; everything is removed")
        return 128 + signal.SIGINT


def _judged(chaos_round: ChaosRound, keep: Path | None, again: str) -> int:
    try:
        verdict = chaos_round.run()
    except Exception:  # a round that failed on the way is worth studying too
        _keep(chaos_round, keep)
        raise
    print_report(console, verdict, chaos_round.stalls, again)
    if keep is not None or verdict.violations:
        _keep(chaos_round, keep)
    return EXIT_BROKEN if verdict.violations else 0


def _keep(chaos_round: ChaosRound, keep: Path | None) -> None:
    folder = keep or Path(tempfile.mkdtemp(prefix="rollbook-history-"))
    chaos_round.keep(folder)
    console.print(f"history and logs: {folder}", soft_wrap=True)


def refuse(sentence: str) -> None:
    print(sentence, file=sys.stderr)
    raise typer.Exit(EXIT_IMPOSSIBLE)


def _kinds(faults: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(kind.strip() for kind in faults.split(",")))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        refuse(f"unknown faults: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    return kinds


def _make(folder: Path) -> None:
    """Before the round: what cannot be kept should not cost one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(f"{folder} cannot be used to keep anything: {error.strerror}")


def _tell(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Once; what follows is the removal, which nobody may interrupt."""
    for again in INTERRUPTIONS:
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    app(prog_name="scripts/chaos.sh")
