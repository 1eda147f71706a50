"""Every engine against a naive twin: a dictionary, and the list of all that happened to it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from actors.messages.store import Expectation, Operation, Row, StoredChange
from tests.store.engines import NAMES, make_engine
from tests.store.etcd_engine import SharedEtcd
from tests.store.listening import SECONDS, RememberingListener, newest

EXAMPLES = {"etcd": 6, "sqlite": 25}  # each of 30 steps; a kill of etcd takes half a second
KEYS = ["a", "a/1", "a/2", "a/é", "b", "b/1"]
keys = st.sampled_from(KEYS)
prefixes = st.sampled_from(["", "a", "a/", "b/", "c"])
operations = st.lists(
    st.builds(Operation, keys, st.one_of(st.none(), st.binary(max_size=3))),
    min_size=1,
    max_size=4,
    unique_by=lambda operation: operation.key,
)
# Which row is expected, and how far from the truth.
expectations = st.lists(st.tuples(keys, st.sampled_from([0, 0, 0, 1, -1])), max_size=2, unique_by=lambda each: each[0])


class StoreTwin(RuleBasedStateMachine):
    engine_name = ""
    shared: SharedEtcd

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._engine = make_engine(self.engine_name, Path(self._folder.name), self.shared)
        self._store = self._engine.open()
        self._first = newest(self._store) + 1
        self._oldest = self._first
        self._index = self._first - 1
        self._rows: dict[str, Row] = {}
        self._log: list[StoredChange] = []
        self._watches: list[tuple[str, int, RememberingListener]] = []

    @rule(proposed=operations, expected=expectations)
    def propose(self, proposed: list[Operation], expected: list[tuple[str, int]]) -> None:
        wanted = [Expectation(key, max(0, self._written(key) + offset)) for key, offset in expected]
        outcome = self._store.propose(proposed, wanted, timeout_seconds=SECONDS).result(SECONDS)
        assert outcome.applied == all(self._written(each.key) == each.index for each in wanted)
        done = [each for each in proposed if each.value is not None or each.key in self._rows]
        if not (outcome.applied and done):
            assert outcome.index >= self._index
            return
        assert outcome.index > self._index
        self._index = outcome.index
        for operation in done:
            if operation.value is None:
                del self._rows[operation.key]
            else:
                self._rows[operation.key] = Row(operation.key, operation.value, outcome.index)
        self._log.append(StoredChange(outcome.index, tuple(sorted(done, key=lambda each: each.key))))

    @rule(prefix=prefixes, linearizable=st.booleans())
    def read(self, prefix: str, linearizable: bool) -> None:
        cut = self._store.read(prefix, linearizable=linearizable, timeout_seconds=SECONDS).result(SECONDS)
        if linearizable or cut.index >= self._index:
            assert list(cut.rows) == [self._rows[key] for key in sorted(self._rows) if key.startswith(prefix)]
            assert cut.index >= self._index

    @rule(prefix=prefixes, back=st.integers(0, 6))
    def watch(self, prefix: str, back: int) -> None:
        start = max(self._oldest, self._index + 1 - back)
        listener = RememberingListener()
        self._store.watch(prefix, start, listener)
        self._watches.append((prefix, start, listener))

    @rule()
    def look_at_snapshot(self) -> None:
        assert list(self._store.snapshot()) == [self._rows[key] for key in sorted(self._rows)]

    @rule(back=st.integers(0, 4))
    def compact(self, back: int) -> None:
        self._check_watches()  # one that is behind may be told that it is too late
        index = self._index - back
        if index >= self._oldest:
            self._store.compact(index, timeout_seconds=SECONDS).result(SECONDS)
            self._oldest = index + 1

    @rule(is_kill=st.booleans())
    def live_again(self, is_kill: bool) -> None:
        self._check_watches()
        if is_kill:
            self._engine.kill()
            self._store = self._engine.open()
        else:
            self._store = self._engine.reopen()
        self._watches.clear()
        assert newest(self._store) >= self._index

    def teardown(self) -> None:
        if hasattr(self, "_engine"):
            try:
                self._check_watches()
            finally:
                self._engine.close()
                self._folder.cleanup()

    def _written(self, key: str) -> int:
        return self._rows[key].index if key in self._rows else 0

    def _check_watches(self) -> None:
        for prefix, start, listener in self._watches:
            parts = [(change.index, _part(change, prefix)) for change in self._log if change.index >= start]
            expected = [StoredChange(index, part) for index, part in parts if part]
            if expected:
                listener.wait_for_index(expected[-1].index)
            assert listener.changes == expected
            assert listener.faults == []


def _part(change: StoredChange, prefix: str) -> tuple[Operation, ...]:
    return tuple(operation for operation in change.operations if operation.key.startswith(prefix))


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_and_its_twin_cannot_be_told_apart(name: str, shared_etcd: SharedEtcd) -> None:
    machine: Any = type(f"StoreTwinOf{name}", (StoreTwin,), {"engine_name": name, "shared": shared_etcd})
    examples = EXAMPLES[name]
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30))
    assert machine.engine_name == name
