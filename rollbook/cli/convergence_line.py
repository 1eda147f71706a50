"""How fast changes reach everybody, in one line: percentiles of the histograms of all nodes together.

A histogram knows buckets, not moments, so a percentile is said as the upper end of its bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rollbook.status import LatencyCounts, NodeStatus

_STAGES = {"applied": "on every node", "told": "every subscriber told"}


def convergence_line(statuses: Iterable[NodeStatus]) -> str:
    """Empty as long as nothing was timed."""
    merged = _merged(counts for status in statuses for counts in status.convergence)
    parts = [f"{title} {_percentiles(merged[stage])}" for stage, title in _STAGES.items() if stage in merged]
    timed = max((sum(counts.counts) for counts in merged.values()), default=0)
    return f"changes: {'; '.join(parts)} (of {timed} timed)" if parts else ""


def _merged(histograms: Iterable[LatencyCounts]) -> dict[str, LatencyCounts]:
    """One histogram per stage, of those that are not empty and have the same buckets as the first."""
    merged: dict[str, LatencyCounts] = {}
    for found in histograms:
        known = merged.get(found.stage)
        if not sum(found.counts) or len(found.counts) != len(found.bounds_ms) + 1:
            continue
        if known is None:
            merged[found.stage] = found
        elif known.bounds_ms == found.bounds_ms:
            counts = tuple(one + other for one, other in zip(known.counts, found.counts, strict=True))
            merged[found.stage] = LatencyCounts(found.stage, found.bounds_ms, counts)
    return merged


def _percentiles(histogram: LatencyCounts) -> str:
    named = (("p50", 50), ("p99", 99), ("max", 100))
    return ", ".join(f"{name} {_bound_text(histogram, percent)}" for name, percent in named)


def _bound_text(histogram: LatencyCounts, percent: int) -> str:
    place = _place(histogram.counts, percent)
    bounds_ms = histogram.bounds_ms
    return f"≤ {bounds_ms[place]} ms" if place < len(bounds_ms) else f"> {bounds_ms[-1]} ms"


def _place(counts: Sequence[int], percent: int) -> int:
    """The bucket in which this part of all is reached."""
    wanted, seen = sum(counts) * percent, 0
    for place, count in enumerate(counts):
        seen += 100 * count
        if count and seen >= wanted:
            return place
    return len(counts) - 1
