"""A lane of the etcd engine: one thread, one connection, one request at a time, from the backlog until it is closed.

A write that was surely not applied is tried again at the next member, for as long as an election takes; when etcd has
been unavailable for longer than that, it is refused at once. A write whose outcome is not known is never repeated here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from actors.messages.store import Outcome
from runtime.store.etcd_backlog import Backlog, Waiting, WaitingProposal
from runtime.store.etcd_gateway import (
    COMPACTED,
    NO_SPACE,
    GatewayLink,
    NoAnswer,
    NotSent,
    Refusal,
    encode_request,
    fault_of_write,
    member_status,
)
from runtime.store.etcd_mark import RESTORING, TXN_ANSWER, TxnAnswer, mark_question, mark_stands_at
from runtime.store.etcd_settings import EtcdSettings
from runtime.store.port import FateUnknown, StoreFault, TooLarge, Unavailable
from runtime.store.threads import OnFailure, guarded_thread
from runtime.store.together import answered_together

ASK_SECONDS_MIN = 0.25

T = TypeVar("T")


class Question(Waiting):
    """What a lane asks for somebody; ``ask`` gets its connection and the deadline."""

    def __init__(self, ask: Callable[[GatewayLink, float], Any], deadline: float) -> None:
        super().__init__(Future(), deadline)
        self.ask = ask


class ElectionPatience:
    """How long etcd has been unavailable, over all lanes."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._pause_seconds = settings.retry_interval_ms / 1_000
        self._election_seconds = settings.election_ms_max / 1_000
        self._since: float | None = None
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        with self._lock:
            self._since = None

    def allows_retry(self, now: float, deadline: float) -> bool:
        """After a failure: is there a point in waiting?"""
        with self._lock:
            self._since = now if self._since is None else self._since
            return now + self._pause_seconds < min(self._since + self._election_seconds, deadline)


class SpaceGate:
    """Closed while etcd has no space: what is not sent then is surely not applied, which etcd itself does not say."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._check_seconds = settings.space_interval_ms / 1_000
        self._is_closed = False
        self._asked_at = 0.0
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True

    def check(self, link: GatewayLink, deadline: float) -> None:
        """Unavailable if there was no space a second ago."""
        with self._lock:
            if not self._is_closed:
                return
            now = time.monotonic()
            must_ask = now - self._asked_at > self._check_seconds
            self._asked_at = now if must_ask else self._asked_at
        if must_ask and not member_status(link, deadline).has_no_space:
            with self._lock:
                self._is_closed = False
            return
        raise Unavailable("etcd has no space: its quota is used up; compact, defragment, then disarm the alarm")


class EtcdLane:
    def __init__(
        self,
        name: str,
        link: GatewayLink,
        backlog: Backlog,
        key_prefix: str,
        shared: LaneShare,
        on_failure: OnFailure,
    ) -> None:
        self._link = link
        self._backlog = backlog
        self._key_prefix = key_prefix
        self._shared = shared
        self._on_failure = on_failure
        self._thread = guarded_thread(name, self._run, on_failure)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        while group := self._backlog.take():
            try:
                self._perform(group)
            except StoreFault as fault:
                _refuse(group, fault)
            except Exception as failure:  # nobody may wait for ever for what a lane cannot do
                _refuse(group, FateUnknown(f"the store has a fault of its own: {failure!r}"))
                self._on_failure(failure)
        self._link.close()

    def _perform(self, group: Sequence[Waiting]) -> None:
        match group[0]:
            case Question() as question:
                question.future.set_result(question.ask(self._link, question.deadline))
            case WaitingProposal():
                self._propose([waiting for waiting in group if isinstance(waiting, WaitingProposal)])

    def _propose(self, proposals: Sequence[WaitingProposal]) -> None:
        request = encode_request(txn_request(proposals, self._key_prefix))
        try:
            answer = self._write(request, proposals)
        except TooLarge:
            # An etcd from outside may take less than ours. Nothing was applied, and each of them may fit by itself.
            if len(proposals) == 1:
                raise
            middle = len(proposals) // 2
            self._perform_each(proposals[:middle], proposals[middle:])
            return
        self._shared.patience.succeeded()
        if answer.mark is not None:
            raise Unavailable(RESTORING)
        outcome = Outcome(answer.succeeded, answer.header.revision)
        with answered_together():
            for proposal in proposals:
                proposal.future.set_result(outcome)

    def _perform_each(self, *parts: Sequence[WaitingProposal]) -> None:
        for part in parts:
            try:
                self._propose(part)
            except StoreFault as fault:
                _refuse(part, fault)

    def _write(self, request: bytes, proposals: Sequence[WaitingProposal]) -> TxnAnswer:
        deadline = proposals[0].deadline
        needs_space = any(operation.value is not None for each in proposals for operation in each.operations)
        while True:
            try:
                if needs_space:
                    self._check_space(deadline)
                # Waiting for longer would only keep this lane from the leader that is elected meanwhile.
                until = min(deadline, time.monotonic() + self._link.settings.answer_ms_max / 1_000)
                return self._link.ask("/v3/kv/txn", request, TXN_ANSWER, until)
            except (NotSent, NoAnswer, Refusal) as trouble:
                if isinstance(trouble, Refusal) and trouble.sentence == NO_SPACE:
                    self._shared.space.close()
                fault = fault_of_write(trouble)
                if not isinstance(fault, Unavailable):
                    raise fault from None
                self._link.leave()
                if not self._shared.patience.allows_retry(time.monotonic(), deadline):
                    raise fault from None
                time.sleep(self._link.settings.retry_interval_ms / 1_000)

    def _check_space(self, deadline: float) -> None:
        try:
            self._shared.space.check(self._link, deadline)
        except (NoAnswer, Refusal) as trouble:
            raise NotSent(str(trouble)) from None  # what was asked was not the write


class LaneShare:
    """What all lanes of one store know together."""

    def __init__(self, settings: EtcdSettings) -> None:
        self.patience = ElectionPatience(settings)
        self.space = SpaceGate(settings)


def _refuse(group: Sequence[Waiting], fault: StoreFault) -> None:
    with answered_together():
        for waiting in group:
            if not waiting.future.done():
                waiting.future.set_exception(fault)


def txn_request(proposals: Sequence[WaitingProposal], key_prefix: str) -> dict[str, object]:
    """The one txn that does all of this, if no restore goes on."""
    request: dict[str, object] = {
        "success": [
            {"request_delete_range": {"key": (key_prefix + operation.key).encode()}}
            if operation.value is None
            else {"request_put": {"key": (key_prefix + operation.key).encode(), "value": operation.value}}
            for proposal in proposals
            for operation in proposal.operations
        ],
        "failure": [mark_question(key_prefix)],
    }
    request["compare"] = [mark_stands_at(key_prefix, 0)] + [
        {
            "key": (key_prefix + expectation.key).encode(),
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": expectation.index,
        }
        for expectation in proposals[0].expectations
    ]
    return request


def ask_patiently(link: GatewayLink, ask: Callable[[float], T], deadline: float) -> T:
    """For what changes nothing: at the next member if this one does not answer, until the deadline.

    A member that was stopped takes requests and answers none, so the first gets half of the time.
    """
    pause_seconds = link.settings.retry_interval_ms / 1_000
    while True:
        remaining = deadline - time.monotonic()
        try:
            return ask(min(deadline, time.monotonic() + max(remaining / 2, ASK_SECONDS_MIN)))
        except (NotSent, NoAnswer) as trouble:
            reason = str(trouble)
        except Refusal as refusal:
            if refusal.sentence == COMPACTED:
                raise
            reason = refusal.sentence
        link.leave()
        if time.monotonic() + pause_seconds >= deadline:
            raise Unavailable(reason)
        time.sleep(pause_seconds)
