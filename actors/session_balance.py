"""When the sessions of this node are compared with those of the others, so that some may be sent there.

As long as all is well here and with the others: in trouble sessions move by themselves. A rule of MemberManager; how
many move, and whither, is ConnectionManager's affair.
"""

from __future__ import annotations

from actors.announcements import Announcements
from actors.base import Effect, Role, Tell
from actors.messages.connections import SessionsCompared
from actors.roster import Roster
from actors.self_doubt import SelfDoubt


class SessionBalance:
    def __init__(self, roster: Roster, doubt: SelfDoubt, told: Announcements, interval_ms: int) -> None:
        self._roster = roster
        self._doubt = doubt
        self._told = told
        self._interval_ms = interval_ms
        self._compare_at_ms = 0

    def compare(self, now_ms: int, *, is_serving: bool) -> list[Effect]:
        standing = self._told.standing
        is_well = standing.ready and standing.majority and not (standing.preserved or standing.warming)
        if now_ms < self._compare_at_ms or not is_well or not is_serving or self._doubt.suspends(now_ms):
            return []
        members = self._roster.spread(now_ms)
        if not members:
            return []
        self._compare_at_ms = now_ms + self._interval_ms
        return [Tell(Role.CONNECTIONS, SessionsCompared(members))]
