"""The background thread of one client: it feeds the pure session and performs what that orders.

User threads hand in orders and wait for their futures; everything else happens here. If this thread ever failed, every
call would be told so instead of waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, assert_never

from rollbook.errors import ClusterUnreachable, RollbookError
from rollbook.orders import (
    Action,
    CallBody,
    Called,
    CloseOrdered,
    Connect,
    Deliver,
    Disconnect,
    Ended,
    Forget,
    Input,
    Moment,
    Reject,
    Report,
    Resolve,
    Send,
    SessionsChanged,
    Ticked,
)
from rollbook.session import ClientSession
from rollbook.transport import Transport

Listener = Callable[[Deliver | Forget | SessionsChanged | Ended], None]

GRACE_S = 1.0  # the session answers at the deadline; only a thread that gets no time at all needs more

log = logging.getLogger("rollbook")


def now() -> Moment:
    return Moment(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


class Engine:
    """One life of a client: from its first call to its close."""

    def __init__(self, session: ClientSession, listener: Listener) -> None:
        self._session = session
        self._listener = listener
        self._transport = Transport()
        self._lock = threading.Lock()  # guards what user threads touch: the inbox, the futures, the end
        self._inbox: deque[Input] = deque()
        self._futures: dict[int, Future[Any]] = {}
        self._calls = 0
        self._error: RollbookError | None = None  # why no call can be taken any more
        self._thread = threading.Thread(target=self._run, name="rollbook-client", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call(self, body: CallBody, timeout_s: float) -> Any:
        """Hand in an order and wait for what becomes of it; raises what the session says."""
        deadline_ms = now().monotonic_ms + int(timeout_s * 1000)
        return self._wait(lambda call: Called(call, body, deadline_ms), timeout_s)

    def close(self, timeout_s: float) -> None:
        """Withdraw, say goodbye, end the thread; bounded."""
        deadline_ms = now().monotonic_ms + int(timeout_s * 1000)
        try:
            self._wait(lambda call: CloseOrdered(call, deadline_ms), timeout_s)
        except RollbookError as error:
            log.debug("nothing left to close: %s", error)
        self._thread.join(timeout_s + GRACE_S)

    def abandon_in_child(self) -> None:
        """After a fork, in the child: this engine's thread lives in the parent alone."""
        self._transport.abandon_in_child()

    def _wait(self, order: Callable[[int], Input], timeout_s: float) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            if self._error is not None:
                raise type(self._error)(self._error.message)
            self._calls += 1
            call = self._calls
            self._futures[call] = future
            self._inbox.append(order(call))
        self._transport.wake()
        try:
            return future.result(timeout_s + GRACE_S)
        except FutureTimeout:
            with self._lock:
                self._futures.pop(call, None)
            if future.done():
                return future.result()
            raise ClusterUnreachable("the client's own thread got no time to answer") from None

    def _run(self) -> None:
        try:
            while self._error is None:
                self._turn()
        except BaseException as error:
            log.exception("the client's thread failed")
            self._finish(RollbookError(f"the client's thread failed: {error!r}"))
        finally:
            self._finish(RollbookError("the client's thread has ended"))
            self._transport.close()

    def _turn(self) -> None:
        """What has arrived, then the users' orders, and only then the clock."""
        wake_at_ms = self._session.wake_at_ms()
        wait_ms = None if wake_at_ms is None else max(0, wake_at_ms - now().monotonic_ms)
        arrived = self._transport.poll(wait_ms)
        with self._lock:
            arrived += self._inbox
            self._inbox.clear()
        moment = now()
        for event in arrived:
            self._perform(self._session.handle(event, moment))
        wake_at_ms = self._session.wake_at_ms()
        if wake_at_ms is not None and wake_at_ms <= moment.monotonic_ms:
            self._perform(self._session.handle(Ticked(), moment))

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._transport.send(action.connection, action.payload)
                case Connect():
                    self._transport.connect(action.connection, action.server)
                case Disconnect():
                    self._transport.disconnect(action.connection)
                case Resolve():
                    self._resolve(action)
                case Reject():
                    self._reject(action)
                case Report():
                    log.log(logging.getLevelNamesMapping()[action.level], action.text)
                case Deliver() | Forget() | SessionsChanged():
                    self._listener(action)
                case Ended():
                    self._listener(action)
                    self._finish(action.error)
                case _:
                    assert_never(action)

    def _resolve(self, action: Resolve) -> None:
        future = self._future(action.call)
        if future is not None:
            future.set_result(action.value)

    def _reject(self, action: Reject) -> None:
        future = self._future(action.call)
        if future is not None:
            future.set_exception(action.error)

    def _future(self, call: int) -> Future[Any] | None:
        """Each is settled once. None if the caller has given up."""
        with self._lock:
            return self._futures.pop(call, None)

    def _finish(self, error: RollbookError) -> None:
        """From here on every call is refused; those that wait are told."""
        with self._lock:
            self._error = self._error or error
            futures = list(self._futures.values())
            self._futures.clear()
        for future in futures:
            future.set_exception(type(error)(error.message))
