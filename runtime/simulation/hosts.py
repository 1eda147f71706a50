"""What a simulated network is made of: machines, the ends of connections, and who holds them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

How = Literal["refused", "reset", "silent"]


class SimNetworkProfile(NamedTuple):
    """How long things take on every path, in microseconds. Defaults: a local network."""

    delay_us: int = 200
    jitter_us: int = 300
    bytes_per_ms: int = 100_000  # 800 Mbit/s
    connect_timeout_us: int = 1_000_000  # as configs/defaults.toml: peer_connect_timeout_ms
    handshake_timeout_us: int = 2_000_000
    reconnect_us: int = 100_000
    reconnect_us_max: int = 500_000
    heartbeat_us: int = 1_000_000
    heartbeat_timeout_us: int = 3_000_000
    retransmit_us: int = 200_000  # TCP's first time-out; a healed path carries what waited after at most two of them


class Heartbeats(NamedTuple):
    """What one end of a connection asks of the other."""

    interval_us: int
    timeout_us: int


class SimHost:
    """A machine with one process on it, as the network sees it: reachable or not, running, halted or empty."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.halted = False
        self.down = False  # no power: not even a refusal comes back
        self.listeners: dict[str, Listener] = {}
        self.ends: dict[int, SimEnd] = {}  # in order of opening
        self.buffer: deque[Callable[[], None]] = deque()  # what the kernel holds for a halted process
        self.lives = 0  # processes that have ended here: a dial does not outlive its process
        self.forgotten: list[SimEnd] = []  # what others still hold of connections that were lost with the power


class LinkUser(Protocol):
    """Who holds one end of a connection."""

    def end_opened(self, end: SimEnd) -> None: ...

    def dial_failed(self, address: str, how: How) -> None: ...

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None: ...

    def end_closed(self, end: SimEnd, how: How) -> None: ...


class SimEnd:
    """One end of a standing connection."""

    __slots__ = (
        *("address", "arrival_us", "deaf_since_us", "heartbeats", "host"),
        *("number", "open", "other", "stalled", "user"),
    )

    def __init__(self, number: int, host: SimHost, address: str, heartbeats: Heartbeats) -> None:
        self.number = number
        self.host = host
        self.address = address  # what was dialled here; empty at the side that accepted
        self.heartbeats = heartbeats
        self.other: SimEnd
        self.user: LinkUser | None = None
        self.open = True
        self.arrival_us = 0  # nothing overtakes what was sent to this end before
        self.stalled: list[bytes | None] = []  # on a cut path towards this end; None: the other side closed
        self.deaf_since_us = -1  # nothing can be heard since then; -1: it hears


class Listener(NamedTuple):
    user: LinkUser
    heartbeats: Heartbeats


class Dial(NamedTuple):
    """One attempt to connect, of one life of a host's process."""

    host: SimHost
    life: int
    address: str
    user: LinkUser
    heartbeats: Heartbeats
