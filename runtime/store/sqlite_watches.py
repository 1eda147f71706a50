"""Who watches the embedded engine, and who tells them: the writer those who are up to date, a thread all others.

A watch is a place in the log and no more, so a listener that is behind costs no memory: the newest changes are here,
within bounds, older ones are read from the file, and what is not even there any more ends the watch as ``Compacted``.
Both tell only what is next for a watch, and one at a time, so each change is told once and in order.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from actors.messages.store import StoredChange
from runtime.store.port import Compacted, StoreFault, Unavailable, WatchListener
from runtime.store.sqlite_settings import SqliteSettings
from runtime.store.sqlite_tables import Position
from runtime.store.threads import OnFailure, guarded_thread

ReadLog = Callable[[int, int], Sequence[StoredChange]]  # from this change on, at most so many


class LogWatch:
    """One watch. Its place belongs to who calls the listener; ``close`` is for everybody, also from within a call."""

    def __init__(self, prefix: str, from_index: int, listener: WatchListener) -> None:
        self.next_index = max(from_index, 1)
        self.due = 0.0  # not before this is anything done for it but tell changes
        self.retry_at = 0.0
        self._prefix = prefix
        self._told_index = -1
        self._listener = listener
        self._calling = threading.RLock()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        with self._calling:
            self._is_closed = True

    def is_behind(self, newest: int) -> bool:
        """There is something to tell, be it only that nothing else happened."""
        return self.next_index <= newest or self._told_index < self.next_index - 1 <= newest

    def next_look(self, newest: int) -> float:
        return self.retry_at if self.next_index <= newest else max(self.due, self.retry_at)

    def tell(self, changes: Sequence[StoredChange]) -> None:
        """All of the log from the first of these on; the listener gets its part. Nothing if they are not the next."""
        with self._calling:
            self._tell(changes)

    def tell_now(self, changes: Sequence[StoredChange]) -> None:
        """The same, but not while somebody else calls the listener."""
        if self._calling.acquire(blocking=False):
            try:
                self._tell(changes)
            finally:
                self._calling.release()

    def advance(self, due: float) -> None:
        with self._calling:
            self._told_index = self.next_index - 1
            self.due = due
            if not self._is_closed:
                self._listener.advanced(self._told_index)

    def fail(self, fault: StoreFault) -> None:
        with self._calling:
            if not self._is_closed:
                self._listener.failed(fault)
            if isinstance(fault, Compacted):
                self._is_closed = True

    def _tell(self, changes: Sequence[StoredChange]) -> None:
        if self._is_closed or changes[0].index != self.next_index:
            return
        own = [part for part in map(self._part, changes) if part is not None] if self._prefix else changes
        self._told_index = own[-1].index if own else self._told_index
        self.next_index = changes[-1].index + 1
        if own:
            self._listener.changed(own)

    def _part(self, change: StoredChange) -> StoredChange | None:
        operations = tuple(operation for operation in change.operations if operation.key.startswith(self._prefix))
        if len(operations) == len(change.operations):
            return change
        return StoredChange(change.index, operations) if operations else None


class WatchHub:
    """The newest changes and all watches."""

    def __init__(
        self,
        read_log: ReadLog,
        position: Position,
        settings: SqliteSettings,
        on_failure: OnFailure,
    ) -> None:
        self._read_log = read_log
        self._settings = settings
        self._changed = threading.Condition()
        self._newest, self._oldest = position
        self._recent: deque[StoredChange] = deque()
        self._recent_bytes = 0
        self._watches: list[LogWatch] = []
        self._is_closed = False
        self._thread = guarded_thread("store-watches", self._run, on_failure)
        self._thread.start()

    def watch(self, prefix: str, from_index: int, listener: WatchListener) -> LogWatch:
        watch = LogWatch(prefix, from_index, listener)
        with self._changed:
            if self._is_closed:
                raise Unavailable("the store is closed")
            self._watches = [known for known in self._watches if not known.is_closed]
            if len(self._watches) >= self._settings.watches_max:
                raise Unavailable(f"the store has {self._settings.watches_max} watches already")
            self._watches = [watch, *self._watches]  # other nodes, which come after this one, have the longer way
            self._changed.notify()
        return watch

    def committed(self, changes: Sequence[StoredChange], position: Position) -> None:
        """From the writer, in order and without a gap, before anybody is answered."""
        with self._changed:
            self._newest, self._oldest = position
            for change in changes:
                self._recent.append(change)
                self._recent_bytes += _size_bytes(change)
            self._forget_oldest()

    def tell(self, changes: Sequence[StoredChange]) -> None:
        """From the writer: what it has just committed, to all who know everything before it. The others get it from the
        log, by the thread of the hub."""
        if 0 < len(changes) <= self._settings.tell_changes_max and not self._is_closed:
            for watch in self._watches:  # a list that is never changed, only replaced
                watch.tell_now(changes)
        with self._changed:
            if any(watch.is_behind(self._newest) for watch in self._watches):
                self._changed.notify()

    def _forget_oldest(self) -> None:
        changes_max, bytes_max = self._settings.recent_changes_max, self._settings.recent_bytes_max
        while self._recent and (len(self._recent) > changes_max or self._recent_bytes > bytes_max):
            self._recent_bytes -= _size_bytes(self._recent.popleft())

    def close(self) -> None:
        """No call begins any more; one that does not end is not waited for."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(self._settings.close_ms_max / 1_000)

    def _run(self) -> None:
        while (watches := self._next()) is not None:
            for watch in watches:
                if not self._is_closed:
                    self._serve(watch)

    def _next(self) -> list[LogWatch] | None:
        """Those for whom something is to be done now; None at the end."""
        with self._changed:
            while not self._is_closed:
                self._watches = [watch for watch in self._watches if not watch.is_closed]
                behind = [watch for watch in self._watches if watch.is_behind(self._newest)]
                now = time.monotonic()
                ready = [watch for watch in behind if watch.next_look(self._newest) <= now]
                if ready:
                    return ready
                first = min((watch.next_look(self._newest) for watch in behind), default=None)
                self._changed.wait(None if first is None else first - now)
            return None

    def _serve(self, watch: LogWatch) -> None:
        now = time.monotonic()
        with self._changed:
            newest, oldest = self._newest, self._oldest
            changes: Sequence[StoredChange] | None = self._from_memory(watch.next_index)
        if watch.next_index < oldest:
            watch.fail(Compacted(oldest))
            return
        try:
            if changes is None:
                changes = self._read_log(watch.next_index, self._settings.tell_changes_max)
        except (sqlite3.Error, StoreFault) as error:
            watch.retry_at = now + self._settings.retry_interval_ms / 1_000
            watch.fail(Unavailable(f"the log of the store cannot be read: {error}"))
            return
        if (
            changes and changes[0].index == watch.next_index
        ):  # else the log has just been compacted: the next look says so
            watch.tell(changes)
        elif not changes and watch.next_look(newest) <= now:
            watch.advance(now + self._settings.advance_interval_ms / 1_000)

    def _from_memory(self, first: int) -> list[StoredChange] | None:
        """The changes from here on, at most so many; None if they are in the file only."""
        if first > self._newest:
            return []
        place = first - self._recent[0].index if self._recent else -1
        if place < 0:
            return None
        end = min(place + self._settings.tell_changes_max, len(self._recent))
        return [self._recent[number] for number in range(place, end)]


def _size_bytes(change: StoredChange) -> int:
    return sum(len(operation.key) + len(operation.value or b"") for operation in change.operations)
