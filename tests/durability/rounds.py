"""Real nodes that are killed or stopped again and again while writers write, and what is listed at the end."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from rollbook.errors import RollbookError
from tests.durability.faults import Engine, Fault, faults_of
from tests.durability.ledger import Ledger, LedgerLine, lost_writes
from tests.durability.writer import SERVICE, address_of
from tests.support.etcd_beside import leader_of, until_members_hold_the_same
from tests.support.real_cluster import ROOT, RealCluster, RealNode, pause_s, until
from tests.support.watching import Observer

WRITERS = 4
LOAD_S = (0.2, 0.8)  # between two faults, with every writer at work
READY_S_MAX = 60.0
AGAIN_S_MAX = 40.0
AGREED_S_MAX = 20.0


class Plan(NamedTuple):
    engine: Engine
    nodes: int
    faults: Sequence[str]  # one a round
    seed: int


class Round(NamedTuple):
    fault: str
    again_s: float  # until every writer has begun a write since, and was told that it is done


class Result(NamedTuple):
    rounds: tuple[Round, ...]
    done: int
    refused: int
    unknown: int
    lost: tuple[str, ...]  # by writer: what is listed otherwise than it should


def run_rounds(folder: Path, plan: Plan, say: Callable[[Round], None]) -> Result:
    """AssertionError if something does not come back, or if nodes do not agree in the end."""
    chance, kinds = random.Random(plan.seed), faults_of(plan.engine, plan.nodes)
    with RealCluster(folder / "nodes", plan.nodes, engine=plan.engine) as cluster:
        with writers(folder, cluster.addresses) as ledgers:
            told = []
            for fault in plan.faults:
                told.append(Round(fault, _round(cluster, ledgers, kinds[fault], chance)))
                say(told[-1])
                cluster.until_ready(READY_S_MAX)  # so that there is something to kill
        for ledger in ledgers:
            ledger.take()
        lost = [*_lost_at_the_end(cluster, ledgers, plan.engine)]
        _kill_all(cluster)
        lost += _lost_at_the_end(cluster, ledgers, plan.engine)
        lines = [line for ledger in ledgers for line in ledger.lines]
        done, refused, unknown = (sum(line.end == end for line in lines) for end in ("done", "refused", "unknown"))
        return Result(tuple(told), done, refused, unknown, tuple(dict.fromkeys(lost)))


def _lost_at_the_end(cluster: RealCluster, ledgers: Sequence[Ledger], engine: Engine) -> Iterator[str]:
    if engine == "etcd":
        leader_of(cluster.nodes)  # so that every member answers
        until_members_hold_the_same(cluster.nodes)
    yield from lost_of(ledgers, agreed_lists(cluster.nodes))


def _kill_all(cluster: RealCluster) -> None:
    """What is listed from then on was read from the disks."""
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.until_ready(READY_S_MAX)


@contextmanager
def writers(folder: Path, addresses: Sequence[str]) -> Iterator[list[Ledger]]:
    """Processes that write until the end of this, each with its ledger. None of them may have failed."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_writer(folder, number, addresses)) for number in range(WRITERS)]
        ledgers = [Ledger(_path(folder, number)) for number in range(WRITERS)]
        until(lambda: all(ledger.path.exists() for ledger in ledgers), 20, "every writer writes")
        yield ledgers
        for process in processes:
            process.communicate(b"\n", timeout=20)
            assert process.returncode == 0, f"a writer ended with {process.returncode}"


@contextmanager
def _writer(folder: Path, number: int, addresses: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    turned = [*addresses[number % len(addresses) :], *addresses[: number % len(addresses)]]
    arguments = [str(number), str(_path(folder, number)), ",".join(turned)]
    command = [sys.executable, "-m", "tests.durability.writer", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _path(folder: Path, number: int) -> Path:
    return folder / f"writer-{number}.jsonl"


def _round(cluster: RealCluster, ledgers: Sequence[Ledger], fault: Fault, chance: random.Random) -> float:
    pause_s(chance.uniform(*LOAD_S))
    damage = fault(cluster, chance)
    again_s = until_all_write(ledgers, damage.since_ns, AGAIN_S_MAX)
    damage.mend()
    return again_s


def until_all_write(ledgers: Sequence[Ledger], since_ns: int, deadline_s: float) -> float:
    """Each has begun a write since then, and it was acknowledged; how long after."""
    waited_for = list(ledgers)

    def all_have() -> bool:
        waited_for[:] = [ledger for ledger in waited_for if not _has_written(ledger.take(), since_ns)]
        return not waited_for

    until(all_have, deadline_s, "every writer's writes are acknowledged again")
    return (time.monotonic_ns() - since_ns) / 1e9


def _has_written(lines: Sequence[LedgerLine], since_ns: int) -> bool:
    return any(line.end == "done" and line.began_ns >= since_ns for line in lines)


def agreed_lists(nodes: Sequence[RealNode]) -> dict[str, dict[int, float]]:
    """What all nodes list, by address and port, with weights."""
    found: list[dict[str, dict[int, float]]] = []

    def is_agreed() -> bool:
        try:
            found[:] = [_listed(node) for node in nodes]
        except RollbookError:
            return False
        return all(listed == found[0] for listed in found)

    until(is_agreed, AGREED_S_MAX, "all nodes list the same")
    return found[0]


def _listed(node: RealNode) -> dict[str, dict[int, float]]:
    observer = Observer(node, SERVICE)
    try:
        found: dict[str, dict[int, float]] = {}
        for instance in observer.listed():
            found.setdefault(instance.ip, {})[instance.port] = instance.weight
        return found
    finally:
        observer.close()


def lost_of(ledgers: Sequence[Ledger], listed: dict[str, dict[int, float]]) -> Iterator[str]:
    for number, ledger in enumerate(ledgers):
        for text in lost_writes(ledger.lines, listed.get(address_of(number), {})):
            yield f"writer {number}, {text}"
