"""What PersistentStore is told, what it tells the store port, and the values that durable data is made of."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from actors.messages.values import Count, IntentPlace, Order

Fault = Literal["", "unavailable", "unknown", "too_large"]
NOTHING = -1  # followed so far


class Operation(msgspec.Struct, frozen=True, array_like=True):
    """The key has this value from now on, or none: None deletes, and deleting what is not there changes nothing."""

    key: str
    value: bytes | None


class Expectation(msgspec.Struct, frozen=True, array_like=True):
    """The change is made only if the row was last written at exactly this index; 0: only if there is no such row."""

    key: str
    index: Count


class Outcome(msgspec.Struct, frozen=True):
    """``applied`` is False if an expectation did not hold. ``index``: of the change, or of the look that refused it.

    Unconditional proposals that waited together may be written as one change, and then share its index.
    """

    applied: bool
    index: int


class Row(msgspec.Struct, frozen=True, array_like=True):
    key: str
    value: bytes
    index: Count


class RowVersion(NamedTuple):
    """A row as it was written once. Rows that were written together share an index, so that alone names none."""

    key: str
    at_index: int


class Cut(msgspec.Struct, frozen=True):
    """All rows asked for, sorted by key, as they were at one index."""

    rows: tuple[Row, ...]
    index: int


class StoredChange(msgspec.Struct, frozen=True, array_like=True):
    """What was written at one index, without what lies outside the prefix that is watched. Sorted by key."""

    index: Count
    operations: tuple[Operation, ...]


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """All of the operations or none. ``number`` comes back with what became of it."""

    number: Count
    operations: tuple[Operation, ...]
    expectations: tuple[Expectation, ...] = ()


class ProposalsMade(msgspec.Struct, frozen=True):
    """Write these; each comes back once in a ``ProposalsSettled``, in any order. ``asker``: the link of the peer
    they come from, empty for those of this node. To: the store port."""

    proposals: tuple[Proposal, ...]
    asker: str = ""


class FollowOrdered(msgspec.Struct, frozen=True):
    """Tell what was written after ``after``, and go on (``ChangesSeen``); first everything (``CutTaken``) if that is
    not known any more. A second order of the same follower ends the first. To: the store port."""

    follower: str = ""  # whatever HomeServer calls it, another name for each order; empty for this node itself
    after: int = NOTHING


class FollowEnded(msgspec.Struct, frozen=True):
    """Nobody listens any more. To: the store port."""

    follower: str


class PersistentOrders(msgspec.Struct, frozen=True):
    """Orders of admitted sessions that concern durable data, in order of arrival. From: IndexManager, where no
    ephemeral instance stands in their way."""

    orders: tuple[Order, ...]


class CutTaken(msgspec.Struct, frozen=True):
    """The whole store at one index: at first, and again whenever changes have been missed. From: the store port."""

    cut: Cut
    follower: str = ""
    store: str = ""  # which store it is: another one than before holds other data, whatever its index


class ChangesSeen(msgspec.Struct, frozen=True):
    """In order, without a gap since the last message. ``index``: nothing else happened up to here. From: the store
    port."""

    changes: tuple[StoredChange, ...]
    index: int
    follower: str = ""


class StoreSilent(msgspec.Struct, frozen=True):
    """The store cannot be followed at the moment; it goes on by itself with one of the two above. From: the store
    port."""

    reason: str
    follower: str = ""


class ProposalSettled(msgspec.Struct, frozen=True):
    """What became of a proposal: an outcome, or a fault and one sentence."""

    number: int
    outcome: Outcome | None
    fault: Fault = ""
    reason: str = ""


class ProposalsSettled(msgspec.Struct, frozen=True):
    """What became of proposals of one asker that ended together. From: the store port."""

    settled: tuple[ProposalSettled, ...]
    asker: str = ""


class MemberSeen(msgspec.Struct, frozen=True):
    """``state``: leader, follower, learner, silent or unasked."""

    name: str
    state: str


class StoreMembersSeen(msgspec.Struct, frozen=True):
    """Who keeps the store, whenever that has changed. From: the store port."""

    members: tuple[MemberSeen, ...]


class IntentsUnclaimed(msgspec.Struct, frozen=True):
    """Of all intents that were asked about, those for whom nobody is listed. From: IndexManager."""

    rows: tuple[RowVersion, ...]


class IntentHeir(NamedTuple):
    """Whom a decision is bound to has come back as another client."""

    place: IntentPlace
    incarnation: str  # whom it is bound to
    heir: str


class IntentHeirsFound(msgspec.Struct, frozen=True):
    """All decisions that are to be bound to an heir now. From: IndexManager."""

    heirs: tuple[IntentHeir, ...]


class StoreFrameReceived(msgspec.Struct, frozen=True):
    """A frame of another node about the store that one node keeps for all. From: I/O, to HomeServer or
    HomeFollower."""

    link: str
    body: Any


class StoreFollowed(msgspec.Struct, frozen=True):
    """How well this node knows the store. ``is_read``: all of it has been indexed once. ``stale_since_ms``: by the wall
    clock, since when nothing has been heard of it; 0 while it is followed. From: PersistentStore, by way of
    IndexManager, which has indexed everything by then, to MemberManager."""

    is_read: bool
    stale_since_ms: int
    reason: str  # why not, in one sentence
