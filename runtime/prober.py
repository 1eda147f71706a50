"""The one thread that connects to persistent instances: what was ordered goes out, what came of it comes back.

A TCP probe is a connection that stands; an HTTP probe also sends one GET and reads the status of the answer, no more.
Redirects are answers like any other. Connections are reset when they are done with: thousands a second would otherwise
linger in the tables of this machine for a minute each, and a server that is only looked at has nothing to say.
"""

from __future__ import annotations

import errno
import re
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from actors.base import Role
from actors.health_checker import HealthSettings
from actors.messages.health import InstanceProbe, Outcome, ProbeResult, ProbesDone, ProbesOrdered
from actors.probe_schedule import outcome_of_status
from actors.probe_targets import networks_of
from runtime.clock import system_now
from runtime.inbox import WakingInbox
from runtime.name_book import Found, NameBook, NameFound

BATCH_MAX = 64  # connections begun in one go; by the time the last has left, those within this machine stand
WAIT_MS_MAX = 1_000
STOP_SECONDS_MAX = 2.0
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # l_onoff, l_linger
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
_STANDS = frozenset({0, errno.EISCONN})
# Of this machine, not of the instance.
_OWN_TROUBLE = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        *(errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM),
    }
)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


class ProberStopOrdered:
    """Close everything; probes under way are not answered any more."""


class _Attempt:
    """One probe with a connection of its own."""

    __slots__ = ("address", "answer", "begun_ms", "deadline_ms", "probe", "socket", "unsent")

    def __init__(
        self, probe: InstanceProbe, connection: socket.socket, address: tuple[str, int], begun_ms: int
    ) -> None:
        self.probe = probe
        self.socket = connection
        self.address = address
        self.begun_ms = begun_ms
        self.deadline_ms = 0
        self.unsent = probe.request
        self.answer = b""


class _Parked(NamedTuple):
    """Probes of one name, until the system says where that is."""

    probes: list[InstanceProbe]
    until_ms: int


class ProberThread:
    """``start``, ``put`` what is for Role.PROBER, ``close``."""

    def __init__(self, settings: HealthSettings, connections_max: int) -> None:
        self._settings = settings
        self._connections_max = min(connections_max, settings.probes_in_flight_max)
        self._inbox = WakingInbox()
        self.put = self._inbox.put  # what HealthChecker tells ``Role.PROBER``; from any thread
        self._is_stopped = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inbox.wake_end, selectors.EVENT_READ)
        self._waiting: deque[InstanceProbe] = deque()  # ordered, without a connection yet
        self._attempts: dict[int, _Attempt] = {}  # watched by the selector, earliest deadline first
        self._parked: dict[str, _Parked] = {}
        self._results: list[ProbeResult] = []
        self._names = NameBook(
            networks_of(settings.networks),
            names_max=settings.names_max,
            waiting_max=settings.names_waiting_max,
            memory_ms=settings.name_memory_ms,
            tell=self.put,
        )

    def start(self, tell: Callable[[Role, Any], None], fail: Callable[[str, BaseException], None]) -> None:
        """``tell`` puts a message into an actor's mailbox; ``fail`` ends the process."""
        self._tell = tell
        self._fail = fail
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and every connection, and return when it is done."""
        self.put(ProberStopOrdered())
        self._thread.join(timeout=STOP_SECONDS_MAX)
        self._inbox.close()

    # -- rounds

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._round()
        except BaseException as failure:
            self._fail("prober", failure)
        finally:
            self._names.close()
            for attempt in self._attempts.values():
                attempt.socket.close()
            self._selector.close()

    def _round(self) -> None:
        ready = self._selector.select(self._patience_seconds())
        now_ms = system_now().monotonic_ms
        for key, _ in ready:
            if key.data is None:
                self._inbox.take_byte()
            else:
                self._continue(key.data, now_ms)
        self._take_inbox(now_ms)
        self._expire(now_ms)
        while self._waiting and len(self._attempts) < self._connections_max and not self._is_stopped:
            self._begin_batch(now_ms)
            now_ms = system_now().monotonic_ms
        if self._results:
            results, self._results = tuple(self._results), []
            self._tell(Role.HEALTH, ProbesDone(results))

    def _patience_seconds(self) -> float:
        """Nothing waits for a place here: the round before has filled every one of them."""
        if not self._inbox.may_sleep():
            return 0.0
        now_ms = system_now().monotonic_ms
        first = next(iter(self._attempts.values()), None)
        due_ms = min((parked.until_ms for parked in self._parked.values()), default=now_ms + WAIT_MS_MAX)
        if first is not None:
            due_ms = min(due_ms, first.deadline_ms)
        return max(0, due_ms - now_ms) / 1_000

    def _take_inbox(self, now_ms: int) -> None:
        self._inbox.awake()
        while self._inbox.messages:
            message = self._inbox.messages.popleft()
            match message:
                case ProbesOrdered():
                    self._waiting.extend(message.probes)
                case NameFound():
                    self._names.learn(message, now_ms)
                    parked = self._parked.pop(message.host, None)
                    self._waiting.extend(parked.probes if parked is not None else ())
                case ProberStopOrdered():
                    self._is_stopped = True
                case _:
                    raise TypeError(f"the prober is not told {type(message).__name__}")

    def _expire(self, now_ms: int) -> None:
        late = []
        for attempt in self._attempts.values():
            if attempt.deadline_ms > now_ms:
                break
            late.append(attempt)
        for attempt in late:
            self._end(attempt, "busy", now_ms)
        for host in [host for host, parked in self._parked.items() if parked.until_ms <= now_ms]:
            self._results += [ProbeResult(probe.number, "void", 0) for probe in self._parked.pop(host).probes]

    # -- one probe after the other

    def _begin_batch(self, now_ms: int) -> None:
        """Connections within one machine or a fast network stand at the second look, and need no selector."""
        room = min(BATCH_MAX, self._connections_max - len(self._attempts), len(self._waiting))
        begun = [self._begin(self._waiting.popleft(), now_ms) for _ in range(room)]
        for attempt in begun:
            if attempt is not None:
                self._look_again(attempt)

    def _begin(self, probe: InstanceProbe, now_ms: int) -> _Attempt | None:
        found = self._names.find(probe.host, now_ms)
        if found is None:
            until_ms = now_ms + self._settings.name_timeout_ms
            self._parked.setdefault(probe.host, _Parked([], until_ms)).probes.append(probe)
            return None
        if found.outcome != "ok":
            self._results.append(ProbeResult(probe.number, found.outcome, 0))
            return None
        return self._connect(probe, found, now_ms)

    def _connect(self, probe: InstanceProbe, found: Found, now_ms: int) -> _Attempt | None:
        try:
            connection = socket.socket(found.family, socket.SOCK_STREAM)
        except OSError as error:
            self._results.append(ProbeResult(probe.number, _outcome_of(error.errno), 0))
            return None
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        attempt = _Attempt(probe, connection, (found.address, probe.port), now_ms)
        code = connection.connect_ex(attempt.address)
        if code in _STANDS or code in _UNDER_WAY:
            return attempt
        self._end(attempt, _outcome_of(code), now_ms)
        return None

    def _look_again(self, attempt: _Attempt) -> None:
        """Connect once more: that says how far the first has come."""
        code = attempt.socket.connect_ex(attempt.address)
        if code in _STANDS and not attempt.unsent:
            self._end(attempt, "ok", system_now().monotonic_ms)
        elif code in _STANDS or code in _UNDER_WAY:
            self._watch(attempt, selectors.EVENT_WRITE, attempt.begun_ms)
        else:
            self._end(attempt, _outcome_of(code), system_now().monotonic_ms)

    def _watch(self, attempt: _Attempt, events: int, since_ms: int) -> None:
        """Each stage has the whole time-out, so the one that began last ends last."""
        descriptor = attempt.socket.fileno()
        if self._attempts.pop(descriptor, None) is None:
            self._selector.register(attempt.socket, events, attempt)
        else:
            self._selector.modify(attempt.socket, events, attempt)
        attempt.deadline_ms = since_ms + self._settings.probe_timeout_ms
        self._attempts[descriptor] = attempt

    def _continue(self, attempt: _Attempt, now_ms: int) -> None:
        """Its connection can be written to or read from, or has failed."""
        try:
            if attempt.unsent or not attempt.probe.request:
                self._write(attempt, now_ms)
            else:
                self._read(attempt, now_ms)
        except BlockingIOError:
            return  # the selector says so when it is worth another try
        except OSError as error:
            self._end(attempt, _outcome_of(error.errno), now_ms)

    def _write(self, attempt: _Attempt, now_ms: int) -> None:
        code = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(attempt, _outcome_of(code), now_ms)
        elif not attempt.probe.request:
            self._end(attempt, "ok", now_ms)
        else:
            attempt.unsent = attempt.unsent[attempt.socket.send(attempt.unsent) :]
            if not attempt.unsent:
                self._watch(attempt, selectors.EVENT_READ, now_ms)

    def _read(self, attempt: _Attempt, now_ms: int) -> None:
        room = self._settings.answer_bytes_max - len(attempt.answer)
        received = attempt.socket.recv(room)
        attempt.answer += received
        found = _STATUS_LINE.match(attempt.answer)
        if found is not None:
            status = int(found.group(1))
            self._end(attempt, outcome_of_status(status, attempt.probe.expected_status), now_ms)
        elif not received or len(received) == room or b"\n" in attempt.answer:
            self._end(attempt, "error", now_ms)

    def _end(self, attempt: _Attempt, outcome: Outcome, now_ms: int) -> None:
        if self._attempts.pop(attempt.socket.fileno(), None) is not None:
            self._selector.unregister(attempt.socket)
        attempt.socket.close()
        self._results.append(ProbeResult(attempt.probe.number, outcome, now_ms - attempt.begun_ms))


def _outcome_of(code: int | None) -> Outcome:
    """What the system says of a connection that did not come about, or broke."""
    if code == errno.ECONNREFUSED:
        return "refused"
    if code == errno.ETIMEDOUT:
        return "busy"
    return "void" if code in _OWN_TROUBLE else "error"
