"""Open files: as many as the system gives this process, and how they are shared out.

Invariant: clients cannot take the peers' share, nor either of them the last descriptor. At the limit of the process
libzmq would spin in ``accept``, and nobody could be told anything.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runtime.edge import IoSettings


class DescriptorShares(NamedTuple):
    """Most connections of each kind, probes of instances among them, and most sessions with a connection each."""

    limit: int
    clients: int
    peers: int
    sessions: int
    probes: int


def raise_descriptor_limit(wanted: int) -> None:
    """Every connection is a file descriptor; take as many as the system gives without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if sys.platform != "darwin" and soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def descriptor_shares(settings: IoSettings) -> DescriptorShares:
    """What is nobody's share is for connections that are accepted before those too many are cut."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = settings.sockets_max if limit == resource.RLIM_INFINITY else limit
    room = max(limit - settings.descriptors_reserved, limit // 2)
    clients = room * 8 // 10
    # Some connections are left for those who have to be told that there are no more sessions.
    return DescriptorShares(limit, clients, room // 10, max(1, clients * 9 // 10), max(1, room // 40))
