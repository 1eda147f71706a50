"""Frames between nodes: one ZeroMQ frame holds one msgpack array ``[version, tag, body]`` (docs/protocol.md).

Bodies are arrays whose fields are only appended. The encoding itself is rollbook.codec.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec

from actors.messages.store import NOTHING, Fault, Proposal, Row, StoredChange
from actors.messages.values import BUCKETS, LAGGARDS_MAX, Address, ClientId, Count, DigestEntry, NodeId, Origin, Scope
from rollbook.http_clients import InstanceChanges
from rollbook.model import Instance, Service
from rollbook.wire import NUMBER_MAX

PEER_VERSION = 1
ORDERS_PER_FORWARD_MAX = 64  # the longest names and metadata that there are fill half a frame

StoreId = Annotated[str, msgspec.Meta(max_length=64)]

Bucket = Annotated[int, msgspec.Meta(ge=0, lt=BUCKETS)]
BucketCount = Annotated[int, msgspec.Meta(ge=0, le=BUCKETS)]


class PeerTag(IntEnum):
    """Append only; never renumber."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    PING = 4
    PONG = 5
    DIGEST = 6
    DELTA = 7
    DELTA_ACK = 8
    PULL = 9
    GOODBYE = 10
    PROBE_ASKED = 11
    PROBE_ANSWERED = 12
    STORE_OFFERED = 13
    STORE_FOLLOW = 14
    STORE_CUT = 15
    STORE_NEWS = 16
    STORE_NEWS_ACK = 17
    STORE_PROPOSE = 18
    STORE_SETTLED = 19
    FORWARDED = 20
    FORWARD_SETTLED = 21


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The first frame of the side that dialled."""

    cluster: str
    node_id: NodeId
    epoch: Count
    peer_address: Address  # where others dial this node: must be the one they have in their list
    client_address: Address
    dialled: Address  # the address that was dialled, as it stands in the sender's list


class Welcome(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a good Hello. ``seen_epoch``: the highest epoch known here for the one who said Hello."""

    node_id: NodeId
    epoch: Count
    peer_address: Address
    client_address: Address
    seen_epoch: Count = 0


class PeerRefused(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a bad Hello: another cluster, a node id that a living node has, an address nobody listed."""

    code: int
    message: str


class LinkPing(msgspec.Struct, frozen=True, array_like=True):
    number: Count


class LinkPong(msgspec.Struct, frozen=True, array_like=True):
    number: Count


class Accusation(msgspec.Struct, frozen=True, array_like=True):
    """Who cannot reach this origin since its counter was ``heartbeat``. A higher counter refutes them all."""

    owner: NodeId
    epoch: Count
    heartbeat: Count
    refused_to: tuple[NodeId, ...]  # whose links were refused or reset
    silent_to: tuple[NodeId, ...]  # who got no answer

    @property
    def origin(self) -> Origin:
        return Origin(self.owner, self.epoch)


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """Once a second: what the sender holds of every origin, and whom it reaches."""

    node_id: NodeId
    epoch: Count
    ready: bool
    leaving: bool
    links: tuple[tuple[Address, str], ...]  # (peer address, up | refused | silent), the sender's evidence
    entries: tuple[DigestEntry, ...]
    started_cold: bool = False
    members: tuple[
        tuple[Address, NodeId, Address], ...
    ] = ()  # (peer address, node id, client address) of whom the sender reaches
    sessions: Count = 0  # open at the sender
    accusations: tuple[Accusation, ...] = ()  # the sender's and those it has heard; only above ten members
    preserved: bool = False  # the sender has missed most of the members until a moment ago


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """One chunk of a frozen range of one origin. Everything in (after, upper] once the last chunk has come."""

    owner: NodeId
    epoch: Count
    after: Count
    upper: Count
    full: bool
    resume: Count
    gc_floor: Count
    index: Count
    last: bool
    heartbeat: Count  # the owner's counter if the sender is the owner, else 0
    bodies: tuple[bytes, ...]
    first: Bucket = 0  # of a part: everything of these buckets only
    length: BucketCount = 0
    whole: tuple[Bucket, ...] = ()  # of a full part: the buckets of which it holds all that the sender has

    @property
    def origin(self) -> Origin:
        return Origin(self.owner, self.epoch)

    @property
    def scope(self) -> Scope:
        return Scope(self.first, self.length)


class DeltaAck(msgspec.Struct, frozen=True, array_like=True):
    """What the receiver has in its index; below ``after`` of the delta if it could not use it.

    ``upper`` names the delta that this answers: with ``applied`` below it and ``chunk`` 0, that delta was of no use.
    ``chunk`` above 0 says only that so many chunks of it are in the record table: send the next ones.
    ``pushed``: up to where the receiver's subscribers have been told as well, ``laggards``: clients that have held that
    up for long. When it rises later, an acknowledgement of its own says so, which answers no delta (``upper`` 0).
    """

    owner: NodeId
    epoch: Count
    applied: Count
    pushed: Count = 0
    upper: Count = 0
    chunk: Count = 0
    laggards: Annotated[tuple[ClientId, ...], msgspec.Meta(max_length=LAGGARDS_MAX)] = ()

    @property
    def origin(self) -> Origin:
        return Origin(self.owner, self.epoch)


class Pull(msgspec.Struct, frozen=True, array_like=True):
    """Send me this origin after ``have``; ``resume``: how far a broken transfer had come.

    With a ``length`` it asks for a part: so many buckets from ``first`` on, of which the asker's live records have
    these ``sums`` (none: it holds nothing).
    """

    owner: NodeId
    epoch: Count
    have: Count
    resume: Count = 0
    full: bool = False
    first: Bucket = 0
    length: BucketCount = 0
    sums: Annotated[tuple[int, ...], msgspec.Meta(max_length=BUCKETS)] = ()

    @property
    def origin(self) -> Origin:
        return Origin(self.owner, self.epoch)

    @property
    def scope(self) -> Scope:
        return Scope(self.first, self.length)


class Goodbye(msgspec.Struct, frozen=True, array_like=True):
    """The sender ends this epoch in good order: its records are orphans from now on."""

    node_id: NodeId
    epoch: Count


class ProbeAsked(msgspec.Struct, frozen=True, array_like=True):
    """Ping this node for me: it does not answer my own ping. ``number`` comes back with the answer."""

    number: Count
    node_id: NodeId


class ProbeAnswered(msgspec.Struct, frozen=True, array_like=True):
    """``reached`` False: it did not answer here either. That answer too proves that this link works."""

    number: Count
    node_id: NodeId
    reached: bool


class StoreOffered(msgspec.Struct, frozen=True, array_like=True):
    """The sender keeps the durable data of the cluster: once a second, and to whoever has just come. ``stream``: the
    one of the receiver that it serves, 0 for none; ``sent``: so many frames of it have left."""

    store: StoreId
    index: Count
    stream: Count = 0
    sent: Count = 0


class StoreFollow(msgspec.Struct, frozen=True, array_like=True):
    """Send me what was written after this index, or everything if I know nothing of that store (-1). ``stream`` is
    repeated in what comes; a later one ends the earlier."""

    stream: Count
    after: Annotated[int, msgspec.Meta(ge=NOTHING, le=NUMBER_MAX)]
    store: StoreId  # the one that was followed so far; empty: none


class StoreCut(msgspec.Struct, frozen=True, array_like=True):
    """A piece of all rows as they were at one index. Pieces and news of a stream are numbered together from 1."""

    stream: Count
    number: Count
    store: StoreId
    index: Count
    last: bool
    rows: tuple[Row, ...]


class StoreNews(msgspec.Struct, frozen=True, array_like=True):
    """What was written since the last piece; nothing else happened up to ``index``."""

    stream: Count
    number: Count
    index: Count
    changes: tuple[StoredChange, ...]


class StoreNewsAck(msgspec.Struct, frozen=True, array_like=True):
    """Everything up to this number of the stream has been taken in: there is room for more."""

    stream: Count
    number: Count


class StorePropose(msgspec.Struct, frozen=True, array_like=True):
    """Write these. Each is answered on the same link, if at all."""

    proposals: tuple[Proposal, ...]


class SettledProposal(msgspec.Struct, frozen=True, array_like=True):
    number: Count
    applied: bool
    index: Count
    fault: Fault = ""
    reason: str = ""


class StoreSettled(msgspec.Struct, frozen=True, array_like=True):
    """What became of proposals."""

    settled: tuple[SettledProposal, ...]


HttpOrderKind = Literal["register", "update", "patch", "withdraw", "beat"]
OutcomeWord = Literal["done", "renewed", "registered", "unknown", "refused"]


class HttpOrder(msgspec.Struct, frozen=True, array_like=True):
    """One order about what one HTTP client publishes for one service; only the fields of its kind say anything."""

    kind: HttpOrderKind
    service: Service
    ip: str
    port: int
    session: Count  # what its carrying out makes has this number, or a higher one if there is need
    instance: Instance | None = None
    changes: InstanceChanges | None = None


class HttpOutcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of it. ``seq`` above 0: the record of that origin that says so, or a later one of its key."""

    word: OutcomeWord
    interval_ms: Count = 0
    code: int = 0
    message: str = ""
    field: str = ""
    retryable: bool = False
    owner: Annotated[str, msgspec.Meta(max_length=64)] = ""
    epoch: Count = 0
    seq: Count = 0
    stamp: Count = 0


class Forwarded(msgspec.Struct, frozen=True, array_like=True):
    """Orders for the receiver to carry out, or to pass on if ``hops`` is 1. ``number`` rises on each link."""

    number: Count
    hops: Annotated[int, msgspec.Meta(ge=1, le=2)]
    orders: Annotated[tuple[HttpOrder, ...], msgspec.Meta(max_length=ORDERS_PER_FORWARD_MAX)]


class ForwardSettled(msgspec.Struct, frozen=True, array_like=True):
    """What became of the orders of that number, in their order; on the link that they came by."""

    number: Count
    outcomes: Annotated[tuple[HttpOutcome, ...], msgspec.Meta(max_length=ORDERS_PER_FORWARD_MAX)]


PEER_BODIES: dict[int, type[Any]] = {
    PeerTag.HELLO: Hello,
    PeerTag.WELCOME: Welcome,
    PeerTag.REFUSED: PeerRefused,
    PeerTag.PING: LinkPing,
    PeerTag.PONG: LinkPong,
    PeerTag.DIGEST: Digest,
    PeerTag.DELTA: Delta,
    PeerTag.DELTA_ACK: DeltaAck,
    PeerTag.PULL: Pull,
    PeerTag.GOODBYE: Goodbye,
    PeerTag.PROBE_ASKED: ProbeAsked,
    PeerTag.PROBE_ANSWERED: ProbeAnswered,
    PeerTag.STORE_OFFERED: StoreOffered,
    PeerTag.STORE_FOLLOW: StoreFollow,
    PeerTag.STORE_CUT: StoreCut,
    PeerTag.STORE_NEWS: StoreNews,
    PeerTag.STORE_NEWS_ACK: StoreNewsAck,
    PeerTag.STORE_PROPOSE: StorePropose,
    PeerTag.STORE_SETTLED: StoreSettled,
    PeerTag.FORWARDED: Forwarded,
    PeerTag.FORWARD_SETTLED: ForwardSettled,
}
