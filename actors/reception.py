"""What becomes of a delta that has come from a peer: it is handed to ClientManager, turned away, or of no use.

Owns the highest heartbeats that rode on deltas. The rules of pulls.py say what is expected and what was given up;
chunks that pass go on to the record table, which compares versions. An owner's counter on its own delta shows at once
that it lives, also where the records are turned away.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.base import Effect, Role, Tell
from actors.messages.clients import ApplyDelta
from actors.messages.members import HeartbeatRaised
from actors.messages.peers import Delta
from actors.messages.values import Origin
from actors.peer_frames import sending
from actors.peer_table import PeerTable
from actors.pulls import Incoming


class Reception:
    def __init__(self, peers: PeerTable, incoming: Incoming, counters: dict[str, int]) -> None:
        self._peers = peers
        self._incoming = incoming
        self._counters = counters
        self._heartbeats: dict[Origin, int] = {}  # the highest that came with a delta of the owner itself

    def take(self, link: str, delta: Delta, now_ms: int) -> list[Effect]:
        """A delta of another origin than this node's own."""
        if link in self._peers and self._incoming.is_purged(delta.origin):
            self._counters["deltas_purged"] += 1
            return [*self._heartbeat_raised(link, delta), *sending(self._incoming.turned_away(link, delta))]
        if link not in self._peers or not self._incoming.take(link, delta, now_ms):
            self._counters["deltas_unexpected"] += 1
            return []
        self._counters["deltas_received"] += delta.last
        chunk = ApplyDelta(
            link=link,
            origin=delta.origin,
            after=delta.after,
            upper=delta.upper,
            full=delta.full,
            resume=delta.resume,
            gc_floor=delta.gc_floor,
            index=delta.index,
            last=delta.last,
            bodies=delta.bodies,
            scope=delta.scope,
            whole=delta.whole,
        )
        return [*self._heartbeat_raised(link, delta), Tell(Role.CLIENTS, chunk)]

    def purge(self, origins: Iterable[Origin]) -> None:
        """Whoever is heard again is news."""
        for origin in origins:
            self._heartbeats.pop(origin, None)

    def _heartbeat_raised(self, link: str, delta: Delta) -> list[Effect]:
        """The owner's counter rides on its deltas; a relay has no say in it."""
        origin = delta.origin
        if delta.heartbeat <= self._heartbeats.get(origin, 0):
            return []
        if self._peers.node_of(link) != origin.owner or not self._peers.has_owner(origin):
            return []
        self._heartbeats[origin] = delta.heartbeat
        return [Tell(Role.MEMBERS, HeartbeatRaised(link, origin, delta.heartbeat))]
