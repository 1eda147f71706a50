"""Decisions that are over, and those that nobody is left for: when their rows go, and which node removes them. Pure
rules and two small tables.

A decision is bound to one incarnation of an instance. A persistent one that is withdrawn never comes back; a process
may be away for a while and come back (a network that is down, a session that moves), and then the decision must still
hold. So that goes only when the process was not listed for a long time, as seen at every look of this node. Who
restarts, or has missed a look (it was not sure of its lists, or stood still), begins to count anew.

Where each node can write to the store, one of them removes a row at once, and each further one when those before it
have had the time for it and the row is still there.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.base import Now
from actors.durable_image import DurableImage
from actors.durable_rows import intent_row_key
from actors.durable_values import KeptIntent
from actors.messages.store import RowVersion
from actors.node_shares import NodeShares, identity_of


def version_of(kept: KeptIntent) -> RowVersion:
    return RowVersion(intent_row_key(kept.place), kept.index)


class IntentUpkeep:
    def __init__(self, node_id: str, *, review_ms: int, orphan_ms: int, retry_ms: int, drops_max: int) -> None:
        self._node_id = node_id
        self._shares = NodeShares(())  # of those who remove rows
        self._gap_ms_max = review_ms * 3 // 2  # between two looks; beyond it one was missed
        self._orphan_ms = orphan_ms
        self._retry_ms = retry_ms
        self._drops_max = drops_max
        self._unclaimed_since_ms: dict[RowVersion, int] = {}
        self._reviewed_ms = 0  # the last look: what came after it nobody has seen
        self._told: set[RowVersion] = set()  # of those that are over: the index of IndexManager knows
        self._drops_at_ms: dict[RowVersion, int] = {}  # of rows that are to go: not before this

    def share(self, node_ids: Iterable[str]) -> None:
        """Who can remove rows. A turn that was given stays as it is."""
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
        """Whose rows are to go now: a few at a time, so that orders of people come between them."""
        wanted = {version_of(kept): kept for kept in intents if self._is_to_go(kept, image, now)}
        self._drops_at_ms = {version: at_ms for version, at_ms in self._drops_at_ms.items() if version in wanted}
        for version, kept in wanted.items():
            turn = self._shares.turn_of(self._node_id, identity_of(kept.service, kept.key))
            if turn is not None and version not in self._drops_at_ms:
                self._drops_at_ms[version] = now.monotonic_ms + turn * self._retry_ms
        due = [version for version, at_ms in self._drops_at_ms.items() if at_ms <= now.monotonic_ms][: self._drops_max]
        self._drops_at_ms |= dict.fromkeys(due, now.monotonic_ms + self._retry_ms)
        return [wanted[version] for version in due]

    def _is_to_go(self, kept: KeptIntent, image: DurableImage, now: Now) -> bool:
        if 0 < kept.expires_ms <= now.wall_ms or image.has_outlived(kept):
            return True
        since_ms = self._unclaimed_since_ms.get(version_of(kept))
        return since_ms is not None and self._reviewed_ms - since_ms >= self._orphan_ms
