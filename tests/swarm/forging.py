"""A peer that claims to know better what a node itself owns."""

from __future__ import annotations

from actors.base import Role
from actors.messages.distro import DeltaReceived
from actors.messages.peers import Delta
from actors.messages.values import Origin
from actors.records import make_record
from runtime.simulation.cluster import SimCluster

SEQS_AHEAD = 1_000


def forge_removal(cluster: SimCluster, victim: int, other: int) -> None:
    """A delta of the victim's own epoch comes over its link to the other, and removes what a client publishes there.

    Nothing happens if the victim does not run, has no link to the other, or nobody publishes there.
    """
    node = cluster.node(victim)
    if not node.is_running or node.identity is None:
        return
    own = Origin(node.node_id, node.identity.epoch)
    peer = node.behaviour(Role.DISTRO)._peers.peers.get(cluster.node(other).node_id)
    native = node.behaviour(Role.CLIENTS).native
    live = next((record for record in native.records.values() if record.instances), None)
    if peer is None or live is None:
        return
    seq = native.applied + SEQS_AHEAD
    removal = make_record(own, live.key, live.session, seq, live.stamp + 1, live.grace_ms, ())
    forged = Delta(*own, 0, seq, False, 0, 0, 0, True, 0, (removal.body,))
    node.tell(Role.DISTRO, DeltaReceived(peer.link, forged))
