"""What ``rollbook nodes`` says of durable data: where it is, what that is worth, and who does not know it."""

from __future__ import annotations

import msgspec
import pytest

from rollbook.cli.cluster_report import NodeLine
from rollbook.cli.durable_lines import durable_lines
from rollbook.cli.output import time_text
from rollbook.status import DurableStatus, NodeStatus

SINCE_MS = 1_700_000_000_000
BASE = NodeStatus("n", 1, 5, True, "ready", False, 1, 2, (), (), {})


def line(number: int, durable: DurableStatus | None) -> NodeLine:
    """Of a node that says this, or of one that does not answer."""
    status = None if durable is None else msgspec.structs.replace(BASE, durable=durable)
    return NodeLine(number, f"10.0.0.{number}:8850", f"n{number}", status, "alive", "")


def kept(place: str, **more: object) -> DurableStatus:
    return msgspec.structs.replace(DurableStatus(place, 9, 3, is_read=True), **more)


def said(*states: DurableStatus | None) -> list[str]:
    return durable_lines([line(number, durable) for number, durable in enumerate(states, 1)])


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ([kept("alone")], "durable data: in a file of this node"),
        ([kept("etcd"), kept("etcd"), None], "durable data: in etcd"),
        ([kept("home"), kept("away")], "durable data: in one file, at 10.0.0.1:8850; while that node is away "),
        ([kept("away"), kept("home"), None], "durable data: in one file, at 10.0.0.2:8850; while that node is away "),
        ([None, kept("away")], "durable data: in one file, at a node that does not answer; while that node is away "),
    ],
)
def test_where_durable_data_is_kept_and_what_that_is_worth_is_one_line(
    states: list[DurableStatus | None], sentence: str
) -> None:
    [found] = said(*states)
    assert found.startswith(sentence)
    assert ("etcd survives the loss of any one node" in found) == ("one file" in sentence)


def test_of_nodes_that_keep_none_and_of_those_that_do_not_answer_nothing_is_said() -> None:
    assert said(DurableStatus(), None) == []


def test_who_cannot_follow_the_store_is_named_with_since_when_and_why() -> None:
    lines = said(
        kept("home"),
        kept("away", is_read=False),
        kept("away", stale_since_ms=SINCE_MS, reason="it is silent"),
        kept("away", is_read=False, stale_since_ms=SINCE_MS, reason="no node offers a store"),
        kept("away"),
    )
    since = time_text(SINCE_MS).split()[-1]
    assert lines[1:] == [
        "10.0.0.2:8850 has not read the durable data yet",
        f"10.0.0.3:8850 cannot follow the store since {since} and shows durable data as it was then: it is silent",
        f"10.0.0.4:8850 cannot follow the store since {since} and has never read the durable data: "
        "no node offers a store",
    ]


@pytest.mark.parametrize("since_ms", [1 << 60, 1 << 80])
def test_a_node_that_speaks_of_a_time_beyond_all_calendars_does_not_cost_the_others_their_lines(since_ms: int) -> None:
    lines = said(kept("home"), kept("away", stale_since_ms=since_ms, reason="x"), kept("away", is_read=False))
    assert f"cannot follow the store since {since_ms} ms and shows" in lines[1]
    assert lines[2] == "10.0.0.3:8850 has not read the durable data yet"
