"""The two-step view: which instances of one service count, out of all records that all origins hold for it.

Pure rules. Both steps are maxima over total orders, so the result does not depend on the order in which records arrive,
on repeats, or on the node that computes it; but of a hidden owner it counts what was held here when it was hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from actors.messages.values import Origin, Record
from actors.succession import Orphan, are_kin, heirs_of
from rollbook.model import Instance, InstanceKey, instance_key


class OwnerVerdict(NamedTuple):
    """What is hidden of one origin."""

    grace_ms: int  # records with a grace of at most this
    held_seq: int  # the highest that was held when the origin was hidden: what lies above it has come since
    silent_since_ms: int = 0  # by the wall clock; 0: nobody knows


Filter = Mapping[Origin, OwnerVerdict]
_NOBODY: Mapping[str, str] = MappingProxyType({})


class InstanceConflict(NamedTuple):
    """Different clients publish the same instance key, and all of them are live."""

    key: InstanceKey
    clients: tuple[str, ...]  # sorted


class MergedInstances(NamedTuple):
    instances: tuple[Instance, ...]  # sorted by key
    conflicts: tuple[InstanceConflict, ...]  # sorted by key


def rank(record: Record) -> tuple[int, int, str, int]:
    """Step 1: the highest session wins. Ties are made only by misbehaviour; the rest settles them alike everywhere."""
    return (record.session, record.origin.epoch, record.origin.owner, record.seq)


def is_hidden(record: Record, hidden: Filter) -> bool:
    """Whether the filter hides the record: its origin is listed with a grace that is at least the record's."""
    verdict = hidden.get(record.origin)
    return verdict is not None and record.grace_ms <= verdict.grace_ms


def live_winner(records: tuple[Record, ...], hidden: Filter) -> Record | None:
    """Step 1 for what one client has in one service under all origins (never empty).

    Tombstones and hidden records take part and are dropped only if they win: otherwise an older session would come back
    from the dead behind them.
    """
    winner = records[0] if len(records) == 1 else max(records, key=rank)
    if not winner.instances or (hidden and is_hidden(winner, hidden) and not _only_moves(winner, records, hidden)):
        return None
    return winner


def live_winners(clients: Collection[tuple[Record, ...]], hidden: Filter) -> list[Record]:
    """Step 1 for every client of one service, less those that another client has succeeded."""
    return winners_and_heirs(clients, hidden)[0]


def winners_and_heirs(
    clients: Collection[tuple[Record, ...]], hidden: Filter
) -> tuple[list[Record], Mapping[str, str]]:
    """Likewise, and by client who has succeeded those that are left out."""
    winners = [winner for records in clients if (winner := live_winner(records, hidden)) is not None]
    orphans = orphans_among(winners, hidden)
    if not orphans:
        return winners, _NOBODY
    heirs = heirs_of(orphans, (max(records, key=rank) for records in clients))
    return [winner for winner in winners if winner.key.client not in heirs], heirs


def orphans_among(winners: Iterable[Record], hidden: Filter) -> dict[str, Orphan]:
    """By client, those that a later connection of the same application may succeed: their owner says so, or is silent
    itself."""
    orphans: dict[str, Orphan] = {}
    for record in winners:
        trail = record.trail
        if trail is None:
            continue
        verdict = hidden.get(record.origin)
        since_ms = trail.orphaned_ms or (0 if verdict is None else verdict.silent_since_ms)
        if since_ms:
            orphans[record.key.client] = Orphan(record, trail, since_ms)
    return orphans


def listed_count(winners: Iterable[Record]) -> int:
    """How many instances these list together: as many as merge_instances makes of them."""
    return len({instance_key(instance) for winner in winners for instance in winner.instances})


def merge_instances(winners: Iterable[Record]) -> MergedInstances:
    """Step 2: per instance key the newest stamp among different clients, then the greater client id."""
    chosen: dict[tuple[str, int, str], tuple[Record, Instance]] = {}
    contenders: dict[tuple[str, int, str], set[str]] = {}
    for record in winners:
        for instance in record.instances:
            key = (instance.ip, instance.port, instance.cluster)
            other = chosen.get(key)
            if other is None or other[0] is record:
                chosen[key] = (record, instance)
                continue
            if not are_kin(other[0], record):  # an SDK that moves publishes here before it has left there
                contenders.setdefault(key, {other[0].key.client}).add(record.key.client)
            if precedes(other[0], record):
                chosen[key] = (record, instance)
    return MergedInstances(
        tuple(chosen[key][1] for key in sorted(chosen)),
        tuple(InstanceConflict(InstanceKey(*key), tuple(sorted(contenders[key]))) for key in sorted(contenders)),
    )


def _only_moves(winner: Record, records: tuple[Record, ...], hidden: Filter) -> bool:
    """Whether a hidden winner has come since its owner was hidden, and without it the client would be listed.

    The verdict was on what was held then. A client that is listed here and has moved to that owner, of which more is
    heard now, is not gone: it stays, as the newer record has it.
    """
    if winner.seq <= hidden[winner.origin].held_seq:
        return False
    older = tuple(record for record in records if record is not winner)
    return bool(older) and live_winner(older, hidden) is not None


def precedes(record: Record, other: Record) -> bool:
    """Of two clients that publish the same instance key, whether the other one's word counts."""
    return (record.stamp, record.key.client) < (other.stamp, other.key.client)
