"""The museum of bugs that were found (exhibits.py): how each is shown not to come back.

An exhibit is a named scenario, or a switch that puts the bug back (tests/swarm/broken_*.py). Of every switch the museum
keeps a plan that is clean without it and not with it, shrunk until hardly anything could be left out. A plan is kept
rather than a seed, because it does not change with the way in which plans are drawn.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.swarm.plan import Deed, Plan
from tests.swarm.run import run_seed
from tests.swarm.validation import noticed

CHANCES = 5
ROOM = Path(__file__).resolve().parent / "museum"


def plan_of(ablation: str) -> Plan:
    return msgspec.json.decode((ROOM / f"{ablation}.json").read_bytes(), type=Plan)


def check_plan(ablation: str) -> None:
    """Its plan shows the broken rule, and is clean with all rules."""
    plan = plan_of(ablation)
    outcome = noticed(plan, ablation, CHANCES)
    assert outcome is not None, f"no check has noticed; a new plan: python -m tests.swarm.keep {ablation}"
    clean = run_seed(outcome.seed, plan.nodes, plan=msgspec.structs.replace(plan, seed=outcome.seed))
    assert not clean.violation, clean.violation


def written(plan: Plan) -> bytes:
    """One line for each deed, with what says something: so that two plans can be compared."""
    fields = {name: value for name, value in msgspec.to_builtins(plan).items() if name != "deeds"}
    deeds = [_said(deed) for deed in plan.deeds]
    head = msgspec.json.encode(fields).removesuffix(b"}")
    return head + b',"deeds":[\n' + b",\n".join(deeds) + b"\n]}\n"


def _said(deed: Deed) -> bytes:
    fields, silent = msgspec.structs.asdict(deed), msgspec.structs.asdict(Deed(-1, ""))
    return msgspec.json.encode({name: value for name, value in fields.items() if value != silent[name]})
