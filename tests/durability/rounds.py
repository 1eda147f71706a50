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
from tests.durability.ledger import Ledger, LedgerLine, lost_writes
from tests.durability.writer import SERVICE, address_of
from tests.support.real_cluster import ROOT, RealCluster, RealNode, pause_s, until
from tests.support.watching import Observer

WRITERS = 4
LOAD_S = (0.2, 0.8)  # between two faults, with every writer at work
AWAY_S = (0.0, 1.5)  # from the kill to the start
STOPPED_S = 3.0
AGAIN_S_MAX = 40.0
AGREED_S_MAX = 20.0


class Round(NamedTuple):
    fault: str
    again_s: float  # from the start of what was killed until every writer has written again


class Result(NamedTuple):
    rounds: tuple[Round, ...]
    done: int
    refused: int
    unknown: int
    lost: tuple[str, ...]  # by node: what it lists otherwise than it should


def run_rounds(folder: Path, nodes: int, rounds: int, seed: int, say: Callable[[Round], None]) -> Result:
    """The first node keeps the store. AssertionError if something does not come back or nodes do not agree."""
    chance = random.Random(seed)
    with RealCluster(folder / "nodes", nodes) as cluster:
        with writers(folder, cluster.addresses) as ledgers:
            told = []
            for _ in range(rounds):
                told.append(_round(cluster, ledgers, chance))
                say(told[-1])
                cluster.until_ready()  # so that there is something to kill
        listed = agreed_lists(cluster.nodes)
        for ledger in ledgers:
            ledger.take()
        lines = [line for ledger in ledgers for line in ledger.lines]
        done, refused, unknown = (sum(line.end == end for line in lines) for end in ("done", "refused", "unknown"))
        return Result(tuple(told), done, refused, unknown, tuple(lost_of(ledgers, listed)))


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


def _round(cluster: RealCluster, ledgers: Sequence[Ledger], chance: random.Random) -> Round:
    pause_s(chance.uniform(*LOAD_S))
    kinds = ["stop the home", *(f"kill {count}" for count in range(1, len(cluster.nodes) + 1))]
    fault = chance.choice(kinds)
    if fault == "stop the home":
        cluster.nodes[0].pause()
        pause_s(STOPPED_S)
        cluster.nodes[0].resume()
    else:
        victims = chance.sample(cluster.nodes, int(fault.split()[1]))
        for node in victims:
            node.kill()
        pause_s(chance.uniform(*AWAY_S))
        for node in victims:
            node.start()
    return Round(fault, until_all_write(ledgers, AGAIN_S_MAX))


def until_all_write(ledgers: Sequence[Ledger], deadline_s: float) -> float:
    """Each has begun a write since now, and it was acknowledged; how long that took."""
    now_ns, waited_for = time.monotonic_ns(), list(ledgers)

    def all_have() -> bool:
        waited_for[:] = [ledger for ledger in waited_for if not _has_written(ledger.take(), now_ns)]
        return not waited_for

    return until(all_have, deadline_s, "every writer's writes are acknowledged again")


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
