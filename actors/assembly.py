"""What has come of an origin that arrives in parts, by bucket, from one source or several.

Nothing is claimed and nothing removed before every bucket has been covered by a complete part; then the least of the
parts' upper bounds is claimed, and what the sources lack goes. A part is a true statement about its buckets whenever it
arrives, so it does not matter which source sent it, in which order, or whether two of them sent the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from actors.buckets import BucketSnapshot, bucket_of
from actors.messages.values import BUCKETS, RecordKey, Scope


class CompletePart(NamedTuple):
    scope: Scope
    whole: frozenset[int]  # buckets of which the source sent all it holds; of the others it has the same as ``before``
    seen: Collection[RecordKey]
    upper: int


class Assembly:
    """``before`` is what this node held when it asked: of that, and of what came since, something may have to go."""

    def __init__(self, before: BucketSnapshot) -> None:
        self.loose: list[RecordKey] = []  # keys that have come to life since, and not with a complete part
        self.upper: int | None = None  # the least of the complete parts
        self.gc_floor = 0  # the highest among the sources of full parts
        self._before = before
        self._missing = set(range(BUCKETS))
        self._parts: list[CompletePart] = []

    @property
    def is_complete(self) -> bool:
        return not self._missing

    def add(self, scope: Scope, upper: int) -> None:
        """A part has come to its last chunk."""
        self._missing.difference_update(scope.buckets)
        self.upper = upper if self.upper is None else min(self.upper, upper)

    def add_full(
        self, scope: Scope, upper: int, gc_floor: int, whole: Iterable[int], seen: Collection[RecordKey]
    ) -> None:
        self.add(scope, upper)
        self.gc_floor = max(self.gc_floor, gc_floor)
        self._parts.append(CompletePart(scope, frozenset(whole), seen, upper))

    def lacking(self) -> Iterator[tuple[RecordKey, int]]:
        """Keys that do not live at a source, and up to which seq it would know them."""
        loose: dict[int, list[RecordKey]] = {}
        for key in self.loose:
            loose.setdefault(bucket_of(key.client), []).append(key)
        for part in self._parts:
            for bucket in part.scope.buckets:
                before = self._before.records[bucket] if bucket in part.whole else ()
                for key in (*(record.key for record in before), *loose.get(bucket, ())):
                    if key not in part.seen:
                        yield key, part.upper
