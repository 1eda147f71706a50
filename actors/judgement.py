"""The judgement at each beat: first of oneself, then of the owners that have been silent.

A node that was paused, or that misses more than half of the members, has more reason to doubt itself than them.
"""

from __future__ import annotations

from actors.announcements import Announcements
from actors.base import Effect, Log, Role, Tell
from actors.liveness import Leases
from actors.messages.clients import OwnersPurged
from actors.roster import Roster
from actors.self_doubt import SelfDoubt


class Judgement:
    def __init__(
        self, leases: Leases, roster: Roster, doubt: SelfDoubt, told: Announcements, counters: dict[str, int]
    ) -> None:
        self._leases = leases
        self._roster = roster
        self._doubt = doubt
        self._told = told
        self._counters = counters

    def judge(self, at_ms: int) -> list[Effect]:
        """Hide and purge, unless this node has reason to doubt itself."""
        effects = self._doubt_oneself(at_ms)
        if self._told.standing.hides_nobody:
            return effects
        self._leases.judge(lambda owner: self._roster.hide_after_ms(owner, at_ms), at_ms)
        purged = self._leases.purge(at_ms)
        if purged:
            self._counters["owners_purged"] += len(purged)
            told = OwnersPurged(purged)
            log = Log("INFO", "owners purged", {"origins": purged})
            effects += [log, Tell(Role.CLIENTS, told), Tell(Role.DISTRO, told)]
        return effects

    def _doubt_oneself(self, at_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        gap_ms = self._doubt.beat(at_ms)
        if gap_ms:
            self._counters["pauses"] += 1
            effects.append(Log("WARNING", "this node was paused; nothing expires for one lease", {"gap_ms": gap_ms}))
        self._doubt.note_majority(self._roster.census(at_ms).has_majority, at_ms)
        preserved, misses_most = self._told.standing.preserved, False
        if not self._doubt.suspends(at_ms):
            misses_most, patience_ms = self._roster.misses_most(at_ms), self._roster.suspect_ms
            preserved = self._doubt.preserves(patience_ms, misses_most=misses_most, now_ms=at_ms)
        self._leases.misses_most = preserved and misses_most
        hides_nobody = self._doubt.suspends(at_ms) or preserved or self._roster.may_miss_most(at_ms)
        standing = {"preserved": preserved, "isolated": self._doubt.is_isolated, "hides_nobody": hides_nobody}
        return [*effects, *self._told.set_standing(**standing)]
