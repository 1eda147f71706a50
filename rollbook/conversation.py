"""What is asked on the connection that serves, and what becomes of an answer: more to ask, the same again, or nothing.

The agenda says what is wanted; a link says how much may be in flight. What a node has no room for, and what it cannot
say the outcome of, is said again after a pause: the first holds up the whole link, the second only that one order.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rollbook.agenda import Agenda
from rollbook.errors import Code, RollbookError
from rollbook.link import Link, Request, Verdict
from rollbook.orders import Action, Chance, Moment
from rollbook.patience import SessionSettings, growing_pause_ms
from rollbook.wire import Failed, Ping


class Conversation:
    """It appends what is to be sent to ``actions``, which it shares with its session."""

    def __init__(self, actions: list[Action], agenda: Agenda, chance: Chance, settings: SessionSettings) -> None:
        self._actions = actions
        self._agenda = agenda
        self._chance = chance
        self._settings = settings

    def begin(self, link: Link, now: Moment) -> None:
        """All that a new session needs, in the place of whatever waited here."""
        requests = self._agenda.redo()
        link.redo_open = sum(request.redo for request in requests)
        link.fill(requests)
        self.go_on(link, now)

    def say(self, link: Link, request: Request, now: Moment) -> None:
        link.queue.append(request)
        self.go_on(link, now)

    def go_on(self, link: Link, now: Moment) -> None:
        """Send what may leave now and is still wanted."""
        for request in link.sendable(now.monotonic_ms):
            if self._agenda.is_wanted(request):
                self._ask(link, request, now)

    def ping(self, link: Link, now: Moment) -> None:
        """Beyond the window: its reserve is for this."""
        self._ask(link, Request(Ping(), []), now)
        link.pinged(now.monotonic_ms)

    def watch(self, link: Link, now: Moment) -> str:
        """Time has passed: a pause may be over. Returns why the node behind the link is given up; empty: it is not."""
        self.go_on(link, now)
        verdict = link.verdict(now.monotonic_ms)
        if verdict is Verdict.ASK:
            self.ping(link, now)
        return "" if verdict in (Verdict.FINE, Verdict.ASK) else verdict.value

    def expire(self, link: Link | None, now: Moment, error: Callable[[], RollbookError]) -> None:
        """Callers whose time is over are told so; the node that has let them wait is asked whether it is there."""
        expired = self._agenda.expire(now.monotonic_ms, error)
        if expired and link is not None and not link.is_pinged:
            self.ping(link, now)

    def done(self, link: Link, request: Request, now: Moment) -> None:
        """It needs no more; others may leave now."""
        link.redo_open -= request.redo
        self.go_on(link, now)

    def refused(self, link: Link, request: Request, failed: Failed, now: Moment) -> None:
        if failed.code == Code.OVER_LIMIT and failed.retryable:
            pause_ms = self._settings.overload_pause_ms
            link.paused_until_ms = now.monotonic_ms + self._chance.randint(pause_ms // 2, pause_ms)
            successor = self._agenda.again(request)
        else:
            successor = self._agenda.refused(request, failed)
        if successor is not None:
            link.redo_open += successor.redo
            if failed.code == Code.OUTCOME_UNKNOWN:
                self._put_off(link, successor, now)
            else:
                link.queue.appendleft(successor)
        self.done(link, request, now)

    def _put_off(self, link: Link, request: Request, now: Moment) -> None:
        """The store has trouble, and so has everybody else who writes to it."""
        request.repeats += 1
        least_ms, most_ms = self._settings.repeat_pause_ms_min, self._settings.repeat_pause_ms_max
        pause_ms = growing_pause_ms(request.repeats, least_ms, most_ms, self._chance)
        link.put_off(request, now.monotonic_ms + pause_ms)

    def _ask(self, link: Link, request: Request, now: Moment) -> None:
        deadline_ms = self._agenda.deadline_of(request)
        if getattr(request.body, "wait", "node") != "node" and deadline_ms is not None:
            wait_ms = max(1, deadline_ms - now.monotonic_ms - self._settings.cluster_wait_margin_ms)
            request.body = msgspec.structs.replace(request.body, wait_ms=wait_ms)
        self._actions.append(link.ask(request, now.monotonic_ms))
        self._agenda.sent(request)
