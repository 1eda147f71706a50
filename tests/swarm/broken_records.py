"""Broken rules of records: their versions, how they are merged, and how they get from node to node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from actors import batch, views
from actors.base import Effect, Effects, NodeIdentity, Now, Role, Tell
from actors.batch import OrderBatch
from actors.client_manager import ClientManager
from actors.cursors import Outgoing
from actors.distro_sync_actor import DistroSyncActor
from actors.leavings import Leavings
from actors.messages.clients import ApplyDelta, GetRecordRange, OrdersReceived
from actors.messages.distro import DeltaReceived
from actors.messages.io import AnswerClients, ClientFrame
from actors.messages.peers import Pull
from actors.messages.values import Order, Origin, Record, RecordKey, Trail
from actors.owner_table import Applied, Chunk, OwnerTable, Transfer
from actors.records import make_record
from actors.sessions import Session
from rollbook.model import Instance, check_service
from rollbook.wire import Withdraw, encode
from runtime.simulation.node import SimNode
from tests.swarm.breaking import Ablation, all_of, replaced

TOMBSTONE_AGE_MS = 200  # a second, scaled by five


def _epoch_reused() -> AbstractContextManager[None]:
    kept = SimNode._next_identity
    first: dict[SimNode, int] = {}

    def same_again(self: SimNode, standalone: bool) -> NodeIdentity:
        identity = kept(self, standalone)
        return msgspec.structs.replace(identity, epoch=first.setdefault(self, identity.epoch))

    return replaced(SimNode, "_next_identity", same_again)


def _versions_unchecked() -> AbstractContextManager[None]:
    kept = OwnerTable.apply

    def apply(self: OwnerTable, chunk: Chunk, now_ms: int) -> Applied | None:
        applied = kept(self, chunk, now_ms)
        if applied is None:
            return None
        known = ((record, self.records.get(record.key)) for record in chunk.records)
        older = tuple(record for record, newer in known if newer is not None and record.seq < newer.seq)
        for record in older:
            self._put(record, now_ms)
        return applied._replace(changed=(*applied.changed, *older))

    return replaced(OwnerTable, "apply", apply)


def _seq_kept_at_removal() -> AbstractContextManager[None]:
    def commit(
        self: OwnerTable,
        key: RecordKey,
        session: int,
        stamp: int,
        grace_ms: int,
        instances: tuple[Instance, ...],
        now_ms: int,
        trail: Trail | None = None,
    ) -> Record:
        seq = max(1, self.applied + bool(instances))
        record = make_record(self.origin, key, session, seq, stamp, grace_ms, instances, trail)
        self._put(record, now_ms)
        self.applied = seq
        return record

    return replaced(OwnerTable, "commit", commit)


def _foreign_records_taken() -> AbstractContextManager[Any]:
    """Both who receives a delta and who keeps the records compare its origin with their own: they think of another."""
    kept_receive, kept_apply = DistroSyncActor._on_delta_received, ClientManager._on_apply_delta
    nobody = Origin("", 0)

    def receive(self: DistroSyncActor, message: DeltaReceived, now: Now) -> list[Effect]:
        own, self.origin = self.origin, nobody
        try:
            return kept_receive(self, message, now)
        finally:
            self.origin = own

    def apply(self: ClientManager, message: ApplyDelta, now: Now) -> Effects:
        own, self.origin = self.origin, nobody
        try:
            return kept_apply(self, message, now)
        finally:
            self.origin = own

    return all_of(
        replaced(DistroSyncActor, "_on_delta_received", receive),
        replaced(ClientManager, "_on_apply_delta", apply),
    )


# -- how they are merged


def _sessions_ignored() -> AbstractContextManager[None]:
    def by_epoch(record: Record) -> tuple[int, int, str, int]:
        return (0, record.origin.epoch, record.origin.owner, record.seq)

    return replaced(views, "rank", by_epoch)


def _sessions_across_clients() -> AbstractContextManager[None]:
    def precedes(record: Record, other: Record) -> bool:
        return (record.session, record.key.client) < (other.session, other.key.client)

    return replaced(views, "precedes", precedes)


def _removed_take_no_part() -> AbstractContextManager[None]:
    def live_winner(records: tuple[Record, ...], hidden: views.Filter) -> Record | None:
        shown = [record for record in records if record.instances and not views.is_hidden(record, hidden)]
        return max(shown, key=views.rank, default=None)

    return replaced(views, "live_winner", live_winner)


def _withdrawn_only_where_held() -> AbstractContextManager[None]:
    kept = OrderBatch._withdraw

    def withdraw(self: OrderBatch, session: Session, order: Order) -> None:
        body: Withdraw = order.body
        known = self.native.records.get(RecordKey(session.client, check_service(body.service)))
        if known is None:
            self._done(order, body, None)
            return
        kept(self, session, order)

    return replaced(batch, "_HANDLERS", {**batch._HANDLERS, Withdraw: withdraw})


def _closed_by_any_session() -> AbstractContextManager[None]:
    kept = Leavings._remove_publications

    def remove(
        self: Leavings,
        sessions: Sequence[tuple[str, int]],
        now: Now,
        **which: Callable[[RecordKey, int], bool],
    ) -> list[Effect]:
        every: set[tuple[str, int]] = set(sessions)
        for client, _ in sessions:
            keys = [RecordKey(client, service) for service in self.sessions.published(client)]
            every |= {(client, self.native.records[key].session) for key in keys}
        return kept(self, sorted(every), now, **which)

    return replaced(Leavings, "_remove_publications", remove)


# -- tombstones


def _tombstones_dropped() -> AbstractContextManager[None]:
    kept = OwnerTable.collect

    def too_soon(self: OwnerTable, now_ms: int, age_ms_max: int, *rest: Any) -> list[RecordKey]:
        floor = self.gc_floor
        dropped = kept(self, now_ms, min(age_ms_max, TOMBSTONE_AGE_MS), *rest)
        self.gc_floor = floor
        return dropped

    return replaced(OwnerTable, "collect", too_soon)


def _no_gc_floor() -> AbstractContextManager[None]:
    kept = OwnerTable.collect

    def collect(self: OwnerTable, *how: Any) -> list[RecordKey]:
        dropped = kept(self, *how)
        self.gc_floor = 0
        return dropped

    return replaced(OwnerTable, "collect", collect)


# -- how they get from node to node


def _gaps_trusted() -> AbstractContextManager[None]:
    kept = OwnerTable._transfer_of

    def transfer_of(self: OwnerTable, chunk: Chunk) -> Transfer | None:
        return kept(self, chunk._replace(after=min(chunk.after, self.applied)))

    return replaced(OwnerTable, "_transfer_of", transfer_of)


def _applied_before_the_last_chunk() -> AbstractContextManager[None]:
    kept = OwnerTable.apply

    def apply(self: OwnerTable, chunk: Chunk, now_ms: int) -> Applied | None:
        applied = kept(self, chunk, now_ms)
        if applied is None or chunk.last or chunk.scope.length:
            return applied
        self.applied = max(self.applied, chunk.upper)
        self.seq_max = max(self.seq_max, self.applied)
        return applied._replace(claims=True)

    return replaced(OwnerTable, "apply", apply)


def _relays_dropped() -> AbstractContextManager[None]:
    kept = Outgoing.pull

    def pull(self: Outgoing, node_id: str, link: str, asked: Pull, now_ms: int) -> GetRecordRange | None:
        return kept(self, node_id, link, asked, now_ms) if asked.origin == self.origin else None

    return replaced(Outgoing, "pull", pull)


def _acknowledged_before_indexed() -> AbstractContextManager[None]:
    kept = ClientManager._on_orders

    def on_orders(self: ClientManager, message: OrdersReceived, now: Now) -> Effects:
        effects = list(kept(self, message, now))
        told = effects[0]
        assert isinstance(told, Tell)
        replies = told.message.replies
        frames = tuple(
            ClientFrame(reply.route, encode(reply.tag, reply.correlation, reply.route.session, reply.body))
            for reply in replies
        )
        effects[0] = Tell(Role.INDEX, msgspec.structs.replace(told.message, replies=()))
        return [*([Tell(Role.IO, AnswerClients(frames))] if frames else []), *effects]

    return replaced(ClientManager, "_on_orders", on_orders)


RECORDS: Mapping[str, Ablation] = {
    "epoch-reused": Ablation(
        "the epoch of a life is higher than that of every earlier one",
        "a node that restarts goes on in the epoch of its first life",
        _epoch_reused,
    ),
    "versions-unchecked": Ablation(
        "a record is applied iff its seq is greater",
        "whatever comes last is applied",
        _versions_unchecked,
    ),
    "seq-kept-at-removal": Ablation(
        "every change takes the next seq, by construction",
        "a removal keeps the seq of the change before it",
        _seq_kept_at_removal,
    ),
    "foreign-records-taken": Ablation(
        "only the owner changes its records; a node refuses what claims to be its own current epoch",
        "a node takes what a peer says of its own epoch",
        _foreign_records_taken,
    ),
    "sessions-ignored": Ablation(
        "of what one client publishes the highest session wins",
        "the merge compares owners' epochs, not sessions of the client",
        _sessions_ignored,
    ),
    "sessions-across-clients": Ablation(
        "sessions are compared within one client only; between clients the newest stamp counts",
        "between clients the highest session counts",
        _sessions_across_clients,
    ),
    "removed-take-no-part": Ablation(
        "tombstones and hidden records take part when sessions are compared, and are dropped if they win",
        "only what lives and is shown is compared",
        _removed_take_no_part,
    ),
    "withdrawn-only-where-held": Ablation(
        "a deregister always writes a tombstone, also where this node holds nothing",
        "where nothing is held nothing is written",
        _withdrawn_only_where_held,
    ),
    "closed-by-any-session": Ablation(
        "a closed transport releases only the records of exactly that session",
        "it releases what any session of that client has published here",
        _closed_by_any_session,
    ),
    "tombstones-dropped": Ablation(
        "tombstones are kept for ten leases, or the gc floor rises above them",
        "tombstones go after a second, and deltas are trusted still",
        _tombstones_dropped,
    ),
    "no-gc-floor": Ablation(
        "a delta is valid only if the receiver has everything up to the gc floor",
        "tombstones go when they are too many or too old, and no floor says so",
        _no_gc_floor,
    ),
    "gaps-trusted": Ablation(
        "a delta that begins above what is applied is answered with what is applied",
        "it is taken as if nothing lay between",
        _gaps_trusted,
    ),
    "applied-before-the-last-chunk": Ablation(
        "the receiver publishes the upper bound of a delta after its last chunk",
        "it does after the first",
        _applied_before_the_last_chunk,
    ),
    "relays-dropped": Ablation(
        "nodes that cannot reach each other converge through a third: any holder serves a pull",
        "a node serves only what it owns",
        _relays_dropped,
    ),
    "acknowledged-before-indexed": Ablation(
        "an answer leaves only after the index has what it acknowledges",
        "the record table answers by itself, at once",
        _acknowledged_before_indexed,
    ),
}
