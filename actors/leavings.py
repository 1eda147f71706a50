"""What sessions leave behind when they end: whether it goes now, or when its grace is over, and what may keep it.

A tombstone is the word of this node that an instance is gone. It is not said of what a newer session has in hand, here
or elsewhere; not while this node has just stood still, for then the news of that session are on their way; and by one
that preserves only if nobody else can have the later word. Rules of ClientManager, which owns the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from actors.base import Effect, Now, Remind, Role, Tell
from actors.batch import OrderBatch
from actors.holdings import Holdings
from actors.messages.index import RecordsChanged, SubscribersReleased
from actors.messages.values import Record, RecordKey
from actors.owner_table import OwnerTable
from actors.records import STAMP_COUNTER_BITS, HybridClock
from actors.sessions import Session, SessionTable
from actors.stalls import Lingering, StallBeat, Stalls
from actors.succession import going_on


class LingerEnded(msgspec.Struct, frozen=True):
    """A session that moved away has had its grace: what it left here goes."""

    client: str
    session: int


class Leavings:
    def __init__(
        self,
        native: OwnerTable,
        sessions: SessionTable,
        clock: HybridClock,
        holdings: Holdings,
        stalls: Stalls,
        lingering: Lingering,
        *,
        settle_ms: int,
        redo_ms: int,
    ) -> None:
        self.native = native
        self.sessions = sessions
        self._clock = clock
        self._holdings = holdings
        self._stalls = stalls
        self.lingering = lingering
        self._settle_ms = settle_ms
        self._redo_ms = redo_ms

    @property
    def is_uncertain(self) -> bool:
        """Something is here that may have been withdrawn where nobody is heard."""
        return self.lingering.is_uncertain

    def note_preserving(self, is_preserving: bool, now: Now) -> list[Effect]:
        self.lingering.is_preserving = is_preserving
        return self._remove_overdue(now)

    def after_beat(self, beat: StallBeat, now: Now) -> list[Effect]:
        """Whatever waited for this node to be awake."""
        released = [] if beat.settles else self._release_lost(now)
        if beat.has_settled:
            leavings = self.lingering.after_stall(self.sessions.has, now.monotonic_ms)
            released += self._remove_publications(leavings, now, kept=self._holdings.is_taken_over)
        return [*released, *self._remove_overdue(now)]

    def release(self, session: Session, how: Literal["leave", "lost", "moved"], now: Now) -> list[Effect]:
        """Close the session. What it published goes now, or, if a higher session has it in hand or may have it soon,
        when that had its time."""
        self.sessions.close(session)
        is_looking = self._stalls.closed(session.route) and how == "lost"
        effects: list[Effect] = [Tell(Role.INDEX, SubscribersReleased((session.route,)))]
        number = session.number
        if not self._has_left(session.client, number):
            return effects
        if session.client_may_live(how) or is_looking or self.sessions.highest(session.client) > number:
            # A tombstone now could overtake the new session's record on its way to a third node and leave a gap there.
            redone_by_ms = now.monotonic_ms + session.redo_ms_max(self._redo_ms)
            self.lingering.begin(session.client, number, redone_by_ms)
            marked = self._mark_orphans(session, now) if self.sessions.highest(session.client) <= number else []
            return [*effects, *marked, Remind(session.grace_ms, LingerEnded(session.client, number))]
        return effects + self._remove_publications([(session.client, number)], now)

    def _has_left(self, client: str, number: int) -> bool:
        """Whether something that this session published stands here."""
        records = (self.native.records[RecordKey(client, service)] for service in self.sessions.published(client))
        return any(record.session == number and record.instances for record in records)

    def _mark_orphans(self, session: Session, now: Now) -> list[Effect]:
        """The application behind the session may come back as another client, which no session number tells. Every node
        is told that it may; what is shown and what it outranks is as before."""
        records: list[Record] = []
        for service in self.sessions.published(session.client) if session.trail is not None else ():
            known = self.native.records[RecordKey(session.client, service)]
            if known.session == session.number and known.trail is not None:
                trail = msgspec.structs.replace(
                    known.trail, orphaned_ms=self._clock.next(now.wall_ms) >> STAMP_COUNTER_BITS
                )
                version = (known.session, known.stamp, known.grace_ms)
                records.append(self.native.commit(known.key, *version, known.instances, now.monotonic_ms, trail))
        return committed(records, self.native)

    def _remove_publications(
        self,
        sessions: Sequence[tuple[str, int]],
        now: Now,
        *,
        kept: Callable[[RecordKey, int], bool] | None = None,
    ) -> list[Effect]:
        """Tombstones for what exactly these sessions published."""
        records: list[Record] = []
        for client, number in sessions:
            for service in self.sessions.published(client):
                key = RecordKey(client, service)
                record = self.native.records[key]
                if record.session == number and (kept is None or not kept(key, number)):
                    version = (number, self._clock.next(now.wall_ms), record.grace_ms)
                    trail = None if record.trail is None else going_on(record.trail, record, ())
                    records.append(self.native.commit(key, *version, (), now.monotonic_ms, trail))
        for record in records:
            self.sessions.note_native(record)
        return committed(records, self.native)

    def on_linger_ended(self, message: LingerEnded, now: Now) -> list[Effect]:
        if self._stalls.settles(now.monotonic_ms):  # the newer session's record may have stood still with this node
            return [Remind(self._settle_ms, message)]
        session = (message.client, message.session)
        self.lingering.end(*session)
        if not self.lingering.is_preserving:
            return self._remove_publications([session], now)
        removed = self._remove_publications([session], now, kept=self._holdings.is_last_word)
        # The newer session may be where this node hears nobody.
        self.lingering.has_overdue = self.lingering.has_overdue or self._has_left(*session)
        return removed

    def _release_lost(self, now: Now) -> list[Effect]:
        """The sessions that were lost in a stall, less those that a newer one has ended meanwhile."""
        sessions = [session for route in self._stalls.take_lost() if (session := self.sessions.at(route)) is not None]
        return [effect for session in sessions for effect in self.release(session, "lost", now)]

    def _remove_overdue(self, now: Now) -> list[Effect]:
        """What has outlived its grace, as soon as the others have been heard again and this node has settled."""
        if not self.lingering.take_overdue(settles=self._stalls.settles(now.monotonic_ms)):
            return []
        live = {(key.client, record.session) for key, record in self.native.records.items() if record.instances}
        overdue = [each for each in live if not (self.sessions.is_open(*each) or self.lingering.has(*each))]
        return self._remove_publications(sorted(overdue), now)


def committed(records: Sequence[Record], native: OwnerTable) -> list[Effect]:
    """Whom new records of this node are told to."""
    if not records:
        return []
    return [
        Tell(Role.INDEX, RecordsChanged(records=tuple(records))),
        Tell(Role.DISTRO, OrderBatch.advanced_to(native)),
    ]
