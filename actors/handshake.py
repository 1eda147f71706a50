"""Handshakes between nodes: who may speak on a link, and who has to give way. MemberManager hands it what arrives.

The side that dialled says Hello, and says it again at each beat until it is answered. The other side answers Welcome,
or says what is wrong: another cluster, a node id that a living node has, an address nobody listed. A restarted node is
not mistaken for a duplicate, because the links of its earlier life are reset or fall silent within the pong time-out.
"""

from __future__ import annotations

from typing import Any

from actors.base import Effect, Log, NodeIdentity, Now, Role, Tell, Terminate
from actors.links import LinkTable, send
from actors.liveness import Leases
from actors.messages.io import DialPeers
from actors.messages.peers import Hello, PeerRefused, PeerTag, Welcome
from actors.messages.values import Origin
from actors.roster import Roster
from rollbook.errors import Code

EXIT_USAGE = 2
EXIT_EPOCH = 75  # start again, above the given epoch
WARNINGS_MAX = 1000  # strangers can knock for ever with ever new names


class Handshakes:
    def __init__(self, me: NodeIdentity, links: LinkTable, leases: Leases, roster: Roster) -> None:
        self._me = me
        self._links = links
        self._leases = leases
        self._roster = roster
        self._own = Origin(me.node_id, me.epoch)
        self._is_welcomed = False
        self._refused_at_ms: int | None = None
        self._warned: set[tuple[object, ...]] = set()
        self.counters = {"hellos_refused": 0, "welcomes_refused": 0}

    def hello(self, dialled: str) -> Hello:
        me = self._me
        return Hello(me.cluster_name, me.node_id, me.epoch, me.peer_address, me.client_address, dialled)

    def on_opened(self, name: str, address: str) -> list[Effect]:
        self._links.opened(name, address)
        return [send((name, PeerTag.HELLO, self.hello(address)))]

    def greet(self) -> list[Effect]:
        """Say Hello again to whom this node has dialled and who has not answered: frames may be lost."""
        names = sorted(name for name, link in self._links.links.items() if link.dialled and not link.node_id)
        frames = [(name, PeerTag.HELLO, self.hello(self._links.links[name].dialled)) for name in names]
        return [send(*frames)] if frames else []

    def on_hello(self, name: str, hello: Hello, now: Now) -> list[Effect]:
        if Origin(hello.node_id, hello.epoch) == self._own:
            return self._meet_oneself(hello.dialled)
        if not self._roster.is_listed:
            return []  # Nobody can be judged by a list that is not there yet; Hello comes again.
        refused = self._refusal(name, hello, now.monotonic_ms)
        if refused is not None:
            self.counters["hellos_refused"] += 1
            warning = self.warn("a node was refused", node_id=hello.node_id, reason=refused.message)
            return [send((name, PeerTag.REFUSED, refused)), *warning]
        seen_epoch = self._leases.newest(hello.node_id).epoch
        welcome = Welcome(*self._own, self._me.peer_address, self._me.client_address, seen_epoch)
        effects: list[Effect] = [send((name, PeerTag.WELCOME, welcome))]
        if seen_epoch > hello.epoch:
            return effects  # It will end and come back above that epoch.
        return [*effects, *self._complete(name, hello, now)]

    def on_welcome(self, name: str, welcome: Welcome, now: Now) -> list[Effect]:
        link = self._links.links.get(name)
        if link is None or not link.dialled:
            self.counters["welcomes_refused"] += 1
            return []
        if Origin(welcome.node_id, welcome.epoch) == self._own:
            return self._meet_oneself(link.dialled)
        if welcome.seen_epoch > self._me.epoch:
            return end_for_epoch(welcome.seen_epoch)
        is_stranger = welcome.peer_address != link.dialled or welcome.node_id == self._me.node_id
        is_past = welcome.epoch < self._leases.newest(welcome.node_id).epoch
        if is_stranger or is_past or self._links.holder(welcome.node_id, welcome.epoch, name, now.monotonic_ms):
            self.counters["welcomes_refused"] += 1
            answered = f"{welcome.node_id} at {welcome.peer_address}"
            return self.warn("another node than expected answers here", address=link.dialled, answered=answered)
        self._is_welcomed, self._refused_at_ms = True, None
        return self._complete(name, welcome, now)

    def on_refused(self, name: str, refused: PeerRefused, now: Now, *, serving: bool) -> list[Effect]:
        """A node that others have welcomed, or that serves, is the one in the right: only a newcomer gives way."""
        link = self._links.links.get(name)
        if link is None or not link.dialled:
            return []
        is_newcomer = not self._is_welcomed and not serving
        if refused.code == Code.NODE_ID_IN_USE and is_newcomer and self._refused_at_ms is None:
            self._refused_at_ms = now.monotonic_ms
        return self.warn("this node was refused", address=link.dialled, code=refused.code, reason=refused.message)

    @property
    def is_doubtful(self) -> bool:
        """Others say that a living node has this node id, and nobody has welcomed this one since."""
        return self._refused_at_ms is not None

    def give_way(self, now: Now, lease_ms: int) -> list[Effect]:
        """A newcomer that was refused for a whole lease is the duplicate."""
        if self._refused_at_ms is None or now.monotonic_ms - self._refused_at_ms < lease_ms:
            return []
        advice = "give this one a data directory of its own"
        return end(EXIT_USAGE, f"another living node uses node id {self._me.node_id}; {advice}")

    def warn(self, fact: str, **fields: Any) -> list[Effect]:
        """Say it once."""
        key = (fact, *fields.values())
        if key in self._warned or len(self._warned) >= WARNINGS_MAX:
            return []
        self._warned.add(key)
        return [Log("WARNING", fact, fields)]

    def _refusal(self, name: str, hello: Hello, now_ms: int) -> PeerRefused | None:
        me = self._me
        if hello.cluster != me.cluster_name:
            return PeerRefused(Code.CLUSTER_MISMATCH, f"this is cluster {me.cluster_name!r}, not {hello.cluster!r}")
        holder = self._links.holder(hello.node_id, hello.epoch, name, now_ms)
        if hello.node_id == me.node_id or holder is not None:
            address = me.peer_address if holder is None else holder.peer_address
            return PeerRefused(Code.NODE_ID_IN_USE, f"node id {hello.node_id} is that of the node at {address}")
        if hello.peer_address not in self._roster.members:
            reason = f"{hello.peer_address} is not in the member list of {me.peer_address}"
            return PeerRefused(Code.ADDRESS_MISMATCH, reason)
        tenant = self._links.tenant(hello.peer_address, now_ms)
        if tenant not in ("", hello.node_id):
            return PeerRefused(Code.ADDRESS_MISMATCH, f"node {tenant} lives at {hello.peer_address}")
        return None

    def _complete(self, name: str, who: Hello | Welcome, now: Now) -> list[Effect]:
        """A fresh cluster waits for pongs, so the first ping leaves now, not at the next beat."""
        self._links.shake(name, who)
        self._roster.learn(who)
        self._leases.hear(Origin(who.node_id, who.epoch), 0, 0, now.monotonic_ms)
        return [send(self._links.ping(name, now.monotonic_ms))]

    def _meet_oneself(self, address: str) -> list[Effect]:
        """An address of the list is another name of this node."""
        self._roster.own_address(address)
        return [Tell(Role.IO, DialPeers(tuple(self._roster.members)))]


def end(exit_code: int, reason: str, epoch_floor: int = 0) -> list[Effect]:
    return [Log("ERROR", reason, {}), Terminate(exit_code, reason, epoch_floor)]


def end_for_epoch(seen_epoch: int) -> list[Effect]:
    return end(EXIT_EPOCH, f"others know epoch {seen_epoch} of this node, above its own", seen_epoch)
