"""Broken rules of life and death: heartbeats and their ages, hiding, returning, readiness, self-doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import msgspec

from actors.base import Effect, Now, Role, Tell
from actors.connection_manager import ConnectionManager
from actors.leavings import Leavings
from actors.liveness import UNKNOWN, Leases, Life
from actors.messages.connections import StandingChanged
from actors.messages.index import SubscribersReleased
from actors.messages.values import DigestEntry, Origin
from actors.pulls import Incoming
from actors.push_actor import PushActor
from actors.push_table import PushDelivery
from actors.roster import Roster
from actors.self_doubt import SelfDoubt
from actors.sessions import Session
from actors.stalls import StallBeat, Stalls
from tests.swarm.breaking import Ablation, all_of, replaced

# -- leases


def _own_digests_only() -> AbstractContextManager[None]:
    kept = Leases.entries

    def own_only(self: Leases, now_ms: int) -> tuple[DigestEntry, ...]:
        return tuple(entry for entry in kept(self, now_ms) if entry.origin == self._own)

    return replaced(Leases, "entries", own_only)


def _leases_regranted() -> AbstractContextManager[None]:
    kept = Leases.hear

    def hear(
        self: Leases,
        origin: Origin,
        counter: int,
        age_ms: int,
        now_ms: int,
        *,
        owner_seq: int = UNKNOWN,
        left: bool = False,
    ) -> bool:
        life = self.lives.get(origin)
        if life is not None and counter == life.counter:
            life.heard_at_ms = now_ms
        return kept(self, origin, counter, age_ms, now_ms, owner_seq=owner_seq, left=left)

    return replaced(Leases, "hear", hear)


def _no_ages() -> AbstractContextManager[None]:
    kept = Leases.entries

    def entries(self: Leases, now_ms: int) -> tuple[DigestEntry, ...]:
        return tuple(msgspec.structs.replace(entry, age_ms=0) for entry in kept(self, now_ms))

    return replaced(Leases, "entries", entries)


def _no_orphan_grace() -> AbstractContextManager[None]:
    kept = Leases.judge

    def judge(self: Leases, hide_after_ms: Callable[[str], int], now_ms: int) -> None:
        kept(self, hide_after_ms, now_ms)
        for origin, life in self.lives.items():
            if self.is_orphan(origin) and life.hidden_grace_ms < self._graces_ms[-1]:
                life.hidden_grace_ms, life.hidden_at_ms = self._graces_ms[-1], now_ms

    return replaced(Leases, "judge", judge)


def _no_purge_memory() -> AbstractContextManager[None]:
    kept = Leases._admit

    def admit(self: Leases, origin: Origin, counter: int, age_ms: int, now_ms: int, left: bool) -> Life | None:
        self.purged.pop(origin, None)
        return kept(self, origin, counter, age_ms, now_ms, left)

    return replaced(Leases, "_admit", admit)


def _shown_at_once() -> AbstractContextManager[None]:
    def catch_up(self: Leases, origin: Origin, life: Life, now_ms: int) -> None:
        life.hidden_grace_ms = 0
        self._settle(origin, life)

    return replaced(Leases, "_catch_up", catch_up)


# -- readiness


def _loading_as_evidence() -> AbstractContextManager[Any]:
    kept = Incoming._note_goal

    def ready(self: Roster, now_ms: int) -> dict[str, bool]:
        return {
            member.node_id: member.report.started_cold
            for member in self.members.values()
            if member.report is not None and self.heard(member, now_ms)
        }

    def note_goal(self: Incoming, node_id: str, ready: bool, entries: list[DigestEntry]) -> None:
        kept(self, node_id, True, entries)

    return all_of(replaced(Roster, "_ready", ready), replaced(Incoming, "_note_goal", note_goal))


def _never_warming() -> AbstractContextManager[None]:
    return replaced(Roster, "started_cold", lambda *_: False)


def _answers_while_loading() -> AbstractContextManager[Any]:
    kept = ConnectionManager._on_standing_changed

    def on_standing_changed(self: ConnectionManager, message: StandingChanged) -> list[Effect]:
        return kept(self, StandingChanged(msgspec.structs.replace(message.standing, ready=True)))

    return replaced(ConnectionManager, "_on_standing_changed", on_standing_changed)


# -- self-doubt


def _no_pause_guard() -> AbstractContextManager[None]:
    return replaced(SelfDoubt, "suspends", lambda *_: False)


def _no_settling() -> AbstractContextManager[None]:
    """A node that stood still releases and beats as if nothing had been."""
    kept = Stalls.beat

    def beat(self: Stalls, now_ms: int) -> StallBeat:
        self._settling_until_ms = 0
        self._beat_ms = now_ms
        return kept(self, now_ms)

    return all_of(replaced(Stalls, "beat", beat), replaced(Stalls, "settles", lambda *_: False))


def _no_self_preservation() -> AbstractContextManager[None]:
    return replaced(Roster, "_misses_most", lambda *_: False)


# -- sessions that end


def _removed_when_moved() -> AbstractContextManager[None]:
    def release(self: Leavings, session: Session, how: Literal["leave", "lost", "moved"], now: Now) -> list[Effect]:
        self.sessions.close(session)
        gone = Tell(Role.INDEX, SubscribersReleased((session.route,)))
        return [gone, *self._remove_publications([(session.client, session.number)], now)]

    return replaced(Leavings, "release", release)


def _any_ack_counts() -> AbstractContextManager[None]:
    kept = PushActor._acknowledge

    def acknowledge(self: PushActor, delivery: PushDelivery, version: int, now_ms: int) -> None:
        assert delivery.topic.view is not None, "it has been sent"
        kept(self, delivery, version, now_ms)
        delivery.version = max(delivery.version, delivery.topic.view.version)

    return replaced(PushActor, "_acknowledge", acknowledge)


LIVES: Mapping[str, Ablation] = {
    "own-digests-only": Ablation(
        "digests are relayed: they name every known owner",
        "digests say nothing of other owners",
        _own_digests_only,
    ),
    "leases-regranted": Ablation(
        "nobody but the owner renews its lease: only its counter does",
        "whoever mentions an owner renews its lease",
        _leases_regranted,
    ),
    "no-ages": Ablation(
        "a lease starts at the age that the digest reports",
        "digests report no age, and leases start anew",
        _no_ages,
    ),
    "no-orphan-grace": Ablation(
        "the end of an epoch orphans its records and does not drop them: they stay for their grace",
        "they are hidden at the next beat",
        _no_orphan_grace,
    ),
    "no-purge-memory": Ablation(
        "a purged origin comes back only with a higher counter",
        "whoever names it brings it back",
        _no_purge_memory,
    ),
    "shown-at-once": Ablation(
        "a hidden owner is shown again when what it has done meanwhile is here",
        "it is shown as soon as it is heard",
        _shown_at_once,
    ),
    "loading-as-evidence": Ablation(
        "loading nodes are never evidence of readiness",
        "a node is ready when it has caught up with any others",
        _loading_as_evidence,
    ),
    "never-warming": Ablation(
        "after a cold start answers say for one lease that others may know more",
        "they say nothing",
        _never_warming,
    ),
    "answers-while-loading": Ablation(
        "a node that is not ready answers so, never an empty or partial list",
        "it opens sessions and answers what it has",
        _answers_while_loading,
    ),
    "no-pause-guard": Ablation(
        "after its own stall a node suspends every expiry for one lease",
        "it judges at its next beat",
        _no_pause_guard,
    ),
    "no-settling": Ablation(
        "a node that stood still releases nothing and proves no life before it has settled",
        "it goes on as if nothing had been",
        _no_settling,
    ),
    "no-self-preservation": Ablation(
        "if more than half of the members look dead, nothing is hidden",
        "they are hidden",
        _no_self_preservation,
    ),
    "removed-when-moved": Ablation(
        "what a session that moved has left is removed when the newer session had its time",
        "it is removed at once",
        _removed_when_moved,
    ),
    "any-ack-counts": Ablation(
        "the last push is the node's view: an ack counts for what it acknowledges",
        "an ack counts for the newest view",
        _any_ack_counts,
    ),
}
