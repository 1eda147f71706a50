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
from typing import Literal, assert_never

import msgspec

from actors.arrivals import arrived
from actors.base import Effect, Effects, Log, NodeIdentity, Now, Remind, Role, StatusRequested, Tell
from actors.batch import OrderBatch
from actors.holdings import Holdings
from actors.leavings import Leavings, LingerEnded, committed
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
from actors.messages.index import RecordsChanged
from actors.messages.io import AnswerClients, ClientFrame, LogLevelOrdered, PushToClients
from actors.messages.members import DigestsTaken
from actors.messages.values import WHOLE, Origin, Watermark
from actors.owner_table import OwnerTable
from actors.ranges import RangeDesk, ScanDue
from actors.records import HybridClock
from actors.sessionless import made_publications, made_verdicts, told_of_http, told_of_removed
from actors.sessions import Session, SessionTable
from actors.stalls import Lingering, Stalls
from rollbook.catalog import Subscriber
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
    | LingerEnded
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
        self._stalls = Stalls(settings)
        self._leavings = Leavings(
            *(self.native, self.sessions, self.clock, self._holdings, self._stalls),
            Lingering(),
            settle_ms=settings.stall_settle_ms,
            redo_ms=settings.stall_redo_ms,
        )

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
            case LingerEnded():
                return self._leavings.on_linger_ended(message, now)
            case _:
                assert_never(message)

    def _take_note(self, message: StandingChanged | PersistentServicesChanged, now: Now) -> Effects:
        """What others have found out, and orders are judged by."""
        if isinstance(message, StandingChanged):
            return self._leavings.note_preserving(message.standing.preserved, now)
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
        if batch.log_level is not None:
            effects.append(Tell(Role.IO, LogLevelOrdered(batch.log_level)))
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
        shown = Subscriber(client, message.ip, message.app, message.agent) if message.kind != "gateway" else None
        self.sessions.open(Session(client, message.route, message.grace_ms, message.kind, shown, message.trail))
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
        return self._leavings.release(session, message.how, now)

    def _supersede(self, client: str, number: int, now: Now) -> list[Effect]:
        """A higher session of this client exists, here or elsewhere: the one that is open here ends."""
        session = self.sessions.of(client)
        if session is None or session.number >= number:
            return []
        self.counters["sessions_superseded"] += 1
        self.sessions.witness(client, number)
        ended = SessionEnded(Code.SESSION_SUPERSEDED, "a newer session of this client was opened", number)
        return self._end(session, ended, "moved", now)

    def _end(self, session: Session, ended: SessionEnded, how: Literal["lost", "moved"], now: Now) -> list[Effect]:
        """Close a session from this side and say why."""
        frame = ClientFrame(session.route, encode(Tag.SESSION_ENDED, 0, session.number, ended))
        return [
            Tell(Role.IO, PushToClients((frame,))),
            Tell(Role.CONNECTIONS, SessionDiscarded(session.route)),
            *self._leavings.release(session, how, now),
        ]

    # -- records without a session: verdicts of this node, and what HTTP clients publish here

    def _on_sessionless(self, message: HealthJudged | HttpPublicationsOrdered, now: Now) -> Effects:
        if isinstance(message, HealthJudged):
            return committed(made_verdicts(message, self.native, self.clock, now), self.native)
        made = made_publications(message, self.native, self.clock, self._persistent_services, now)
        told = Tell(Role.BEATS, HttpCommitted(tuple(made)))
        return [*committed([record for record in made if record is not None], self.native), told]

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
        released = self._leavings.after_beat(beat, now)
        entries = tuple(self.tables[origin].entry() for origin in sorted(self.tables))
        proves_life = not beat.settles and not released
        taken = DigestsTaken(message.number, entries, now.monotonic_ms, proves_life, self._leavings.is_uncertain)
        return [*effects, *released, Tell(Role.INDEX, taken)]

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
            counters={
                **message.parts.get("counters", {}),
                **self.counters,
                "native_instances": self.native.instances,
            },
        )
        return [Tell(Role.BEATS, parts)]

    def check_invariants(self) -> None:
        self._holdings.check_invariants()
        self.sessions.check_invariants(self.native)
        self._stalls.check_invariants(lambda route: self.sessions.at(route) is not None)
