"""What tests of stores share: short calls, and a listener that remembers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from actors.messages.store import Expectation, Operation, Outcome, StoredChange
from runtime.store.port import Compacted, Store, StoreFault

SECONDS = 20.0


def begin(store: Store, *expectations: Expectation, **values: bytes | None) -> Future[Outcome]:
    operations = [Operation(key, value) for key, value in values.items()]
    return store.propose(operations, expectations, timeout_seconds=SECONDS)


def write(store: Store, *expectations: Expectation, **values: bytes | None) -> Outcome:
    return begin(store, *expectations, **values).result(SECONDS)


def values_of(store: Store, prefix: str = "") -> dict[str, bytes]:
    return {row.key: row.value for row in store.read(prefix, timeout_seconds=SECONDS).result(SECONDS).rows}


def newest(store: Store) -> int:
    return store.barrier(timeout_seconds=SECONDS).result(SECONDS)


class RememberingListener:
    def __init__(self) -> None:
        self.changes: list[StoredChange] = []
        self.advances: list[int] = []
        self.faults: list[StoreFault] = []
        self.threads: set[int] = set()
        self.calls_at_once = 0  # at most
        self._calls = 0
        self.gate = threading.Event()  # calls wait until it is set
        self.gate.set()
        self._called = threading.Condition()

    def changed(self, changes: Sequence[StoredChange]) -> None:
        self._remember(lambda: self.changes.extend(changes))

    def advanced(self, index: int) -> None:
        self._remember(lambda: self.advances.append(index))

    def failed(self, fault: StoreFault) -> None:
        self._remember(lambda: self.faults.append(fault))

    def wait_for(self, what: Callable[[RememberingListener], object]) -> None:
        with self._called:
            assert self._called.wait_for(lambda: what(self), SECONDS), (self.changes[-3:], self.advances, self.faults)

    def wait_for_index(self, index: int) -> list[StoredChange]:
        """All that was told, once the change of this index was."""
        self.wait_for(lambda found: found.changes and found.changes[-1].index >= index)
        return self.changes

    def wait_for_compacted(self) -> Compacted:
        self.wait_for(lambda found: found.faults)
        fault = self.faults[0]
        assert isinstance(fault, Compacted)
        return fault

    def _remember(self, what: Callable[[], None]) -> None:
        with self._called:
            self._calls += 1
            self.calls_at_once = max(self.calls_at_once, self._calls)
        self.gate.wait(SECONDS)
        with self._called:
            self._calls -= 1
            self.threads.add(threading.get_ident())
            what()
            self._called.notify_all()
