"""Which services one pattern means, as the node tells of them piece by piece. Pure."""

from __future__ import annotations

from rollbook.catalog import ServicesFound


class FollowedPattern:
    """``matched``: service keys, None before the node has been asked. ``number``: what to ask for news with."""

    def __init__(self, pattern: str, namespace: str, group: str, name: str) -> None:
        self.pattern = pattern
        self.namespace = namespace
        self.group = group
        self.name = name
        self.matched: set[str] | None = None
        self.total = 0
        self._number = 0
        self._epoch = 0
        self._shown: set[str] = set()  # ever, by the node in this life

    def since(self, epoch: int) -> int:
        """Numbers are those of one life of the node."""
        return self._number if epoch == self._epoch else 0

    def needs_all(self, found: ServicesFound, matches_max: int) -> bool:
        """Of more than may be told, the news do not say which are the first."""
        if found.is_whole or not (found.found or found.gone):
            return False
        return max(self.total, len(self.matched or ())) + len(found.found) > matches_max

    def take(self, found: ServicesFound, epoch: int) -> None:
        """While a node is warming, what it has not shown yet may only be late: that is asked for again, whole."""
        if epoch != self._epoch:
            self._epoch, self._shown = epoch, set()
        came = {self._key(*each) for each in found.found}
        known = self.matched or set()
        late: set[str] = set()
        if found.is_whole:
            late = known - self._shown - came if found.warming else set()
            self.matched, self.total = came | late, found.total
        elif came or found.gone:
            self.matched = (known | came) - {self._key(*each) for each in found.gone}
            self.total = len(self.matched)
        self._shown |= came
        self._number = 0 if late else found.number

    def _key(self, group: str, name: str) -> str:
        return f"{self.namespace}@@{group}@@{name}"
