"""One connection of a session: its frames, its window of requests in flight, and whether the node behind it lives.

Pure bookkeeping. What the answers mean is the business of session.py and agenda.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from rollbook import wire
from rollbook.orders import Send
from rollbook.patience import LinkSettings
from rollbook.wire import Tag

TAGS: dict[type[Any], Tag] = {kind: Tag(tag) for tag, kind in wire.REQUESTS.items()}


class Stage(Enum):
    """How far a connection has come."""

    DIALLING = "dialling"
    OPENING = "opening"
    SERVING = "serving"


class Verdict(Enum):
    """What a look at the clock says of the node behind a link."""

    FINE = "fine"
    ASK = "worth a ping"
    SILENT = "silent"
    ANSWER_LOST = "never answered a request"


class Request:
    """One frame that wants an answer. ``redo`` ones fill a new session with what the client wants."""

    __slots__ = ("body", "calls", "change", "redo", "repeats", "sent_ms")

    def __init__(self, body: Any, calls: list[int], *, redo: bool = False, change: int = 0) -> None:
        self.body = body
        self.calls = calls  # whom the answer resolves
        self.redo = redo
        self.change = change  # number in the table of publications
        self.repeats = 0  # in this session, after answers that left its outcome open
        self.sent_ms = 0


class Link:
    """A connection, from the dial to its end."""

    def __init__(self, connection: int, server: str, session: int, deadline_ms: int, settings: LinkSettings) -> None:
        self.connection = connection
        self.server = server
        self.session = session
        self.deadline_ms = deadline_ms  # of dialling, then of opening
        self.stage = Stage.DIALLING
        self.stale_answers = 0
        self.opened_ms = 0
        self.paused_until_ms = 0  # after OVER_LIMIT
        self.queue: deque[Request] = deque()
        self.in_flight: dict[int, Request] = {}  # by correlation, oldest first
        self.redo_open = 0
        self._settings = settings
        self._put_off: list[tuple[int, int, Request]] = []  # by when each returns to the queue
        self._puts_off = 0
        self._correlations = 0
        self._window = 1
        self._heard_ms = 0
        self._pinged_ms: int | None = None
        self._check_at_ms = 0

    def serve(self, requests_in_flight_max: int, now_ms: int) -> None:
        """The session is open."""
        self.stage = Stage.SERVING
        self.opened_ms = self._heard_ms = now_ms
        self._window = max(1, requests_in_flight_max - self._settings.window_reserve)

    def tell(self, body: Any) -> Send:
        """A frame that wants no answer."""
        return self._frame(0, body)

    def ask(self, request: Request, now_ms: int) -> Send:
        """A frame that wants one, in flight until it comes. What cannot be encoded raises and changes nothing."""
        frame = self._frame(self._correlations + 1, request.body)
        self._correlations += 1
        request.sent_ms = now_ms
        if not self.in_flight:
            self._check_at_ms = now_ms + self._settings.check_ms
        self.in_flight[self._correlations] = request
        return frame

    def fill(self, requests: Iterable[Request]) -> None:
        """These are to be sent, in the place of whatever waited."""
        self.queue = deque(requests)
        self._put_off.clear()

    def put_off(self, request: Request, until_ms: int) -> None:
        self._puts_off += 1
        heapq.heappush(self._put_off, (until_ms, self._puts_off, request))

    def sendable(self, now_ms: int) -> Iterator[Request]:
        """What may leave now, in order."""
        while self._put_off and self._put_off[0][0] <= now_ms:
            self.queue.append(heapq.heappop(self._put_off)[2])
        while self.queue and len(self.in_flight) < self._window and now_ms >= self.paused_until_ms:
            yield self.queue.popleft()

    def heard(self, now_ms: int) -> None:
        self._heard_ms = now_ms
        self._pinged_ms = None

    def pinged(self, now_ms: int) -> None:
        self._pinged_ms = now_ms

    @property
    def is_pinged(self) -> bool:
        return self._pinged_ms is not None

    def excuse(self, now_ms: int) -> None:
        """This process itself stood still: nothing that happened meanwhile speaks against the node."""
        self._heard_ms = now_ms
        self._pinged_ms = None
        for request in self.in_flight.values():
            request.sent_ms = now_ms

    def verdict(self, now_ms: int) -> Verdict:
        """Time has passed: is the node still there?"""
        slowest_ms = self._slowest_ms(now_ms)
        if self._pinged_ms is not None:
            return Verdict.SILENT if now_ms - self._pinged_ms >= self._settings.pong_ms else Verdict.FINE
        if slowest_ms >= 2 * self._settings.answer_ms:
            return Verdict.ANSWER_LOST
        doubtful = slowest_ms >= self._settings.answer_ms or now_ms - self._heard_ms >= self._settings.idle_ms
        return Verdict.ASK if doubtful else Verdict.FINE

    def wake_at_ms(self) -> int:
        """When time alone can change something here."""
        if self.stage is not Stage.SERVING:
            return self.deadline_ms
        at_ms = self._heard_ms + self._settings.idle_ms
        if self._pinged_ms is not None:
            at_ms = self._pinged_ms + self._settings.pong_ms
        if self.in_flight:
            at_ms = min(at_ms, self._check_at_ms)
        if self.queue and len(self.in_flight) < self._window:
            at_ms = min(at_ms, self.paused_until_ms)
        if self._put_off:
            at_ms = min(at_ms, self._put_off[0][0])
        return at_ms

    def _slowest_ms(self, now_ms: int) -> int:
        """How long the slowest answer takes by now, looked up at the rhythm of ``check_ms``."""
        if not self.in_flight or now_ms < self._check_at_ms:
            return 0
        self._check_at_ms = now_ms + self._settings.check_ms
        return max(now_ms - request.sent_ms - _own_wait_ms(request.body) for request in self.in_flight.values())

    def _frame(self, correlation: int, body: Any) -> Send:
        return Send(self.connection, wire.encode(TAGS[type(body)], correlation, self.session, body))


def _own_wait_ms(body: Any) -> int:
    """The node may rightly hold an answer back for this long."""
    wait_ms: int = getattr(body, "wait_ms", 0)
    return wait_ms
