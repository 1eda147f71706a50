"""What a writer was told of its writes, a line each in the order in which it made them, and what follows from that for
lists. A writer writes its own keys only, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

REMOVED = 0.0  # the weight of what shall not be listed

End = Literal["done", "refused", "unknown"]


class LedgerLine(msgspec.Struct, frozen=True):
    port: int
    weight: float
    end: End
    began_ns: int  # of the clock that all processes share


class Ledger:
    """The file of one writer, as far as it is written; ``take`` goes on from where it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[LedgerLine] = []
        self._offset = 0

    def take(self) -> list[LedgerLine]:
        """What is new. A line that is not whole yet waits."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            whole, _, _ = file.read().rpartition(b"\n")
        new = [msgspec.json.decode(line, type=LedgerLine) for line in whole.splitlines()]
        self._offset += len(whole) + bool(whole)
        self.lines += new
        return new


def possible_weights(lines: Iterable[LedgerLine]) -> dict[int, set[float]]:
    """By port, what a list may show. An acknowledged write replaces all before it; one of unknown outcome may have."""
    found: dict[int, set[float]] = {}
    for line in lines:
        if line.end == "done":
            found[line.port] = {line.weight}
        elif line.end == "unknown":
            found.setdefault(line.port, {REMOVED}).add(line.weight)
    return found


def lost_writes(lines: Iterable[LedgerLine], listed: dict[int, float]) -> list[str]:
    """What a list should show and does not, in words; and what it shows that nobody wrote, or that was refused."""
    possible = possible_weights(lines)
    return [
        f"port {port}: {sorted(possible.get(port, {REMOVED}))} was written, {listed.get(port, REMOVED)} is listed"
        for port in sorted(possible.keys() | listed.keys())
        if listed.get(port, REMOVED) not in possible.get(port, {REMOVED})
    ]
