"""What a stall of its own costs a node: rules of ClientManager, and two small tables.

A node that stood still knows less than it thinks. Its closed sockets come to light only now, the newer sessions of
clients that moved are still on their way here, and the others may have hidden it meanwhile, with whoever signs in
before they hear it again. So it settles first: no beat proves life and no lost session is released; and for a while
after that it sends clients elsewhere, if there is an elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from actors.messages.values import Route


class StallPatience(Protocol):
    """The clients section of configs/defaults.toml, as far as it is about stalls."""

    @property
    def stall_ms(self) -> int: ...

    @property
    def stall_settle_ms(self) -> int: ...

    @property
    def stall_welcome_ms(self) -> int: ...


class StallBeat(NamedTuple):
    """What a beat says of the node that it passes."""

    stood_still_ms: int  # before this beat; 0: it did not
    settles: bool
    has_settled: bool  # as of this very beat


class Stalls:
    """Whether this node has just stood still, which of its lost sessions wait for that, and whom it sends elsewhere."""

    def __init__(self, patience: StallPatience) -> None:
        self._patience = patience
        self._beat_ms: int | None = None
        self._settling_until_ms = 0
        self._welcome_from_ms = 0
        self._lost: list[Route] = []  # while it settles
        self._turned_away: set[Route] = set()  # sessions whose clients asked for a new one and were sent elsewhere

    def beat(self, now_ms: int) -> StallBeat:
        before, self._beat_ms = self._beat_ms, now_ms
        gap_ms = 0 if before is None else now_ms - before
        # A node whose every beat comes so late is slow, not asleep: settling for ever it would be taken for dead.
        is_slow = before is not None and before < self._settling_until_ms and gap_ms <= 2 * self._patience.stall_ms
        stood_still = gap_ms > self._patience.stall_ms and not is_slow
        if stood_still:
            self._settling_until_ms = now_ms + self._patience.stall_settle_ms
            self._welcome_from_ms = self._settling_until_ms + self._patience.stall_welcome_ms
        if now_ms >= self._welcome_from_ms:
            self._turned_away.clear()
        settles = now_ms < self._settling_until_ms
        has_settled = before is not None and before < self._settling_until_ms and not settles
        return StallBeat(gap_ms if stood_still else 0, settles, has_settled)

    def settles(self, now_ms: int) -> bool:
        """This node has just stood still, whether or not a beat has told it so yet."""
        unseen = self._beat_ms is not None and now_ms - self._beat_ms > self._patience.stall_ms
        return unseen or now_ms < self._settling_until_ms

    def turns_away(self, standing: Route | None, now_ms: int) -> bool:
        """Whether to send a client elsewhere that wants a new session; ``standing``: the session that it has here.

        Once only if it has one: it is back from the others, so all nodes may have stood still together.
        """
        if not self.settles(now_ms) and now_ms >= self._welcome_from_ms:
            return False
        if standing is None:
            return True
        is_back = standing in self._turned_away
        self._turned_away.add(standing)
        return not is_back

    def put_off(self, lost: Route) -> None:
        """Its client may have moved while this node stood still; the newer session's record is on its way here."""
        self._lost.append(lost)

    def take_lost(self) -> list[Route]:
        lost, self._lost = self._lost, []
        return lost

    def closed(self, route: Route) -> bool:
        """The session ends. True if its client lives for certain: it has asked for a new one and was sent elsewhere."""
        was_turned_away = route in self._turned_away
        self._turned_away.discard(route)
        return was_turned_away

    def check_invariants(self, is_open: Callable[[Route], bool]) -> None:
        assert all(is_open(route) for route in self._turned_away), "who is turned away is known"


class Lingering:
    """Sessions whose clients have moved on: what they left here stays for its grace, or until a stall shows it dead.

    A node that preserves cannot hear where they have gone: what nobody has taken over stays until that has ended.
    """

    def __init__(self) -> None:
        self._redone_by_ms: dict[tuple[str, int], int] = {}  # by client and session
        self.is_preserving = False
        self.has_overdue = False  # something has outlived its grace because of that

    def begin(self, client: str, number: int, redone_by_ms: int) -> None:
        """Until then its client may still be redoing elsewhere."""
        self._redone_by_ms[client, number] = redone_by_ms

    def end(self, client: str, number: int) -> None:
        self._redone_by_ms.pop((client, number), None)

    def has(self, client: str, number: int) -> bool:
        return (client, number) in self._redone_by_ms

    @property
    def is_uncertain(self) -> bool:
        """Something is here that may have been withdrawn where nobody is heard."""
        return self.has_overdue or (self.is_preserving and bool(self._redone_by_ms))

    def take_overdue(self, *, settles: bool) -> bool:
        """Whether what is overdue goes now. A node that ceases to preserve has heard the others for long enough to have
        what they know of these clients, unless it has just stood still."""
        is_due = self.has_overdue and not (self.is_preserving or settles)
        self.has_overdue = self.has_overdue and not is_due
        return is_due

    def after_stall(self, is_here: Callable[[str], bool], now_ms: int) -> list[tuple[str, int]]:
        """Whose leavings go now, where no newer session has them: they were withdrawn meanwhile.

        The removal may be forgotten everywhere else, tombstone and all, so they would be shown again until the grace
        ends. Not those of a client that may still be redoing: one that is open here, or has moved only just now.
        """
        if self.is_preserving:
            return []
        return [
            (client, number)
            for (client, number), redone_by_ms in sorted(self._redone_by_ms.items())
            if now_ms >= redone_by_ms and not is_here(client)
        ]
