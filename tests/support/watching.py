"""Watching what nodes say while things happen to them: lists by question, and lists by push."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from rollbook import Difference, Instance, NamingClient
from rollbook.errors import RollbookError
from tests.support.real_cluster import RealNode

_LOOK_S = 0.01


class Observer:
    """Asks one node, again and again, what it lists."""

    def __init__(self, node: RealNode, service: str) -> None:
        self.node = node
        self.service = service
        self._client = NamingClient(servers=[node.client_address], app="observer", timeout=1.0)

    def listed(self) -> list[Instance]:
        return list(self._client.get_all_instances(self.service, subscribe=False))

    def count(self) -> int:
        return len(self.listed())

    def is_guarded(self) -> bool:
        return self._client.get_all_instances(self.service, subscribe=False).guarded

    def close(self) -> None:
        self._client.close()


class Watch(NamedTuple):
    missing: int  # instances missing from an answer, summed over all answers
    answers: int
    empty: int  # answers without any instance


class Watcher:
    """Counts, in a thread of its own, what is missing from the answers of nodes that answer at all."""

    def __init__(self, nodes: Sequence[RealNode], service: str, expected: int) -> None:
        self._observers = [Observer(node, service) for node in nodes]
        self._expected = expected
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._missing = self._answers = self._empty = 0
        self._thread.start()

    def stop(self) -> Watch:
        self._stopped.set()
        self._thread.join()
        for observer in self._observers:
            observer.close()
        return Watch(self._missing, self._answers, self._empty)

    def _run(self) -> None:
        while not self._stopped.is_set():
            for observer in self._observers:
                self._look(observer)
            self._stopped.wait(_LOOK_S)

    def _look(self, observer: Observer) -> None:
        try:
            count = observer.count()
        except RollbookError:
            return  # not up, or not ready: it gives no answer, so it can give no wrong one
        self._answers += 1
        self._missing += max(0, self._expected - count)
        self._empty += count == 0


class PushWatcher:
    """A subscriber of the whole cluster that remembers the shortest list it was ever pushed after it was complete."""

    def __init__(self, servers: list[str], service: str, expected: int) -> None:
        self._expected = expected
        self._complete = threading.Event()
        self.shortest = expected
        self.pushes = 0
        self._client = NamingClient(servers=servers, app="push-watcher", timeout=5.0)
        self._client.subscribe(service, self._on_change)

    def wait_complete(self, deadline_s: float) -> None:
        assert self._complete.wait(deadline_s), f"not {self._expected} instances within {deadline_s:g} s"

    def close(self) -> None:
        self._client.close()

    def _on_change(self, instances: Sequence[Instance], _difference: Difference) -> None:
        self.pushes += 1
        if self._complete.is_set():
            self.shortest = min(self.shortest, len(instances))
        elif len(instances) == self._expected:
            self._complete.set()
