"""Rules that this project once did without: bugs that were found, put back. The museum says how each was found."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import msgspec

from actors.holdings import Holdings
from actors.liveness import Leases
from actors.messages.values import DigestEntry, Origin
from actors.pulls import Incoming
from actors.roster import Roster
from tests.swarm.breaking import Ablation, replaced


def _deaths_counted_one_by_one() -> AbstractContextManager[None]:
    def is_preserving(self: Roster, now_ms: int, waited_ms: int) -> bool:
        overdue = [self._overdue_ms(member, now_ms, waited_ms) for member in self.members.values()]
        return sum(late >= 0 for late in overdue if late is not None) > self.configured / 2

    return replaced(Roster, "is_preserving", is_preserving)


def _purged_deltas_taken() -> AbstractContextManager[None]:
    return replaced(Incoming, "is_purged", lambda *_: False)


def _needed_tombstones_dropped() -> AbstractContextManager[None]:
    return replaced(Holdings, "is_needed", lambda *_: False)


def _nameless_never_judged() -> AbstractContextManager[None]:
    kept = Roster.hide_after_ms

    def hide_after_ms(self: Roster, owner: str, now_ms: int) -> int:
        if all(member.node_id != owner for member in self.members.values()):
            return self._patience.hide_silent_ms + self._gossip_ms
        return kept(self, owner, now_ms)

    return replaced(Roster, "hide_after_ms", hide_after_ms)


def _old_heartbeats_count() -> AbstractContextManager[None]:
    kept = Leases._entry

    def entry(self: Leases, origin: Origin, now_ms: int) -> DigestEntry:
        told = kept(self, origin, now_ms)
        return msgspec.structs.replace(told, age_ms=0) if origin == self._own else told

    return replaced(Leases, "_entry", entry)


def _fresh_nodes_judge() -> AbstractContextManager[None]:
    return replaced(Roster, "is_blind", lambda *_: False)


BEFORE: Mapping[str, Ablation] = {
    "deaths-counted-one-by-one": Ablation(
        "self-preservation counts who is about to be judged dead",
        "it counts only who is judged dead already",
        _deaths_counted_one_by_one,
    ),
    "purged-deltas-taken": Ablation(
        "nothing is taken of an owner that was given up before its heart beats again",
        "its deltas are taken as soon as they come",
        _purged_deltas_taken,
    ),
    "needed-tombstones-dropped": Ablation(
        "a tombstone that supersedes what is held of another owner stays until it is old",
        "it goes when there are too many",
        _needed_tombstones_dropped,
    ),
    "nameless-never-judged": Ablation(
        "an owner that fell silent before this node started is judged by the members that have not said their names",
        "it has thirty seconds more, like an owner that is in no list",
        _nameless_never_judged,
    ),
    "old-heartbeats-count": Ablation(
        "the own counter in a digest is as old as the last beat that proved life",
        "it is always new",
        _old_heartbeats_count,
    ),
    "fresh-nodes-judge": Ablation(
        "a node that has just started and hears less than half of the members hides nobody",
        "it judges by the ages that it is told",
        _fresh_nodes_judge,
    ),
}
