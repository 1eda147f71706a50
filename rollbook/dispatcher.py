"""Who wants to be called when a service changes, and the one thread that calls them.

Newest state wins: while a callback runs, what happens to a service in the meantime becomes one difference. So the queue
holds each service at most once. An exception in a callback is logged and costs nobody else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from rollbook.cache import InstanceList, Snapshot
from rollbook.model import Difference, Instance, Service, difference, filter_clusters

Callback = Callable[[InstanceList, Difference], Any]

log = logging.getLogger("rollbook")


class _Subscriber:
    def __init__(self, callback: Callback, clusters: frozenset[str]) -> None:
        self.callback = callback
        self.clusters = clusters
        self.shown: tuple[Instance, ...] = ()

    def matches(self, callback: Callback | None, clusters: frozenset[str]) -> bool:
        return callback is None or (self.callback == callback and self.clusters == clusters)


class Dispatcher:
    """Callbacks by service. Its thread starts with the first subscriber."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._subscribers: dict[Service, list[_Subscriber]] = {}
        self._snapshots: dict[Service, Snapshot] = {}
        self._waiting: dict[Service, None] = {}  # services with news, in order
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, service: Service, callback: Callback, clusters: frozenset[str]) -> None:
        """The same callback with the same clusters counts once. It is first called with all there is as added."""
        with self._lock:
            if self._closed:
                return
            subscribers = self._subscribers.setdefault(service, [])
            if not any(subscriber.matches(callback, clusters) for subscriber in subscribers):
                subscribers.append(_Subscriber(callback, clusters))
            self._note(service)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rollbook-callbacks", daemon=True)
                self._thread.start()

    def remove(self, service: Service, callback: Callback | None, clusters: frozenset[str]) -> bool:
        """No callback: all of the service. True if nobody is left."""
        with self._lock:
            subscribers = self._subscribers.get(service, [])
            left = [subscriber for subscriber in subscribers if not subscriber.matches(callback, clusters)]
            if left:
                self._subscribers[service] = left
            else:
                self._subscribers.pop(service, None)
            return not left

    def offer(self, snapshot: Snapshot) -> None:
        """The newest state of a service; whoever sees a difference is called."""
        with self._lock:
            self._snapshots[snapshot.service] = snapshot
            self._note(snapshot.service)

    def forget(self, service: Service) -> None:
        with self._lock:
            self._snapshots.pop(service, None)
            self._waiting.pop(service, None)

    def close(self, timeout_s: float) -> None:
        """No callback starts any more. A callback that runs is waited for, but not for ever."""
        with self._lock:
            self._closed = True
            self._subscribers.clear()
            self._waiting.clear()
            self._news.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _note(self, service: Service) -> None:
        if service in self._subscribers and service in self._snapshots:
            self._waiting[service] = None
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._news.wait()
                if self._closed:
                    return
                service = next(iter(self._waiting))
                del self._waiting[service]
                snapshot = self._snapshots[service]
                subscribers = tuple(self._subscribers.get(service, ()))
            for subscriber in subscribers:
                self._show(subscriber, snapshot)

    def _show(self, subscriber: _Subscriber, snapshot: Snapshot) -> None:
        instances = InstanceList(snapshot, filter_clusters(snapshot.instances, subscriber.clusters), stale=False)
        changes = difference(subscriber.shown, instances)
        with self._lock:
            is_wanted = subscriber in self._subscribers.get(snapshot.service, ())
        if changes.empty or not is_wanted:
            return
        subscriber.shown = tuple(instances)
        try:
            subscriber.callback(instances, changes)
        except Exception:
            log.exception("a callback for %s failed", snapshot.service.grouped_name)
