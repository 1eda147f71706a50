"""From the start of a node to the answers it may give: when it is ready, and for how long it may still miss something.

Owns whom this node has caught up with and until when it warms up; readiness.py is the rule. A node whose id may be
another's does not become ready, nor does one that has no member list yet.
"""

from __future__ import annotations

from typing import Protocol

from actors.announcements import Announcements
from actors.base import Effect, Log, NodeIdentity, Role, Tell
from actors.handshake import Handshakes
from actors.messages.distro import CatchUpOrdered
from actors.readiness import Readiness, readiness
from actors.roster import Roster
from actors.self_doubt import SelfDoubt


class LoadingPatience(Protocol):
    """The members section of configs/defaults.toml, as far as it is about starting."""

    @property
    def majority_wait_ms(self) -> int: ...

    @property
    def cold_start_wait_ms(self) -> int: ...

    @property
    def lease_ms(self) -> int: ...

    @property
    def store_wait_ms(self) -> int: ...


class Loading:
    def __init__(
        self,
        me: NodeIdentity,
        roster: Roster,
        handshakes: Handshakes,
        doubt: SelfDoubt,
        told: Announcements,
        patience: LoadingPatience,
    ) -> None:
        self._me = me
        self._roster = roster
        self._handshakes = handshakes
        self._doubt = doubt
        self._told = told
        self._patience = patience
        self.is_store_read = me.store == "none"
        self._caught_up: set[str] = set()
        self._warming_until_ms = 0

    def caught_up(self, node_id: str) -> None:
        """All of that node's first digest is in the index."""
        self._caught_up.add(node_id)

    def is_warming(self, now_ms: int) -> bool:
        """Others may hold more than the answers of this node show: it has started cold, or after a pause of its own it
        learns in some order what happened meanwhile: the end of an older session from one peer, perhaps, before the
        newer session from another."""
        return now_ms < self._warming_until_ms or (not self._me.standalone and self._doubt.suspends(now_ms))

    def finish(self, now_ms: int) -> list[Effect]:
        """What is to be told if this node has just become ready, else nothing."""
        if self._told.standing.ready or self._handshakes.is_doubtful or not self._roster.is_listed:
            return []
        waited_ms = self._doubt.awake_ms(now_ms)
        if not self.is_store_read and waited_ms < self._patience.store_wait_ms:
            return []
        sight = self._roster.sight(self._caught_up, waited_ms, now_ms)
        outcome = readiness(sight, self._patience.majority_wait_ms, self._patience.cold_start_wait_ms)
        if outcome is Readiness.LOADING:
            return []
        warming = self._roster.started_cold(now_ms)
        if warming:
            self._warming_until_ms = now_ms + self._patience.lease_ms
        return [
            Tell(Role.DISTRO, CatchUpOrdered(False)),
            *self._told.set_standing(ready=True, warming=warming),
            Log("INFO", "ready", {"after_ms": waited_ms, "how": outcome.value}),
        ]
