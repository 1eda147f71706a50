"""A few rounds of scripts/durability.sh, and that its ledgers would show a loss."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from tests.durability.faults import Engine, drawn, faults_of
from tests.durability.ledger import REMOVED, Ledger, LedgerLine, lost_writes, possible_weights
from tests.durability.rounds import Plan, run_rounds
from tests.support.etcd_installed import NEEDS_ETCD

DONE_MIN = 100


@pytest.mark.cluster
@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("engine", "faults"),
    [
        ("single_home", ["kill the home", "kill 3 starting"]),
        pytest.param("etcd", ["kill the leader's node", "kill 2 etcd", "kill 3 starting"], marks=NEEDS_ETCD),
    ],
)
def test_what_was_acknowledged_between_kills_is_listed_by_every_node(
    tmp_path: Path, engine: Engine, faults: list[str]
) -> None:
    result = run_rounds(tmp_path, Plan(engine, 3, faults, 1), lambda _: None)
    assert result.lost == ()
    assert result.done >= DONE_MIN
    assert [each.fault for each in result.rounds] == faults


def test_every_kind_of_fault_comes_as_often_as_every_other() -> None:
    kinds = [*faults_of("etcd", 3)]
    found = drawn(kinds, 3 * len(kinds) + 1, random.Random(1))
    assert {found.count(kind) for kind in kinds} == {3, 4}
    assert len(found) == 3 * len(kinds) + 1


def line(weight: float, end: str, port: int = 1) -> LedgerLine:
    return msgspec.convert({"port": port, "weight": weight, "end": end, "began_ns": 0}, LedgerLine)


def test_an_acknowledged_write_replaces_what_was_before_and_one_of_unknown_outcome_may_have() -> None:
    lines = [line(1, "done"), line(2, "unknown"), line(3, "done"), line(4, "refused"), line(5, "unknown")]
    assert possible_weights(lines) == {1: {3, 5}}
    assert possible_weights([line(1, "unknown")]) == {1: {REMOVED, 1}}


@pytest.mark.parametrize(
    ("listed", "count"), [({1: 3.0}, 0), ({1: 4.0}, 0), ({1: 2.0}, 1), ({}, 1), ({1: 3.0, 2: 1.0}, 1)]
)
def test_what_is_missing_old_or_nobodys_is_named(listed: dict[int, float], count: int) -> None:
    lines = [line(2, "done"), line(3, "done"), line(4, "unknown"), line(1, "done", 2), line(REMOVED, "done", 2)]
    assert len(lost_writes(lines, listed)) == count


def test_a_line_that_is_not_whole_waits(tmp_path: Path) -> None:
    text = msgspec.json.encode(line(1, "done")) + b"\n"
    path = tmp_path / "ledger"
    path.write_bytes(text + text[:9])
    ledger = Ledger(path)
    assert len(ledger.take()) == 1
    assert ledger.take() == []
    path.write_bytes(text * 2)
    assert (len(ledger.take()), len(ledger.lines)) == (1, 2)
