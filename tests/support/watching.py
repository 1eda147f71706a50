"""Watching what nodes say while things happen to them: lists by question, and lists by push."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

from rollbook import Difference, Instance, InstanceList, NamingClient
from rollbook.errors import RollbookError
from tests.support.real_cluster import RealNode, until

_LOOK_S = 0.01
_COMPLETE_S = 10.0
_GAPS_MAX = 20  # kept of one watch: the first tell how it began


class Observer:
    """Asks one node, again and again, what it lists."""

    def __init__(self, node: RealNode, service: str) -> None:
        self.node = node
        self.service = service
        self._client = NamingClient(servers=[node.client_address], app="observer", timeout=1.0)

    def answer(self) -> InstanceList:
        return self._client.get_all_instances(self.service, subscribe=False)

    def listed(self) -> list[Instance]:
        return list(self.answer())

    def count(self) -> int:
        return len(self.answer())

    def is_guarded(self) -> bool:
        return self.answer().guarded

    def close(self) -> None:
        self._client.close()


def names_of(instances: Iterable[Instance]) -> frozenset[str]:
    return frozenset(f"{instance.ip}:{instance.port}" for instance in instances)


class Gap(NamedTuple):
    """One answer that lacked something."""

    node: str  # its client address
    after_s: float  # since the watch began
    answer: int  # which one of this node since it last gave none; the first is 1
    flags: tuple[str, ...]  # what the answer said of itself
    listed: int
    missing: tuple[str, ...]  # of all that was known when the watch began, or listed in it


class Watch(NamedTuple):
    missing: int  # instances missing from an answer, summed over all answers
    answers: int
    gaps: tuple[Gap, ...]  # the first of them; none if nothing was ever missing


class Watcher:
    """Counts, in a thread of its own, what is missing from the answers of nodes that answer at all."""

    def __init__(self, nodes: Sequence[RealNode], service: str, expected: int, known: Iterable[str] = ()) -> None:
        self._observers = [Observer(node, service) for node in nodes]
        self._expected = expected
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._missing = self.answers = 0
        self._in_a_row = [0] * len(nodes)  # answers of each node since it last gave none
        self._known = set(known)
        self._gaps: list[tuple[Gap, frozenset[str]]] = []  # each with what was listed
        self._began_s = time.monotonic()
        self._thread.start()

    def stop(self) -> Watch:
        self._stopped.set()
        self._thread.join()
        for observer in self._observers:
            observer.close()
        gaps = tuple(gap._replace(missing=tuple(sorted(self._known - listed))) for gap, listed in self._gaps)
        return Watch(self._missing, self.answers, gaps)

    def _run(self) -> None:
        while not self._stopped.is_set():
            for number in range(len(self._observers)):
                self._look(number)
            self._stopped.wait(_LOOK_S)

    def _look(self, number: int) -> None:
        observer = self._observers[number]
        try:
            answer = observer.answer()
        except RollbookError:
            self._in_a_row[number] = 0
            return  # not up, or not ready: it gives no answer, so it can give no wrong one
        self.answers += 1
        self._in_a_row[number] += 1
        listed = names_of(answer)
        self._known |= listed
        if len(answer) < self._expected:
            self._missing += self._expected - len(answer)
            self._note_gap(number, answer, listed)

    def _note_gap(self, number: int, answer: InstanceList, listed: frozenset[str]) -> None:
        if len(self._gaps) < _GAPS_MAX:
            flags = tuple(flag for flag in ("stale", "warming", "preserved", "guarded") if getattr(answer, flag))
            after_s = round(time.monotonic() - self._began_s, 3)
            address = self._observers[number].node.client_address
            self._gaps.append((Gap(address, after_s, self._in_a_row[number], flags, len(answer), ()), listed))


def watch_complete(nodes: Sequence[RealNode], service: str, expected: int) -> Watcher:
    """A watch that begins when all nodes list all. An acknowledged instance is listed by the node that acknowledged it,
    and by the others a moment later: a watcher that is faster finds missing what nobody has lost."""
    with ExitStack() as stack:
        observers = [stack.enter_context(closing(Observer(node, service))) for node in nodes]
        until(lambda: all(observer.count() == expected for observer in observers), _COMPLETE_S, "all nodes list all")
        known = names_of(observers[0].listed())
    return Watcher(nodes, service, expected, known)


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
