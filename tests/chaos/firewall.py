"""What the round drops on its way between namespaces: a list of rules, written as one nftables transaction.

Every change writes the whole table anew, so that what is in force is always exactly what the faults in progress ask.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

_TABLE = "inet chaos"


class Drop(msgspec.Struct, frozen=True):
    """Packets from any of these addresses to any of those; in one direction."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    percent: int = 100
    only_syn: bool = False  # connections that stand go on; no new one comes to be

    def __post_init__(self) -> None:
        if not self.sources or not self.targets or not 0 < self.percent <= 100:
            raise ValueError(f"this drops nothing: {self}")


def both_ways(some: Iterable[str], others: Iterable[str], percent: int = 100) -> list[Drop]:
    left, right = tuple(some), tuple(others)
    return [Drop(left, right, percent), Drop(right, left, percent)]


def table_text(drops: Iterable[Drop]) -> str:
    """For ``nft -f``: afterwards this is in force and nothing else of ours."""
    lines = [f"table {_TABLE}", f"delete table {_TABLE}", f"table {_TABLE} {{", "  chain forward {"]
    lines.append("    type filter hook forward priority 0; policy accept;")
    lines += [f"    {_rule(drop)}" for drop in drops]
    return "\n".join([*lines, "  }", "}", ""])


def _rule(drop: Drop) -> str:
    parts = [f"ip saddr {{ {', '.join(drop.sources)} }}", f"ip daddr {{ {', '.join(drop.targets)} }}"]
    if drop.only_syn:
        parts.append("tcp flags & (syn | ack) == syn")
    if drop.percent < 100:
        parts.append(f"numgen random mod 100 < {drop.percent}")
    return " ".join([*parts, "drop"])
