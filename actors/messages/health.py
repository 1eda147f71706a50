"""What HealthChecker is told, what it tells, and what a prober is told and answers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from rollbook.checkers import CheckerSettings
from rollbook.model import InstanceKey, Service

# What came of one probe. "ok"; "busy": no answer in time, or one that says later; "error": no use as an answer;
# "refused": nobody serves there; "void": this node could not ask; "forbidden": it must not.
Outcome = Literal["ok", "busy", "error", "refused", "void", "forbidden"]


class InstancesKept(msgspec.Struct, frozen=True):
    """Persistent instances that are stored from now on, with their stored health, and those that no longer are.

    From: PersistentStore; everything that it holds in one message at first, then what changes.
    """

    put: tuple[tuple[Service, InstanceKey, bool], ...] = ()
    removed: tuple[tuple[Service, InstanceKey], ...] = ()


class CheckersChanged(msgspec.Struct, frozen=True):
    """How a cluster of a service is probed, where it is not by the default checker. From: PersistentStore."""

    put: tuple[tuple[Service, str, CheckerSettings], ...] = ()
    removed: tuple[tuple[Service, str], ...] = ()


class LivingMembersChanged(msgspec.Struct, frozen=True):
    """The nodes that share the instances, this one included. Nothing is probed, and in a store that all can write to
    nothing is tidied, before it has come for the first time.

    From: MemberManager, as soon as this node is ready: what others have judged is here by then. A node is left out when
    it is suspected, before its records are hidden, so that its verdicts are taken over while they still count.
    """

    node_ids: tuple[str, ...]


class VerdictsWanted(msgspec.Struct, frozen=True):
    """What is the last word on these? The numbers come back with the answer. To: IndexManager."""

    targets: tuple[tuple[int, Service, InstanceKey], ...]


class VerdictsFound(msgspec.Struct, frozen=True):
    """The last word of any node on each, whether or not that node still counts; None: nobody has said anything.

    From: IndexManager.
    """

    verdicts: tuple[tuple[int, bool | None], ...]


class InstanceProbe(msgspec.Struct, frozen=True, gc=False):
    """Connect there; if there is a request, send it and look at the status of the answer."""

    number: int
    host: str
    port: int
    request: bytes = b""
    expected_status: int = 200


class ProbesOrdered(msgspec.Struct, frozen=True):
    """To: the prober, which answers each of them once."""

    probes: tuple[InstanceProbe, ...]


class ProbeResult(msgspec.Struct, frozen=True, gc=False):
    number: int
    outcome: Outcome
    duration_ms: int


class ProbesDone(msgspec.Struct, frozen=True):
    """From: the prober."""

    results: tuple[ProbeResult, ...]


class VerdictList(NamedTuple):
    """All that this node says of the instances of one service that fall into one shard; empty: nothing any more."""

    shard: int
    service: Service
    verdicts: tuple[tuple[InstanceKey, bool], ...]  # in order of key


class HealthJudged(msgspec.Struct, frozen=True):
    """To be published as records of this node, each in the place of the one before. To: ClientManager."""

    lists: tuple[VerdictList, ...]
    grace_ms: int
