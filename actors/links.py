"""The link table: which connections to other nodes stand, who is at the other end, and which of them can be sent on.

Pure rules and one table; MemberManager owns it. A link is usable with a completed handshake and a pong that answers a
ping of the last ``pong_timeout_ms``. Both sides of a pair dial, so a peer usually has two links; one is preferred.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from actors.base import Role, Tell
from actors.messages.io import PeerFrame, SendToPeers
from actors.messages.peers import Hello, PeerTag, Welcome
from actors.messages.values import Peer
from actors.peer_frames import encode_peer

UP = "up"
REFUSED = "refused"  # nobody listens, or the other side's system closed the connection: the process is gone
SILENT = "silent"


class PeerLink(msgspec.Struct):
    """One connection; ``node_id`` is empty until the handshake is complete."""

    name: str
    dialled: str  # the address that was dialled here; empty if the other side dialled
    node_id: str = ""
    epoch: int = 0
    peer_address: str = ""
    proven_at_ms: int | None = None  # when the newest answered ping was sent, by the local clock


class LinkTable:
    """All links of this node and the last failure of each address."""

    def __init__(self, pong_timeout_ms: int) -> None:
        self._pong_timeout_ms = pong_timeout_ms
        self.links: dict[str, PeerLink] = {}
        self._proven_at_ms: dict[str, int] = {}  # address → the newest proof of all links to it
        self._failures: dict[str, str] = {}  # address → REFUSED or SILENT, until a pong says otherwise

    def opened(self, name: str, address: str) -> None:
        """A dialled connection stands; whatever the name meant before is over. What failed before says nothing now."""
        self._drop(name)
        self.links[name] = PeerLink(name, address)
        self._failures.pop(address, None)

    def closed(self, name: str, address: str, how: str) -> None:
        link = self._drop(name)
        address = address or (link.peer_address if link is not None else "")
        if address:
            self._failures[address] = SILENT if how == "silent" else REFUSED

    def shake(self, name: str, who: Hello | Welcome) -> None:
        """The handshake on this link is complete. Links of other epochs of the same node no longer speak for it."""
        for other in self.links.values():
            if other.node_id == who.node_id and other.epoch != who.epoch:
                self._unshake(other)
        link = self.links.setdefault(name, PeerLink(name, ""))
        if (link.node_id, link.epoch, link.peer_address) != (who.node_id, who.epoch, who.peer_address):
            self._unshake(link)
        link.node_id, link.epoch, link.peer_address = who.node_id, who.epoch, who.peer_address

    def release(self, node_id: str, epoch: int) -> None:
        """This node has said goodbye: none of its links is used any more."""
        for link in self.links.values():
            if (link.node_id, link.epoch) == (node_id, epoch):
                self._unshake(link)

    def pong(self, name: str, number: int, now_ms: int) -> bool:
        """``number`` is the local time at which the ping left, so a pong that lay in a queue proves nothing new.

        True if the link was not usable before and is now.
        """
        link = self.links.get(name)
        if link is None or not link.node_id or number > now_ms:
            return False
        was_usable = self.usable(link, now_ms)
        link.proven_at_ms = number if link.proven_at_ms is None else max(number, link.proven_at_ms)
        self._recount(link.peer_address)
        self._failures.pop(link.peer_address, None)
        return not was_usable and self.usable(link, now_ms)

    def accepted(self, name: str, addresses: Collection[str]) -> PeerLink | None:
        """The link, if its handshake is complete and its node is still a listed member."""
        link = self.links.get(name)
        return link if link is not None and link.node_id and link.peer_address in addresses else None

    def shaken(self) -> list[str]:
        """Links with a complete handshake."""
        return sorted(name for name, link in self.links.items() if link.node_id)

    def usable(self, link: PeerLink, now_ms: int) -> bool:
        return (
            bool(link.node_id) and link.proven_at_ms is not None and now_ms - link.proven_at_ms <= self._pong_timeout_ms
        )

    def reaches(self, address: str, now_ms: int) -> bool:
        proven_at_ms = self._proven_at_ms.get(address)
        return proven_at_ms is not None and now_ms - proven_at_ms <= self._pong_timeout_ms

    def evidence(self, address: str, now_ms: int) -> str:
        """What this node can say of the process at an address: up, refused or silent."""
        return UP if self.reaches(address, now_ms) else self._failures.get(address, SILENT)

    def holder(self, node_id: str, epoch: int, name: str, now_ms: int) -> PeerLink | None:
        """A living node on another link that has this node id in another epoch."""
        for link in self.links.values():
            same = link.name != name and link.node_id == node_id and link.epoch != epoch
            if same and self.usable(link, now_ms):
                return link
        return None

    def tenant(self, address: str, now_ms: int) -> str:
        """Who is proven to live at the other end of a link that was dialled to this address; empty if nobody is."""
        dialled = (link for link in self.links.values() if link.dialled == address and self.usable(link, now_ms))
        return next((link.node_id for link in dialled), "")

    def preferred(self, current: Mapping[str, str], addresses: Collection[str], now_ms: int) -> tuple[Peer, ...]:
        """All links of every peer that can be sent to. The first one of each is the one to send on: the current one
        while it is usable, else the first usable one by name, dialled ones first. The others may bring frames too."""
        best: dict[str, PeerLink] = {}
        in_order = sorted(self.links.values(), key=lambda link: (not link.dialled, link.name))
        for link in in_order:
            is_better = link.node_id not in best or current.get(link.node_id) == link.name
            if is_better and self.usable(link, now_ms) and link.peer_address in addresses:
                best[link.node_id] = link
        chosen = [best[node_id] for node_id in sorted(best)]
        others = [link for link in in_order if link.node_id in best and link is not best[link.node_id]]
        return tuple(Peer(link.node_id, link.epoch, link.name) for link in (*chosen, *others))

    def check_invariants(self) -> None:
        for address in {link.peer_address for link in self.links.values()} | set(self._proven_at_ms):
            proofs = [
                link.proven_at_ms for link in self.links.values() if link.peer_address == address and link.node_id
            ]
            newest = max((proof for proof in proofs if proof is not None), default=None)
            assert self._proven_at_ms.get(address) == newest, "an address is as proven as its best link"

    def _drop(self, name: str) -> PeerLink | None:
        link = self.links.pop(name, None)
        if link is not None:
            self._recount(link.peer_address)
        return link

    def _unshake(self, link: PeerLink) -> None:
        link.node_id, link.epoch, link.proven_at_ms = "", 0, None
        self._recount(link.peer_address)

    def _recount(self, address: str) -> None:
        proofs = [link.proven_at_ms for link in self.links.values() if link.peer_address == address]
        newest = max((proof for proof in proofs if proof is not None), default=None)
        if newest is None:
            self._proven_at_ms.pop(address, None)
        else:
            self._proven_at_ms[address] = newest


def send(*frames: tuple[str, PeerTag, object]) -> Tell:
    """Frames for links, each ``(link, tag, body)``."""
    return Tell(Role.IO, SendToPeers(tuple(PeerFrame(name, encode_peer(tag, body)) for name, tag, body in frames)))
