"""A round as a table, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.processes import quantile
from tests.chaos.stalls import StallMeter
from tests.chaos.verdict import EQUAL_MS_MAX, FRESH_MS, MARGIN_MS, RESIDENT_KIB_MAX, Verdict

_LINES_MAX = 20
_TEXT_MAX = 500  # a list of a service is long; the history has all of it


def print_report(console: Console, verdict: Verdict, stalls: StallMeter, title: str) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in _rows(verdict, stalls):
        table.add_row(name, value)
    console.print(table)
    for violation in list(verdict.violations.values())[:_LINES_MAX]:
        during = f" [during: {'; '.join(violation.faults)}]" if violation.faults else ""
        again = f" ({violation.times} times)" if violation.times > 1 else ""
        text = f"{violation.text[:_TEXT_MAX]}..." if len(violation.text) > _TEXT_MAX else violation.text
        console.print(f"{violation.at_ms / 1000:.1f} s: {text}{again}{during}", markup=False, soft_wrap=True)
    if len(verdict.violations) > _LINES_MAX:
        console.print(f"... and {len(verdict.violations) - _LINES_MAX} more")


def _rows(verdict: Verdict, stalls: StallMeter) -> list[tuple[str, str]]:
    convergences = verdict.convergences_ms()
    late = sum(ms > EQUAL_MS_MAX for ms in convergences)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(verdict.faults.items()))
    errors = ", ".join(f"{name} {count}" for name, count in sorted(verdict.errors.items()))
    checked = ", ".join(f"{name} {count}" for name, count in sorted(verdict.checks.counts.items()))
    memory = ", ".join(f"{node} {kib / 1024:.0f}" for node, kib in sorted(verdict.memory_kib.items()))
    orders = ", ".join(f"{kind} {count}" for kind, count in sorted(verdict.orders.items()))
    by_invariant: dict[str, int] = {}
    for violation in verdict.violations.values():
        by_invariant[violation.invariant] = by_invariant.get(violation.invariant, 0) + 1
    return [
        ("faults", f"{sum(verdict.faults.values())}: {kinds}"),
        ("answers seen", f"{verdict.views['table']} queries, {verdict.views['push']} pushes"),
        ("registrations", f"{verdict.orders['publish']} done"),
        ("all orders", orders),
        ("orders that failed", errors or "none"),
        (
            f"nodes equal after heal, {EQUAL_MS_MAX} ms + {MARGIN_MS} ms margin",
            f"{spread(convergences)}; {late} needed the margin or more; changes younger than {FRESH_MS} ms left out",
        ),
        ("listed after its end, by any node (cut off ones too)", spread(list(verdict.zombie_ms.values()))),
        ("listed after its client died with its node", spread(list(verdict.orphan_ms.values()))),
        ("A9: live instances removed", str(by_invariant.get("A9", 0))),
        ("removals while the client had no session that reached the node", str(verdict.checks.removals_excused)),
        (f"memory peak in MiB, at most {RESIDENT_KIB_MAX // 1024}", memory),
        (
            "late by this machine",
            f"at most {stalls.longest_ms} ms, {len(stalls.stalls)} of {stalls.looks} looks late by 100 ms or more",
        ),
        ("lists asked for after wait=cluster was confirmed", str(verdict.promises.looks)),
        ("looked at", checked),
        ("violations", ", ".join(f"{name} {count}" for name, count in sorted(by_invariant.items())) or "none"),
    ]


def spread(values: Sequence[int]) -> str:
    if not values:
        return "never"
    return f"p50 {quantile(values, 50)} ms, max {max(values)} ms, of {len(values)}"
