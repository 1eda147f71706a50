"""When a loading node may answer. A pure rule of MemberManager.

A node that is not ready refuses queries, because an empty list from a node that has just started is the worst answer a
registry can give. Loading nodes are never evidence of readiness: two empty nodes must not vouch for each other. Nor do
nodes that have been alone make a majority with this one: whom they could not hear it may reach a moment later.
"""

from __future__ import annotations

from collections.abc import Set
from enum import Enum
from typing import NamedTuple


class Readiness(Enum):
    LOADING = "loading"
    READY = "ready"  # caught up with nodes that were ready
    COLD = "cold"  # nobody was; clients will sign in again


class Sight(NamedTuple):
    """What a loading node sees."""

    configured: int  # members in the list, this node included
    reached: int  # members whose first digest has come, this node included
    loading: int  # reached members that were not ready when last heard, this node included
    ready: Set[str]  # node ids of reached members that are ready and still heard
    caught_up: Set[str]  # node ids of those whose first digest is in the index
    waited_ms: int  # since this node started
    informed: (
        bool  # all are reached, or a ready one that has not missed most of the others; and nobody is yet to be shown
    )


def readiness(sight: Sight, majority_wait_ms: int, cold_start_wait_ms: int) -> Readiness:
    """Judge a node that is not ready yet; readiness is not revoked later."""
    if sight.ready:
        has_most = sight.reached > sight.configured // 2 and sight.informed
        enough = has_most or sight.waited_ms >= majority_wait_ms
        return Readiness.READY if enough and sight.ready <= sight.caught_up else Readiness.LOADING
    if sight.loading >= sight.configured or sight.waited_ms >= cold_start_wait_ms:
        return Readiness.COLD
    return Readiness.LOADING
