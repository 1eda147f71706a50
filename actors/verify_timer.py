"""VerifyTimer: the rhythm of heartbeats and digests.

Owns: the number of the next beat. Accepts: its own reminder. Tells: I/O (``Beat``), so that a heartbeat passes the I/O
thread, the record table and the index before it counts. The first beat leaves at once, because a fresh cluster waits
for it.
"""

from __future__ import annotations

import random

import msgspec

from actors.base import Effect, NodeIdentity, Now, Remind, Role, Tell
from actors.messages.io import Beat
from actors.messages.verify import VerifyDue


class VerifySettings(msgspec.Struct, frozen=True):
    interval_ms: int


class VerifyTimer:
    role = Role.VERIFY

    def __init__(self, identity: NodeIdentity, settings: VerifySettings, chance: random.Random) -> None:
        del chance  # nothing here is left to chance
        self._settings = settings
        self._number = 0
        self._due_at_ms = 0
        self.counters: dict[str, int] = {}

    def start(self, now: Now) -> list[Effect]:
        self._due_at_ms = now.monotonic_ms
        return self._beat(now)

    def handle(self, message: VerifyDue, now: Now) -> list[Effect]:
        if message.number != self._number + 1:
            return []  # An old reminder: there is one rhythm only.
        return self._beat(now)

    def check_invariants(self) -> None:
        assert self._number >= 0, "beats count up"

    def _beat(self, now: Now) -> list[Effect]:
        self._number += 1
        self._due_at_ms += self._settings.interval_ms  # counted from the last due time, so late reminders do not add up
        if self._due_at_ms <= now.monotonic_ms:
            self._due_at_ms = now.monotonic_ms + self._settings.interval_ms  # beats that a pause swallowed stay lost
        delay_ms = self._due_at_ms - now.monotonic_ms
        return [Tell(Role.IO, Beat(self._number)), Remind(delay_ms, VerifyDue(self._number + 1))]
