"""What the other actors were told last by MemberManager: each thing is told again only if it is news.

Owns: the node's standing, the peers and living members, and the filter of hidden owners, all as they were told last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.base import Effect, Log, NodeIdentity, Role, Tell
from actors.messages.connections import StandingChanged
from actors.messages.distro import PeersChanged
from actors.messages.health import LivingMembersChanged
from actors.messages.index import OwnersVisible
from actors.messages.values import Origin, Peer, Standing
from actors.roster import Census

_FOLLOWS_PEERS = {"home": (Role.HOME,), "away": (Role.STORE,)}


class Announcements:
    def __init__(self, standing: Standing, me: NodeIdentity) -> None:
        self.standing = standing
        self._me = me
        self._peers_to = (Role.DISTRO, Role.BEATS, *_FOLLOWS_PEERS.get(me.store, ()))
        self._peers = PeersChanged((), ())
        self._visible = OwnersVisible(())
        self._living: LivingMembersChanged | None = None

    def current_links(self) -> dict[str, str]:
        """By node id, the link that is sent on now."""
        return {peer.node_id: peer.link for peer in reversed(self._peers.peers)}

    def tell_peers(self, peers: tuple[Peer, ...], census: Census) -> list[Effect]:
        """A node that hears no majority goes on counting whoever it knows: nobody has confirmed anything by not being
        there, so whoever waits for the cluster learns their names instead."""
        told = PeersChanged(peers, census.living if census.has_majority else census.known)
        if told == self._peers:
            return []
        self._peers = told
        return [Tell(role, told) for role in self._peers_to]

    def tell_living(self, living: Sequence[str]) -> list[Effect]:
        """Who shares the probing of persistent instances, and tidying what is stored. Not before this node is ready: by
        then it knows what the others have found."""
        told = LivingMembersChanged(tuple(sorted({*living, self._me.node_id})))
        if told == self._living or not self.standing.ready or self._me.store == "none":
            return []
        self._living = told
        return [Tell(role, told) for role in (Role.HEALTH, Role.PERSISTENT)]

    def tell_visible(
        self, hidden: Sequence[tuple[Origin, int]], heard_at_ms: Sequence[tuple[Origin, int]]
    ) -> list[Effect]:
        told = OwnersVisible(tuple(hidden), tuple(heard_at_ms))
        if told.hidden == self._visible.hidden:
            return []
        self._visible = told
        return [Log("INFO", "hidden owners changed", {"hidden": told.hidden}), Tell(Role.INDEX, told)]

    def set_standing(self, **changes: Any) -> list[Effect]:
        before, self.standing = self.standing, msgspec.structs.replace(self.standing, **changes)
        if self.standing == before:
            return []
        changed = [name for name in ("isolated", "preserved") if getattr(before, name) != getattr(self.standing, name)]
        logs = [Log("WARNING", f"{name} changed", {name: getattr(self.standing, name)}) for name in changed]
        return [*logs, *self.tell_standing()]

    def tell_standing(self) -> list[Effect]:
        told = StandingChanged(self.standing)
        return [Tell(role, told) for role in (Role.INDEX, Role.CONNECTIONS, Role.CLIENTS)]
