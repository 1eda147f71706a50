"""How many of its sessions a node gives away, and to whom. A pure rule of ConnectionManager.

Moving a session is cheap but not free, so only a node well above the mean moves any, slowly, and never more than what
brings it half-way down. It fills the nodes below the mean in proportion to what they lack, and takes of that no more
than its part: others above the mean decide at the same time by the same figures. So but for rounding no node is pushed
above the mean, none falls below it, and who has been given sessions never gives any away because of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from actors.messages.connections import MemberSessions


class RebalancePatience(Protocol):
    """From which excess on, and how fast; the connections section of configs/defaults.toml."""

    @property
    def rebalance_above_percent(self) -> int: ...

    @property
    def rebalance_above_sessions(self) -> int: ...

    @property
    def rebalance_step_percent_max(self) -> int: ...


class Share(NamedTuple):
    """So many sessions are to move to this server."""

    server: str
    sessions: int


def plan(own: int, members: Sequence[MemberSessions], patience: RebalancePatience) -> tuple[Share, ...]:
    """What to move away from here; empty if this node is not far enough above the mean, or nobody may take it.

    Everything is counted in units of one session times the number of nodes, so that the mean is a whole number.
    """
    nodes = len(members) + 1
    mean = own + sum(member.sessions for member in members)
    excess = own * nodes - mean
    if 100 * (own - patience.rebalance_above_sessions) * nodes <= patience.rebalance_above_percent * mean:
        return ()
    lacking = {
        member.server: mean - member.sessions * nodes
        for member in members
        if member.is_settled and member.sessions * nodes < mean
    }
    room = sum(lacking.values())
    excess_of_all = excess + sum(max(0, member.sessions * nodes - mean) for member in members)
    half = excess * room // (2 * excess_of_all * nodes)
    count = min(half, own * patience.rebalance_step_percent_max // 100)
    return tuple(share for share in _divided(count, lacking, room) if share.sessions)


def _divided(count: int, lacking: dict[str, int], room: int) -> list[Share]:
    """In proportion to what each lacks; what rounding leaves over goes to the servers that it took most from."""
    shares = {server: count * lacks // room for server, lacks in lacking.items()}
    rests = sorted(lacking, key=lambda server: (-(count * lacking[server] % room), server))
    for server in rests[: count - sum(shares.values())]:
        shares[server] += 1
    return [Share(server, shares[server]) for server in sorted(shares)]
