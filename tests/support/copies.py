"""How far each node's copy of what an owner did has come, and when it last came further: only the simulator can tell.

Where every exchange takes long, so does a range of many chunks, and none is late as long as one chunk follows another.
What comes a second time is no step forward.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from actors.messages.index import RecordsChanged
from actors.messages.values import Origin


class _Reached(NamedTuple):
    at_ms: int
    seq: int


class Copies:
    """By the names of nodes, of their present lives. Where nobody notes anything, nothing ever moves."""

    def __init__(self) -> None:
        self._lives: dict[str, Origin] = {}
        self._done: dict[Origin, list[_Reached]] = {}  # by owner: how far it had come, and when
        self._copied: dict[tuple[Origin, Origin], _Reached] = {}  # by holder and owner: the furthest, and when it came

    def start(self, name: str, origin: Origin) -> None:
        self._lives[name] = origin

    def note(self, name: str, changed: RecordsChanged, at_ms: int) -> None:
        """This is in its index now."""
        holder = self._lives[name]
        for origin, seq in _furthest(changed):
            if origin == holder:
                done = self._done.setdefault(origin, [])
                if not done or seq > done[-1].seq:
                    done.append(_Reached(at_ms, seq))
            elif seq > self._copied.get((holder, origin), _Reached(0, 0)).seq:
                self._copied[holder, origin] = _Reached(at_ms, seq)

    def moved_ms(self, name: str, owner: str, done_by_ms: int) -> int:
        """When this copy last came closer to what the owner had done by then; 0 if it has all of that, or nothing."""
        if name not in self._lives or owner not in self._lives:
            return 0
        done = self._done.get(self._lives[owner], [])
        count = bisect_right(done, done_by_ms, key=lambda reached: reached.at_ms)
        at_ms, seq = self._copied.get((self._lives[name], self._lives[owner]), _Reached(0, 0))
        return at_ms if count and seq < done[count - 1].seq else 0


def _furthest(changed: RecordsChanged) -> Iterable[tuple[Origin, int]]:
    furthest: dict[Origin, int] = {origin: applied for origin, applied, _ in changed.watermarks}
    for record in changed.records:
        furthest[record.origin] = max(record.seq, furthest.get(record.origin, 0))
    return furthest.items()
