"""What beats keep: the publications of HTTP clients that this node has in hand, and until when. Pure data and rules.

Each stands in the wheel once, for the moment at which its silence would matter. A beat moves no deadline, it only notes
the time, and whoever comes up in the wheel is looked at and put back: so a beat costs a look-up, and 10,000 instances
cost the wheel a few hundred looks a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from actors.messages.values import RecordKey
from actors.probe_schedule import TimerWheel
from rollbook.model import DELETE_TIMEOUT_KEY, HEARTBEAT_INTERVAL_KEY, HEARTBEAT_TIMEOUT_KEY, PRESERVED_MS_MAX, Instance

_TICK_MS = 250  # finer than the rhythm of judgement, so nobody waits for the wheel


class BeatPatience(NamedTuple):
    """How often an instance beats; after which silence it is unhealthy, and after which it is gone."""

    interval_ms: int
    timeout_ms: int
    delete_ms: int

    def of(self, metadata: dict[str, str]) -> BeatPatience:
        """The same with what the instance says of itself; what is not all digits says nothing."""
        if not metadata:
            return self
        keys = (HEARTBEAT_INTERVAL_KEY, HEARTBEAT_TIMEOUT_KEY, DELETE_TIMEOUT_KEY)
        return BeatPatience(
            *(_said_ms(metadata.get(key, ""), shipped) for key, shipped in zip(keys, self, strict=True))
        )


class KeptPublication:
    """One publication as it is to be, whether or not its record has been made yet. No instance: it is withdrawn."""

    __slots__ = ("beaten_ms", "due_ms", "instance", "key", "patience", "session", "stamp", "unmade")

    def __init__(self, key: RecordKey, session: int, stamp: int, instance: Instance | None) -> None:
        self.key = key
        self.session = session
        self.stamp = stamp  # 0: a new one, which is not known yet
        self.instance = instance
        self.patience: BeatPatience | None = None
        self.beaten_ms = 0
        self.due_ms: int | None = None  # its place in the wheel; an earlier one is passed over
        self.unmade = 0  # records that have been ordered and are not made yet


class LeftPublication(NamedTuple):
    """What another node has taken over: the record here goes when that had its time to be everywhere."""

    key: RecordKey
    session: int
    until_ms: int


class FallenSilent(NamedTuple):
    """It has not been heard for its timeout; or for so long that it is gone."""

    kept: KeptPublication
    is_gone: bool


class _Place(NamedTuple):
    kept: KeptPublication
    due_ms: int


class KeptPublications:
    def __init__(self, patience: BeatPatience) -> None:
        self._shipped = patience
        self._kept: dict[RecordKey, KeptPublication] = {}
        self._left: dict[RecordKey, LeftPublication] = {}
        self._wheel: TimerWheel[_Place | LeftPublication] = TimerWheel(_TICK_MS)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[KeptPublication]:
        return iter(self._kept.values())

    def get(self, key: RecordKey) -> KeptPublication | None:
        return self._kept.get(key)

    def keep(self, kept: KeptPublication, now_ms: int) -> None:
        """It is this node's from now on, and has just been heard of."""
        self._left.pop(kept.key, None)
        self._kept[kept.key] = kept
        kept.beaten_ms = now_ms
        self.change(kept, kept.instance)

    def change(self, kept: KeptPublication, instance: Instance | None) -> None:
        """What it publishes is another one now, or of another health."""
        kept.instance = instance
        kept.patience = None if instance is None else self.patience_of(instance)
        due_ms = _due_ms(kept, kept.beaten_ms)
        if due_ms is not None and (kept.due_ms is None or due_ms < kept.due_ms):
            self._place(kept, due_ms)

    def patience_of(self, instance: Instance) -> BeatPatience:
        return self._shipped.of(instance.metadata) if instance.metadata else self._shipped

    def drop(self, kept: KeptPublication) -> None:
        del self._kept[kept.key]

    def leave(self, kept: KeptPublication, until_ms: int) -> None:
        """Another node has it."""
        del self._kept[kept.key]
        left = self._left[kept.key] = LeftPublication(kept.key, kept.session, until_ms)
        self._wheel.add(left, until_ms)

    def take_due(self, heard_ms: int, now_ms: int) -> tuple[list[FallenSilent], list[LeftPublication]]:
        """Who has fallen silent, and what was left and has had its time. Nobody counts as silent since before
        ``heard_ms``."""
        silent: list[FallenSilent] = []
        left: list[LeftPublication] = []
        for place in self._wheel.take_due(now_ms):
            if isinstance(place, LeftPublication):
                if self._left.get(place.key) is place:
                    del self._left[place.key]
                    left.append(place)
            elif self._kept.get(place.kept.key) is place.kept and place.kept.due_ms == place.due_ms:
                silent += self._look(place.kept, heard_ms, now_ms)
        return silent, left

    def _look(self, kept: KeptPublication, heard_ms: int, now_ms: int) -> list[FallenSilent]:
        """Whether its time is really over; if not, or if it is only unhealthy from now on, it is looked at again."""
        kept.due_ms = None
        instance, patience = kept.instance, kept.patience
        if instance is None or patience is None:
            return []
        last_ms = max(kept.beaten_ms, heard_ms)
        if now_ms - last_ms >= patience.delete_ms:
            return [FallenSilent(kept, is_gone=True)]
        is_silent = instance.healthy and now_ms - last_ms >= patience.timeout_ms
        is_next_its_end = is_silent or not instance.healthy
        self._place(kept, last_ms + (patience.delete_ms if is_next_its_end else patience.timeout_ms))
        return [FallenSilent(kept, is_gone=False)] if is_silent else []

    def _place(self, kept: KeptPublication, due_ms: int) -> None:
        kept.due_ms = due_ms
        self._wheel.add(_Place(kept, due_ms), due_ms)

    def check_invariants(self) -> None:
        assert not self._kept.keys() & self._left.keys(), "what is kept has not been left"
        places = {(id(place.kept), place.due_ms) for place in self._wheel if isinstance(place, _Place)}
        for key, kept in self._kept.items():
            assert key == kept.key, "a publication stands under its key"
            assert kept.instance is not None or kept.unmade, "what is withdrawn waits for its record, or is gone"
            if kept.instance is not None and not kept.unmade:
                assert (id(kept), kept.due_ms) in places, "whoever is kept is looked at again"
        waiting = {id(place) for place in self._wheel if isinstance(place, LeftPublication)}
        assert all(id(left) in waiting for left in self._left.values()), "what was left goes at last"


def _due_ms(kept: KeptPublication, since_ms: int) -> int | None:
    if kept.instance is None or kept.patience is None:
        return None
    return since_ms + (kept.patience.timeout_ms if kept.instance.healthy else kept.patience.delete_ms)


def _said_ms(text: str, shipped_ms: int) -> int:
    if not (text.isascii() and text.isdigit()):
        return shipped_ms
    return min(max(int(text), _TICK_MS), PRESERVED_MS_MAX)
