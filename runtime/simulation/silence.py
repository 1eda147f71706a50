"""Which end of a connection hears nothing any more, and when it gives up: the heartbeats of a simulated network.

Heartbeats are implied. While the other side runs and the path is well they arrive, and nothing is computed; where one
stays out, the moment of giving up is put on the agenda, and lapses if something is heard before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runtime.simulation.hosts import SimEnd, SimHost
from runtime.simulation.paths import (
    PathFault,
    TroubledPath,
    heartbeats_until,
    losses_in_a_row,
    losses_that_last,
    retransmission_us,
)
from runtime.simulation.scheduler import Scheduler


class Silence:
    """Judges the ends of one network. ``give_up`` closes an end that has waited for too long."""

    def __init__(
        self,
        scheduler: Scheduler,
        retransmit_us: int,
        is_open: Callable[[SimHost, SimHost], bool],
        give_up: Callable[[SimEnd], None],
    ) -> None:
        self._scheduler = scheduler
        self._chance = scheduler.chance
        self._retransmit_us = retransmit_us
        self._is_open = is_open
        self._give_up = give_up

    def check(self, end: SimEnd) -> None:
        """Something changed about whether this end hears the other side."""
        other = end.other.host
        hears = end.other.open and not other.halted and self._is_open(other, end.host)
        if hears or end.host.halted or not end.open:
            end.deaf_since_us = -1
        elif end.deaf_since_us < 0:
            since_us = end.deaf_since_us = self._scheduler.now_us
            self._scheduler.after(self._patience_us(end), self._end_deaf, end, since_us)

    def check_both(self, ends: Iterable[SimEnd]) -> None:
        for end in list(ends):
            self.check(end)
            self.check(end.other)

    def starve(self, end: SimEnd, from_us: int, until_us: int) -> None:
        """This end hears nothing between two moments that are known in advance: it may not wait for the second."""
        if until_us - from_us < end.heartbeats.timeout_us:
            return
        gives_up_us = from_us + self._patience_us(end)
        if gives_up_us < until_us:
            self._scheduler.after(gives_up_us - self._scheduler.now_us, self._end_starved, end)

    def expect_losses(self, end: SimEnd, path: TroubledPath) -> None:
        """When a heartbeat is lost so often that its end gives up, though nobody says anything else.

        On a path without loss: never.
        """
        fault = path.fault
        if not fault.loss:
            return
        losses = losses_that_last(end.heartbeats.timeout_us, self.retransmit_us(fault))
        heartbeats = heartbeats_until(fault.loss, losses, self._chance)
        if heartbeats:
            after_us = int((heartbeats - self._chance.random()) * end.heartbeats.interval_us)
            self._scheduler.after(after_us, self._lose_heartbeat, end, path, fault, losses)

    def retransmit_us(self, fault: PathFault) -> int:
        """The first time-out of TCP on a path with this fault."""
        return max(self._retransmit_us, 2 * fault.delay_us)

    def _patience_us(self, end: SimEnd) -> int:
        return end.heartbeats.timeout_us + int(self._chance.random() * end.heartbeats.interval_us)

    def _end_deaf(self, end: SimEnd, since_us: int) -> None:
        if end.open and end.deaf_since_us == since_us:
            self._give_up(end)

    def _end_starved(self, end: SimEnd) -> None:
        if end.open and not end.host.halted:
            self._give_up(end)

    def _lose_heartbeat(self, end: SimEnd, path: TroubledPath, fault: PathFault, losses: int) -> None:
        if not end.open or path.fault is not fault or path.is_mended:
            return
        losses += losses_in_a_row(fault.loss, self._chance)
        now_us = self._scheduler.now_us
        late_us = now_us + fault.delay_us + retransmission_us(losses, self.retransmit_us(fault))
        self.starve(end, max(now_us, end.arrival_us), late_us)
        end.arrival_us = max(end.arrival_us, late_us)
        self.expect_losses(end, path)
