"""The values that messages carry: who owns what, in which version, over which connection."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from rollbook.catalog import Subscriber
from rollbook.durable import Intent, IntentField
from rollbook.model import CLIENT_ID_LENGTH_MAX, Instance, InstanceKey, Service
from rollbook.wire import NUMBER_MAX

# What nodes tell each other, and believe. Clocks and counters go on from the highest number that was heard, so a number
# near the end of what can be encoded would be the last one.
Count = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
NodeId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Address = Annotated[str, msgspec.Meta(max_length=256)]
ClientId = Annotated[str, msgspec.Meta(max_length=CLIENT_ID_LENGTH_MAX)]
LAGGARDS_MAX = 20  # clients that are named as those whom others wait for


class Origin(NamedTuple):
    """One life of one owner. Versions are only ever compared within one origin."""

    owner: str
    epoch: int


BUCKETS = 256  # of an origin, by client; all nodes must agree on it


class Scope(NamedTuple):
    """So many buckets of an origin from ``first`` on. Of length 0 it means no part: an ordinary range of the whole."""

    first: int = 0
    length: int = 0

    @property
    def buckets(self) -> range:
        return range(self.first, min(self.first + self.length, BUCKETS))


WHOLE = Scope()


class RecordKey(NamedTuple):
    """A publication: what one client publishes for one service."""

    client: str
    service: Service


class Trail(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of what an SDK publishes: which connection has published it, and what became of that (actors/succession.py)."""

    kin: Count  # the same for all connections of one application on one machine
    connected_ms: Count  # wall clock
    orphaned_ms: Count = (
        0  # since when the connection is gone without a goodbye, by the owner's wall clock; 0: it is not
    )
    withdrawn: tuple[InstanceKey, ...] = ()  # what it has published before, newest first


class Record(msgspec.Struct, frozen=True, gc=False):
    """One version of one publication, or (no instances) the tombstone of its removal. Never changed, only replaced.

    ``body`` is the canonical encoding that the owner made once and that everyone stores, hashes and relays.
    """

    origin: Origin
    key: RecordKey
    session: int
    seq: int
    stamp: int  # hybrid clock of the owner: (wall ms << 16) | counter
    grace_ms: int  # how long the record outlives the last heartbeat of its origin once that is an orphan
    instances: tuple[Instance, ...]
    body: bytes
    digest: int  # keyed 64-bit hash of body
    trail: Trail | None = None  # only of SDKs behind gateways that say when these have connected

    @property
    def is_tombstone(self) -> bool:
        return not self.instances


class Route(NamedTuple):
    """One session of one client connection: where its answers go."""

    link: bytes  # the routing id that the client's connection has on this node
    session: int


NOBODY = Route(b"", 0)  # waits for no answer


class IntentPlace(NamedTuple):
    """What one decision of an operator is about: one field of one instance."""

    service: Service
    key: InstanceKey
    field: IntentField


class BoundIntent(NamedTuple):
    """One thing that an operator wants of one incarnation of an instance."""

    intent: Intent
    incarnation: str


class Order(msgspec.Struct, frozen=True, gc=False):
    """One decoded request of an open session; ``body`` is a struct of rollbook.wire."""

    route: Route
    correlation: int
    body: Any
    client: str = ""  # whose session it is; ClientManager says so of subscriptions
    subscriber: Subscriber | None = None  # likewise; None for a gateway's own, which asks for others


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer that may leave once everything before it is indexed."""

    route: Route
    correlation: int
    tag: int
    body: Any


class ClusterWait(NamedTuple):
    """A caller that wants its answer when every living member has applied ``seq`` of this node's epoch, or when all
    subscribers of every living member have acknowledged what it changed."""

    route: Route
    correlation: int
    seq: int
    wait_ms: int
    tag: int
    body: Any  # what to answer then
    until: Literal["cluster", "subscribers"] = "cluster"


class Watermark(NamedTuple):
    """Everything of this origin up to ``applied`` is in this node's index; ``link`` is who sent it (empty: native)."""

    origin: Origin
    applied: int
    link: str = ""


class DigestEntry(msgspec.Struct, frozen=True, array_like=True):
    """What a node holds of one origin, and how long ago it last heard of it. On the wire: an array in this order."""

    owner: NodeId
    epoch: Count
    applied: Count
    heartbeat: Count  # the owner's counter; only the owner raises it
    age_ms: Count  # time since the counter last rose, as the sender knows it
    records: Count  # live ones
    digest: int  # sum mod 2^64 of the hashes of live records
    settled: bool = True  # False: a transfer is open, so records and digest do not belong to ``applied``
    left: bool = False  # the owner ended this epoch in good order
    gc_floor: Count = 0
    owner_seq: Annotated[
        int, msgspec.Meta(ge=-1, le=NUMBER_MAX)
    ] = -1  # the owner's at that heartbeat; -1: not known, or it may yet have to remove something
    hidden_ms: Count = 0  # records with a grace of at most this are hidden at the sender; 0: none

    @property
    def origin(self) -> Origin:
        return Origin(self.owner, self.epoch)


class Peer(NamedTuple):
    """A member that can be reached now."""

    node_id: str
    epoch: int
    link: str


class Standing(msgspec.Struct, frozen=True):
    """What this node is good for at the moment, as MemberManager judges it."""

    ready: bool = False
    leaving: bool = False
    majority: bool = True  # hears most of the configured members
    isolated: bool = False  # has not for longer than the isolation time
    warming: bool = False  # cold start: others may hold more than the answers show
    preserved: bool = False  # more than half are silent: nothing is hidden
    servers: tuple[str, ...] = ()  # client addresses of the other members, living ones first
    hides_nobody: bool = False  # it may miss most of the members, or has stood still itself: no verdict, no end of one
