"""What BeatKeeper is told."""

from __future__ import annotations

import msgspec

from actors.messages.peers import Forwarded, ForwardSettled
from actors.messages.values import Order, Origin, Record, RecordKey


class HttpOrdersAdmitted(msgspec.Struct, frozen=True):
    """Orders about HTTP clients, of open sessions, in order of arrival. Each is answered once. From: ClientManager."""

    orders: tuple[Order, ...]


class HttpRecordsHeld(msgspec.Struct, frozen=True):
    """What other nodes say of HTTP clients, as far as it is news, and what is held of them no more. From:
    ClientManager, after IndexManager."""

    records: tuple[Record, ...] = ()
    removed: tuple[tuple[Origin, RecordKey], ...] = ()


class HttpCommitted(msgspec.Struct, frozen=True):
    """What has become of the publications of one HttpPublicationsOrdered, in their order; None: the service has
    persistent instances. From: ClientManager, after IndexManager."""

    records: tuple[Record | None, ...]


class ForwardReceived(msgspec.Struct, frozen=True):
    """From: I/O."""

    link: str
    body: Forwarded | ForwardSettled


class NodesJudged(msgspec.Struct, frozen=True):
    """At each beat, after the pause guard. From: MemberManager.

    ``keepers``: ready nodes that new HTTP clients are given to, this one included if it is such a node.
    """

    keepers: tuple[str, ...]
    living: tuple[str, ...]  # node ids of members whose heart beats
    isolated: bool
    suspended: bool  # this node has stood still, or may miss most of the members: it lets nothing expire
