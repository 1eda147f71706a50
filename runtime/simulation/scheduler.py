"""Seeded virtual time: one queue of what happens next, one source of chance, one trace.

``Scheduler`` owns the true time and jumps to the next event when nothing else is due. ``NodeClock`` is what one machine
believes. ``SimStage`` runs the behaviours of one process life: a mailbox per role, a turn per message, effects in
order, as the thread stage does. Turns cost a little seeded time, so actors interleave differently under every seed.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from actors.base import Behaviour, Effects, Log, Now, Remind, Role, Tell, Terminate

WALL_START_MS = 1_800_000_000_000  # some day in 2027: any fixed one will do
SLOW_TURN_SHARE = 0.01  # so often the operating system gives the core to someone else first

_trace_encoder = msgspec.msgpack.Encoder(enc_hook=str, order="deterministic")


class Scheduler:
    """What happens next. Everything of a run hangs on ``chance``: same seed, same run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.now_us = 0
        self.events = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._trace = hashlib.blake2b(digest_size=16)

    @property
    def now_ms(self) -> int:
        return self.now_us // 1_000

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Let ``action`` happen in ``delay_us``; of two at one instant the earlier asked goes first."""
        self._order += 1
        heapq.heappush(self._queue, (self.now_us + max(delay_us, 0), self._order, action))

    def run_until(self, end_us: int) -> None:
        """Let everything happen that is due by ``end_us``, then let the rest of the time pass."""
        while self._queue and self._queue[0][0] <= end_us:
            self.step()
        self.now_us = max(self.now_us, end_us)

    def step(self) -> bool:
        """Jump to the next event and let it happen; False if there is none."""
        if not self._queue:
            return False
        self.now_us, _, action = heapq.heappop(self._queue)
        self.events += 1
        action()
        return True

    def note(self, kind: str, place: str, payload: object = None) -> None:
        """Add one event to the trace that ``trace_hash`` stands for."""
        self._trace.update(_trace_encoder.encode((self.now_us, kind, place, type(payload).__name__, payload)))

    @property
    def trace_hash(self) -> str:
        return self._trace.hexdigest()


class NodeClock:
    """The clocks of one machine. Neither is the true time: they start elsewhere and drift; the wall clock may step."""

    def __init__(self, scheduler: Scheduler, *, boot_ms: int = 0, skew_ms: int = 0, drift_ppm: int = 0) -> None:
        self._scheduler = scheduler
        self._boot_ms = boot_ms
        self._skew_ms = skew_ms
        self._rate_ppm = 1_000_000 + drift_ppm

    def now(self) -> Now:
        passed_ms = self._scheduler.now_us * self._rate_ppm // 1_000_000_000
        return Now(self._boot_ms + passed_ms, WALL_START_MS + passed_ms + self._skew_ms)

    def step_wall(self, by_ms: int) -> None:
        """Somebody sets the wall clock; the monotonic one does not notice."""
        self._skew_ms += by_ms

    def true_us(self, delay_ms: int) -> int:
        """How long ``delay_ms`` of this clock really take, rounded up: a reminder never comes early."""
        return -(-delay_ms * 1_000_000_000 // self._rate_ppm)


class Turn(NamedTuple):
    """One turn that was taken, for checkers and stories."""

    at_us: int
    place: str
    role: Role
    message: Any
    effects: Effects


class SimStage:
    """The mailboxes of one process life. It is halted while the process is stopped, and ended when that dies."""

    def __init__(self, scheduler: Scheduler, clock: NodeClock, place: str) -> None:
        self.place = place
        self.logs: list[Log] = []
        self.ended = False
        self.on_message: dict[Role, Callable[[Any], None]] = {}  # who stands in for a role that is no behaviour: I/O
        self.on_terminate: Callable[[Terminate], None] = lambda _: None
        self.on_turn: Callable[[Turn], None] = lambda _: None
        self.invariants_every = 1
        self.turns = 0
        self._scheduler = scheduler
        self._clock = clock
        self._behaviours: dict[Role, Behaviour] = {}
        self._mailboxes: dict[Role, deque[Any]] = {}
        self._due: set[Role] = set()  # roles whose turn is in the scheduler's queue
        self._halted = False
        self._held: list[Callable[[], None]] = []  # what the halted process would have done meanwhile

    def start(self, behaviours: Iterable[Behaviour]) -> None:
        """Start every behaviour, in the order given, as the composition root does."""
        for behaviour in behaviours:
            self._behaviours[behaviour.role] = behaviour
            self._mailboxes[behaviour.role] = deque()
        for behaviour in self._behaviours.values():
            self._take_turn(behaviour, None)

    def behaviour(self, role: Role) -> Any:
        return self._behaviours[role]

    @property
    def idle(self) -> bool:
        return not any(self._mailboxes.values())

    def tell(self, role: Role, message: Any) -> None:
        """Put a message into a mailbox. One queue per receiver keeps the order of each sender."""
        if self.ended:
            return
        stand_in = self.on_message.get(role)
        if stand_in is not None:
            stand_in(message)
            return
        self._mailboxes[role].append(message)
        self._make_due(role)

    def later(self, delay_us: int, action: Callable[[], None]) -> None:
        """Something this process does by itself after a while: not when it has ended, and late when it is halted."""

        def happen() -> None:
            if self.ended:
                return
            if self._halted:
                self._held.append(happen)
            else:
                action()

        self._scheduler.after(delay_us, happen)

    def halt(self) -> None:
        """SIGSTOP: no turn is taken any more, clocks go on."""
        self._halted = True

    def resume(self) -> None:
        """SIGCONT: overdue timers go off, and mailboxes are worked off where they stood."""
        self._halted = False
        held, self._held = self._held, []
        for action in held:
            action()
        for role, mailbox in self._mailboxes.items():
            if mailbox:
                self._make_due(role)

    def end(self) -> None:
        """The process is gone, and everything it held."""
        self.ended = True
        self._mailboxes = {role: deque() for role in self._mailboxes}

    def turn_cost_us(self) -> int:
        chance = self._scheduler.chance
        return chance.randrange(500, 5_000) if chance.random() < SLOW_TURN_SHARE else chance.randrange(10, 120)

    def _make_due(self, role: Role) -> None:
        if role not in self._due and not self._halted:
            self._due.add(role)
            self._scheduler.after(self.turn_cost_us(), lambda: self._next_turn(role))

    def _next_turn(self, role: Role) -> None:
        self._due.discard(role)
        mailbox = self._mailboxes[role]
        if self.ended or self._halted or not mailbox:
            return
        self._take_turn(self._behaviours[role], mailbox.popleft())
        if self._mailboxes[role]:
            self._make_due(role)

    def _take_turn(self, behaviour: Behaviour, message: Any) -> None:
        now = self._clock.now()
        self._scheduler.note(behaviour.role.value, self.place, message)
        effects = behaviour.start(now) if message is None else behaviour.handle(message, now)
        self.turns += 1
        if self.turns % self.invariants_every == 0:
            behaviour.check_invariants()
        self.on_turn(Turn(self._scheduler.now_us, self.place, behaviour.role, message, effects))
        for effect in effects:
            self._perform(behaviour.role, effect)

    def _perform(self, role: Role, effect: Tell | Remind | Log | Terminate) -> None:
        match effect:
            case Tell(to, message):
                self.tell(to, message)
            case Remind(delay_ms, message):
                self.later(self._clock.true_us(delay_ms), lambda: self.tell(role, message))
            case Log():
                self.logs.append(effect)
            case Terminate():
                self.on_terminate(effect)
