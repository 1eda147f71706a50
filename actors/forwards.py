"""Orders about HTTP clients that are on their way to other nodes, and who waits for them. Pure data.

BeatKeeper owns it. What leaves in one turn for one node leaves in few frames. Each frame is answered as a whole, on its
link, or not at all.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from actors.base import Now
from actors.messages.io import PeerFrame
from actors.messages.peers import ORDERS_PER_FORWARD_MAX, Forwarded, HttpOrder, HttpOutcome, PeerTag
from actors.messages.values import RecordKey, Route
from actors.peer_frames import encode_peer
from rollbook.wire import NUMBER_MAX

_WORDS_OF_BEATS = ("renewed", "registered", "unknown", "refused")
_WORDS = ("done", "refused")


class AskedByClient(NamedTuple):
    route: Route
    correlation: int
    is_beats: bool  # answered by the outcomes of all, and not by Done


class AskedByPeer(NamedTuple):
    link: str
    number: int


class HttpBatch:
    """What was ordered in one frame; answered when something has become of all of it."""

    __slots__ = ("asker", "missing", "outcomes")

    def __init__(self, asker: AskedByClient | AskedByPeer, count: int) -> None:
        self.asker = asker
        self.outcomes: list[HttpOutcome | None] = [None] * count
        self.missing = count


class HttpTask(NamedTuple):
    """One order of a batch."""

    batch: HttpBatch
    place: int  # in the batch
    key: RecordKey
    order: HttpOrder
    hops: int = 0  # that it has come
    tries: int = 0  # to pass it on from here that have failed

    def again(self) -> HttpTask:
        """Whoever has it may still carry it out, late; what is made of it now stands above that."""
        order = msgspec.structs.replace(self.order, session=min(self.order.session + 1, NUMBER_MAX))
        return self._replace(order=order, tries=self.tries + 1)


class Forward(NamedTuple):
    """A frame on its way."""

    link: str
    tasks: tuple[HttpTask, ...]
    due_ms: int


class Forwards:
    def __init__(self, orders_max: int) -> None:
        self._orders_max = orders_max
        self._numbers = 0
        self._leaving: dict[tuple[str, int], list[HttpTask]] = {}  # in this turn, by link and hops
        self._under_way: dict[int, Forward] = {}  # by number
        self._orders: Counter[str] = Counter()  # by link, leaving or under way
        self._heard: dict[str, int] = {}  # by link: the last number that was taken in from there

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, link: str, task: HttpTask) -> bool:
        """False: too many are on their way there."""
        if self._orders[link] >= self._orders_max:
            return False
        self._orders[link] += 1
        self._leaving.setdefault((link, task.hops + 1), []).append(task)
        return True

    def take_frames(self, now: Now, timeout_ms: int) -> list[PeerFrame]:
        """What has been added. A second hop has half the time, so that the first is answered within its own."""
        frames: list[PeerFrame] = []
        for (link, hops), tasks in self._leaving.items():
            for first in range(0, len(tasks), ORDERS_PER_FORWARD_MAX):
                piece = tuple(tasks[first : first + ORDERS_PER_FORWARD_MAX])
                self._numbers = max(self._numbers + 1, now.wall_ms)  # above those of an earlier life
                self._under_way[self._numbers] = Forward(link, piece, now.monotonic_ms + timeout_ms // hops)
                body = Forwarded(self._numbers, hops, tuple(task.order for task in piece))
                frames.append(PeerFrame(link, encode_peer(PeerTag.FORWARDED, body)))
        self._leaving.clear()
        return frames

    def settled(self, link: str, number: int, outcomes: tuple[HttpOutcome, ...]) -> tuple[HttpTask, ...]:
        """The tasks of that frame, in order; none if it is not under way, or that is no answer to it."""
        forward = self._under_way.get(number)
        if forward is None or forward.link != link or len(forward.tasks) != len(outcomes):
            return ()
        if not all(_answers(task, outcome) for task, outcome in zip(forward.tasks, outcomes, strict=True)):
            return ()
        self._end(number)
        return forward.tasks

    def take_due(self, now_ms: int) -> list[Forward]:
        """Those whose time is over."""
        return self._take([number for number, forward in self._under_way.items() if forward.due_ms <= now_ms])

    def take_lost(self, links: set[str]) -> list[Forward]:
        """Those that left by other links than these, which are all that there are."""
        self._heard = {link: number for link, number in self._heard.items() if link in links}
        return self._take([number for number, forward in self._under_way.items() if forward.link not in links])

    def is_new(self, link: str, number: int) -> bool:
        """Whether a frame that came by this link is no copy of an earlier one."""
        if number <= self._heard.get(link, 0):
            return False
        self._heard[link] = number
        return True

    def _take(self, numbers: list[int]) -> list[Forward]:
        taken = [self._under_way[number] for number in numbers]
        for number in numbers:
            self._end(number)
        return taken

    def _end(self, number: int) -> None:
        link, tasks, _ = self._under_way.pop(number)
        self._orders[link] -= len(tasks)
        if not self._orders[link]:
            del self._orders[link]

    def check_invariants(self) -> None:
        assert not self._leaving, "what was added has left"
        counted: Counter[str] = Counter()
        for forward in self._under_way.values():
            counted[forward.link] += len(forward.tasks)
        assert counted == self._orders, "orders on their way are miscounted"


def _answers(task: HttpTask, outcome: HttpOutcome) -> bool:
    words = _WORDS_OF_BEATS if task.order.kind == "beat" else _WORDS
    return outcome.word in words
