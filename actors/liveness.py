"""Owner leases: how long ago each (owner, epoch) was last heard, what of it is hidden, when it is forgotten.

Pure rules and one table; MemberManager owns it. Ages run by the local monotonic clock from the age that the first
report of an origin carried. Nobody re-grants a lease: only a higher heartbeat counter renews one, and only the owner
raises that. Hiding lasts until the owner is heard again, whatever becomes of the evidence: no view flaps with it. And
it lasts until this node has caught up with what the owner had done by then: what the owner removed meanwhile must not
be shown for a moment. So it is with an owner that a serving node meets for the first time: the others may have
forgotten it, together with what ended meanwhile. (A node that may miss most of them hides nobody, strangers neither.)
Who cannot be caught up with is shown after a lease all the same, because to keep a live owner hidden is worse; after a
beat already by a node that misses most of the members: an owner beside it misses them too, and lets go of nothing. An
epoch that has ended meanwhile is no live owner: what it had yet to remove it never will.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from actors.links import REFUSED, SILENT
from actors.messages.values import DigestEntry, Origin
from actors.self_doubt import ARRIVAL_SHARE

UNKNOWN = -1
ORIGINS_MAX = 4_096  # learned from digests; a digest names each of them, and must fit into one frame


class Patience(Protocol):
    """For how long an owner may be silent; the members section of configs/defaults.toml."""

    @property
    def lease_ms(self) -> int: ...

    @property
    def hide_refused_ms(self) -> int: ...

    @property
    def hide_majority_ms(self) -> int: ...

    @property
    def hide_silent_ms(self) -> int: ...

    @property
    def graces_ms(self) -> tuple[int, ...]: ...

    @property
    def purged_memory_ms(self) -> int: ...

    @property
    def suspect_ms(self) -> int: ...


class Life(msgspec.Struct):
    """What is known of one living or dying origin."""

    counter: int
    heard_at_ms: int
    left: bool = False
    hidden_grace_ms: int = 0  # records with a grace of at most this are hidden; 0: none
    hidden_at_ms: int = 0  # when the present grace was hidden
    silent_at_ms: int | None = None  # the last sign of life before anything of it was hidden
    owner_seq: int = UNKNOWN  # how far the owner had come when it raised the counter to this
    returns_at_ms: int | None = None  # hidden, but heard again since then: shown once ``owed_seq`` is held here
    owed_seq: int = UNKNOWN  # the owner's seq at the first heartbeat after the silence


class Purged(NamedTuple):
    """What is remembered of an origin that was forgotten: it comes back only with a higher counter."""

    counter: int
    at_ms: int
    left: bool


class Leases:
    """Every origin but this node's current one, which judges and is not judged."""

    def __init__(self, own: Origin, patience: Patience) -> None:
        self._own = own
        self._patience = patience
        self._graces_ms = sorted(patience.graces_ms)
        self._shown_below_ms = min(patience.hide_refused_ms, self._graces_ms[0])  # nothing that young is hidden
        self.lives: dict[Origin, Life] = {}
        self.purged: dict[Origin, Purged] = {}
        self.heartbeat = 0
        self.doubts_strangers = False  # serving, in touch with most: whom it meets now, they may have forgotten
        self.misses_most = False  # of the members; its lists say so
        self._beaten_at_ms: int | None = None
        self._is_uncertain = False
        self._held: dict[Origin, DigestEntry] = {}
        self._returning: set[Origin] = set()
        self._newest: dict[str, Origin] = {own.owner: own}  # of each owner that was heard, its highest epoch

    def hear(
        self,
        origin: Origin,
        counter: int,
        age_ms: int,
        now_ms: int,
        *,
        owner_seq: int = UNKNOWN,
        left: bool = False,
    ) -> bool:
        """Take over one report. False: the origin is purged, or was first heard too old, and must not come in."""
        if origin == self._own:
            return True
        life = self.lives.get(origin)
        if life is None:
            life = self._admit(origin, counter, max(0, age_ms), now_ms, left)
            if life is None:
                return False
        elif counter > life.counter:
            self._renew(origin, life, counter, now_ms - max(0, age_ms), now_ms)
        life.left = life.left or left
        if counter == life.counter:
            life.owner_seq = max(life.owner_seq, owner_seq)
            if life.returns_at_ms is not None:
                self._catch_up(origin, life, now_ms)
        return True

    def admit(self, entries: Sequence[DigestEntry], now_ms: int, waited_ms: int = 0) -> tuple[DigestEntry, ...]:
        """Take over a digest, less what is not admitted. Newer epochs first: they make orphans of older ones.

        ``waited_ms``: for so long it may have lain here unread.
        """
        refused = {
            entry.origin
            for entry in sorted(entries, key=lambda entry: -entry.epoch)
            if not self._admit_entry(entry, entry.age_ms + waited_ms, now_ms)
        }
        return tuple(entry for entry in entries if entry.origin not in refused) if refused else tuple(entries)

    def hold(
        self,
        entries: Sequence[DigestEntry],
        now_ms: int,
        *,
        waited_ms: int = 0,
        proves_life: bool = True,
        is_uncertain: bool = False,
    ) -> None:
        """What the record table holds at this beat; with it this node's own heart has beaten once more.

        ``waited_ms``: since when. Beyond a few hundred it was no queue: this node has stood still meanwhile.
        """
        self._is_uncertain = is_uncertain
        if proves_life:
            self.heartbeat += 1
            self._beaten_at_ms = now_ms - (waited_ms if waited_ms >= self._patience.suspect_ms // 8 else 0)
        self._held = {entry.origin: entry for entry in entries}
        for origin in self._held:
            # A delta may come before the first digest; whatever is held must have a lease, or it would never end.
            if origin not in self.lives:
                self.hear(origin, 0, 0, now_ms)
        for origin in sorted(self._returning):
            self._catch_up(origin, self.lives[origin], now_ms)

    def entries(self, now_ms: int) -> tuple[DigestEntry, ...]:
        """What is held of each origin, with its age. An owner without records has an entry: its heart beats in it."""
        return tuple(self._entry(origin, now_ms) for origin in sorted([*self.lives, self._own]))

    def leave(self, origin: Origin, now_ms: int) -> None:
        """The owner has ended this epoch in good order."""
        self.hear(origin, 0, 0, now_ms, left=True)

    def newest(self, owner: str) -> Origin:
        return self._newest.get(owner) or Origin(owner, 0)

    def newest_life(self, owner: str) -> Life | None:
        """What is known of its newest epoch."""
        origin = self._newest.get(owner)
        return None if origin is None else self.lives.get(origin)

    def age_ms(self, origin: Origin, now_ms: int) -> int | None:
        """Time since the last heartbeat; None for an origin that is not known or no longer."""
        life = self.lives.get(origin)
        return None if life is None else now_ms - life.heard_at_ms

    def is_known(self, origin: Origin) -> bool:
        """Heard once in this epoch, and neither purged nor left in good order."""
        life = self.lives.get(origin)
        return life is not None and not life.left

    def is_shown(self, origin: Origin) -> bool:
        return self.is_known(origin) and not self.lives[origin].hidden_grace_ms

    def has_left(self, origin: Origin) -> bool:
        entry = self.lives.get(origin) or self.purged.get(origin)
        return entry is not None and entry.left

    def is_orphan(self, origin: Origin) -> bool:
        return origin.epoch < self.newest(origin.owner).epoch or self.has_left(origin)

    def judge(self, hide_after_ms: Callable[[str], int], now_ms: int) -> None:
        """Hide what has been silent for too long. ``hide_after_ms``: the threshold of an owner's newest epoch."""
        for origin, life in self.lives.items():
            age_ms = now_ms - life.heard_at_ms
            if age_ms < self._shown_below_ms:
                continue
            threshold_ms = 0 if self.is_orphan(origin) else hide_after_ms(origin.owner)
            grace_ms = ended_grace_ms(self._graces_ms, threshold_ms, age_ms)
            if grace_ms and life.returns_at_ms is not None:  # silent again before it was caught up with
                self._settle(origin, life)
                life.hidden_at_ms = now_ms
            if grace_ms > life.hidden_grace_ms:
                life.silent_at_ms = life.silent_at_ms if life.hidden_grace_ms else life.heard_at_ms
                life.hidden_grace_ms, life.hidden_at_ms = grace_ms, now_ms

    def purge(self, now_ms: int) -> tuple[Origin, ...]:
        """Forget what has been hidden wholly for one lease."""
        largest_ms = self._graces_ms[-1]
        strays = self._strays()
        ended = [
            origin
            for origin, life in self.lives.items()
            if life.hidden_grace_ms == largest_ms
            and life.returns_at_ms is None
            and now_ms - life.hidden_at_ms >= self._patience.lease_ms
        ]
        for origin in ended:
            life = self.lives.pop(origin)
            self._held.pop(origin, None)
            self.purged[origin] = Purged(life.counter, now_ms, life.left)
        self._forget_purged(now_ms)
        return tuple(sorted([*ended, *strays]))

    def hidden(self, now_ms: int) -> tuple[tuple[Origin, int], ...]:
        """The whole filter. A purged origin stays in it for a lease: the filter must not overtake the removal."""
        shown = {origin: life.hidden_grace_ms for origin, life in self.lives.items() if life.hidden_grace_ms}
        strays = self._strays()
        for origin, purged in self.purged.items():
            if origin in strays or now_ms - purged.at_ms < self._patience.lease_ms:
                shown[origin] = self._graces_ms[-1]
        return tuple(sorted(shown.items()))

    def silent(self) -> tuple[tuple[Origin, int], ...]:
        """Of whom something is hidden: the last sign of life before that, where it is known."""
        silent = {origin: life.silent_at_ms for origin, life in self.lives.items() if life.hidden_grace_ms}
        return tuple(sorted((origin, at_ms) for origin, at_ms in silent.items() if at_ms is not None))

    @property
    def is_catching_up(self) -> bool:
        """Somebody is heard again and still hidden."""
        return bool(self._returning)

    def check_invariants(self) -> None:
        assert self._own not in self.lives, "this node does not judge itself"
        assert not self.lives.keys() & self.purged.keys(), "an origin is known or purged"
        assert all(origin <= self._newest[origin.owner] for origin in self.lives), "the newest epoch is the highest"
        returning = {origin for origin, life in self.lives.items() if life.returns_at_ms is not None}
        assert self._returning == returning, "who returns is known"
        assert all(self.lives[origin].hidden_grace_ms for origin in returning), "only who is hidden returns"

    def _entry(self, origin: Origin, now_ms: int) -> DigestEntry:
        held = self._held.get(origin) or DigestEntry(*origin, applied=0, heartbeat=0, age_ms=0, records=0, digest=0)
        if origin == self._own:
            # After a pause the newest counter is as old as that: who missed it must not take it for life.
            age_ms = 0 if self._beaten_at_ms is None else now_ms - self._beaten_at_ms
            # Who hid this node does not show it before it has removed what it only keeps because it hears nobody.
            owner_seq = UNKNOWN if self._is_uncertain else held.applied
            return msgspec.structs.replace(
                held, heartbeat=self.heartbeat, age_ms=age_ms, left=False, owner_seq=owner_seq
            )
        life = self.lives[origin]
        age_ms = now_ms - life.heard_at_ms
        return msgspec.structs.replace(
            held,
            heartbeat=life.counter,
            age_ms=age_ms,
            left=life.left,
            owner_seq=life.owner_seq,
            hidden_ms=life.hidden_grace_ms if life.returns_at_ms is None else 0,
        )

    def _admit_entry(self, entry: DigestEntry, age_ms: int, now_ms: int) -> bool:
        origin = entry.origin
        is_new = origin not in self.lives
        if not self._has_room(origin) or not self.hear(
            origin, entry.heartbeat, age_ms, now_ms, owner_seq=entry.owner_seq, left=entry.left
        ):
            return False
        if is_new and entry.hidden_ms and self.is_orphan(origin):
            self._hide_likewise(self.lives[origin], entry.hidden_ms, now_ms)
        return True

    def _hide_likewise(self, life: Life, hidden_ms: int, now_ms: int) -> None:
        """The others had let go of this epoch before it ended for certain. A node that has just started would list for
        the rest of the grace what is gone everywhere else."""
        if life.returns_at_ms is None:
            life.hidden_grace_ms, life.hidden_at_ms = min(hidden_ms, self._graces_ms[-1]), now_ms
            life.silent_at_ms = life.heard_at_ms

    def _admit(self, origin: Origin, counter: int, age_ms: int, now_ms: int, left: bool) -> Life | None:
        purged = self.purged.get(origin)
        if purged is not None and counter <= purged.counter:
            return None
        if age_ms >= self._purge_age_ms(origin, left):
            return None
        is_stranger = self.doubts_strangers and origin.owner not in self._newest and not left
        self.purged.pop(origin, None)
        self._newest[origin.owner] = max(origin, self.newest(origin.owner))
        life = self.lives[origin] = Life(counter, now_ms - age_ms)
        if purged is not None or is_stranger:
            life.hidden_grace_ms, life.hidden_at_ms = self._graces_ms[-1], now_ms
            self._return(origin, life, now_ms)
        return life

    def _purge_age_ms(self, origin: Origin, left: bool) -> int:
        largest_ms = self._graces_ms[-1]
        if not left and origin.epoch >= self.newest(origin.owner).epoch:
            largest_ms = max(largest_ms, self._patience.hide_silent_ms)
        return largest_ms + self._patience.lease_ms

    def _renew(self, origin: Origin, life: Life, counter: int, heard_at_ms: int, now_ms: int) -> None:
        life.counter, life.owner_seq = counter, UNKNOWN
        life.heard_at_ms = max(life.heard_at_ms, heard_at_ms)
        is_hidden = life.hidden_grace_ms and life.returns_at_ms is None
        if is_hidden and now_ms - life.heard_at_ms < self._shown_below_ms:
            self._return(origin, life, now_ms)

    def _return(self, origin: Origin, life: Life, now_ms: int) -> None:
        life.returns_at_ms = now_ms
        self._returning.add(origin)

    def _catch_up(self, origin: Origin, life: Life, now_ms: int) -> None:
        """Show what returns: what the owner had done by its first heartbeat is held here; or in time, if it lives."""
        assert life.returns_at_ms is not None
        if life.owed_seq == UNKNOWN:
            life.owed_seq = life.owner_seq
        held = self._held.get(origin)
        has_all = life.owed_seq != UNKNOWN and (0 if held is None else held.applied) >= life.owed_seq
        patience_ms = self._patience.suspect_ms // ARRIVAL_SHARE if self.misses_most else self._patience.lease_ms
        has_waited = now_ms - life.returns_at_ms >= patience_ms
        if has_all or (has_waited and not self.is_orphan(origin)):
            life.hidden_grace_ms = 0
            self._settle(origin, life)

    def _settle(self, origin: Origin, life: Life) -> None:
        life.returns_at_ms, life.owed_seq = None, UNKNOWN
        self._returning.discard(origin)

    def _has_room(self, origin: Origin) -> bool:
        return origin == self._own or origin in self.lives or len(self.lives) < ORIGINS_MAX

    def _strays(self) -> set[Origin]:
        """Purged origins of which records are held again: a delta came after the purge. Without a lease they would be
        shown for ever."""
        return self._held.keys() & self.purged.keys()

    def _forget_purged(self, now_ms: int) -> None:
        old = [
            origin for origin, purged in self.purged.items() if now_ms - purged.at_ms >= self._patience.purged_memory_ms
        ]
        for origin in old:
            del self.purged[origin]
            known = any(other.owner == origin.owner for other in (*self.lives, *self.purged))
            if not known and origin.owner != self._own.owner:
                del self._newest[origin.owner]


def ended_grace_ms(graces_ms: Sequence[int], threshold_ms: int, age_ms: int) -> int:
    """The largest grace that is hidden at this age; 0 if none.

    An orphan (threshold 0) keeps each grace. The newest epoch is hidden by its threshold, native records (the smallest
    grace) with it at once, because a threshold is a verdict on the process that held their connections.
    """
    ended = 0
    for index, grace_ms in enumerate(graces_ms):
        native_verdict = index == 0 and threshold_ms > 0
        if age_ms >= (threshold_ms if native_verdict else max(threshold_ms, grace_ms)):
            ended = grace_ms
    return ended


def hide_after_ms(patience: Patience, links: Sequence[str], configured: int) -> int:
    """After which silence the newest epoch of an owner is hidden.

    ``links``: what this node and each living peer say of their link to it; empty if a peer says nothing. ``configured``
    counts all members, so half a cluster cannot outvote the other half.
    """
    if links and all(link == REFUSED for link in links):
        return patience.hide_refused_ms
    if sum(link in (REFUSED, SILENT) for link in links) > configured // 2:
        return patience.hide_majority_ms
    return patience.hide_silent_ms
