"""Rules that this project once did without: bugs that were found, put back. The museum says how each was found."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import msgspec

from actors.base import Effect
from actors.judgement import Judgement
from actors.liveness import Leases, Life
from actors.messages.values import DigestEntry, Origin
from actors.pulls import Incoming
from actors.roster import Roster
from tests.swarm.breaking import Ablation, replaced


def _deaths_counted_one_by_one() -> AbstractContextManager[None]:
    def misses_most(self: Roster, _silent_ms: int, now_ms: int) -> bool:
        newest = {member.node_id: self._leases.newest(member.node_id) for member in self.members.values()}
        ages_ms = {owner: self._leases.age_ms(newest[owner], now_ms) for owner in newest}
        dead = [
            owner
            for owner, age_ms in ages_ms.items()
            if age_ms is not None
            and not self._leases.has_left(newest[owner])
            and age_ms >= self.hide_after_ms(owner, now_ms)
        ]
        return len(dead) > self.configured / 2

    return replaced(Roster, "_misses_most", misses_most)


def _purged_deltas_taken() -> AbstractContextManager[None]:
    return replaced(Incoming, "is_purged", lambda *_: False)


def _nameless_never_judged() -> AbstractContextManager[None]:
    kept = Roster.hide_after_ms

    def hide_after_ms(self: Roster, owner: str, now_ms: int) -> int:
        if all(member.node_id != owner for member in self.members.values()):
            return self._patience.hide_silent_ms + self._gossip_ms
        return kept(self, owner, now_ms)

    return replaced(Roster, "hide_after_ms", hide_after_ms)


def _verdicts_not_believed() -> AbstractContextManager[None]:
    return replaced(Roster, "_is_hidden_elsewhere", lambda *_: False)


def _strangers_shown() -> AbstractContextManager[None]:
    kept = Leases._admit

    def admit(self: Leases, origin: Origin, counter: int, age_ms: int, now_ms: int, left: bool) -> Life | None:
        self.doubts_strangers = False
        return kept(self, origin, counter, age_ms, now_ms, left)

    return replaced(Leases, "_admit", admit)


def _old_heartbeats_count() -> AbstractContextManager[None]:
    kept = Leases._entry

    def entry(self: Leases, origin: Origin, now_ms: int) -> DigestEntry:
        told = kept(self, origin, now_ms)
        return msgspec.structs.replace(told, age_ms=0) if origin == self._own else told

    return replaced(Leases, "_entry", entry)


def _fresh_nodes_judge() -> AbstractContextManager[None]:
    kept = Judgement.judge

    def judge(self: Judgement, at_ms: int) -> list[Effect]:
        if self._doubt.awake_ms(at_ms) >= self._leases._patience.lease_ms:
            return kept(self, at_ms)
        with replaced(Roster, "_misses_most", lambda *_: False):
            return kept(self, at_ms)

    return replaced(Judgement, "judge", judge)


BEFORE: Mapping[str, Ablation] = {
    "deaths-counted-one-by-one": Ablation(
        "who misses more than half of the members hides nobody",
        "it counts only those that it has judged dead already",
        _deaths_counted_one_by_one,
    ),
    "purged-deltas-taken": Ablation(
        "nothing is taken of an owner that was given up before its heart beats again",
        "its deltas are taken as soon as they come",
        _purged_deltas_taken,
    ),
    "nameless-never-judged": Ablation(
        "an owner that fell silent before this node started is judged by the members that have not said their names",
        "it has thirty seconds more, like an owner that is in no list",
        _nameless_never_judged,
    ),
    "verdicts-not-believed": Ablation(
        "who cannot reach a silent owner believes a peer that hides it, after the patience of a majority",
        "it counts only what those say of their links whom it reaches itself",
        _verdicts_not_believed,
    ),
    "strangers-shown": Ablation(
        "an owner that a serving node meets for the first time is shown when what it has done is here",
        "it is shown as soon as it is met",
        _strangers_shown,
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
