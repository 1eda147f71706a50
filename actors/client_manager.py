"""ClientManager: the one record table.

Owns: every record this node holds, native and synced, with versions, tombstones and digest sums; the node's seq;
the sessions whose orders it admits. Accepts: messages/clients.py, the standing, verdicts. Tells: IndexManager (changes,
the answers that wait for them, and what a digest says), BeatKeeper (orders and records of HTTP clients),
DistroSyncActor (ranges, progress), ConnectionManager (sessions it ended), I/O.

It is the one that opens sessions, so no order can precede its session or outlive it. An order is validated and
computed first and committed last; an exception before that costs the session that sent it and changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal, assert_never

import msgspec

from actors.arrivals import arrived
from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.batch import OrderBatch
from actors.holdings import Holdings
from actors.messages.beats import HttpCommitted, HttpOrdersAdmitted
from actors.messages.clients import (
    ApplyDelta,
    BeatPassed,
    ExpectParts,
    GetRecordRange,
    GiveUpParts,
    HttpPublicationsOrdered,
    NewsPassed,
    OpenSessionOrdered,
    OrdersReceived,
    OwnersPurged,
    PersistentServicesChanged,
    ReleaseSession,
)
from actors.messages.connections import SessionDiscarded, StandingChanged
from actors.messages.distro import ChunkApplied, DeltaRejected
from actors.messages.health import HealthJudged
from actors.messages.index import RecordsChanged, SubscribersReleased
from actors.messages.io import AnswerClients, ClientFrame, PushToClients
from actors.messages.members import DigestsTaken
from actors.messages.values import WHOLE, Origin, Record, RecordKey, Watermark
from actors.owner_table import OwnerTable
from actors.ranges import RangeDesk, ScanDue
from actors.records import HybridClock
from actors.sessionless import made_publications, made_verdicts, told_of_http, told_of_removed
from actors.sessions import Session, SessionTable
from actors.stalls import Lingering, Stalls
from rollbook.errors import Code, RemoteProtocolError
from rollbook.model import Service
from rollbook.wire import Failed, SessionEnded, SessionOpened, Tag, encode


class ClientsSettings(msgspec.Struct, frozen=True):
    tombstone_age_ms: int
    tombstones_max: int
    collect_interval_ms: int
    chunk_bytes_max: int
    scan_records_max: int
    snapshot_ms: int
    stall_ms: int
    stall_settle_ms: int
    stall_welcome_ms: int
    stall_redo_ms: int
    publications_per_session_max: int


class _CollectDue(msgspec.Struct, frozen=True):
    pass


class _LingerEnded(msgspec.Struct, frozen=True):
    """A session that moved away has had its grace: what it left here goes."""

    client: str
    session: int


ClientsInput = (
    OrdersReceived
    | OpenSessionOrdered
    | NewsPassed
    | ReleaseSession
    | GetRecordRange
    | ExpectParts
    | GiveUpParts
    | ApplyDelta
    | BeatPassed
    | OwnersPurged
    | StandingChanged
    | PersistentServicesChanged
    | HealthJudged
    | HttpPublicationsOrdered
    | StatusRequested
    | ScanDue
    | _CollectDue
    | _LingerEnded
)


class ClientManager:
    role = Role.CLIENTS

    def __init__(self, identity: NodeIdentity, settings: ClientsSettings, chance: random.Random) -> None:
        del chance  # nothing here is left to chance
        self.identity = identity
        self.settings = settings
        self.origin = Origin(identity.node_id, identity.epoch)
        self.native = OwnerTable(self.origin)
        self.tables: dict[Origin, OwnerTable] = {self.origin: self.native}
        self.ranges = RangeDesk(
            self.tables,
            chunk_bytes_max=settings.chunk_bytes_max,
            scan_records_max=settings.scan_records_max,
            snapshot_ms=settings.snapshot_ms,
        )
        self._holdings = Holdings(self.tables)
        self.sessions = SessionTable()
        self._persistent_services: set[Service] = set()  # as PersistentStore says
        self.clock = HybridClock()
        self.counters = dict.fromkeys(
            (
                "orders",
                "orders_refused",
                "orders_failed",
                "foreign_claims",
                "deltas_rejected",
                "records_applied",
                "records_invalid",
                "sessions_superseded",
                "tombstones_collected",
                "stalls",
            ),
            0,
        )
        self._stalls, self._lingering = Stalls(settings), Lingering()

    def start(self, now: Now) -> Effects:
        return [Remind(self.settings.collect_interval_ms, _CollectDue())]

    def handle(self, message: ClientsInput, now: Now) -> Effects:
        match message:
            case OrdersReceived():
                return self._on_orders(message, now)
            case OpenSessionOrdered():
                return self._on_open_session(message, now)
            case NewsPassed():
                return [Tell(Role.IO, PushToClients(message.frames))]
            case ReleaseSession():
                return self._on_release_session(message, now)
            case GetRecordRange() | ExpectParts() | GiveUpParts() | ScanDue():
                return self.ranges.handle(message, now.monotonic_ms)
            case ApplyDelta():
                return self._on_apply_delta(message, now)
            case BeatPassed():
                return self._on_beat(message, now)
            case OwnersPurged():
                return self._on_owners_purged(message)
            case StandingChanged() | PersistentServicesChanged():
                return self._take_note(message, now)
            case HealthJudged() | HttpPublicationsOrdered():
                return self._on_sessionless(message, now)
            case StatusRequested():
                return self._on_status(message)
            case _CollectDue():
                return self._on_collect(now)
            case _LingerEnded():
                return self._on_linger_ended(message, now)
            case _:
                assert_never(message)

    def _take_note(self, message: StandingChanged | PersistentServicesChanged, now: Now) -> Effects:
        """What others have found out, and orders are judged by."""
        if isinstance(message, StandingChanged):
            self._lingering.is_preserving = message.standing.preserved
            return self._remove_overdue(now)
        self._persistent_services.update(message.added)
        self._persistent_services.difference_update(message.removed)
        return []

    # -- clients

    def _on_orders(self, message: OrdersReceived, now: Now) -> Effects:
        publications_max = self.settings.publications_per_session_max
        batch = OrderBatch(
            *(self.native, self.sessions, self.clock, self._persistent_services, publications_max, now),
            has_stood_still=self._stalls.settles(now.monotonic_ms),
        )
        for order in message.orders:
            batch.take(order)
        self.counters["orders"] += len(message.orders)
        self.counters["orders_refused"] += batch.refused
        effects: list[Effect] = [Tell(Role.INDEX, batch.changes())]
        if batch.http:
            effects.append(Tell(Role.BEATS, HttpOrdersAdmitted(tuple(batch.http))))
        if batch.records:
            effects.append(Tell(Role.DISTRO, batch.advanced()))
        for session, reason in batch.broken:
            self.counters["orders_failed"] += 1
            effects.append(Log("ERROR", "an order failed", {"client": session.client, "reason": reason}))
            effects += self._end(session, SessionEnded(Code.INTERNAL, "an order of this session failed"), "lost", now)
        return effects

    def _on_open_session(self, message: OpenSessionOrdered, now: Now) -> Effects:
        client, number = message.client, message.route.session
        failed = self._unwelcome(message, now)
        if failed is not None:
            frame = ClientFrame(message.route, encode(Tag.FAILED, message.correlation, number, failed))
            return [Tell(Role.IO, AnswerClients((frame,))), Tell(Role.CONNECTIONS, SessionDiscarded(message.route))]
        effects = self._supersede(client, number, now)
        self.sessions.open(Session(client, message.route, message.grace_ms, message.kind))
        standing = message.standing
        opened = SessionOpened(
            self.identity.node_id,
            self.identity.epoch,
            number,
            self.identity.requests_in_flight_max,
            (self.identity.client_address, *standing.servers),
            standing.majority,
            standing.warming,
        )
        frame = ClientFrame(message.route, encode(Tag.SESSION_OPENED, message.correlation, number, opened))
        return [*effects, Tell(Role.IO, AnswerClients((frame,)))]

    def _unwelcome(self, message: OpenSessionOrdered, now: Now) -> Failed | None:
        number, highest = message.route.session, self.sessions.highest(message.client)
        if number <= highest:
            sentence = f"session {number} is not above {highest}, the highest known one of client {message.client}"
            return Failed(Code.SESSION_STALE, sentence, field="session", retryable=True, session=highest)
        servers, session = message.standing.servers, self.sessions.of(message.client)
        standing = None if session is None else session.route
        if not servers or not self._stalls.turns_away(standing, now.monotonic_ms):
            return None
        sentence = "this node has just stood still, try another"
        return Failed(Code.NOT_READY, sentence, retryable=True, servers=servers)

    def _on_release_session(self, message: ReleaseSession, now: Now) -> Effects:
        session = self.sessions.at(message.route)
        if session is None:
            return []  # ended by ourselves before its transport was seen to close
        if message.how == "lost" and not session.may_outlive_its_link and self._stalls.settles(now.monotonic_ms):
            self._stalls.put_off(message.route)
            return []
        return self._release(session, message.how, now)

    def _release(self, session: Session, how: Literal["leave", "lost", "moved"], now: Now) -> list[Effect]:
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
            redone_by_ms = now.monotonic_ms + session.redo_ms_max(self.settings.stall_redo_ms)
            self._lingering.begin(session.client, number, redone_by_ms)
            return [*effects, Remind(session.grace_ms, _LingerEnded(session.client, number))]
        return effects + self._remove_publications([(session.client, number)], now)

    def _has_left(self, client: str, number: int) -> bool:
        """Whether something that this session published stands here."""
        records = (self.native.records[RecordKey(client, service)] for service in self.sessions.published(client))
        return any(record.session == number and record.instances for record in records)

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
                    stamp = self.clock.next(now.wall_ms)
                    records.append(self.native.commit(key, number, stamp, record.grace_ms, (), now.monotonic_ms))
        for record in records:
            self.sessions.note_native(record)
        return self._committed(records)

    def _committed(self, records: Sequence[Record]) -> list[Effect]:
        if not records:
            return []
        return [
            Tell(Role.INDEX, RecordsChanged(records=tuple(records))),
            Tell(Role.DISTRO, OrderBatch.advanced_to(self.native)),
        ]

    def _on_linger_ended(self, message: _LingerEnded, now: Now) -> Effects:
        if self._stalls.settles(now.monotonic_ms):  # the newer session's record may have stood still with this node
            return [Remind(self.settings.stall_settle_ms, message)]
        session = (message.client, message.session)
        self._lingering.end(*session)
        if not self._lingering.is_preserving:
            return self._remove_publications([session], now)
        removed = self._remove_publications([session], now, kept=self._holdings.is_last_word)
        # The newer session may be where this node hears nobody.
        self._lingering.has_overdue = self._lingering.has_overdue or self._has_left(*session)
        return removed

    def _supersede(self, client: str, number: int, now: Now) -> list[Effect]:
        """A higher session of this client exists, here or elsewhere: the one that is open here ends."""
        session = self.sessions.of(client)
        if session is None or session.number >= number:
            return []
        self.counters["sessions_superseded"] += 1
        ended = SessionEnded(Code.SESSION_SUPERSEDED, "a newer session of this client was opened", number)
        return self._end(session, ended, "moved", now)

    def _end(self, session: Session, ended: SessionEnded, how: Literal["lost", "moved"], now: Now) -> list[Effect]:
        """Close a session from this side and say why."""
        frame = ClientFrame(session.route, encode(Tag.SESSION_ENDED, 0, session.number, ended))
        return [
            Tell(Role.IO, PushToClients((frame,))),
            Tell(Role.CONNECTIONS, SessionDiscarded(session.route)),
            *self._release(session, how, now),
        ]

    # -- records without a session: verdicts of this node, and what HTTP clients publish here

    def _on_sessionless(self, message: HealthJudged | HttpPublicationsOrdered, now: Now) -> Effects:
        if isinstance(message, HealthJudged):
            return self._committed(made_verdicts(message, self.native, self.clock, now))
        made = made_publications(message, self.native, self.clock, self._persistent_services, now)
        told = Tell(Role.BEATS, HttpCommitted(tuple(made)))
        return [*self._committed([record for record in made if record is not None]), told]

    # -- replicas

    def _on_apply_delta(self, message: ApplyDelta, now: Now) -> Effects:
        if message.origin == self.origin:
            self.counters["foreign_claims"] += 1
            fact = Log("WARNING", "refused records that claim this node's own epoch", {"link": message.link})
            return [fact, Tell(Role.DISTRO, DeltaRejected(message.link, message.origin, self.native.applied, 0))]
        try:
            chunk = arrived(message)
        except RemoteProtocolError as error:
            self.counters["records_invalid"] += 1
            fact = Log("WARNING", "refused an invalid record", {"link": message.link, "reason": error.message})
            return [fact, self._rejection(message)]
        table = self.tables.get(message.origin) or OwnerTable(message.origin)
        applied = table.apply(chunk, now.monotonic_ms)
        if applied is None:
            return [self._rejection(message)]
        self.tables[message.origin] = table
        self.counters["records_applied"] += len(applied.changed)
        effects: list[Effect] = []
        for record in applied.changed:
            self.clock.witness(record.stamp)
            self.sessions.witness(record.key.client, record.session)
            effects += self._supersede(record.key.client, record.session, now)
        watermarks = (Watermark(message.origin, table.applied, message.link),) if applied.claims else ()
        removed = tuple((message.origin, key) for key in applied.removed)
        if applied.changed or removed or watermarks:
            effects.append(Tell(Role.INDEX, RecordsChanged(applied.changed, removed, watermarks=watermarks)))
            effects += told_of_http(applied.changed, removed)
        in_part = message.scope.length > 0
        if in_part or not message.last:
            through = table.resume_point(message.link)
            ended = message.scope if message.last else WHOLE
            progress = ChunkApplied(message.link, message.origin, message.index, through, ended)
            effects.append(Tell(Role.DISTRO, progress))
        return effects

    def _rejection(self, message: ApplyDelta) -> Tell:
        self.counters["deltas_rejected"] += 1
        table = self.tables.get(message.origin)
        applied = table.applied if table is not None else 0
        resume = table.resume_point(message.link) if table is not None else 0
        return Tell(Role.DISTRO, DeltaRejected(message.link, message.origin, applied, resume))

    # -- rhythm and upkeep

    def _on_beat(self, message: BeatPassed, now: Now) -> Effects:
        """Pass the beat on. It is no heartbeat if this node has just been asleep: its closed sockets come first, for a
        counter that rises would show the publications of clients that died meanwhile. Nor is the beat at which these
        are released, so that their tombstones have left before any peer shows this owner again."""
        beat = self._stalls.beat(now.monotonic_ms)
        effects: list[Effect] = []
        if beat.stood_still_ms:
            self.counters["stalls"] += 1
            effects.append(Log("WARNING", "this node stood still", {"stall_ms": beat.stood_still_ms}))
        released = [] if beat.settles else self._release_lost(now)
        if beat.has_settled:
            leavings = self._lingering.after_stall(self.sessions.has, now.monotonic_ms)
            released += self._remove_publications(leavings, now, kept=self._holdings.is_taken_over)
        released += self._remove_overdue(now)
        entries = tuple(self.tables[origin].entry() for origin in sorted(self.tables))
        proves_life = not beat.settles and not released
        uncertain = self._lingering.is_uncertain
        taken = DigestsTaken(message.number, entries, now.monotonic_ms, proves_life, uncertain)
        return [*effects, *released, Tell(Role.INDEX, taken)]

    def _release_lost(self, now: Now) -> list[Effect]:
        """The sessions that were lost in a stall, less those that a newer one has ended meanwhile."""
        sessions = [session for route in self._stalls.take_lost() if (session := self.sessions.at(route)) is not None]
        return [effect for session in sessions for effect in self._release(session, "lost", now)]

    def _remove_overdue(self, now: Now) -> list[Effect]:
        """What has outlived its grace, as soon as the others have been heard again and this node has settled."""
        if not self._lingering.take_overdue(settles=self._stalls.settles(now.monotonic_ms)):
            return []
        live = {(key.client, record.session) for key, record in self.native.records.items() if record.instances}
        overdue = [each for each in live if not (self.sessions.is_open(*each) or self._lingering.has(*each))]
        return self._remove_publications(sorted(overdue), now)

    def _on_owners_purged(self, message: OwnersPurged) -> Effects:
        gone = tuple(origin for origin in message.origins if origin in self.tables and origin != self.origin)
        self.ranges.forget(gone)
        removed = self._holdings.purge(gone)
        return told_of_removed(removed)

    def _on_collect(self, now: Now) -> Effects:
        removed = self._holdings.collect(now.monotonic_ms, self.settings.tombstone_age_ms, self.settings.tombstones_max)
        self.counters["tombstones_collected"] += len(removed)
        self.ranges.forget_old(now.monotonic_ms)
        self.sessions.forget_unknown_clients(self.tables.values())
        return [Remind(self.settings.collect_interval_ms, _CollectDue()), *told_of_removed(removed)]

    def _on_status(self, message: StatusRequested) -> Effects:
        owners = self._holdings.status()
        parts = message.with_parts(
            epoch=self.identity.epoch,
            seq=self.native.applied,
            records=sum(owner.records for owner in owners),
            owners=owners,
            counters={**message.parts.get("counters", {}), **self.counters},
        )
        return [Tell(Role.BEATS, parts)]

    def check_invariants(self) -> None:
        self._holdings.check_invariants()
        self.sessions.check_invariants(self.native)
        self._stalls.check_invariants(lambda route: self.sessions.at(route) is not None)
