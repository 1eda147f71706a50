"""The store port before the embedded engine: who is told what, and that late words of one flow belong to no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from actors.base import Role
from actors.messages.store import (
    NOTHING,
    ChangesSeen,
    Cut,
    CutTaken,
    Expectation,
    FollowEnded,
    FollowOrdered,
    Operation,
    Outcome,
    Proposal,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    StoreSilent,
)
from runtime.store.port import KEY_BYTES_MAX, OPERATIONS_MAX, FateUnknown, Unavailable
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite_settings import SqliteSettings
from runtime.store.together import answered_together
from runtime.store_port import StorePort, StoreSettings
from tests.support.settings import settings_of

SECONDS = 20.0


class PortBench:
    """The port, a store on a disk, and everything that was told, in order."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.told: list[tuple[Role, Any]] = []
        self.failures: list[BaseException] = []
        self._changed = threading.Condition()
        self._timers: list[threading.Timer] = []
        self.port = StorePort(store, settings_of("store", StoreSettings, read_retry_ms=20))
        self.port.start(self._tell, self._call_after, lambda _, failure: self.failures.append(failure))

    def put(self, number: int, *operations: Operation, expected: tuple[Expectation, ...] = (), asker: str = "") -> Any:
        self.port.put(ProposalsMade((Proposal(number, operations, expected),), asker))
        return self.wait_for_settled(number)

    def wait_for_settled(self, number: int) -> ProposalSettled:
        def has_it(message: object) -> bool:
            return isinstance(message, ProposalsSettled) and any(each.number == number for each in message.settled)

        message: ProposalsSettled = self.wait_for(has_it)
        return next(each for each in message.settled if each.number == number)

    def write(self, key: str) -> int:
        outcome = self.store.propose((Operation(key, b"v"),), timeout_seconds=SECONDS).result(SECONDS)
        return outcome.index

    def wait_for(self, is_it: Callable[[Any], bool]) -> Any:
        found: list[Any] = []

        def look() -> bool:
            found[:] = [message for _, message in self.told if is_it(message)]
            return bool(found)

        with self._changed:
            assert self._changed.wait_for(look, SECONDS), self.told[-5:]
        return found[-1]

    def wait_for_index(self, index: int, follower: str = "") -> Any:
        return self.wait_for(
            lambda message: isinstance(message, ChangesSeen) and message.follower == follower and message.index >= index
        )

    def end(self) -> None:
        self.port.close()
        for timer in self._timers:
            timer.cancel()
            timer.join()

    def _tell(self, role: Role, message: Any) -> None:
        with self._changed:
            self.told.append((role, message))
            self._changed.notify_all()

    def _call_after(self, delay_ms: int, call: Callable[[], None]) -> None:
        timer = threading.Timer(delay_ms / 1_000, call)
        self._timers.append(timer)
        timer.start()


class WaitingStore:
    """Answers nothing by itself."""

    identity = "waiting"

    def __init__(self) -> None:
        self.futures: list[Future[Outcome]] = []

    def propose(self, *_: object, timeout_seconds: float) -> Future[Outcome]:
        self.futures.append(Future())
        return self.futures[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[PortBench]:
    failures: list[BaseException] = []
    store = SqliteStore.open(tmp_path, settings_of("sqlite", SqliteSettings), failures.append)
    made = PortBench(store)
    yield made
    made.end()
    store.close()
    assert failures == made.failures == []


def test_a_proposal_is_answered_with_what_became_of_it(bench: PortBench) -> None:
    done = bench.put(1, Operation("a", b"1"))
    assert (done.outcome.applied, done.fault) == (True, "")
    refused = bench.put(2, Operation("a", b"2"), expected=(Expectation("a", done.outcome.index + 5),))
    assert refused.outcome.applied is False
    assert [role for role, _ in bench.told] == [Role.PERSISTENT, Role.PERSISTENT]


def test_an_answer_goes_to_whoever_asked(bench: PortBench) -> None:
    bench.put(1, Operation("a", b"1"), asker="link")
    assert [(role, message.asker) for role, message in bench.told] == [(Role.HOME, "link")]


def test_what_is_answered_together_is_told_once_to_each_who_asked() -> None:
    store, told = WaitingStore(), list[ProposalsSettled]()
    port = StorePort(store, settings_of("store", StoreSettings))  # type: ignore[arg-type]
    port.start(lambda _, message: told.append(message), lambda *_: None, lambda *_: None)
    for number, asker in enumerate(("", "link", "", "link"), 1):
        port.put(ProposalsMade((Proposal(number, (Operation("a", b"1"),)),), asker))
    with answered_together():
        for future in store.futures[:3]:
            future.set_result(Outcome(True, 5))
        store.futures[3].set_exception(FateUnknown("lost"))
        assert told == []
    assert [(message.asker, [each.number for each in message.settled]) for message in told] == [
        ("", [1, 3]),
        ("link", [2, 4]),
    ]
    assert [each.fault for message in told for each in message.settled] == ["", "", "", "unknown"]


def test_what_no_engine_takes_is_answered_too(bench: PortBench) -> None:
    assert bench.put(1, Operation("a" * (KEY_BYTES_MAX + 1), b"1")).fault == "too_large"
    assert bench.put(2).fault == "too_large", "nothing to do at all"
    assert bench.put(3, Operation("\0a", b"1"), asker="link").fault == "too_large", "an engine keeps its own there"
    assert bench.put(4, Operation("a", b"1"), expected=(Expectation("\0a", 0),), asker="link").fault == "too_large"
    many = tuple(Expectation(f"k{number}", 0) for number in range(OPERATIONS_MAX + 1))
    assert bench.put(5, Operation("a", b"1"), expected=many, asker="link").fault == "too_large"
    assert bench.put(6, Operation("a", b"1"), asker="link").fault == "", "and the next has its turn"


def test_a_closed_store_has_surely_not_written(bench: PortBench) -> None:
    bench.store.close()
    settled = bench.put(1, Operation("a", b"1"))
    assert (settled.outcome, settled.fault) == (None, "unavailable")


def test_who_begins_with_nothing_is_told_all_and_then_what_follows(bench: PortBench) -> None:
    first = bench.write("a")
    bench.port.put(FollowOrdered())
    cut = bench.wait_for(lambda message: isinstance(message, CutTaken))
    assert ([row.key for row in cut.cut.rows], cut.store) == (["a"], bench.store.identity)
    second = bench.write("b")
    bench.wait_for_index(second)
    seen = [change.index for _, each in bench.told if isinstance(each, ChangesSeen) for change in each.changes]
    assert seen == list(range(first + 1, second + 1))


def test_who_has_come_far_is_told_the_rest_only(bench: PortBench) -> None:
    first, second = bench.write("a"), bench.write("b")
    bench.port.put(FollowOrdered("x", first))
    seen = bench.wait_for_index(second, "x")
    assert [change.index for change in seen.changes] == [second]
    assert not any(isinstance(message, CutTaken) for _, message in bench.told)


def test_who_has_come_further_than_the_store_is_told_all(bench: PortBench) -> None:
    newest = bench.write("a")
    bench.port.put(FollowOrdered("x", newest + 1))
    assert bench.wait_for(lambda message: isinstance(message, CutTaken)).cut.index == newest


def test_who_asks_for_a_log_that_is_gone_is_told_all(bench: PortBench) -> None:
    newest = max(bench.write(f"k{number}") for number in range(5))
    bench.store.compact(newest - 1, timeout_seconds=SECONDS).result(SECONDS)
    bench.port.put(FollowOrdered("x", 1))
    assert len(bench.wait_for(lambda message: isinstance(message, CutTaken)).cut.rows) == 5
    bench.wait_for_index(bench.write("last"), "x")


def test_an_ended_flow_says_nothing_more(bench: PortBench) -> None:
    bench.port.put(FollowOrdered("x", NOTHING))
    bench.port.put(FollowOrdered("y", NOTHING))
    bench.wait_for_index(bench.write("a"), "x")
    bench.port.put(FollowEnded("x"))
    said = len([each for _, each in bench.told if each.follower == "x"])
    bench.wait_for_index(bench.write("b"), "y")
    assert len([each for _, each in bench.told if each.follower == "x"]) == said


def test_flows_that_begin_and_end_all_the_time_lose_nothing_and_leave_nothing(bench: PortBench) -> None:
    indices = []
    for number in range(60):
        indices.append(bench.write(f"k{number}"))
        bench.port.put(FollowOrdered(f"f{number}", indices[number // 2]))
        if number % 3:
            bench.port.put(FollowEnded(f"f{number}"))
    newest = bench.write("last")
    for number in range(0, 60, 3):
        bench.wait_for_index(newest, f"f{number}")
        told = [each for _, each in bench.told if each.follower == f"f{number}"]
        cuts = [each.cut.index for each in told if isinstance(each, CutTaken)]
        seen = [change.index for each in told if isinstance(each, ChangesSeen) for change in each.changes]
        assert seen == list(range(max(cuts, default=indices[number // 2]) + 1, newest + 1))


def test_a_read_that_fails_is_said_and_tried_again(bench: PortBench, monkeypatch: pytest.MonkeyPatch) -> None:
    read, asked = bench.store.read, []

    def failing_twice(prefix: str, *, linearizable: bool = True, timeout_seconds: float) -> Future[Cut]:
        asked.append(time.monotonic())
        if len(asked) > 2:
            return read(prefix, linearizable=linearizable, timeout_seconds=timeout_seconds)
        future: Future[Cut] = Future()
        future.set_exception(Unavailable("the disk is gone"))
        return future

    monkeypatch.setattr(bench.store, "read", failing_twice)
    bench.port.put(FollowOrdered())
    bench.wait_for(lambda message: isinstance(message, CutTaken))
    assert [type(message) for _, message in bench.told[:3]] == [StoreSilent, StoreSilent, CutTaken]


def test_a_watch_that_cannot_begin_is_said_and_tried_again(bench: PortBench, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, asked = bench.store.watch, []

    def failing_once(prefix: str, from_index: int, listener: Any) -> Any:
        asked.append(from_index)
        if len(asked) == 1:
            raise Unavailable("not now")
        return watch(prefix, from_index, listener)

    monkeypatch.setattr(bench.store, "watch", failing_once)
    first = bench.write("a")
    bench.port.put(FollowOrdered("x", first))
    bench.wait_for_index(bench.write("b"), "x")
    assert bench.told[0] == (Role.HOME, StoreSilent("not now", "x"))


def test_after_the_end_nothing_is_told(bench: PortBench) -> None:
    bench.port.put(FollowOrdered())
    bench.wait_for(lambda message: isinstance(message, CutTaken))
    bench.port.close()
    said = len(bench.told)
    bench.write("a")
    bench.store.close()
    assert len(bench.told) == said
