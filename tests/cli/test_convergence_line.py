"""What ``rollbook nodes`` says of how fast changes reach everybody."""

from __future__ import annotations

from rollbook.cli.convergence_line import convergence_line
from rollbook.status import LatencyCounts, NodeStatus

BOUNDS_MS = (1, 10, 100)


def node(**stages: tuple[int, ...]) -> NodeStatus:
    convergence = tuple(LatencyCounts(stage, BOUNDS_MS, counts) for stage, counts in stages.items())
    return NodeStatus("n", 1, 5, True, "ready", False, 1, 2, convergence=convergence)


def test_the_nodes_are_taken_together() -> None:
    statuses = [node(applied=(50, 0, 0, 0), told=(0, 97, 0, 0)), node(applied=(0, 49, 1, 0), told=(0, 0, 2, 1))]
    assert convergence_line(statuses) == (
        "changes: on every node p50 ≤ 1 ms, p99 ≤ 10 ms, max ≤ 100 ms; "
        "every subscriber told p50 ≤ 10 ms, p99 ≤ 100 ms, max > 100 ms (of 100 timed)"
    )


def test_nothing_is_said_of_what_was_not_timed() -> None:
    assert convergence_line([node(applied=(0, 0, 0, 0)), node()]) == ""
    assert convergence_line([node(applied=(1, 0, 0, 0), told=(0, 0, 0, 0))]) == (
        "changes: on every node p50 ≤ 1 ms, p99 ≤ 1 ms, max ≤ 1 ms (of 1 timed)"
    )


def test_buckets_of_another_version_or_broken_ones_are_left_out() -> None:
    other = NodeStatus(
        "m", 1, 5, True, "ready", False, 1, 2, convergence=(LatencyCounts("applied", (7, 8), (9, 9, 9)),)
    )
    broken = NodeStatus("m", 1, 5, True, "ready", False, 1, 2, convergence=(LatencyCounts("applied", BOUNDS_MS, (9,)),))
    alone = convergence_line([node(applied=(1, 0, 0, 0))])
    assert convergence_line([node(applied=(1, 0, 0, 0)), other, broken]) == alone
