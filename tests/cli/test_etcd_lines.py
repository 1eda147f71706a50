"""What ``rollbook nodes`` says of an etcd whose members do not all bear their part."""

from __future__ import annotations

import pytest

from rollbook.cli.cluster_report import make_report
from rollbook.cli.durable_lines import durable_lines
from rollbook.status import DurableStatus, MemberStatus, NodeStatus, StoreMember

A, B, C = "h:13", "h:23", "h:33"


def said(*views: dict[str, str]) -> list[str]:
    """``views``: what each node sees of the members."""
    answers = [_status(number, view) for number, view in enumerate(views, 1)]
    others = {f"h:{10 * number + 2}": status for number, status in enumerate(answers[1:], 2)}
    return durable_lines(make_report(answers[0], others).lines)


def _status(number: int, view: dict[str, str]) -> NodeStatus:
    members = tuple(StoreMember(name, state) for name, state in view.items())
    listed = tuple(
        MemberStatus(f"n{n}", f"h:{10 * n + 3}", f"h:{10 * n + 2}", "self" if n == number else "alive", True, 1, 0)
        for n in (1, 2)
    )
    durable = DurableStatus("etcd", 5, 2, True)
    return NodeStatus(
        *(f"n{number}", 1, 1, True, "ready", False, 0, 0), members=listed, durable=durable, store_members=members
    )


@pytest.mark.parametrize(
    ("view", "sentences"),
    [
        (
            {A: "follower", B: "leader", C: "follower"},
            [f"durable data: in etcd of 3 members, led by {B}; it bears the loss of 1 more"],
        ),
        (
            {A: "silent", B: "leader", C: "follower"},
            [
                f"durable data: in etcd of 3 members, led by {B}; it bears the loss of no more",
                f"the etcd member {A} does not answer",
            ],
        ),
        (
            {A: "learner", B: "leader", C: "follower"},
            [
                f"durable data: in etcd of 3 members, led by {B}; it bears the loss of no more",
                f"the etcd member {A} has no vote yet: it catches up",
            ],
        ),
        (
            {A: "silent", B: "silent", C: "follower"},
            [
                "durable data: in etcd of 3 members, without a leader: nothing durable can be written",
                f"the etcd member {A} does not answer",
                f"the etcd member {B} does not answer",
            ],
        ),
        (
            {A: "unasked", B: "leader", C: "unasked"},
            [
                f"durable data: in etcd of 3 members, led by {B}",
                f"nothing is known of the etcd member {A}: store.endpoints does not name it",
                f"nothing is known of the etcd member {C}: store.endpoints does not name it",
            ],
        ),
        ({}, ["durable data: in etcd"]),
    ],
)
def test_how_many_more_members_may_be_lost_and_who_does_not_bear_its_part(
    view: dict[str, str], sentences: list[str]
) -> None:
    assert said(view) == sentences


def test_a_member_that_answers_any_node_is_there() -> None:
    cut_off = {A: "silent", B: "silent", C: "follower"}
    whole = {A: "leader", B: "follower", C: "follower"}
    assert said(cut_off, whole) == said(whole, cut_off) == said(whole)
