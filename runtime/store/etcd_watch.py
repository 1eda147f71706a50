"""A watch in etcd: one thread and one connection, which moves to another member and goes on where it was.

It follows all keys of its cluster and leaves out what its prefix does not have: so what happens elsewhere says how far
the log is. etcd does not say that a watch cannot begin at the very revision it has compacted to, although a deletion
there may be gone. So a watch asks for one revision more than it wants, and lets that one fall.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from actors.messages.store import Operation, StoredChange
from runtime.store.etcd_gateway import (
    WATCH_LINE,
    GatewayLink,
    KeyEvent,
    NoAnswer,
    NotSent,
    Refusal,
    WatchAnswer,
    encode_request,
)
from runtime.store.port import Compacted, StoreFault, Unavailable, WatchListener
from runtime.store.threads import OnFailure, guarded_thread


class EtcdWatch:
    """``key_range`` bounds the keys as etcd knows them; ``plain_key`` makes the key of the port from one."""

    def __init__(
        self,
        link: GatewayLink,
        key_range: tuple[bytes, bytes],
        prefix: str,
        from_index: int,
        listener: WatchListener,
        plain_key: Callable[[bytes], str],
        on_failure: OnFailure,
    ) -> None:
        self._link = link
        self._first, self._end = key_range
        self._prefix = prefix
        self._next_index = max(from_index, 1)
        self._listener = listener
        self._plain_key = plain_key
        self._pending: list[KeyEvent] = []  # of fragments: a revision may go on in the next
        self._cluster_id = ""
        self._is_troubled = self._is_confirmed = False
        self._calls = threading.RLock()
        self._closed = threading.Event()
        self._heard_at = time.monotonic()
        self._thread = guarded_thread("etcd-watch", self._run, on_failure)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._calls:
            self._closed.set()
        self._link.interrupt()
        if threading.current_thread() is not self._thread:
            self._thread.join((self._link.settings.watch_open_ms_max + self._link.settings.watch_pause_ms_max) / 1_000)

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def quiet_endpoint(self, now: float, quiet_seconds: float) -> str:
        """The member that has been silent for so long, also to one who comes back to it; "" if there is none.

        Opened again a watch does not wait for that: whoever listens has no news before there are any, and knows no
        sooner that it is followed.
        """
        is_opened_again = not self._is_confirmed and not self._is_troubled
        return self._link.endpoint if is_opened_again or now - self._heard_at > quiet_seconds else ""

    def confirm(self, endpoint: str, index: int, asked_at: float) -> None:
        """This member works, and etcd was at this index after ``asked_at``: if that is how far we are, say so."""
        with self._calls:
            if self._closed.is_set() or self._is_troubled or endpoint != self._link.endpoint:
                return
            self._heard_at = max(self._heard_at, asked_at)
            self._is_confirmed = True
            if index == self._next_index - 1 and not self._pending:
                self._listener.advanced(index)

    def doubt(self, endpoint: str) -> None:
        """This member does not answer: what it has not sent, another will."""
        if endpoint == self._link.endpoint:
            self._link.interrupt()

    def _run(self) -> None:
        try:
            self._live()
        finally:
            self._closed.set()
            self._link.close()

    def _live(self) -> None:
        settings = self._link.settings
        pause_ms = settings.retry_interval_ms
        while not self._closed.is_set():
            index_before = self._next_index
            try:
                self._follow()
            except Compacted as fault:
                self._tell_failed(fault)
                self._closed.set()
            except Unavailable as fault:
                self._link.leave()
                self._is_confirmed = False
                if not self._is_troubled:
                    self._is_troubled = True
                    self._tell_failed(fault)
                progressed = self._next_index > index_before
                pause_ms = settings.retry_interval_ms if progressed else min(2 * pause_ms, settings.watch_pause_ms_max)
                self._closed.wait(pause_ms / 1_000)

    def _follow(self) -> None:
        """Until it ends, which it says by a fault."""
        self._pending.clear()
        response = self._opened()
        while not self._closed.is_set():
            self._take_line(self._next_line(response))

    def _opened(self) -> http.client.HTTPResponse:
        deadline = time.monotonic() + self._link.settings.watch_open_ms_max / 1_000
        try:
            return self._link.stream("/v3/watch", self._request(), deadline)
        except (NotSent, NoAnswer, Refusal) as error:
            raise self._lost(error) from None

    def _next_line(self, response: http.client.HTTPResponse) -> bytes:
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from None
        if not line:
            raise Unavailable(f"{self._link.endpoint} ended the watch")
        self._heard_at = time.monotonic()
        return line

    def _lost(self, error: Exception) -> Unavailable:
        return Unavailable(f"the watch at {self._link.endpoint} was lost: {error}")

    def _request(self) -> bytes:
        create = {
            "key": self._first,
            "range_end": self._end,
            "start_revision": max(self._next_index - 1, 1),
            "progress_notify": True,
            "fragment": True,
        }
        return encode_request({"create_request": create})

    def _take_line(self, line: bytes) -> None:
        try:
            message = WATCH_LINE.decode(line)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self._link.endpoint} does not answer as etcd does: {error}") from None
        if message.result is None:
            reason = message.error.message if message.error is not None else "nothing"
            self._link.forget_token()
            raise Unavailable(f"{self._link.endpoint} ended the watch: {reason}")
        self._take_answer(message.result)

    def _take_answer(self, answer: WatchAnswer) -> None:
        if answer.compact_revision:
            raise Compacted(answer.compact_revision + 1)
        if answer.canceled:
            self._link.forget_token()
            raise Unavailable(f"{self._link.endpoint} ended the watch: {answer.cancel_reason}")
        if answer.created:
            self._check_cluster(answer.header.cluster_id)
            self._is_troubled = False
        elif answer.events:
            self._take_events(answer.events, is_whole=not answer.fragment)
        elif answer.header.revision >= self._next_index:
            # Progress: etcd sends it in order with the events, and only once all of them were sent.
            index = answer.header.revision
            self._call(lambda: self._listener.advanced(index), index + 1)

    def _check_cluster(self, cluster_id: str) -> None:
        """The numbers of one etcd mean nothing in another: never take an empty new one for the old one."""
        if self._cluster_id and cluster_id != self._cluster_id:
            raise Unavailable(f"{self._link.endpoint} is another etcd than the one this watch began in")
        self._cluster_id = cluster_id

    def _take_events(self, events: Sequence[KeyEvent], *, is_whole: bool) -> None:
        self._pending += events
        changes = changes_of(self._pending, self._plain_key)
        if not is_whole:
            newest = changes.pop().index
            self._pending = [event for event in self._pending if event.kv.mod_revision == newest]
        else:
            self._pending.clear()
        if changes and changes[-1].index >= self._next_index:
            news = [change for change in changes if change.index >= self._next_index]
            self._call(lambda: self._tell_news(news), news[-1].index + 1)

    def _tell_news(self, news: Sequence[StoredChange]) -> None:
        wanted = [change for each in news if (change := within(each, self._prefix)).operations]
        if wanted:
            self._listener.changed(wanted)
        if not wanted or wanted[-1].index < news[-1].index:
            self._listener.advanced(news[-1].index)

    def _tell_failed(self, fault: StoreFault) -> None:
        self._call(lambda: self._listener.failed(fault), self._next_index)

    def _call(self, call: Callable[[], None], next_index: int) -> None:
        with self._calls:
            if not self._closed.is_set():
                self._next_index = next_index
                call()


def changes_of(events: Sequence[KeyEvent], plain_key: Callable[[bytes], str]) -> list[StoredChange]:
    """One change per revision, in their order."""
    by_index: dict[int, list[Operation]] = {}
    for event in events:
        value = None if event.type == "DELETE" else event.kv.value
        by_index.setdefault(event.kv.mod_revision, []).append(Operation(plain_key(event.kv.key), value))
    return [
        StoredChange(index, tuple(sorted(operations, key=lambda operation: operation.key)))
        for index, operations in sorted(by_index.items())
    ]


def within(change: StoredChange, prefix: str) -> StoredChange:
    """Without what lies outside, or is no row."""
    inside = tuple(each for each in change.operations if each.key.startswith(prefix) and not each.key.startswith("\0"))
    return change if len(inside) == len(change.operations) else StoredChange(change.index, inside)
