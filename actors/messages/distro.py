"""What DistroSyncActor is told."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from actors.messages.peers import Delta, DeltaAck, Digest, Pull
from actors.messages.values import WHOLE, ClusterWait, DigestEntry, Origin, Peer, Scope, Watermark


class NativeAdvanced(msgspec.Struct, frozen=True):
    """This node's own records have reached ``seq``. From: ClientManager."""

    seq: int


class RecordRange(msgspec.Struct, frozen=True):
    """A frozen range in order of seq, cut into chunks of at most the chunk size. From: ClientManager.

    ``known`` is False if this node holds nothing of the origin. ``below_floor``: it has forgotten tombstones above
    ``after``, so nothing was frozen, and the peer has to pull in parts.
    """

    origin: Origin
    after: int
    upper: int
    full: bool
    resume: int
    gc_floor: int
    chunks: tuple[tuple[bytes, ...], ...]
    links: tuple[str, ...]
    known: bool = True
    below_floor: bool = False
    scope: Scope = WHOLE
    whole: tuple[int, ...] = ()


class PartsExpected(msgspec.Struct, frozen=True):
    """Parts of this origin can be taken now. ``have`` is what was here when this was noted, ``sums`` what lived of it,
    by bucket (none: nothing is held). From: ClientManager."""

    origin: Origin
    have: int
    sums: tuple[int, ...]


class DeltaRejected(msgspec.Struct, frozen=True):
    """A chunk was of no use: a gap, a lost chunk, a foreign claim. ``applied`` is what this node has. From:
    ClientManager."""

    link: str
    origin: Origin
    applied: int
    resume: int  # how far a broken transfer has come; 0 if nothing of it can be used


class ChunkApplied(msgspec.Struct, frozen=True):
    """A chunk that was not the last, or one of a part, is in the record table: acknowledge progress. ``through`` is the
    seq of its last record: where a broken transfer may resume. ``ended``: this part is wholly here. From:
    ClientManager."""

    link: str
    origin: Origin
    index: int
    through: int
    ended: Scope = WHOLE


class Touches(NamedTuple):
    """One batch touched subscribed services: by origin, the lowest seq. PushActor is told the same number."""

    number: int  # counted from 1
    lowest: tuple[tuple[Origin, int], ...]


class OwnersApplied(msgspec.Struct, frozen=True):
    """These watermarks are in the index; ``touches``: what subscribers have yet to be told of it. From:
    IndexManager."""

    watermarks: tuple[Watermark, ...]
    touches: Touches | None = None


class OwnersPushed(msgspec.Struct, frozen=True):
    """What subscribers have yet to acknowledge of all touches up to ``number``. From: PushActor.

    ``untold``: by origin the lowest seq; an origin that is not named is wholly told. ``laggards``: clients that have
    held up an origin for long, at most LAGGARDS_MAX each.
    """

    number: int
    untold: tuple[tuple[Origin, int], ...]
    laggards: tuple[tuple[Origin, tuple[str, ...]], ...] = ()


class ClusterWaitsAdded(msgspec.Struct, frozen=True):
    """Callers whose own node has indexed them and who wait for others. From: IndexManager, after the touches."""

    waits: tuple[ClusterWait, ...]


class PeersChanged(msgspec.Struct, frozen=True):
    """Who can be reached, over which link; ``living``: node ids that a cluster wait must hear from. From:
    MemberManager.

    The first link of a node in ``peers`` is the one to send on; frames are accepted on its further ones too.
    """

    peers: tuple[Peer, ...]
    living: tuple[str, ...]


class DigestRound(msgspec.Struct, frozen=True):
    """Send this digest now, and compare with it from now on. From: MemberManager."""

    digest: Digest


class DigestAccepted(msgspec.Struct, frozen=True):
    """A peer's digest, less what was purged here. From: MemberManager."""

    link: str
    node_id: str
    ready: bool
    entries: tuple[DigestEntry, ...]


class CatchUpOrdered(msgspec.Struct, frozen=True):
    """This node is loading: pull at once, and say ``CaughtUp`` for each ready peer. Ends with ``False``. From:
    MemberManager."""

    loading: bool


class FlushOrdered(msgspec.Struct, frozen=True):
    """The node leaves: answer ``Flushed`` once every peer has all native records, or ``deadline_ms`` from now. From:
    MemberManager."""

    deadline_ms: int


class DeltaReceived(msgspec.Struct, frozen=True):
    """From: I/O."""

    link: str
    delta: Delta


class DeltaAcknowledged(msgspec.Struct, frozen=True):
    """From: I/O."""

    link: str
    ack: DeltaAck


class PullReceived(msgspec.Struct, frozen=True):
    """From: I/O."""

    link: str
    pull: Pull
