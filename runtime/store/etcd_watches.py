"""All watches of one store, and the thread that asks the member of a quiet one whether it still follows the others.

A member that is stopped, or cut off from its peers, keeps its connections and says nothing: its watches would be quiet
for ever. One that answers a linearizable read works; and if the index it answers is the one its watch has reached,
then nothing has happened, which the listener is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from runtime.store.etcd_gateway import GatewayLink, NoAnswer, NotSent, Refusal
from runtime.store.etcd_settings import EtcdSettings
from runtime.store.etcd_watch import EtcdWatch
from runtime.store.port import Unavailable
from runtime.store.threads import OnFailure, guarded_thread


class EtcdWatches:
    def __init__(
        self,
        link_to: Callable[[str], GatewayLink],
        newest_index: Callable[[GatewayLink, float], int],
        settings: EtcdSettings,
        on_failure: OnFailure,
    ) -> None:
        self._link_to = link_to
        self._newest_index = newest_index
        self._settings = settings
        self._links: dict[str, GatewayLink] = {}
        self._watches: list[EtcdWatch] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = guarded_thread("etcd-watches", self._run, on_failure)

    def start(self) -> None:
        self._thread.start()

    def add(self, watch: EtcdWatch) -> None:
        with self._lock:
            if self._closed.is_set():
                raise Unavailable("the store is closed")
            self._watches = [known for known in self._watches if not known.is_closed]
            if len(self._watches) >= self._settings.watches_max:
                raise Unavailable(f"the store has {self._settings.watches_max} watches already")
            self._watches.append(watch)
            watch.start()

    def close(self) -> None:
        with self._lock:
            self._closed.set()
        for watch in self._watches:
            watch.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._look_after()
        finally:
            for link in self._links.values():
                link.close()

    def _look_after(self) -> None:
        silence_seconds = self._settings.watch_silence_ms / 1_000
        while not self._closed.wait(self._settings.watch_check_interval_ms / 1_000):
            now = time.monotonic()
            with self._lock:
                watches = list(self._watches)
            quiet = [(watch, watch.quiet_endpoint(now, silence_seconds)) for watch in watches if not watch.is_closed]
            for endpoint in sorted({endpoint for _, endpoint in quiet if endpoint}):
                self._check(endpoint, [watch for watch, its_endpoint in quiet if its_endpoint == endpoint])

    def _check(self, endpoint: str, watches: list[EtcdWatch]) -> None:
        asked_at = time.monotonic()
        link = self._links.get(endpoint) or self._links.setdefault(endpoint, self._link_to(endpoint))
        try:
            index = self._newest_index(link, asked_at + self._settings.answer_ms_max / 1_000)
        except (NotSent, NoAnswer, Refusal, Unavailable):
            for watch in watches:
                watch.doubt(endpoint)
        else:
            for watch in watches:
                watch.confirm(endpoint, index, asked_at)
