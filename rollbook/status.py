"""What a node says of itself: the answer behind ``rollbook nodes``. Arrays on the wire; fields are only appended."""

from __future__ import annotations

import msgspec


class MemberStatus(msgspec.Struct, frozen=True, array_like=True):
    """One member as the answering node sees it."""

    node_id: str  # empty until a handshake told it
    peer_address: str
    client_address: str
    state: str  # self, alive, suspect, hidden, unreachable, left
    ready: bool
    epoch: int
    heartbeat_age_ms: int
    lag: int = 0  # changes of this node that the member has not confirmed; -1 if unknown


class OwnerStatus(msgspec.Struct, frozen=True, array_like=True):
    """What the answering node holds of one owner's epoch."""

    owner: str
    epoch: int
    applied: int
    records: int
    digest: int
    tombstones: int = 0


class LatencyCounts(msgspec.Struct, frozen=True, array_like=True):
    """How many of a node's changes, of those that were timed, took how long to reach a stage: a histogram.

    ``applied``: every living member has it in its index. ``told``: and all their subscribers have acknowledged it.
    """

    stage: str
    bounds_ms: tuple[int, ...]  # upper ends of the buckets
    counts: tuple[int, ...]  # one more than bounds: the last bucket is for all above


class StoreMember(msgspec.Struct, frozen=True, array_like=True):
    """One member of the etcd that keeps the durable data.

    ``state``: leader, follower, learner (it has no vote yet), silent (it does not answer),
    unasked (the node does not know its address).
    """

    name: str
    state: str


class DurableStatus(msgspec.Struct, frozen=True, array_like=True):
    """What a node knows of the durable data.

    ``place``: alone (a file of this node), home (one that it keeps for the others too), away (another node keeps it),
    etcd; empty if it keeps none. ``stale_since_ms``: by its wall clock, since when it cannot follow the store, 0 while
    it does; ``reason`` says why.
    """

    place: str = ""
    index: int = 0  # of the newest change that is known here
    rows: int = 0
    is_read: bool = False
    stale_since_ms: int = 0
    reason: str = ""


class NodeStatus(msgspec.Struct, frozen=True, array_like=True):
    node_id: str
    epoch: int
    seq: int
    ready: bool
    standing: str  # ready, loading, isolated, leaving; preserved is a flag of its own
    preserved: bool
    sessions: int
    records: int
    members: tuple[MemberStatus, ...] = ()
    owners: tuple[OwnerStatus, ...] = ()
    counters: dict[str, int] = {}
    version: str = ""
    convergence: tuple[LatencyCounts, ...] = ()
    durable: DurableStatus = DurableStatus()
    store_members: tuple[StoreMember, ...] = ()  # as this node sees them; only an etcd has any
