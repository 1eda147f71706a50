"""Which node carries out an order about an HTTP client, as this node sees it. Pure rules; BeatKeeper owns the table.

The owner of the record, as long as it can be reached, if need be by way of a third node. Of new clients, and of those
whose owner is gone, a node that all who see the same nodes agree on. An order is passed on twice at most: whoever gets
it then carries it out, whatever it thinks of that.
"""

from __future__ import annotations

from collections.abc import Collection

from actors.messages.values import Origin, Peer, Record
from actors.node_shares import NodeShares, identity_of_client

HOPS_MAX = 2
HERE = ""


class HttpOwners:
    def __init__(self, own: Origin) -> None:
        self._own = own
        self._links: dict[str, tuple[int, str]] = {}  # by node id: its epoch, and the link to send on
        self._nodes: dict[str, str] = {}  # by link, those of a node beyond the one to send on included
        self._keepers: tuple[str, ...] = ()
        self._shares = NodeShares(())
        self._living: frozenset[str] = frozenset()

    def meet(self, peers: Collection[Peer]) -> None:
        """These can be reached."""
        self._nodes = {peer.link: peer.node_id for peer in peers}
        self._links = {}
        for peer in peers:
            self._links.setdefault(peer.node_id, (peer.epoch, peer.link))

    def judge(self, keepers: tuple[str, ...], living: Collection[str]) -> None:
        self._living = frozenset(living)
        if keepers != self._keepers:
            self._keepers = keepers
            self._shares = NodeShares(keepers)

    def knows(self, link: str) -> bool:
        return link in self._nodes

    def place(self, record: Record | None, client: str, hops: int) -> str:
        """The link to pass an order on by, after so many hops; HERE: it is carried out by this node. ``record``: the
        last word on what the order is about."""
        if hops >= HOPS_MAX or (record is not None and record.origin == self._own and record.instances):
            return HERE
        if record is not None and record.instances:
            epoch, link = self._links.get(record.origin.owner, (0, HERE))
            if link and epoch == record.origin.epoch:
                return link
            if not link and record.origin.owner in self._living:
                return self._heir(client, hops, beside=record.origin.owner)
        return self._heir(client, hops)

    def _heir(self, client: str, hops: int, beside: str = "") -> str:
        """Who takes it in; or, if the owner lives beside them and cannot be reached from here, who may reach it."""
        if hops:
            return HERE
        shares = self._shares
        if beside:
            shares = NodeShares(node for node in self._keepers if node in self._links and node != beside)
        return self._links.get(shares.node_for(identity_of_client(client)), (0, HERE))[1]
