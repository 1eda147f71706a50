"""The smallest part of a plan that still breaks the same invariant: halves first, then ever smaller pieces."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.swarm.plan import Deed, Plan
from tests.swarm.run import run_seed

RUNS_MAX = 150  # a plan is small enough after so many, and a run costs a second
LATER_MS = 1_000


def shrink(
    plan: Plan, invariant: str, *, ablation: str | None = None, runs_max: int = RUNS_MAX, tell: Callable[[str], None]
) -> Plan:
    """Drop deeds as long as the violation of this name remains; what a dropped client would have done goes with it."""
    ends_ms = run_seed(plan.seed, plan.nodes, ablation=ablation, plan=plan).at_ms
    # What comes after the violation is not its cause; without a cause it might come a little later.
    plan = msgspec.structs.replace(plan, duration_ms=min(plan.duration_ms, ends_ms + LATER_MS))
    deeds = [deed for deed in plan.deeds if deed.at_ms <= ends_ms]
    runs = 1

    def fails(some: list[Deed]) -> bool:
        nonlocal runs
        runs += 1
        part = msgspec.structs.replace(plan, deeds=tuple(some))
        return run_seed(plan.seed, plan.nodes, ablation=ablation, plan=part).invariant == invariant

    pieces = 2
    while len(deeds) >= 2 and runs < runs_max:
        size = -(-len(deeds) // pieces)
        for start in range(0, len(deeds), size):
            rest = without(deeds, deeds[start : start + size])
            if rest and fails(rest):
                deeds, pieces = rest, max(pieces - 1, 2)
                tell(f"{len(deeds)} deeds left after {runs} runs")
                break
            if runs >= runs_max:
                break
        else:
            if size == 1:
                break
            pieces = min(len(deeds), pieces * 2)
    return msgspec.structs.replace(plan, deeds=tuple(deeds))


def without(deeds: list[Deed], dropped: list[Deed]) -> list[Deed]:
    """Less these, and less everything that clients would do who never come."""
    absent = {deed.client for deed in dropped if deed.kind == "come"}
    gone = {id(deed) for deed in dropped}
    return [deed for deed in deeds if id(deed) not in gone and not (deed.client >= 0 and deed.client in absent)]
