"""How long a node may go on listing what is gone: the bounds, and the rule which of them applies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.support.claims import Claim, Gone
from tests.support.parties import Serving
from tests.support.reach import NEVER_MS

if TYPE_CHECKING:
    from tests.support.history_state import HistoryState, NodeLife


class Bounds(NamedTuple):
    """Milliseconds of a cluster with the shipped settings."""

    chain_ms: int = 9_000  # a client notices (5 s), connects (2 s) and redoes (2 s)
    sync_ms: int = 5_000  # a change is everywhere that any path leads to; there and back at 2 s each, and a beat
    gone_ms: int = 1_000  # withdrawn, closed or killed: gone everywhere
    vanished_ms: int = 6_500  # heartbeats end (4 s, judged within 1 s), the delay of a lost session, and sync
    settle_ms: int = 3_000  # a node that stood still learns first what left meanwhile
    owner_ms: int = 17_000  # a dead owner's records: 15 s, and a beat each to judge and to tell
    unnoticed_ms: int = 5_000  # a node that stood still for longer knows it, and counts what it finds unread as old
    unlisted_ms: int = 32_000  # an owner that is no member any more: nobody has a link that could be evidence
    guard_ms: int = 15_000  # one more lease for a service that would lose more than half
    ready_ms: int = 22_000  # a cold start waits 15 s for the rest of the cluster, and loads
    equal_ms: int = 3_000  # after heal all nodes hold the same

    def scaled(self, scale: int) -> Bounds:
        """With every patience divided; what networks and processors need stays."""
        return Bounds(*(bound // scale + FLOOR_MS for bound in self))


FLOOR_MS = 200  # a retransmission, a slow turn: they do not shrink with the settings


def deadline_ms(state: HistoryState, bounds: Bounds, name: str, node: NodeLife, claim: Claim, at_ms: int) -> int | None:
    """Until when this node may list a claim that is over; None: no bound, as long as things are as they are."""
    gone = claim.gone
    sessions = list(state.parties[claim.client].sessions)
    if gone.how == "withdrawn":
        sessions = [serving for serving in sessions if serving.since_ms <= gone.since_ms][-1:] or sessions
    guarded_ms = bounds.guard_ms if "guarded" in node.tables[claim.listed[0]].flags else 0
    deadlines = []
    for serving in sessions:
        if state.reach.are_together(name, serving.node) and state.lives[serving.node] == serving.life:
            deadlines.append(_told_by_owner_ms(state, bounds, name, serving.node, gone, at_ms))
        else:
            since_ms = judged_ms(state, name, node, serving)
            if since_ms is None:
                return None
            patience_ms = bounds.unlisted_ms if serving.node in state.unlisted else bounds.owner_ms
            ended_ms = max(
                since_ms, gone.since_ms, _older_owner_ms(state, bounds, claim), read_ms(state, bounds, serving)
            )
            deadlines.append(ended_ms + patience_ms + guarded_ms)
    return max(deadlines, default=None)


def _older_owner_ms(state: HistoryState, bounds: Bounds, claim: Claim) -> int:
    """The life that knew of the end is over. An older owner that stood still meanwhile shows what it knew, until the
    grace of that has ended."""
    resumed_ms = [
        state.resumed_ms[serving.node]
        for serving in state.parties[claim.client].sessions
        if state.lives[serving.node] == serving.life
    ]
    return max((at_ms + bounds.settle_ms for at_ms in resumed_ms if at_ms > claim.gone.since_ms), default=0)


def may_return(state: HistoryState, bounds: Bounds, claim: Claim, at_ms: int) -> bool:
    """An owner that stood still waits for its grace again, unless somebody has written down that its client is gone.

    Nobody has if the client vanished, or the last node that served it died; or if that one stood still when the client
    was killed, and has yet to settle: itself it is not shown before, but an older owner is.
    """
    gone, sessions = claim.gone, state.parties[claim.client].sessions
    stood = {serving.node for serving in sessions if state.resumed_ms[serving.node] > gone.since_ms}
    if not stood:
        return False
    last = sessions[-1]
    if gone.how == "vanished" or (last.node, last.life) in state.ended_ms:
        return True
    if gone.how != "killed" or state.paused_ms[last.node] > gone.since_ms + bounds.gone_ms or stood == {last.node}:
        return False
    settled_ms = state.resumed_ms[last.node] + bounds.settle_ms
    return not state.reach.runs(last.node) or at_ms <= settled_ms + bounds.gone_ms


def read_ms(state: HistoryState, bounds: Bounds, serving: Serving) -> int:
    """When the last heartbeat of this life was read by a node that stood still at its end; 0 if none did. It takes that
    for new, and who starts meanwhile knows the age from it."""
    ended_ms = state.ended_ms.get((serving.node, serving.life))
    if ended_ms is None:
        return 0
    short = [stall for stall in state.stalls if stall[1] - stall[0] <= bounds.unnoticed_ms]
    return max((resumed_ms for paused_ms, resumed_ms in short if paused_ms <= ended_ms <= resumed_ms), default=0)


def _told_by_owner_ms(state: HistoryState, bounds: Bounds, name: str, owner: str, gone: Gone, at_ms: int) -> int:
    """The owner of the session lives, and its word gets here."""
    reach = state.reach
    noticed_ms = gone.since_ms + (bounds.vanished_ms if gone.how == "vanished" else bounds.gone_ms)
    settled_ms = state.resumed_ms[owner] + bounds.settle_ms
    if gone.how not in ("withdrawn", "closed") and gone.since_ms < settled_ms:
        noticed_ms = max(
            noticed_ms, settled_ms + bounds.gone_ms
        )  # who stood still settles before it lets go of anybody
    straight = reach.is_open(name, owner) and reach.stands_since_ms(name, owner) < gone.since_ms - bounds.sync_ms
    if state.is_slowed(at_ms):  # each exchange may take so long, and a large range takes many
        noticed_ms = max(noticed_ms, state.news_moved_ms(name, owner, noticed_ms)) + bounds.sync_ms
    elif not straight:
        noticed_ms += bounds.sync_ms
    joined_ms = reach.together_since_ms(name, owner)
    if joined_ms <= gone.since_ms:
        return noticed_ms
    return max(noticed_ms, joined_ms + bounds.sync_ms + bounds.settle_ms + bounds.vanished_ms)


def judged_ms(state: HistoryState, name: str, node: NodeLife, serving: Serving) -> int | None:
    """Since when this node can judge the owner as gone; None if it cannot now."""
    majority_ms = state.reach.majority_since_ms[name]
    if majority_ms == NEVER_MS or "preserved" in node.flags:
        return None
    apart_ms = state.reach.apart_since_ms(name, serving.node)
    listed_ms = state.listed_ms[serving.node]
    return max(majority_ms, node.preserved_ms, node.started_ms, apart_ms, listed_ms, state.resumed_ms[name])
