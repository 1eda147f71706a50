"""Intents that are over, and those that nobody is left for: when their rows go. Pure rules and two small tables.

An intent is bound to one incarnation of an instance. That may be away for a while and come back (a network that is
down, a session that moves), and then the intent must still hold; so it goes only when the incarnation was not listed
for a long time, as seen at every look of this node. Who restarts begins to count anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.durable_values import KeptIntent


class IntentUpkeep:
    def __init__(self, *, orphan_ms: int, retry_ms: int, drops_max: int) -> None:
        self._orphan_ms = orphan_ms
        self._retry_ms = retry_ms
        self._drops_max = drops_max
        self._unclaimed_since_ms: dict[int, int] = {}  # by index
        self._told: set[int] = set()  # of those that are over: the index of IndexManager knows
        self._drops_at_ms: dict[int, int] = {}  # of rows that are to go: not before this

    def review(self, intents: Iterable[KeptIntent], unclaimed: Iterable[int], now_ms: int) -> None:
        """What IndexManager says of all that there are."""
        there = {kept.index for kept in intents}
        known = self._unclaimed_since_ms
        self._unclaimed_since_ms = {index: known.get(index, now_ms) for index in unclaimed if index in there}

    def over(self, intents: Iterable[KeptIntent], wall_ms: int) -> list[KeptIntent]:
        """Those whose time has passed since the last call."""
        expired = [kept for kept in intents if 0 < kept.expires_ms <= wall_ms]
        news = [kept for kept in expired if kept.index not in self._told]
        self._told = {kept.index for kept in expired}
        return news

    def drops(self, intents: Iterable[KeptIntent], wall_ms: int, now_ms: int) -> list[KeptIntent]:
        """Whose rows are to go now: a few at a time, so that orders of people come between them."""
        wanted = [kept for kept in intents if self._is_to_go(kept, wall_ms, now_ms)]
        due = [kept for kept in wanted if self._drops_at_ms.get(kept.index, now_ms) <= now_ms][: self._drops_max]
        there = {kept.index for kept in wanted}
        self._drops_at_ms = {index: at_ms for index, at_ms in self._drops_at_ms.items() if index in there}
        self._drops_at_ms |= {kept.index: now_ms + self._retry_ms for kept in due}
        return due

    def _is_to_go(self, kept: KeptIntent, wall_ms: int, now_ms: int) -> bool:
        since_ms = self._unclaimed_since_ms.get(kept.index, now_ms)
        return 0 < kept.expires_ms <= wall_ms or now_ms - since_ms >= self._orphan_ms
