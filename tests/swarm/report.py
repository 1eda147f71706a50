"""What a campaign has shown, as tables for people and as one object for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.support.running_total import ROOT, keep_total
from tests.swarm.campaign import Totals
from tests.swarm.faults import pairs_of
from tests.swarm.plan import FAULTS

RUNNING_TOTAL = ROOT / "docs" / "swarm.jsonl"


def show(console: Console, totals: Sequence[Totals]) -> None:
    console.print(_figures(totals))
    console.print(_looks(totals))
    console.print(_coverage(totals))


def save(path: Path, totals: Sequence[Totals]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode([_summary(total) for total in totals]), indent=2) + b"\n")


def record(totals: Sequence[Totals], first: int) -> None:
    """Add these seeds to the running total."""
    for total in totals:
        facts = {
            "nodes": total.nodes,
            "clients": total.clients,
            "scale": total.scale,
            "first_seed": first,
            "seeds": total.seeds,
            "failed": sorted(outcome.seed for outcome in total.failed),
            "virtual_seconds": total.virtual_ms // 1_000,
            "cpu_seconds": sum(total.cpu_ms) // 1_000,
            "equal_after_heal_ms_max": max(total.equal_ms, default=0),
        }
        keep_total(RUNNING_TOTAL, facts)


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that so many of all do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def _figures(totals: Sequence[Totals]) -> Table:
    """Times are of the run; ``unscaled`` is what they stand for with the shipped settings."""
    table = Table("", *(f"{total.nodes} nodes" for total in totals), title="Figures")
    rows: dict[str, list[str]] = {}
    for total in totals:
        for name, value in _summary(total)["figures"].items():
            rows.setdefault(name.replace("_", " "), []).append(str(value))
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _looks(totals: Sequence[Totals]) -> Table:
    table = Table("check", "looked at, times", title="Checks made")
    looks: dict[str, int] = {}
    for total in totals:
        for name, count in total.looks.items():
            looks[name] = looks.get(name, 0) + count
    for name, count in sorted(looks.items()):
        table.add_row(name.replace("_", " "), f"{count:,}")
    return table


def _coverage(totals: Sequence[Totals]) -> Table:
    table = Table("fault", "begun", "seen together with", "never with", title="Coverage")
    together = {pair for total in totals for pair in total.pairs}
    for kind in sorted(FAULTS):
        others = [other for other in sorted(FAULTS) if other != kind]
        missing = [other for other in others if " + ".join(sorted((kind, other))) not in together]
        begun = sum(total.kinds.get(kind, 0) for total in totals)
        table.add_row(kind, str(begun), f"{len(others) - len(missing)} of {len(others)}", ", ".join(missing[:4]))
    points = {name for total in totals for name in total.failpoints}
    table.caption = f"{len(together)} of {len(pairs_of(list(FAULTS)))} pairs of kinds; {len(points)} failpoints struck"
    return table


def _summary(total: Totals) -> dict[str, Any]:
    scale = total.scale
    figures = {
        "seeds": total.seeds,
        "seeds_failed": len(total.failed),
        "virtual_seconds": total.virtual_ms // 1_000,
        "cpu_ms_per_seed_median": percentile(total.cpu_ms, 0.5),
        "cpu_ms_per_seed_max": max(total.cpu_ms, default=0),
        "ready_after_heal_ms_max": max(total.ready_ms, default=0),
        "equal_after_heal_ms_p50": percentile(total.equal_ms, 0.5),
        "equal_after_heal_ms_p99": percentile(total.equal_ms, 0.99),
        "equal_after_heal_ms_max": max(total.equal_ms, default=0),
        "settled_after_heal_ms_max": max(total.settled_ms, default=0),
        "zombies_of_dead_owners": len(total.zombie_ms),
        "zombie_ms_median_unscaled": percentile(total.zombie_ms, 0.5) * scale,
        "zombie_ms_max_unscaled": max(total.zombie_ms, default=0) * scale,
        "zombie_ms_guarded_max_unscaled": max(total.guarded_ms, default=0) * scale,
        "live_removed_excused": total.removals_excused,
    }
    peaks = {f"peak_{name}": value for name, value in sorted(total.peaks.items())}
    return {
        "nodes": total.nodes,
        "clients": total.clients,
        "scale": scale,
        "ablation": total.ablation,
        "figures": {**figures, **peaks},
        "looks": total.looks,
        "kinds": total.kinds,
        "pairs": total.pairs,
        "failpoints": total.failpoints,
        "failed": [
            {"seed": outcome.seed, "invariant": outcome.invariant, "violation": outcome.violation.split("\n")[0]}
            for outcome in sorted(total.failed, key=lambda outcome: outcome.seed)
        ],
    }
