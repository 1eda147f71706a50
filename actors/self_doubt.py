"""When a node should doubt itself rather than others: it was paused, or it has lost the majority.

Pure rules; MemberManager owns it. A node that was stopped has silence in its tables that nobody else has seen, so it
lets nothing expire for one lease. A node that hears no majority serves who stays, and tells its clients that others may
know more. A node that misses more than half of the members hides nobody, whatever it thinks it knows of single ones:
clients of a node that has really died are where it cannot hear of them.
"""

from __future__ import annotations

ARRIVAL_SHARE = 3  # of a suspicion: what the others did meanwhile arrives in a beat; A1 gives 3 s for everything


class SelfDoubt:
    def __init__(self, lease_ms: int, isolation_ms: int) -> None:
        self._lease_ms = lease_ms
        self._isolation_ms = isolation_ms
        self._beat_at_ms = 0
        self._majority_at_ms = 0  # when a majority was last heard, or might have been
        self._suspended_until_ms = 0
        self._last_gap_ms = 0  # before the last beat, if that was a pause
        self._pause_ms: tuple[int, int] | None = None  # the last one: from when to when
        self._awake_from_ms = 0  # the start, put off by the time in which this node stood still
        self._preserving_until_ms = 0
        self.is_isolated = False

    def start(self, now_ms: int) -> None:
        self._beat_at_ms = self._majority_at_ms = self._awake_from_ms = now_ms

    def awake_ms(self, now_ms: int) -> int:
        """For how long this node has run: a pause of its own is no time in which others could have answered."""
        return now_ms - self._awake_from_ms - self.gap_ms(now_ms)

    def gap_ms(self, now_ms: int) -> int:
        """How long this node has stood still if this is the first beat after a pause, else 0."""
        gap_ms = now_ms - self._beat_at_ms
        return gap_ms if gap_ms > self._lease_ms // 3 else 0

    def beat(self, now_ms: int) -> int:
        """The length of the pause before this beat if it was one, else 0."""
        gap_ms = self.gap_ms(now_ms)
        if gap_ms:
            self._pause_ms = (self._beat_at_ms, now_ms)
            self._suspended_until_ms = now_ms + self._lease_ms
            self._awake_from_ms += gap_ms
        self._beat_at_ms, self._last_gap_ms = now_ms, gap_ms
        return gap_ms

    def stale_ms(self, proven_at_ms: int | None, now_ms: int) -> int:
        """How old a frame may be that is handled now: it may have waited in a socket while this node stood still.

        At the second beat after the pause all that waited has been read, but by a node that reads slowly. So a link
        from before the pause (``proven_at_ms``: when its last answered ping left; None: it is a new one) has to answer
        a ping that left since, which it does behind all that waited. One that nothing answers on is believed in time.
        """
        gap_ms = self.gap_ms(now_ms)
        if gap_ms or self._pause_ms is None:
            return gap_ms
        paused_at_ms, went_on_at_ms = self._pause_ms
        is_unanswered = proven_at_ms is not None and proven_at_ms < went_on_at_ms
        may_wait = is_unanswered and now_ms - went_on_at_ms < self._lease_ms // 3
        return now_ms - paused_at_ms if self._last_gap_ms or may_wait else 0

    def suspends(self, now_ms: int) -> bool:
        """No expiry now: nothing is hidden or purged, no grace ends, isolation does not begin."""
        return now_ms < self._suspended_until_ms

    def note_majority(self, is_heard: bool, now_ms: int) -> None:
        """At each beat. Isolation needs time to begin, and ends at once."""
        if is_heard or self.suspends(now_ms):
            self._majority_at_ms = now_ms
        lost_for_ms = now_ms - self._majority_at_ms
        self.is_isolated = not is_heard and (self.is_isolated or lost_for_ms >= self._isolation_ms)

    def preserves(self, suspect_ms: int, *, misses_most: bool, now_ms: int) -> bool:
        """At each beat: whether lists may hold what is dead. It takes as long for a node that has just started to miss
        the others as for others to miss it; and when they are back, what they did meanwhile has to arrive first."""
        if misses_most and self.awake_ms(now_ms) >= suspect_ms:
            self._preserving_until_ms = now_ms + suspect_ms // ARRIVAL_SHARE
        return now_ms < self._preserving_until_ms
