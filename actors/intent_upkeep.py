"""Decisions that are over, and those that nobody is left for: when their rows go, and which node removes them. Those
whose process is another client now: which node binds them to that. Pure rules and a few small tables.

A decision is bound to one incarnation of an instance. A persistent one that is withdrawn never comes back; a process
may be away for a while and come back (a network that is down, a session that moves), and then the decision must still
hold. So that goes only when the process was not listed for a long time, as seen at every look of this node. Who
restarts, or has missed a look (it was not sure of its lists, or stood still), begins to count anew.

Where each node can write to the store, one of them removes a row at once, and each further one when those before it
have had the time for it and the row is still there. So it is with rows that are bound anew, but for a pause before the
first: by then all nodes know the heir.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.base import Now
from actors.durable_image import DurableImage
from actors.durable_rows import intent_row_key
from actors.durable_values import KeptIntent
from actors.messages.store import IntentHeir, RowVersion
from actors.node_shares import NodeShares, identity_of


def version_of(kept: KeptIntent) -> RowVersion:
    return RowVersion(intent_row_key(kept.place), kept.index)


class Turns:
    """When this node sees to which rows, of those that are to be seen to. ``at_once_max``: so that orders of people
    come between them."""

    def __init__(self, *, first_ms: int, retry_ms: int, at_once_max: int) -> None:
        self._first_ms = first_ms
        self._retry_ms = retry_ms
        self._at_once_max = at_once_max
        self._at_ms: dict[RowVersion, int] = {}  # not before this

    def due(
        self, wanted: Mapping[RowVersion, KeptIntent], node_id: str, shares: NodeShares, now_ms: int
    ) -> list[RowVersion]:
        """``wanted``: all that there are. A turn that was given stays as it is, whoever comes or goes."""
        self._at_ms = {version: at_ms for version, at_ms in self._at_ms.items() if version in wanted}
        for version, kept in wanted.items():
            turn = shares.turn_of(node_id, identity_of(kept.service, kept.key))
            if turn is not None and version not in self._at_ms:
                self._at_ms[version] = now_ms + self._first_ms + turn * self._retry_ms
        due = [version for version, at_ms in self._at_ms.items() if at_ms <= now_ms][: self._at_once_max]
        self._at_ms |= dict.fromkeys(due, now_ms + self._retry_ms)
        return due


class IntentUpkeep:
    def __init__(self, node_id: str, *, review_ms: int, orphan_ms: int, drops: Turns, moves: Turns) -> None:
        self._node_id = node_id
        self._shares = NodeShares(())  # of those who write rows
        self._gap_ms_max = review_ms * 3 // 2  # between two looks; beyond it one was missed
        self._orphan_ms = orphan_ms
        self._drops = drops
        self._moves = moves
        self._unclaimed_since_ms: dict[RowVersion, int] = {}
        self._reviewed_ms = 0  # the last look: what came after it nobody has seen
        self._told: set[RowVersion] = set()  # of those that are over: the index of IndexManager knows

    def share(self, node_ids: Iterable[str]) -> None:
        """Who can write rows."""
        self._shares = NodeShares(node_ids)

    def review(self, intents: Iterable[KeptIntent], unclaimed: Iterable[RowVersion], now_ms: int) -> None:
        """What IndexManager says of all that there are."""
        there = set(map(version_of, intents))
        known = self._unclaimed_since_ms if now_ms - self._reviewed_ms <= self._gap_ms_max else {}
        self._reviewed_ms = now_ms
        self._unclaimed_since_ms = {version: known.get(version, now_ms) for version in unclaimed if version in there}

    def over(self, intents: Iterable[KeptIntent], wall_ms: int) -> list[KeptIntent]:
        """Those whose time has passed since the last call."""
        expired = {version_of(kept): kept for kept in intents if 0 < kept.expires_ms <= wall_ms}
        news = [kept for version, kept in expired.items() if version not in self._told]
        self._told = set(expired)
        return news

    def drops(self, intents: Iterable[KeptIntent], image: DurableImage, now: Now) -> list[KeptIntent]:
        """Whose rows are to go now."""
        wanted = {version_of(kept): kept for kept in intents if self._is_to_go(kept, image, now)}
        return [wanted[version] for version in self._drops.due(wanted, self._node_id, self._shares, now.monotonic_ms)]

    def moves(self, heirs: Iterable[IntentHeir], image: DurableImage, now: Now) -> list[tuple[KeptIntent, str]]:
        """Whose rows are to be bound to an heir now, and to which one."""
        wanted: dict[RowVersion, KeptIntent] = {}
        heir_of: dict[RowVersion, str] = {}
        for place, incarnation, heir in heirs:
            kept = image.rows.get(intent_row_key(place))
            if isinstance(kept, KeptIntent) and kept.incarnation == incarnation:
                wanted[version_of(kept)], heir_of[version_of(kept)] = kept, heir
        due = self._moves.due(wanted, self._node_id, self._shares, now.monotonic_ms)
        return [(wanted[version], heir_of[version]) for version in due]

    def _is_to_go(self, kept: KeptIntent, image: DurableImage, now: Now) -> bool:
        if 0 < kept.expires_ms <= now.wall_ms or image.has_outlived(kept):
            return True
        since_ms = self._unclaimed_since_ms.get(version_of(kept))
        return since_ms is not None and self._reviewed_ms - since_ms >= self._orphan_ms
