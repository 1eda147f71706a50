"""The link table: which connections to other nodes stand, who is at the other end, and which of them can be sent on.

Pure rules and one table; MemberManager owns it. A link is usable with a completed handshake, as long as its last proof
of life (the time at which an answered ping was sent) is young enough and no ping has waited too long for its answer.
Where every link is pinged at every beat, a proof lasts for the pong time-out and one beat, so that a link whose answers
just come in time stays usable; where links take turns (above ten members), for two rounds. Both sides of a pair dial,
so a peer usually has two links; one is preferred.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from actors.base import Role, Tell
from actors.messages.io import PeerFrame, SendToPeers
from actors.messages.peers import Hello, LinkPing, PeerTag, Welcome
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
    pinged_at_ms: int = 0  # when the newest ping was sent
    asked_at_ms: int | None = None  # when the oldest ping was sent that waits for its answer


class LinkTable:
    """All links of this node and the last failure of each address."""

    def __init__(self, pong_timeout_ms: int) -> None:
        self._proof_ms = self._pong_timeout_ms = pong_timeout_ms
        self.links: dict[str, PeerLink] = {}
        self.failures: dict[str, str] = {}  # address → REFUSED or SILENT, until a pong says otherwise
        # The same links, by who is at the other end.
        self._to_address: dict[str, dict[str, PeerLink]] = {}
        self._to_node: dict[str, dict[str, PeerLink]] = {}
        self._dialled: dict[str, dict[str, PeerLink]] = {}
        self._in_order: list[PeerLink] = []  # and by rank; empty: some have come or gone since
        self._sendable: list[PeerLink] = []  # as last looked at
        self._peers: tuple[Peer, ...] = ()  # who that makes

    def expect_proof(self, proof_ms: int, pong_timeout_ms: int) -> None:
        """From now on a proof lasts so long, and an answer may take so long."""
        self._proof_ms, self._pong_timeout_ms = proof_ms, pong_timeout_ms

    def opened(self, name: str, address: str) -> None:
        """A dialled connection stands; whatever the name meant before is over. What failed before says nothing now."""
        self._drop(name)
        self._add(PeerLink(name, address))
        self.failures.pop(address, None)

    def closed(self, name: str, address: str, how: str) -> str:
        """The address that this says something of; empty if it is not known."""
        link = self._drop(name)
        address = address or (link.peer_address if link is not None else "")
        if address:
            self.failures[address] = SILENT if how == "silent" else REFUSED
        return address

    def shake(self, name: str, who: Hello | Welcome) -> None:
        """The handshake on this link is complete. Links of other epochs of the same node no longer speak for it."""
        for other in list(self._to_node.get(who.node_id, {}).values()):
            if other.epoch != who.epoch:
                self._unshake(other)
        link = self._drop(name) or PeerLink(name, "")
        if (link.node_id, link.epoch, link.peer_address) != (who.node_id, who.epoch, who.peer_address):
            link.proven_at_ms = link.asked_at_ms = None
        link.node_id, link.epoch, link.peer_address = who.node_id, who.epoch, who.peer_address
        self._add(link)

    def release(self, node_id: str, epoch: int) -> None:
        """This node has said goodbye: none of its links is used any more."""
        for link in list(self._to_node.get(node_id, {}).values()):
            if link.epoch == epoch:
                self._unshake(link)

    def ping(self, name: str, now_ms: int) -> tuple[str, PeerTag, object]:
        """The frame of a ping that leaves now. Its number is the local time, so that its answer proves life then."""
        link = self.links[name]
        link.pinged_at_ms = now_ms
        if link.asked_at_ms is None:
            link.asked_at_ms = now_ms
        return (name, PeerTag.PING, LinkPing(now_ms))

    def pong(self, name: str, number: int, now_ms: int) -> bool:
        """``number`` is the local time at which the ping left, so a pong that lay in a queue proves nothing new.

        True if the link was not usable before and is now.
        """
        link = self.links.get(name)
        if link is None or not link.node_id or number > now_ms:
            return False
        was_usable = self.usable(link, now_ms)
        link.proven_at_ms = number if link.proven_at_ms is None else max(number, link.proven_at_ms)
        if link.asked_at_ms is not None and number >= link.asked_at_ms:
            link.asked_at_ms = None
        self.failures.pop(link.peer_address, None)
        return not was_usable and self.usable(link, now_ms)

    def accepted(self, name: str, addresses: Collection[str]) -> PeerLink | None:
        """The link, if its handshake is complete and its node is still a listed member."""
        link = self.links.get(name)
        return link if link is not None and link.node_id and link.peer_address in addresses else None

    def proven_at_ms(self, name: str) -> int | None:
        """Of this link; None: nothing has been asked on it and answered yet. One that is gone counts as very old."""
        link = self.links.get(name)
        return link.proven_at_ms if link is not None else 0

    def shaken(self) -> list[str]:
        """Links with a complete handshake."""
        return sorted(name for name, link in self.links.items() if link.node_id)

    def usable(self, link: PeerLink, now_ms: int) -> bool:
        if not link.node_id or link.proven_at_ms is None or now_ms - link.proven_at_ms > self._proof_ms:
            return False
        return link.asked_at_ms is None or now_ms - link.asked_at_ms <= self._pong_timeout_ms

    def reaches(self, address: str, now_ms: int) -> bool:
        links = self._to_address.get(address)
        return links is not None and any(self.usable(link, now_ms) for link in links.values())

    def evidence(self, address: str, now_ms: int) -> str:
        """What this node can say of the process at an address: up, refused or silent."""
        return UP if self.reaches(address, now_ms) else self.failures.get(address, SILENT)

    def holder(self, node_id: str, epoch: int, name: str, now_ms: int) -> PeerLink | None:
        """A living node on another link that has this node id in another epoch."""
        for link in self._to_node.get(node_id, {}).values():
            if link.name != name and link.epoch != epoch and self.usable(link, now_ms):
                return link
        return None

    def tenant(self, address: str, now_ms: int) -> str:
        """Who is proven to live at the other end of a link that was dialled to this address; empty if nobody is."""
        dialled = (link for link in self._dialled.get(address, {}).values() if self.usable(link, now_ms))
        return next((link.node_id for link in dialled), "")

    def way_to(self, node_id: str, now_ms: int) -> PeerLink | None:
        """The link to send on to this one node, if there is any."""
        usable = [link for link in self._to_node.get(node_id, {}).values() if self.usable(link, now_ms)]
        return min(usable, key=_rank, default=None)

    def preferred(self, current: Mapping[str, str], addresses: Collection[str], now_ms: int) -> tuple[Peer, ...]:
        """All links of every peer that can be sent to. The first one of each is the one to send on: the current one
        while it is usable, else the first usable one by name, dialled ones first. The others may bring frames too."""
        best: dict[str, PeerLink] = {}
        self._in_order = self._in_order or sorted(self.links.values(), key=_rank)
        for link in self._in_order:
            is_better = link.node_id not in best or current.get(link.node_id) == link.name
            if is_better and self.usable(link, now_ms) and link.peer_address in addresses:
                best[link.node_id] = link
        chosen = [best[node_id] for node_id in sorted(best)]
        others = [link for link in self._in_order if link.node_id in best and link is not best[link.node_id]]
        sendable = chosen + others
        if sendable != self._sendable:
            self._sendable = sendable
            self._peers = tuple(Peer(link.node_id, link.epoch, link.name) for link in sendable)
        return self._peers

    def check_invariants(self) -> None:
        for index, key in ((self._to_address, "peer_address"), (self._to_node, "node_id"), (self._dialled, "dialled")):
            named = {name for name, link in self.links.items() if getattr(link, key)}
            indexed = [(name, link) for links in index.values() for name, link in links.items()]
            assert len(indexed) == len(named), f"every link is found once by its {key}"
            assert all(self.links[name] is link for name, link in indexed), f"links are found by their {key}"
        assert not self._in_order or self._in_order == sorted(self.links.values(), key=_rank), "links are in order"
        peers = tuple(Peer(link.node_id, link.epoch, link.name) for link in self._sendable)
        assert self._peers == peers, "who can be sent to is who the links say"

    def _add(self, link: PeerLink) -> None:
        self.links[link.name] = link
        self._look_anew()
        for index, key in self._places(link):
            index.setdefault(key, {})[link.name] = link

    def _drop(self, name: str) -> PeerLink | None:
        link = self.links.pop(name, None)
        if link is not None:
            self._look_anew()
            for index, key in self._places(link):
                del index[key][name]
                if not index[key]:
                    del index[key]
        return link

    def _unshake(self, link: PeerLink) -> None:
        self._drop(link.name)
        link.node_id, link.epoch, link.proven_at_ms, link.asked_at_ms = "", 0, None, None
        self._add(link)

    def _look_anew(self) -> None:
        """A link has come, gone, or another node at its end."""
        self._in_order, self._sendable, self._peers = [], [], ()

    def _places(self, link: PeerLink) -> Iterable[tuple[dict[str, dict[str, PeerLink]], str]]:
        places = ((self._to_address, link.peer_address), (self._to_node, link.node_id), (self._dialled, link.dialled))
        return [(index, key) for index, key in places if key]


def _rank(link: PeerLink) -> tuple[bool, str]:
    return (not link.dialled, link.name)


def send(*frames: tuple[str, PeerTag, object]) -> Tell:
    """Frames for links, each ``(link, tag, body)``."""
    return Tell(Role.IO, SendToPeers(tuple(PeerFrame(name, encode_peer(tag, body)) for name, tag, body in frames)))
