"""Who can be reached: the links of every current peer, and the one that this node sends on."""

from __future__ import annotations

from collections.abc import Iterable

from actors.messages.values import Origin, Peer


class PeerTable:
    """Both sides of a pair dial, so a peer may have several links: frames are taken from all, sent on the first."""

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}  # by node id: the link to send on
        self._node_of: dict[str, str] = {}  # by link

    def replace(self, peers: Iterable[Peer], own_node_id: str) -> None:
        self.peers, self._node_of = {}, {}
        for peer in peers:
            if peer.node_id != own_node_id:
                self.peers.setdefault(peer.node_id, peer)
                self._node_of[peer.link] = peer.node_id

    def __contains__(self, link: str) -> bool:
        return link in self._node_of

    def node_of(self, link: str) -> str | None:
        """Who sits at the other end of this link; None unless it is a current peer's."""
        return self._node_of.get(link)

    def has_owner(self, origin: Origin) -> bool:
        """The owner can be reached, in the very life that made these records."""
        peer = self.peers.get(origin.owner)
        return peer is not None and peer.epoch == origin.epoch

    def check_invariants(self) -> None:
        assert set(self._node_of.values()) == self.peers.keys(), "every link is a current peer's"
        assert all(self._node_of[peer.link] == node_id for node_id, peer in self.peers.items()), "links have one peer"
