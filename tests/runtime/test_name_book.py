"""What is remembered of host names: for how long, of how many, and how many may wait for the system."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from actors.probe_targets import networks_of
from runtime.name_book import Found, NameBook, NameFound

OK = Found("ok", socket.AF_INET, "10.0.0.1")
SECONDS = 10.0


class NameBench:
    """A real book; the system answers when the test lets it."""

    def __init__(self, **limits: int) -> None:
        self.told: SimpleQueue[NameFound] = SimpleQueue()
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        limits = {"names_max": 100, "waiting_max": 100, "memory_ms": 1_000, **limits}
        self.book = NameBook(networks_of(["10.0.0.0/8"]), tell=self.told.put, **limits)

    def answer(self, host: str, *_: object, **__: object) -> list[Any]:
        self.asked.append(host)
        self.may_answer.wait(SECONDS)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0))]

    def learn(self, host: str, now_ms: int = 0) -> None:
        """As the system says some time after it was asked."""
        assert self.book.find(host, now_ms) is None
        self.may_answer.set()
        told = self.told.get(timeout=SECONDS)
        assert told == NameFound(host, OK)
        self.book.learn(told, now_ms)


Make = Callable[..., NameBench]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[NameBench] = []

    def bench(**limits: int) -> NameBench:
        made.append(NameBench(**limits))
        monkeypatch.setattr(socket, "getaddrinfo", made[-1].answer)
        return made[-1]

    yield bench
    for each in made:
        each.may_answer.set()
        each.book.close()


def test_an_address_needs_no_name_server(make: Make) -> None:
    bench = make()
    assert bench.book.find("10.0.0.1", 0) == OK
    assert bench.book.find("8.8.8.8", 0) == Found("forbidden")
    assert bench.asked == []


def test_a_name_is_asked_for_once_however_many_wait_for_it(make: Make) -> None:
    bench = make()
    assert bench.book.find("db", 0) is None
    bench.learn("db", 5)
    assert bench.asked == ["db"]


def test_what_a_name_stands_for_is_remembered_and_then_asked_for_again(make: Make) -> None:
    bench = make(memory_ms=1_000)
    bench.learn("db", 5)
    assert bench.book.find("db", 1_004) == OK
    bench.learn("db", 1_005)
    assert bench.asked == ["db", "db"]
    assert bench.book.find("db", 2_004) == OK


def test_no_more_names_wait_than_allowed_and_one_that_came_makes_room(make: Make) -> None:
    bench = make(waiting_max=2)
    assert [bench.book.find(host, 0) for host in ("a", "b", "c")] == [None, None, Found("void")]
    assert bench.book.find("a", 0) is None, "it waits already"
    bench.book.learn(NameFound("a", OK), 0)
    assert bench.book.find("c", 0) is None


def test_no_more_names_are_remembered_than_allowed_and_the_oldest_goes(make: Make) -> None:
    bench = make(names_max=2, waiting_max=1)
    for host in ("a", "b", "c"):
        bench.learn(host)
    assert (bench.book.find("b", 0), bench.book.find("c", 0)) == (OK, OK)
    assert bench.book.find("a", 0) is None


def test_a_name_that_is_learned_anew_is_the_youngest(make: Make) -> None:
    bench = make(names_max=3)
    for host, now_ms in (("a", 0), ("b", 0), ("a", 1_000), ("c", 1_000), ("d", 1_000)):
        bench.learn(host, now_ms)
    assert [bench.book.find(host, 1_500) for host in ("a", "c", "d")] == [OK] * 3
