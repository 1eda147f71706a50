"""The stage of production: every behaviour in a pykka actor, on a thread of its own.

A behaviour that raises ends the process: its tables may be half changed, and the supervisor starts a clean one. The
story of its last messages goes into the log with the exception.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pykka
from loguru import logger

from actors.base import Behaviour, Effects, Log, Now, Remind, Role, Tell, Terminate
from runtime.clock import system_now
from runtime.handover import EXIT_FAILED
from runtime.timers import TimerThread

STORY_MESSAGES_MAX = 50
STOP_SECONDS_MAX = 1.0
MESSAGE_SHOWN_LENGTH_MAX = 2_000


class Ending(NamedTuple):
    """Why the node ends."""

    exit_code: int
    reason: str
    epoch_floor: int = 0


class ThreadStage:
    """Runs the behaviours of one node; performs what they return."""

    def __init__(
        self, node_id: str, ports: Mapping[Role, Callable[[Any], None]], now: Callable[[], Now] = system_now
    ) -> None:
        """``ports``: who is told what is for a role that is no behaviour."""
        self.now = now
        self.log = logger.bind(node=node_id)
        self.timers = TimerThread(lambda failure: self.fail("timers", failure))
        self.refs_are_known = threading.Event()
        self._mailboxes: dict[Role, Callable[[Any], None]] = dict(ports)
        self._refs: list[pykka.ActorRef[BehaviourShell]] = []
        self._ending: Ending | None = None
        self._ended = threading.Event()
        self._ending_lock = threading.Lock()

    def start(self, behaviours: Sequence[Behaviour]) -> None:
        """Start all; none runs before all can be told something."""
        self.timers.start()
        for behaviour in behaviours:
            ref = BehaviourShell.start(behaviour, self)
            self._refs.append(ref)
            self._mailboxes[behaviour.role] = ref.tell
        self.refs_are_known.set()

    def tell(self, role: Role, message: Any) -> None:
        """Put a message into a mailbox. From any thread."""
        try:
            self._mailboxes[role](message)
        except pykka.ActorDeadError:
            if not self._ended.is_set():
                raise

    def perform(self, role: Role, effects: Effects) -> None:
        """Do what a behaviour returned, in its order."""
        for effect in effects:
            if type(effect) is Tell:
                self.tell(effect.to, effect.message)
            else:
                self._perform_rare(role, effect)

    def end(self, ending: Ending) -> None:
        """The first ending counts. From any thread; the main thread does the rest."""
        with self._ending_lock:
            if self._ending is None:
                self._ending = ending
                self._ended.set()

    def fail(self, actor: str, failure: BaseException, **fields: Any) -> None:
        """An exception that nothing foresaw: say everything that is known, and end."""
        self.log.bind(actor=actor, **fields).opt(exception=failure).critical("the node ends: {} failed", actor)
        self.end(Ending(EXIT_FAILED, f"{actor} failed: {type(failure).__name__}: {failure}"))

    def wait(self) -> Ending:
        """Block until somebody ends the node."""
        while self._ending is None:
            self._ended.wait()
        return self._ending

    def stop(self) -> None:
        """Stop in reverse order of start, each actor after what its mailbox holds."""
        self._ended.set()
        self.timers.stop()
        for ref in reversed(self._refs):
            try:
                ref.stop(block=True, timeout=STOP_SECONDS_MAX)
            except pykka.Timeout:
                self.log.warning("{} did not stop in time", ref)

    def _perform_rare(self, role: Role, effect: Remind | Log | Terminate | Tell) -> None:
        match effect:
            case Remind(delay_ms, message):
                self.timers.call_after(delay_ms, lambda: self.tell(role, message))
            case Log(level, fact, fields):
                self.log.bind(actor=role.value, **fields).log(level, fact)
            case Terminate(exit_code, reason, epoch_floor):
                self.end(Ending(exit_code, reason, epoch_floor))
            case Tell(to, message):  # a subclass of Tell
                self.tell(to, message)


class BehaviourShell(pykka.ThreadingActor):
    """The one actor class: feeds a behaviour and remembers the last messages."""

    use_daemon_thread = True

    @staticmethod
    def _create_actor_inbox() -> queue.SimpleQueue[Any]:
        """Of C: an order crosses half a dozen mailboxes, and the locks of a ``Queue`` cost as much as its handlers."""
        return queue.SimpleQueue()

    def __init__(self, behaviour: Behaviour, stage: ThreadStage) -> None:
        super().__init__()
        self._behaviour = behaviour
        self._handle = behaviour.handle
        self._role = behaviour.role
        self._stage = stage
        self._story: deque[tuple[int, str]] = deque(maxlen=STORY_MESSAGES_MAX)

    def on_start(self) -> None:
        self._stage.refs_are_known.wait()
        try:
            self._stage.perform(self._role, self._behaviour.start(self._stage.now()))
        except Exception as failure:
            self._fail(failure, "start")

    def on_receive(self, message: Any) -> None:
        now = self._stage.now()
        self._story.append((now.monotonic_ms, type(message).__name__))
        try:
            self._stage.perform(self._role, self._handle(message, now))
        except Exception as failure:
            self._fail(failure, message)

    def _fail(self, failure: Exception, message: object) -> None:
        """Report and stop: the rest of the mailbox must not meet tables that may be half changed."""
        story = [f"{monotonic_ms} {name}" for monotonic_ms, name in self._story]
        shown = repr(message)[:MESSAGE_SHOWN_LENGTH_MAX]
        self._stage.fail(self._role.value, failure, story=story, message_handled=shown)
        self.stop_at_once()

    def stop_at_once(self) -> None:
        """Handle nothing more."""
        self.actor_stopped.set()
