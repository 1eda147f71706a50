"""The store port: between the actors and a store. It decides nothing.

What an actor tells is carried out on that actor's thread, for no call of a store waits; what the store says is told on
whatever thread it says it. To follow is one flow: read everything, watch from there, and read again when the log is
gone, or does not reach as far as the follower has come: then it is not the log that was followed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, TypeVar

import msgspec

from actors.base import Role
from actors.messages.store import (
    NOTHING,
    ChangesSeen,
    Cut,
    CutTaken,
    FollowEnded,
    FollowOrdered,
    Outcome,
    Proposal,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    StoredChange,
    StoreSilent,
)
from runtime.store.port import Compacted, FateUnknown, Store, StoreFault, TooLarge, Watch
from runtime.store.together import tell_together

EVERYTHING = ""  # the prefix of all keys
CLOSED = "the store has closed"
Answer = TypeVar("Answer")


class StoreSettings(msgspec.Struct, frozen=True):
    """Section ``store``: which engine keeps what must not be lost, and how long its callers wait."""

    engine: str
    endpoints: tuple[str, ...]
    key_prefix: str
    authority_file: str
    certificate_file: str
    key_file: str
    user: str
    password_file: str
    home: str
    propose_timeout_ms: int
    read_timeout_ms: int
    read_retry_ms: int


class StorePort:
    """``start`` it when there is somebody to tell; ``close`` it before the store is closed."""

    def __init__(self, store: Store, settings: StoreSettings) -> None:
        self.store_id = store.identity
        self._store = store
        self._settings = settings
        self._lock = threading.Lock()
        self._follows: dict[str, _Follow] = {}  # by follower; guarded by the lock
        self._is_closed = False

    def start(
        self,
        tell: Callable[[Role, Any], None],
        call_after: Callable[[int, Callable[[], None]], None],
        fail: Callable[[str, BaseException], None],
    ) -> None:
        self._tell = tell
        self.call_after = call_after
        self.fail = fail

    def put(self, message: ProposalsMade | FollowOrdered | FollowEnded) -> None:
        """What PersistentStore and HomeServer tell ``Role.STORE``."""
        match message:
            case ProposalsMade():
                for proposal in message.proposals:
                    self._propose(proposal, message.asker)
            case FollowOrdered():
                follow = _Follow(self, self._store, self._settings, message.follower)
                self._exchange(message.follower, follow)
                follow.begin(message.after)
            case FollowEnded():
                self._exchange(message.follower, None)

    def close(self) -> None:
        self._is_closed = True
        for follower in tuple(self._follows):
            self._exchange(follower, None)

    def say(self, follower: str, message: Any) -> None:
        """From any thread."""
        if not self._is_closed:
            self._tell(Role.HOME if follower else Role.PERSISTENT, message)

    def _exchange(self, follower: str, follow: _Follow | None) -> None:
        with self._lock:
            earlier = self._follows.pop(follower, None)
            if follow is not None:
                self._follows[follower] = follow
        if earlier is not None:
            earlier.end()

    def _propose(self, proposal: Proposal, asker: str) -> None:
        try:
            future = self._store.propose(
                proposal.operations, proposal.expectations, timeout_seconds=self._settings.propose_timeout_ms / 1000
            )
        except TooLarge as fault:
            self._say_settled([(asker, ProposalSettled(proposal.number, None, "too_large", str(fault)))])
            return
        future.add_done_callback(partial(self._settled, proposal.number, asker))

    def _settled(self, number: int, asker: str, future: Future[Outcome]) -> None:
        try:
            settled = ProposalSettled(number, future.result())
        except FateUnknown as fault:
            settled = ProposalSettled(number, None, "unknown", str(fault))
        except (StoreFault, CancelledError) as fault:
            settled = ProposalSettled(number, None, "unavailable", str(fault) or CLOSED)
        except Exception as failure:
            self.fail("store", failure)
            return
        tell_together(self._say_settled, (asker, settled))

    def _say_settled(self, settled: Sequence[tuple[str, ProposalSettled]]) -> None:
        by_asker: dict[str, list[ProposalSettled]] = {}
        for asker, each in settled:
            by_asker.setdefault(asker, []).append(each)
        for asker, theirs in by_asker.items():
            self.say(asker, ProposalsSettled(tuple(theirs), asker))


class _Follow:
    """One follower: it is told on whatever thread the store speaks, in order."""

    def __init__(self, port: StorePort, store: Store, settings: StoreSettings, follower: str) -> None:
        self._port = port
        self._store = store
        self._settings = settings
        self._follower = follower
        self._lock = threading.Lock()
        self._watch: Watch | None = None  # guarded by the lock, like the two below
        self._watches = 0  # begun so far
        self._has_ended = False

    def begin(self, after: int) -> None:
        if after == NOTHING:
            self._read()
        else:
            self._ask_how_far(after)

    def end(self) -> None:
        with self._lock:
            self._has_ended, watch = True, self._watch
        if watch is not None:
            watch.close()

    # -- what a watch says

    def changed(self, changes: Sequence[StoredChange]) -> None:
        self._say(ChangesSeen(tuple(changes), changes[-1].index, self._follower))

    def advanced(self, index: int) -> None:
        self._say(ChangesSeen((), index, self._follower))

    def failed(self, fault: StoreFault) -> None:
        if isinstance(fault, Compacted):
            self._read()
        else:
            self._say(StoreSilent(str(fault), self._follower))

    def _ask_how_far(self, after: int) -> None:
        self._ask(
            self._store.barrier,
            lambda index: self._watch_from(after + 1) if after <= index else self._read(),
            partial(self._ask_how_far, after),
        )

    def _read(self) -> None:
        self._ask(partial(self._store.read, EVERYTHING), self._was_read, self._read)

    def _was_read(self, cut: Cut) -> None:
        self._say(CutTaken(cut, self._follower, self._port.store_id))
        self._watch_from(cut.index + 1)

    def _watch_from(self, index: int) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._watches += 1
            number = self._watches
        watch = self._store.watch(EVERYTHING, index, self)
        with self._lock:
            is_current = number == self._watches and not self._has_ended
            if is_current:
                self._watch = watch
        if not is_current:  # meanwhile, on another thread, it has failed and was replaced, or all has ended
            watch.close()

    def _ask(
        self, question: Callable[..., Future[Answer]], told: Callable[[Answer], None], again: Callable[[], None]
    ) -> None:
        """``again``: after a while, if the store has no answer, or does not let itself be watched then."""
        if self._has_ended:
            return

        def is_answered(future: Future[Answer]) -> None:
            try:
                told(future.result())
            except (StoreFault, CancelledError) as fault:
                self._say(StoreSilent(str(fault) or CLOSED, self._follower))
                self._port.call_after(self._settings.read_retry_ms, again)
            except Exception as failure:
                self._port.fail("store", failure)

        question(timeout_seconds=self._settings.read_timeout_ms / 1000).add_done_callback(is_answered)

    def _say(self, message: Any) -> None:
        if not self._has_ended:
            self._port.say(self._follower, message)
