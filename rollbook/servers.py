"""Which server a client tries next, and after what pause.

Round robin over the configured servers and then over those the cluster reports; the first starts at random, so that a
fleet started from one configuration spreads. A server that refuses may name better ones: these go first, at most three
times in a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from rollbook.errors import InvalidField
from rollbook.orders import Chance
from rollbook.patience import growing_pause_ms

HINTS_IN_A_ROW_MAX = 3
SHOWN_LENGTH_MAX = 253  # of a name in the DNS


def check_server(server: str) -> str:
    """Raise InvalidField unless it reads host:port (an IPv6 address in brackets); return it."""
    host, colon, port = server.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65_535
    plain = host and (":" not in host or (host.startswith("[") and host.endswith("]")))
    strange = not host.isprintable() or any(letter.isspace() or letter in "/,;*" for letter in host)
    if not colon or not digits or not plain or strange:
        shown = server if len(server) <= SHOWN_LENGTH_MAX else f"{server[:40]}..."
        raise InvalidField(f"server {shown!r} must read host:port", field="servers")
    return server


class ServerList:
    """Where to connect."""

    def __init__(self, configured: Sequence[str], chance: Chance, pause_ms_min: int, pause_ms_max: int) -> None:
        self._configured = tuple(dict.fromkeys(configured))
        self._learned: tuple[str, ...] = ()
        self._chance = chance
        self._pause_ms_min = pause_ms_min
        self._pause_ms_max = pause_ms_max
        self._last = chance.choice(self._configured)  # Any start will do, so the one after a random one.
        self._hints: deque[str] = deque()
        self._hinted: list[str] = []  # since a session stood
        self._failures = 0
        self._troubles: dict[str, str] = {}

    @property
    def known(self) -> tuple[str, ...]:
        return self._configured + self._learned

    def next(self) -> str:
        if self._hints:
            return self._hints.popleft()
        known = self.known
        after = known.index(self._last) + 1 if self._last in known else 0
        self._last = known[after % len(known)]
        return self._last

    def learn(self, reported: Iterable[str]) -> None:
        """The cluster's own list takes the place of what it said before; an empty one says nothing."""
        learned = tuple(server for server in dict.fromkeys(reported) if is_server(server))
        if learned:
            self._learned = tuple(server for server in learned if server not in self._configured)

    def hint(self, servers: Iterable[str]) -> bool:
        """Try one of these first. False if there are none, or if hints have led nowhere three times."""
        hints = [server for server in servers if is_server(server)]
        if not hints or len(self._hinted) >= HINTS_IN_A_ROW_MAX:
            return False
        fresh = [server for server in hints if server not in (self._last, *self._hinted)]
        self._hinted.append(self._chance.choice(fresh or hints))
        self._hints = deque(self._hinted[-1:])
        return True

    def failed(self, server: str, trouble: str) -> int:
        """How long to pause before the next try."""
        self._troubles[server] = trouble
        self._failures += 1
        return growing_pause_ms(self._failures, self._pause_ms_min, self._pause_ms_max, self._chance)

    def opened(self, server: str) -> None:
        """A session stands: what was wrong there is over, and hints count anew."""
        self._troubles.pop(server, None)
        self._hints.clear()
        self._hinted.clear()

    def steady(self) -> None:
        """A session has stood for a while: the next loss is answered at once."""
        self._failures = 0

    def describe(self) -> str:
        """What the last try of each server came to."""
        tried = [f"{server}: {self._troubles[server]}" for server in self.known if server in self._troubles]
        return "; ".join(tried) if tried else f"servers: {', '.join(self.known)}"


def is_server(server: str) -> bool:
    try:
        check_server(server)
    except InvalidField:
        return False
    return True
