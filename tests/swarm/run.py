"""One seed from start to verdict: the plan under faults, then peace, and what must be true soon after."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from actors.messages.values import Origin
from runtime.simulation.cluster import SimulationError
from tests.support.checkers import SafetyChecks
from tests.support.history_checks import ViolationFound
from tests.swarm.ablations import ablated
from tests.swarm.plan import Plan
from tests.swarm.rare import whole_plan
from tests.swarm.world import World

STEP_MS = 20  # how finely the time after heal is measured


class SeedOutcome(msgspec.Struct):
    """What came of one seed. Without a violation all is well."""

    seed: int
    nodes: int
    clients: int
    scale: int
    ablation: str = ""
    violation: str = ""
    invariant: str = ""  # its short name; of a broken invariant of an actor, what was raised
    subject: str = ""  # the client it is about, if there is one
    at_ms: int = 0
    trace_hash: str = ""
    cpu_ms: int = 0
    virtual_ms: int = 0
    ready_ms: int = 0  # after heal until every node was ready
    equal_ms: int = 0  # after that until all nodes held the same
    settled_ms: int = 0  # after heal until all nodes and subscribers knew what is true
    zombie_ms: list[int] = []
    guarded_ms: list[int] = []
    removals_excused: int = 0
    peaks: dict[str, int] = {}
    looks: dict[str, int] = {}  # how often each invariant was looked at
    kinds: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []
    failpoints: dict[str, int] = {}


def run_seed(
    seed: int,
    nodes: int,
    *,
    clients: int = 60,
    scale: int = 5,
    ablation: str | None = None,
    plan: Plan | None = None,
    observe: Callable[[World], None] | None = None,
) -> SeedOutcome:
    """Run one seed, or one plan, to its end or its first violation. ``observe`` gets the world before it begins."""
    plan = plan or whole_plan(seed, nodes, clients, scale)
    outcome = SeedOutcome(plan.seed, plan.nodes, plan.clients, plan.scale, ablation or "")
    gc.collect()
    gc.disable()  # a run makes few cycles, and lasts two seconds
    started_s = time.process_time()
    try:
        with ablated(ablation):
            _run(plan, outcome, observe)
    finally:
        gc.enable()
    outcome.cpu_ms = round((time.process_time() - started_s) * 1_000)
    return outcome


def _run(plan: Plan, outcome: SeedOutcome, observe: Callable[[World], None] | None) -> None:
    world = World(plan)
    if observe is not None:
        observe(world)
    try:
        world.run_plan()
        _make_peace(world, outcome)
    except (ViolationFound, SimulationError) as error:
        _note_violation(error, outcome)
    _note_figures(world, outcome)


def _make_peace(world: World, outcome: SeedOutcome) -> None:
    bounds, healed_ms = world.bounds, world.cluster.now_ms
    world.heal()
    outcome.ready_ms = _until(world, world.cluster.all_ready, bounds.ready_ms, "A1", lambda: "not all nodes are ready")
    settled_ms = max(world.checks.resumed_ms.values()) + bounds.settle_ms  # who stood still until now learns first
    world.pass_until(max(world.cluster.now_ms, min(settled_ms, healed_ms + bounds.settle_ms)))
    outcome.equal_ms = _until(
        world,
        lambda: next(_differences(world), None) is None,
        bounds.equal_ms,
        "A1",
        lambda: f"nodes still differ after heal: {'; '.join(islice(_differences(world), 3))}",
    )
    _until(
        world,
        lambda: not world.checks.unsettled(),
        bounds.owner_ms + bounds.guard_ms + bounds.chain_ms,
        "A2",
        lambda: "; ".join(world.checks.unsettled()[:5]),
    )
    outcome.settled_ms = world.cluster.now_ms - healed_ms
    exits = [exit_ for node in world.cluster.nodes for exit_ in node.exits if exit_.exit_code not in (0, 2, 3)]
    if exits:
        raise ViolationFound("exit", f"a node ended by itself: {exits[0]}")


def _until(world: World, holds: Callable[[], bool], within_ms: int, invariant: str, wrong: Callable[[], str]) -> int:
    start_ms = world.cluster.now_ms
    while not holds():
        passed_ms = world.cluster.now_ms - start_ms
        if passed_ms > within_ms:
            raise ViolationFound(invariant, f"{wrong()} ({passed_ms} ms later)")
        world.pass_until(world.cluster.now_ms + STEP_MS)
    return world.cluster.now_ms - start_ms


def _differences(world: World) -> Iterator[str]:
    """What not every node lists the same, or holds the same of an owner that lives.

    What is dead counts for nothing here: it has its own bounds (A3), and nodes that stood still judge later.
    """
    nodes = world.cluster.running
    yield from world.checks.differences([node.name for node in nodes], world.cluster.now_ms)
    living = [Origin(node.node_id, node.identity.epoch) for node in nodes if node.identity is not None]
    holdings = {node.name: node.holdings() for node in nodes}
    for origin in living:
        held = {name: each.get(origin, (0, 0, 0)) for name, each in holdings.items()}
        if len(set(held.values())) > 1:
            yield f"of {origin.owner} they hold {held}"


def _note_violation(error: AssertionError, outcome: SeedOutcome) -> None:
    cause = error.__cause__ or error
    outcome.violation = str(error)
    if isinstance(cause, ViolationFound):
        outcome.invariant, outcome.subject = cause.invariant, cause.subject
    else:
        named = re.match(r"A\d+", str(cause))
        outcome.invariant = named.group() if named else f"{type(cause).__name__}: {str(cause)[:60]}"


def _note_figures(world: World, outcome: SeedOutcome) -> None:
    cluster, checks = world.cluster, world.checks
    outcome.at_ms = outcome.virtual_ms = cluster.now_ms
    outcome.trace_hash = cluster.trace_hash
    outcome.zombie_ms, outcome.guarded_ms = checks.zombie_ms, checks.guarded_ms
    outcome.removals_excused = checks.removals_excused
    outcome.kinds, outcome.pairs = dict(world.faults.kinds), sorted(world.faults.pairs)
    outcome.failpoints = {fired.name: 1 for fired in cluster.failpoints.fired}
    outcome.looks = checks.counts | world.turn_checks.looked_at
    for safety in cluster.checkers:
        if isinstance(safety, SafetyChecks):
            outcome.looks |= safety.looked_at
            outcome.peaks = dict(safety.peaks)
