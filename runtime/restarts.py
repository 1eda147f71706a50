"""How long to wait before something that died is started again: longer each time within a window."""

from __future__ import annotations

from collections import deque

from runtime.settings import SupervisorSettings


class RestartRhythm:
    """The deaths of one process after the other."""

    def __init__(self, limits: SupervisorSettings) -> None:
        self._limits = limits
        self._deaths: deque[float] = deque()

    def note_death(self, now: float) -> int:
        """How many there were in the window that ends now."""
        self._deaths.append(now)
        while now - self._deaths[0] > self._limits.restart_window_ms / 1000:
            self._deaths.popleft()
        return len(self._deaths)

    @property
    def delay_ms(self) -> int:
        return min(self._limits.restart_delay_ms << (len(self._deaths) - 1), self._limits.restart_delay_ms_max)
