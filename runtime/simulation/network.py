"""A network of hosts: connections that behave as ZeroMQ over TCP does, and the faults that can befall them.

While a connection stands it is reliable and in order, both ways. A cut path carries nothing: what is sent waits, as TCP
would retry it, and arrives late if the path heals before somebody gives up. An end that hears nothing for the heartbeat
time-out closes (``silent``); what the other side's system closes is ``reset``; a dial to a port where nobody listens is
``refused``. A halted host keeps its sockets, hears nothing, says nothing, and finds everything in its buffers later.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Protocol

from runtime.simulation.scheduler import Scheduler

How = Literal["refused", "reset", "silent"]

RETRANSMIT_US_MAX = 400_000  # a healed path carries what waited after at most this


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


class SimHost:
    """A machine with one process on it, as the network sees it: reachable or not, running, halted or empty."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.halted = False
        self.down = False  # no power: not even a refusal comes back
        self.listeners: dict[str, _Listener] = {}
        self.ends: dict[int, SimEnd] = {}  # in order of opening
        self.buffer: deque[Callable[[], None]] = deque()  # what the kernel holds for a halted process
        self.lives = 0  # processes that have ended here: a dial does not outlive its process


class LinkUser(Protocol):
    """Who holds one end of a connection."""

    def end_opened(self, end: SimEnd) -> None: ...

    def dial_failed(self, address: str, how: How) -> None: ...

    def frame_arrived(self, end: SimEnd, payload: bytes) -> None: ...

    def end_closed(self, end: SimEnd, how: How) -> None: ...


class SimEnd:
    """One end of a standing connection."""

    def __init__(self, number: int, host: SimHost, address: str, heartbeat_timeout_us: int) -> None:
        self.number = number
        self.host = host
        self.address = address  # what was dialled here; empty at the side that accepted
        self.heartbeat_timeout_us = heartbeat_timeout_us
        self.other: SimEnd
        self.user: LinkUser | None = None
        self.open = True
        self.arrival_us = 0  # nothing overtakes what was sent to this end before
        self.stalled: deque[bytes | None] = deque()  # on a cut path towards this end; None: the other side closed
        self.deaf_since_us = -1  # nothing can be heard since then; -1: it hears


class _Listener(NamedTuple):
    user: LinkUser
    heartbeat_timeout_us: int


class _Dial(NamedTuple):
    """One attempt to connect, of one life of a host's process."""

    host: SimHost
    life: int
    address: str
    user: LinkUser
    heartbeat_timeout_us: int


class SimNetwork:
    """All hosts, paths and connections of a cluster and its clients."""

    def __init__(self, scheduler: Scheduler, profile: SimNetworkProfile | None = None) -> None:
        self.profile = profile or SimNetworkProfile()
        self.counters = {"frames": 0, "bytes": 0, "frames_lost": 0, "connections": 0}
        self._scheduler = scheduler
        self._chance: random.Random = scheduler.chance
        self._hosts: dict[str, SimHost] = {}
        self._addresses: dict[str, SimHost] = {}
        self._cuts: set[tuple[str, str]] = set()  # only asked for membership, never walked through
        self._numbers = 0

    # -- hosts

    def host(self, name: str) -> SimHost:
        return self._hosts.setdefault(name, SimHost(name))

    def listen(self, host: SimHost, address: str, user: LinkUser, heartbeat_timeout_us: int = 0) -> None:
        """Accept connections at ``address`` (host:port) from now on."""
        self._addresses[address] = host
        host.listeners[address] = _Listener(user, heartbeat_timeout_us or self.profile.heartbeat_timeout_us)

    def kill(self, host: SimHost) -> None:
        """The process is gone: its system closes every socket and forgets what waited in them."""
        host.lives += 1
        host.listeners.clear()
        host.halted = False
        host.buffer.clear()
        for end in list(host.ends.values()):
            end.user = None
            self.close(end)
        self._recheck()

    def halt(self, host: SimHost) -> None:
        host.halted = True
        self._recheck()

    def resume(self, host: SimHost) -> None:
        """The process runs again and finds in its sockets what arrived meanwhile, in order."""
        host.halted = False
        buffer, host.buffer = host.buffer, deque()
        for arrival in buffer:
            arrival()
        self._recheck()

    def power_off(self, host: SimHost) -> None:
        """The whole machine is gone without a word."""
        host.down = True
        host.lives += 1
        host.listeners.clear()
        host.buffer.clear()
        for end in list(host.ends.values()):
            end.user = None
            self._forget(end)
        self._recheck()

    def power_on(self, host: SimHost) -> None:
        host.down = False
        self._recheck()

    # -- paths

    def cut(self, source: SimHost, target: SimHost) -> None:
        """Nothing gets from source to target any more."""
        self._cuts.add((source.name, target.name))
        self._recheck()

    def heal(self) -> None:
        """Every path carries again; what waited arrives after a retransmission."""
        self._cuts.clear()
        self._recheck()
        for host in self._hosts.values():
            for end in list(host.ends.values()):
                self._unstall(end)

    def is_open(self, source: SimHost, target: SimHost) -> bool:
        return not (source.down or target.down or (source.name, target.name) in self._cuts)

    def reset(self, one: SimHost, two: SimHost) -> None:
        """Every connection between the two breaks, with what was under way (a router forgot them)."""
        for end in list(one.ends.values()):
            if end.other.host is two:
                for broken in (end, end.other):
                    if broken.open:
                        self._forget(broken)
                        self._deliver(broken, partial(self._tell_closed, broken, "reset"))

    # -- connections

    def dial(self, host: SimHost, address: str, user: LinkUser, heartbeat_timeout_us: int = 0) -> None:
        """Try once to connect: ``end_opened`` or ``dial_failed``, unless the dialling process ends first."""
        target = self._addresses.get(address)
        dial = _Dial(host, host.lives, address, user, heartbeat_timeout_us or self.profile.heartbeat_timeout_us)
        if target is None or not (self.is_open(host, target) and self.is_open(target, host)):
            self._fail(dial, "silent", self.profile.connect_timeout_us)
        elif address not in target.listeners:
            self._fail(dial, "refused", 2 * self._delay_us())
        else:
            self._scheduler.after(3 * self._delay_us(), lambda: self._connect(dial, target))

    def send(self, end: SimEnd, payload: bytes) -> bool:
        """Hand a frame to the connection; False if it has closed here."""
        if not end.open:
            self.counters["frames_lost"] += 1
            return False
        self.counters["frames"] += 1
        self.counters["bytes"] += len(payload)
        self._travel(end.other, payload)
        return True

    def close(self, end: SimEnd) -> None:
        """Close this end; the other learns of it after everything that was sent before."""
        if end.open:
            self._forget(end)
            self._travel(end.other, None)
            self._check(end.other)

    def reconnect_us(self, failures: int) -> int:
        """How long a dialler waits before it tries again: doubled at each failure, with chance in it."""
        base = self.profile.reconnect_us << min(failures, 8)
        return self._chance.randrange(self.profile.reconnect_us, min(base, self.profile.reconnect_us_max) + 50_000)

    def _connect(self, dial: _Dial, target: SimHost) -> None:
        listener = target.listeners.get(dial.address)
        if dial.life != dial.host.lives:
            return
        if not (self.is_open(dial.host, target) and self.is_open(target, dial.host)):
            self._fail(dial, "silent", self.profile.connect_timeout_us)
        elif listener is None:
            self._fail(dial, "reset", 0)
        elif target.halted:  # its system accepts, but nobody shakes hands
            self._fail(dial, "silent", self.profile.handshake_timeout_us)
        else:
            self._open(dial, target, listener)

    def _open(self, dial: _Dial, target: SimHost, listener: _Listener) -> None:
        self.counters["connections"] += 1
        self._numbers += 2
        near = SimEnd(self._numbers, dial.host, dial.address, dial.heartbeat_timeout_us)
        far = SimEnd(self._numbers + 1, target, "", listener.heartbeat_timeout_us)
        near.other, far.other = far, near
        self._scheduler.note("connected", f"{dial.host.name}>{target.name}", self._numbers)
        for end, user in ((far, listener.user), (near, dial.user)):
            end.user = user
            end.host.ends[end.number] = end
            self._check(end)
            self._deliver(end, partial(user.end_opened, end))

    def _fail(self, dial: _Dial, how: How, after_us: int) -> None:
        def fail() -> None:
            if dial.life == dial.host.lives:
                dial.user.dial_failed(dial.address, how)

        def arrive() -> None:
            if dial.host.halted:
                dial.host.buffer.append(fail)
            else:
                fail()

        self._scheduler.after(after_us, arrive)

    # -- what travels

    def _delay_us(self) -> int:
        return self.profile.delay_us + self._chance.randrange(self.profile.jitter_us + 1)

    def _travel(self, to: SimEnd, payload: bytes | None) -> None:
        sending_us = len(payload) * 1_000 // self.profile.bytes_per_ms if payload is not None else 0
        at_us = max(self._scheduler.now_us + self._delay_us(), to.arrival_us) + sending_us
        to.arrival_us = at_us
        self._scheduler.after(at_us - self._scheduler.now_us, lambda: self._arrive(to, payload))

    def _arrive(self, end: SimEnd, payload: bytes | None) -> None:
        if not end.open:
            self.counters["frames_lost"] += payload is not None
        elif not self.is_open(end.other.host, end.host) or end.stalled:
            end.stalled.append(payload)
        elif payload is None:
            self._deliver(end, lambda: self._closed_by_other(end))
        else:
            self._deliver(end, lambda: self._frame(end, payload))

    def _deliver(self, end: SimEnd, arrival: Callable[[], None]) -> None:
        if end.host.halted:
            end.host.buffer.append(arrival)
        else:
            arrival()

    def _frame(self, end: SimEnd, payload: bytes) -> None:
        if end.user is not None and end.open:
            self._scheduler.note("frame", end.host.name, payload)
            end.user.frame_arrived(end, payload)

    def _closed_by_other(self, end: SimEnd) -> None:
        if end.open:
            self._forget(end)
            self._tell_closed(end, "reset")

    def _tell_closed(self, end: SimEnd, how: How) -> None:
        user, end.user = end.user, None
        if user is not None:
            self._scheduler.note("closed", end.host.name, how)
            user.end_closed(end, how)

    def _forget(self, end: SimEnd) -> None:
        end.open = False
        end.stalled.clear()
        end.host.ends.pop(end.number, None)

    def _unstall(self, end: SimEnd) -> None:
        if not end.stalled or not self.is_open(end.other.host, end.host):
            return
        waiting, end.stalled = end.stalled, deque()
        end.arrival_us = max(end.arrival_us, self._scheduler.now_us + self._chance.randrange(RETRANSMIT_US_MAX))
        for payload in waiting:
            self._travel(end, payload)

    # -- who hears whom

    def _recheck(self) -> None:
        """Something changed about who can hear whom."""
        for host in self._hosts.values():
            for end in list(host.ends.values()):
                self._check(end)

    def _check(self, end: SimEnd) -> None:
        other = end.other.host
        hears = end.other.open and not other.halted and self.is_open(other, end.host)
        if hears or end.host.halted:
            end.deaf_since_us = -1
        elif end.deaf_since_us < 0:
            since_us = end.deaf_since_us = self._scheduler.now_us
            patience_us = end.heartbeat_timeout_us + self._chance.randrange(self.profile.heartbeat_us)
            self._scheduler.after(patience_us, lambda: self._give_up(end, since_us))

    def _give_up(self, end: SimEnd, since_us: int) -> None:
        if end.open and end.deaf_since_us == since_us:
            self.close(end)
            self._tell_closed(end, "silent")
