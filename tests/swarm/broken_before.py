"""Rules that this project once did without: bugs that were found, put back. The museum says how each was found."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from actors.base import Effects, Now
from actors.client_manager import ClientManager
from actors.messages.clients import BeatPassed
from actors.pulls import Incoming
from actors.roster import Roster
from runtime.simulation.hosts import Heartbeats
from tests.support import sim_cluster
from tests.swarm.breaking import Ablation, replaced


def _late_clients() -> AbstractContextManager[None]:
    kept = sim_cluster._patience

    def patience(scale: int) -> Any:
        return kept(scale)._replace(heartbeats=Heartbeats(1_000_000 // scale, 4_000_000 // scale))

    return replaced(sim_cluster, "_patience", patience)


def _deaths_counted_one_by_one() -> AbstractContextManager[None]:
    def is_preserving(self: Roster, now_ms: int, waited_ms: int) -> bool:
        overdue = [self._overdue_ms(member, now_ms, waited_ms) for member in self.members.values()]
        return sum(late >= 0 for late in overdue if late is not None) > self.configured / 2

    return replaced(Roster, "is_preserving", is_preserving)


def _purged_deltas_taken() -> AbstractContextManager[None]:
    return replaced(Incoming, "is_purged", lambda *_: False)


def _needed_tombstones_dropped() -> AbstractContextManager[None]:
    return replaced(ClientManager, "_is_needed", lambda *_: False)


def _nameless_never_judged() -> AbstractContextManager[None]:
    kept = Roster.hide_after_ms

    def hide_after_ms(self: Roster, owner: str, now_ms: int) -> int:
        if all(member.node_id != owner for member in self.members.values()):
            return self._patience.hide_silent_ms + self._gossip_ms
        return kept(self, owner, now_ms)

    return replaced(Roster, "hide_after_ms", hide_after_ms)


def _fresh_nodes_judge() -> AbstractContextManager[None]:
    return replaced(Roster, "is_blind", lambda *_: False)


def _slow_taken_for_asleep() -> AbstractContextManager[None]:
    kept = ClientManager._on_beat

    def on_beat(self: ClientManager, message: BeatPassed, now: Now) -> Effects:
        if self._beat_ms is not None and now.monotonic_ms - self._beat_ms > self.settings.stall_ms:
            self._settling_until_ms = min(self._settling_until_ms, self._beat_ms)
        return kept(self, message, now)

    return replaced(ClientManager, "_on_beat", on_beat)


BEFORE: Mapping[str, Ablation] = {
    "late-clients": Ablation(
        "a client notices the loss of its connection before its node does",
        "both wait for four seconds",
        _late_clients,
    ),
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
    "fresh-nodes-judge": Ablation(
        "a node that has just started and hears less than half of the members hides nobody",
        "it judges by the ages that it is told",
        _fresh_nodes_judge,
    ),
    "slow-taken-for-asleep": Ablation(
        "a node whose every beat comes late is slow, not asleep",
        "it settles for ever, and proves no life",
        _slow_taken_for_asleep,
    ),
}
