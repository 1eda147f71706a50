"""MemberManager's part of the status question, which is the last: the I/O adds what it counts and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.base import NodeIdentity, StatusRequested
from actors.messages.values import Standing
from rollbook.status import MemberStatus


def completed(
    asked: StatusRequested,
    me: NodeIdentity,
    standing: Standing,
    rows: Sequence[MemberStatus],
    counters: Mapping[str, int],
) -> StatusRequested:
    """Everything that the answer needs is there now."""
    missing = {"seq": 0, "sessions": 0, "records": 0, "owners": ()}
    return asked.with_parts(
        **{name: value for name, value in missing.items() if name not in asked.parts},
        node_id=me.node_id,
        epoch=me.epoch,
        ready=standing.ready,
        standing=standing_name(standing),
        preserved=standing.preserved,
        members=tuple(rows),
        counters={**asked.parts.get("counters", {}), **counters},
    )


def standing_name(standing: Standing) -> str:
    """One word for people; ``preserved`` is a flag of its own."""
    if standing.leaving:
        return "leaving"
    if not standing.ready:
        return "loading"
    return "isolated" if standing.isolated else "ready"
