"""Seeded virtual time: one queue of what happens next, one source of chance, one trace.

``Scheduler`` owns the true time and jumps to the next event when nothing else is due. ``NodeClock`` is what one machine
believes. ``SimStage`` runs the behaviours of one process life: a mailbox per role, a turn per message, effects in
order, as the thread stage does. Turns cost a little seeded time, so actors interleave differently under every seed.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from heapq import heappop, heappush
from typing import Any

import msgspec

from actors.base import Behaviour, Effects, Log, Now, Remind, Role, Tell, Terminate
from runtime.simulation.failpoints import FailpointAction, Failpoints, name_of

WALL_START_MS = 1_800_000_000_000  # some day in 2027: any fixed one will do
SLOW_TURN_SHARE = 0.01  # so often the operating system gives the core to someone else first

TRACE_BYTES_MAX = 65_536  # kept before they are hashed in one go

_encode_into = msgspec.msgpack.Encoder(enc_hook=str, order="deterministic").encode_into


class Scheduler:
    """What happens next. Everything of a run hangs on ``chance``: same seed, same run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.now_us = 0
        self.events = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._trace = hashlib.blake2b(digest_size=16)
        self._noted = bytearray()

    @property
    def now_ms(self) -> int:
        return self.now_us // 1_000

    def after(self, delay_us: int, action: Callable[..., None], *arguments: Any) -> None:
        """Let ``action`` happen in ``delay_us``; of two at one instant the earlier asked goes first."""
        self._order += 1
        at_us = self.now_us + delay_us if delay_us > 0 else self.now_us
        heappush(self._queue, (at_us, self._order, action, arguments))

    def run_until(self, end_us: int) -> None:
        """Let everything happen that is due by ``end_us``, then let the rest of the time pass."""
        queue = self._queue
        while queue and queue[0][0] <= end_us:
            self.now_us, _, action, arguments = heappop(queue)
            self.events += 1
            action(*arguments)
        self.now_us = max(self.now_us, end_us)

    def step(self) -> bool:
        """Jump to the next event and let it happen; False if there is none."""
        if not self._queue:
            return False
        self.now_us, _, action, arguments = heappop(self._queue)
        self.events += 1
        action(*arguments)
        return True

    def note(self, kind: str, place: str, payload: object = None) -> None:
        """Add one event to the trace that ``trace_hash`` stands for."""
        noted = self._noted
        _encode_into((self.now_us, kind, place, type(payload).__name__, payload), noted, -1)
        if len(noted) > TRACE_BYTES_MAX:
            self._trace.update(noted)
            noted.clear()

    @property
    def trace_hash(self) -> str:
        self._trace.update(self._noted)
        self._noted.clear()
        return self._trace.hexdigest()


class NodeClock:
    """The clocks of one machine. Neither is the true time: they start elsewhere and drift; the wall clock may step."""

    def __init__(self, scheduler: Scheduler, *, boot_ms: int = 0, skew_ms: int = 0, drift_ppm: int = 0) -> None:
        self._scheduler = scheduler
        self._boot_ms = boot_ms
        self._skew_ms = skew_ms
        self._rate_ppm = 1_000_000 + drift_ppm
        self._passed_ms = -1  # at the last look
        self._now = Now(0, 0)  # and what the clock showed then

    def now(self) -> Now:
        passed_ms = self._scheduler.now_us * self._rate_ppm // 1_000_000_000
        if passed_ms != self._passed_ms:  # many turns fall into one millisecond
            self._passed_ms = passed_ms
            self._now = Now(self._boot_ms + passed_ms, WALL_START_MS + passed_ms + self._skew_ms)
        return self._now

    def step_wall(self, by_ms: int) -> None:
        """Somebody sets the wall clock; the monotonic one does not notice."""
        self._skew_ms += by_ms
        self._passed_ms = -1

    def true_us(self, delay_ms: int) -> int:
        """How long ``delay_ms`` of this clock really take, rounded up: a reminder never comes early."""
        return -(-delay_ms * 1_000_000_000 // self._rate_ppm)


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One turn that was taken, for checkers and stories."""

    at_us: int
    place: str
    role: Role
    message: Any
    effects: Effects


class _Actor:
    """One behaviour with its mailbox."""

    __slots__ = ("behaviour", "halves", "is_due", "mailbox", "role", "role_name", "turns")

    def __init__(self, behaviour: Behaviour, failpoints: Failpoints) -> None:
        self.behaviour = behaviour
        self.role = behaviour.role
        self.role_name = behaviour.role.value
        self.mailbox: deque[Any] = deque()
        self.is_due = False  # its turn is in the scheduler's queue
        self.turns = failpoints.turns[behaviour.role]
        self.halves = failpoints.halves[behaviour.role]


class SimStage:
    """The mailboxes of one process life. It is halted while the process is stopped, and ended when that dies."""

    def __init__(
        self, scheduler: Scheduler, clock: NodeClock, place: str, failpoints: Failpoints | None = None
    ) -> None:
        self.place = place
        self.failpoints = Failpoints() if failpoints is None else failpoints
        self.on_failpoint: Callable[[FailpointAction], None] = lambda _: None  # makes the process die or stand still
        self.slow_us = 0  # what every turn takes beyond the usual
        self.logs: list[Log] = []
        self.ended = False
        self.on_message: dict[Role, Callable[[Any], None]] = {}  # who stands in for a role that is no behaviour: I/O
        self.on_terminate: Callable[[Terminate], None] = lambda _: None
        self.on_turn: Callable[[Turn], None] = lambda _: None
        self.invariants_every = 1
        self.turns = 0
        self._scheduler = scheduler
        self._after = scheduler.after
        self._draw = scheduler.chance.random
        self._clock = clock
        self._now = clock.now
        self._note = scheduler.note
        self._actors: dict[Role, _Actor] = {}
        self.halted = False
        self._held: list[Callable[[], None]] = []  # what the halted process would have done meanwhile

    def start(self, behaviours: Iterable[Behaviour]) -> None:
        """Start every behaviour, in the order given, as the composition root does."""
        for behaviour in behaviours:
            self._actors[behaviour.role] = _Actor(behaviour, self.failpoints)
        for actor in self._actors.values():
            if not self.ended:
                self._take_turn(actor, None)

    def behaviour(self, role: Role) -> Any:
        return self._actors[role].behaviour

    @property
    def idle(self) -> bool:
        return not any(actor.mailbox for actor in self._actors.values())

    @property
    def backlog(self) -> int:
        """Messages in the longest mailbox."""
        return max(len(actor.mailbox) for actor in self._actors.values())

    def waiting(self, role: Role) -> tuple[Any, ...]:
        """What lies in one mailbox, the next one first."""
        return tuple(self._actors[role].mailbox)

    def tell(self, role: Role, message: Any) -> None:
        """Put a message into a mailbox. One queue per receiver keeps the order of each sender."""
        if self.ended:
            return
        actor = self._actors.get(role)
        if actor is None:
            self.on_message[role](message)
            return
        actor.mailbox.append(message)
        if not actor.is_due:
            self._make_due(actor)

    def later(self, delay_us: int, action: Callable[[], None]) -> None:
        """Something this process does by itself after a while: not when it has ended, and late when it is halted."""
        self._after(delay_us, self._happen, action)

    def halt(self) -> None:
        """SIGSTOP: no turn is taken any more, clocks go on."""
        self.halted = True

    def resume(self) -> None:
        """SIGCONT: overdue timers go off, and mailboxes are worked off where they stood."""
        self.halted = False
        held, self._held = self._held, []
        for action in held:
            self._happen(action)
        for actor in self._actors.values():
            if actor.mailbox and not actor.is_due:
                self._make_due(actor)

    def end(self) -> None:
        """The process is gone, and everything it held."""
        self.ended = True
        self._held.clear()
        for actor in self._actors.values():
            actor.mailbox.clear()

    def turn_cost_us(self) -> int:
        draw = self._draw()
        if draw < SLOW_TURN_SHARE:
            return self.slow_us + 500 + int(draw / SLOW_TURN_SHARE * 4_500)
        return self.slow_us + 10 + int(draw * 110)

    def strikes(self, role: Role, message: Any, when: str) -> bool:
        """Whether a failpoint ends or stops the process at this moment of a turn."""
        return self.strikes_at(f"{name_of(role, type(message))}.{when}")

    def strikes_at(self, name: str) -> bool:
        action = None if self.ended else self.failpoints.strike(self._scheduler.now_us, self.place, name)
        if action is None:
            return False
        self._scheduler.note("failpoint", self.place, name)
        self.on_failpoint(action)
        return True

    def _happen(self, action: Callable[[], None]) -> None:
        if self.ended:
            return
        if self.halted:
            self._held.append(partial(self._happen, action))
        else:
            action()

    def _make_due(self, actor: _Actor) -> None:
        if not self.halted:
            actor.is_due = True
            self._after(self.turn_cost_us(), self._next_turn, actor)

    def _next_turn(self, actor: _Actor) -> None:
        actor.is_due = False
        if self.ended or self.halted or not actor.mailbox:
            return
        self._take_turn(actor, actor.mailbox.popleft())
        if actor.mailbox:
            self._make_due(actor)

    def _take_turn(self, actor: _Actor, message: Any) -> None:
        armed = self.failpoints.armed
        if armed and self.strikes(actor.role, message, "before"):
            self._held.append(partial(self._take_turn, actor, message))  # if it goes on, then with this
            return
        behaviour, place, now = actor.behaviour, self.place, self._now()
        self._note(actor.role_name, place, message)
        effects = behaviour.start(now) if message is None else behaviour.handle(message, now)
        self.turns += 1
        if self.turns % self.invariants_every == 0:
            behaviour.check_invariants()
        kind = type(message)
        actor.turns[kind] += 1
        if len(effects) > 1:
            actor.halves[kind] += 1
        self.on_turn(Turn(self._scheduler.now_us, place, actor.role, message, effects))
        if armed:
            self._perform_with_failpoints(actor.role, message, effects)
        elif effects:
            self._perform(actor.role, effects)

    def _perform_with_failpoints(self, role: Role, message: Any, effects: Effects) -> None:
        if self.strikes(role, message, "after"):
            self._held.append(partial(self._perform, role, effects))
            return
        half = len(effects) // 2
        self._perform(role, effects[:half])
        if half and self.strikes(role, message, "mid"):
            self._held.append(partial(self._perform, role, effects[half:]))
        else:
            self._perform(role, effects[half:])

    def _perform(self, role: Role, effects: Effects) -> None:
        for effect in effects:
            if self.ended:
                return
            match effect:
                case Tell():
                    self.tell(effect.to, effect.message)
                case Remind(delay_ms, message):
                    self.later(self._clock.true_us(delay_ms), partial(self.tell, role, message))
                case Log():
                    self.logs.append(effect)
                case Terminate():
                    self.on_terminate(effect)
