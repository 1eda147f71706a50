"""A network of hosts: connections that behave as ZeroMQ over TCP does, and the faults that can befall them.

While a connection stands it is reliable and in order, both ways. A cut path carries nothing: what is sent waits, as TCP
would retry it, and arrives late if the path heals before somebody gives up. An end that hears nothing for the heartbeat
time-out closes (``silent``); what the other side's system closes is ``reset``; a dial to a port where nobody listens is
``refused``. A halted host keeps its sockets, hears nothing, says nothing, and finds everything in its buffers later.

Modelled, for each directed path: delay, jitter, loss (as retransmissions: later, never missing; several in a row
silence the connection), bandwidth that its connections share, cuts, lost SYNs. Order holds within a connection, never
between two. Heartbeats of connections are implied: events happen only where one stays out.

Not modelled: send and receive buffers that fill (a reader that does not read is ended by heartbeats or by the node's
own limits), missing acknowledgements (the open direction of a one-way cut carries what it likes until heartbeats end
the connection), congestion, path MTU, damaged bytes (checksums and framing end such connections: a reset), and
duplicated segments, which TCP hides (frames that nodes send twice are made in sim_io.py).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial

from runtime.simulation.hosts import Dial, Heartbeats, How, LinkUser, Listener, SimEnd, SimHost, SimNetworkProfile
from runtime.simulation.paths import WELL, PathFault, TroubledPath, losses_in_a_row, retransmission_us
from runtime.simulation.scheduler import Scheduler
from runtime.simulation.silence import Silence


class SimNetwork:
    """All hosts, paths and connections of a cluster and its clients."""

    def __init__(self, scheduler: Scheduler, profile: SimNetworkProfile | None = None) -> None:
        self.profile = profile or SimNetworkProfile()
        self.counters = {"frames": 0, "bytes": 0, "frames_lost": 0, "connections": 0, "retransmissions": 0}
        self._scheduler = scheduler
        self._chance: random.Random = scheduler.chance
        self._draw = scheduler.chance.random
        self._base_us = self.profile.delay_us
        self._jitter_us = self.profile.jitter_us
        self._bytes_per_ms = self.profile.bytes_per_ms
        self._hosts: dict[str, SimHost] = {}
        self._addresses: dict[str, SimHost] = {}
        self._troubled: dict[tuple[str, str], TroubledPath] = {}  # by source and target
        self._numbers = 0
        self._heartbeats = Heartbeats(self.profile.heartbeat_us, self.profile.heartbeat_timeout_us)
        self._silence = Silence(scheduler, self.profile.retransmit_us, self.is_open, self._give_up)

    # -- hosts

    def host(self, name: str) -> SimHost:
        return self._hosts.setdefault(name, SimHost(name))

    def listen(self, host: SimHost, address: str, user: LinkUser, heartbeats: Heartbeats | None = None) -> None:
        """Accept connections at ``address`` (host:port) from now on."""
        self._addresses[address] = host
        host.listeners[address] = Listener(user, heartbeats or self._heartbeats)

    def withdraw(self, address: str) -> None:
        """No machine has this address any more: who dials it hears nothing."""
        self._addresses.pop(address, None)

    def kill(self, host: SimHost) -> None:
        """The process is gone: its system closes every socket and forgets what waited in them."""
        host.lives += 1
        host.listeners.clear()
        host.halted = False
        host.buffer.clear()
        for end in list(host.ends.values()):
            end.user = None
            self.close(end)

    def halt(self, host: SimHost) -> None:
        host.halted = True
        self._silence.check_both(host.ends.values())

    def resume(self, host: SimHost) -> None:
        """The process runs again and finds in its sockets what arrived meanwhile, in order."""
        host.halted = False
        buffer, host.buffer = host.buffer, deque()
        for arrival in buffer:
            arrival()
        self._silence.check_both(host.ends.values())

    def power_off(self, host: SimHost) -> None:
        """The whole machine is gone without a word."""
        host.down = True
        host.lives += 1
        host.listeners.clear()
        host.buffer.clear()
        host.halted = False
        for end in list(host.ends.values()):
            end.user = None
            self._forget(end)
            host.forgotten.append(end.other)
            self._silence.check(end.other)

    def power_on(self, host: SimHost) -> None:
        """Who still believes in a connection from before hears at its next heartbeat that there is none."""
        host.down = False
        forgotten, host.forgotten = host.forgotten, []
        for end in forgotten:
            if end.open:
                after_us = 2 * self._delay_us() + int(self._chance.random() * end.heartbeats.interval_us)
                self._scheduler.after(after_us, self._refuse_ghost, end, host)

    # -- paths

    def cut(self, source: SimHost, target: SimHost) -> None:
        """Nothing gets from source to target any more."""
        self._path(source, target).is_cut = True
        self._silence.check_both(self._ends_on(source, target))

    def refuse_dials(self, source: SimHost, target: SimHost) -> None:
        """First packets from source to target are lost: what stands goes on, nothing new comes to stand."""
        self._path(source, target).refuses_dials = True

    def degrade(self, source: SimHost, target: SimHost, fault: PathFault) -> None:
        """From now on every frame from source to target suffers this; it takes the place of an earlier fault."""
        path = self._path(source, target)
        more_us, path.fault = fault.delay_us - path.fault.delay_us, fault
        now_us = self._scheduler.now_us
        for end in self._ends_on(source, target):
            self._silence.starve(end, max(now_us, end.arrival_us), now_us + more_us)
            self._silence.expect_losses(end, path)
        if path.is_well:
            self.restore(source, target)

    def restore(self, source: SimHost, target: SimHost) -> None:
        """This path carries again as it should; what waited arrives after a retransmission."""
        path = self._troubled.pop((source.name, target.name), None)
        if path is not None:
            path.is_mended = True
            ends = self._ends_on(source, target)
            self._silence.check_both(ends)
            for end in ends:
                self._unstall(end)

    def heal(self) -> None:
        """Every path carries as it should."""
        for source, target in list(self._troubled):
            self.restore(self._hosts[source], self._hosts[target])

    def is_open(self, source: SimHost, target: SimHost) -> bool:
        if source.down or target.down:
            return False
        path = self._troubled.get((source.name, target.name)) if self._troubled else None
        return path is None or not path.is_cut

    @property
    def is_troubled(self) -> bool:
        """Whether any path is not well."""
        return bool(self._troubled)

    def fault(self, source: SimHost, target: SimHost) -> PathFault:
        """What frames from source to target suffer."""
        path = self._troubled.get((source.name, target.name))
        return WELL if path is None else path.fault

    def reset(self, one: SimHost, two: SimHost) -> None:
        """Every connection between the two breaks, with what was under way (a router forgot them)."""
        for end in list(one.ends.values()):
            if end.other.host is two:
                for broken in (end, end.other):
                    if broken.open:
                        self._forget(broken)
                        self._deliver(broken, partial(self._tell_closed, broken, "reset"))

    # -- connections

    def dial(self, host: SimHost, address: str, user: LinkUser, heartbeats: Heartbeats | None = None) -> None:
        """Try once to connect: ``end_opened`` or ``dial_failed``, unless the dialling process ends first."""
        target = self._addresses.get(address)
        dial = Dial(host, host.lives, address, user, heartbeats or self._heartbeats)
        there_us = back_us = 0
        answered = target is not None and self._lets_in(host, target)
        if target is not None and answered:
            there_us, back_us = self._transit_us(host, target), self._transit_us(target, host)
            answered = there_us + back_us <= self.profile.connect_timeout_us
        if target is None or not answered:
            self._fail(dial, "silent", self.profile.connect_timeout_us)
        elif address not in target.listeners:
            self._fail(dial, "refused", there_us + back_us)
        else:
            self._shake_hands(dial, target, there_us + back_us)

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
            self._silence.check(end.other)

    def reconnect_us(self, failures: int) -> int:
        """How long a dialler waits before it tries again: doubled at each failure, with chance in it."""
        base_us = self.profile.reconnect_us
        longest_us = min(base_us << min(failures, 8), self.profile.reconnect_us_max) + base_us // 2
        return self._chance.randrange(base_us, longest_us)

    def _lets_in(self, host: SimHost, target: SimHost) -> bool:
        """Whether a first packet and its answer get through; they are not sent again in time."""
        if not (self.is_open(host, target) and self.is_open(target, host)):
            return False
        path = self._troubled.get((host.name, target.name))
        if path is not None and path.refuses_dials:
            return False
        return all(
            self._chance.random() >= fault.loss
            for fault in (self.fault(host, target), self.fault(target, host))
            if fault.loss
        )

    def _shake_hands(self, dial: Dial, target: SimHost, connected_us: int) -> None:
        """Both systems have a connection; now the processes have to agree."""
        shaking_us = self._transit_us(dial.host, target)
        if shaking_us > self.profile.handshake_timeout_us:
            self._fail(dial, "silent", connected_us + self.profile.handshake_timeout_us)
        else:
            self._scheduler.after(connected_us + shaking_us, self._connect, dial, target)

    def _connect(self, dial: Dial, target: SimHost) -> None:
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

    def _open(self, dial: Dial, target: SimHost, listener: Listener) -> None:
        self.counters["connections"] += 1
        self._numbers += 2
        near = SimEnd(self._numbers, dial.host, dial.address, dial.heartbeats)
        far = SimEnd(self._numbers + 1, target, "", listener.heartbeats)
        near.other, far.other = far, near
        self._scheduler.note("connected", f"{dial.host.name}>{target.name}", self._numbers)
        for end, user in ((far, listener.user), (near, dial.user)):
            end.user = user
            end.host.ends[end.number] = end
            self._silence.check(end)
            path = self._troubled.get((end.other.host.name, end.host.name)) if self._troubled else None
            if path is not None:
                self._silence.expect_losses(end, path)
            self._deliver(end, partial(user.end_opened, end))

    def _fail(self, dial: Dial, how: How, after_us: int) -> None:
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
        return self._base_us + int(self._draw() * self._jitter_us)

    def _transit_us(self, source: SimHost, target: SimHost) -> int:
        """How long one small packet takes."""
        path = self._troubled.get((source.name, target.name)) if self._troubled else None
        return self._delay_us() + (0 if path is None else sum(self._suffer(path)))

    def _suffer(self, path: TroubledPath) -> tuple[int, int]:
        """What the fault of a path adds to one frame: on its way, and until it is sent again."""
        fault = path.fault
        delay_us = fault.delay_us + int(self._chance.random() * fault.jitter_us)
        losses = losses_in_a_row(fault.loss, self._chance) if fault.loss else 0
        self.counters["retransmissions"] += losses
        return delay_us, retransmission_us(losses, self._silence.retransmit_us(fault))

    def _travel(self, to: SimEnd, payload: bytes | None) -> None:
        size, now_us = 0 if payload is None else len(payload), self._scheduler.now_us
        at_us = now_us + self._delay_us()
        path = self._troubled.get((to.other.host.name, to.host.name)) if self._troubled else None
        if path is None:
            before_us = to.arrival_us
            at_us = (at_us if at_us > before_us else before_us) + size * 1_000 // self._bytes_per_ms
        else:
            at_us = self._drag(to, path, size, at_us)
        to.arrival_us = at_us
        self._scheduler.after(at_us - now_us, self._arrive, to, payload)

    def _drag(self, to: SimEnd, path: TroubledPath, size: int, at_us: int) -> int:
        """When a frame arrives on a path that is not well, if it would arrive then on another."""
        delay_us, waiting_us = self._suffer(path)
        heard_until_us = max(self._scheduler.now_us, to.arrival_us) + delay_us
        sending_us = size * 1_000 // (path.fault.bytes_per_ms or self.profile.bytes_per_ms)
        if path.fault.bytes_per_ms:  # so narrow that all connections wait for each other
            path.free_us = max(path.free_us, self._scheduler.now_us) + sending_us
            at_us = max(at_us + delay_us + waiting_us, to.arrival_us, path.free_us)
        else:
            at_us = max(at_us + delay_us + waiting_us, to.arrival_us) + sending_us
        self._silence.starve(to, heard_until_us, at_us)
        return at_us

    def _arrive(self, end: SimEnd, payload: bytes | None) -> None:
        if not end.open:
            self.counters["frames_lost"] += payload is not None
        elif end.stalled or (self._troubled and not self.is_open(end.other.host, end.host)):
            end.stalled.append(payload)
        elif end.host.halted:
            end.host.buffer.append(partial(self._hear, end, payload))
        else:
            self._hear(end, payload)

    def _hear(self, end: SimEnd, payload: bytes | None) -> None:
        if not end.open:
            return
        if payload is None:
            self._forget(end)
            self._tell_closed(end, "reset")
        elif end.user is not None:
            self._scheduler.note("frame", end.host.name, payload)
            end.user.frame_arrived(end, payload)

    def _deliver(self, end: SimEnd, arrival: Callable[[], None]) -> None:
        if end.host.halted:
            end.host.buffer.append(arrival)
        else:
            arrival()

    def _tell_closed(self, end: SimEnd, how: How) -> None:
        user, end.user = end.user, None
        if user is not None:
            self._scheduler.note("closed", end.host.name, how)
            user.end_closed(end, how)

    def _refuse_ghost(self, end: SimEnd, host: SimHost) -> None:
        """The other side's machine runs again and knows nothing of this connection."""
        if end.open and self.is_open(host, end.host):
            self._forget(end)
            self._deliver(end, partial(self._tell_closed, end, "reset"))

    def _forget(self, end: SimEnd) -> None:
        end.open = False
        end.stalled.clear()
        end.host.ends.pop(end.number, None)

    def _unstall(self, end: SimEnd) -> None:
        if not end.stalled or not self.is_open(end.other.host, end.host):
            return
        waiting, end.stalled = end.stalled, []
        late_us = int(self._chance.random() * 2 * self.profile.retransmit_us)
        end.arrival_us = max(end.arrival_us, self._scheduler.now_us + late_us)
        for payload in waiting:
            self._travel(end, payload)

    def _give_up(self, end: SimEnd) -> None:
        self.close(end)
        self._tell_closed(end, "silent")

    def _path(self, source: SimHost, target: SimHost) -> TroubledPath:
        return self._troubled.setdefault((source.name, target.name), TroubledPath())

    def _ends_on(self, source: SimHost, target: SimHost) -> list[SimEnd]:
        """Where that arrives which travels from source to target."""
        if len(source.ends) < len(target.ends):
            ends = [end.other for end in source.ends.values()]
            return sorted((end for end in ends if end.host is target and end.open), key=lambda end: end.number)
        return [end for end in target.ends.values() if end.other.host is source]
