"""How far each node's copy of what an owner did has come, and when it last came further: only the simulator can tell.

Where every exchange takes long, so does a range of many chunks, and none is late as long as one chunk follows another.
What comes a second time is no step forward.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from actors.messages.index import RecordsChanged
from actors.messages.values import Origin


class _Reached(NamedTuple):
    at_ms: int
    seq: int


class _Copy:
    """Of one origin, at one life of a node. The chunks of a full range are in no order, so what is here is counted."""

    def __init__(self) -> None:
        self.seqs: set[int] = set()
        self.moved_ms = 0  # when something came last that had not been here
        self.applied: list[_Reached] = []  # all up to this seq was here then

    def take(self, seqs: set[int], applied: int, at_ms: int) -> None:
        is_further = applied > (self.applied[-1].seq if self.applied else 0)
        if is_further:
            self.applied.append(_Reached(at_ms, applied))
        if is_further or not seqs <= self.seqs:
            self.seqs |= seqs
            self.moved_ms = at_ms

    def came_ms(self, seq: int) -> int | None:
        """When all up to this seq was here; None: it is not."""
        count = bisect_left(self.applied, seq, key=lambda reached: reached.seq)
        return self.applied[count].at_ms if count < len(self.applied) else None


class Copies:
    """By the names of nodes, of their present lives. Where nobody notes anything, nothing ever moves."""

    def __init__(self) -> None:
        self._lives: dict[str, Origin] = {}
        self._done: dict[Origin, list[_Reached]] = {}  # by owner: how far it had come, and when
        self._copies: dict[tuple[Origin, Origin], _Copy] = {}  # by holder and owner

    def start(self, name: str, origin: Origin) -> None:
        self._lives[name] = origin

    def note(self, name: str, changed: RecordsChanged, at_ms: int) -> None:
        """This is in its index now."""
        holder = self._lives[name]
        applied = {origin: seq for origin, seq, _ in changed.watermarks}
        seqs: dict[Origin, set[int]] = {origin: set() for origin in applied}
        for record in changed.records:
            seqs.setdefault(record.origin, set()).add(record.seq)
        for origin, came in seqs.items():
            if origin == holder:
                self._note_done(origin, max(*came, applied.get(origin, 0), 0), at_ms)
            else:
                self._copies.setdefault((holder, origin), _Copy()).take(came, applied.get(origin, 0), at_ms)

    def moved_ms(self, name: str, owner: str, done_by_ms: int, ways: Iterable[str] = ()) -> int:
        """When what the owner had done by then last came closer to this node; 0 if it has all of that.

        ``ways``: who passes it on, where the two do not reach each other.
        """
        origin = self._lives.get(owner)
        done = self._done.get(origin, []) if origin is not None else []
        count = bisect_right(done, done_by_ms, key=lambda reached: reached.at_ms)
        if origin is None or not count or self._copy(name, origin).came_ms(done[count - 1].seq) is not None:
            return 0
        copies = [self._copy(each, origin) for each in (name, *ways)]
        came_ms = [(copy.came_ms(done[count - 1].seq), copy.moved_ms) for copy in copies]
        return max(moved_ms if at_ms is None else at_ms for at_ms, moved_ms in came_ms)

    def _note_done(self, origin: Origin, seq: int, at_ms: int) -> None:
        done = self._done.setdefault(origin, [])
        if not done or seq > done[-1].seq:
            done.append(_Reached(at_ms, seq))

    def _copy(self, name: str, origin: Origin) -> _Copy:
        holder = self._lives.get(name)
        return self._copies.get((holder, origin), _Copy()) if holder is not None else _Copy()
