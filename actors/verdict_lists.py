"""What this node says of the instances that it probes, by service and shard, and when each list is told.

Pure data; HealthChecker owns the one instance. A list holds every instance whose verdict has ever differed from what is
stored, with its verdict either way. A change is told at once, but for two things. What another node has taken over is
still said for a while, until its word is everywhere. And nothing is told of a list while this node has yet to learn the
last word on an instance of it: the new list would take the place of one that an earlier life of this node has left.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.messages.health import VerdictList
from actors.verdicts import Verdict, fitting
from rollbook.model import InstanceKey, Service


class ListKey(NamedTuple):
    shard: int
    service: Service


class _Statement(NamedTuple):
    healthy: bool
    stored: bool
    until_ms: int = 0  # of what another node probes by now; 0: this one does


class VerdictLists:
    def __init__(self, handover_ms: int) -> None:
        self._handover_ms = handover_ms
        self._lists: dict[ListKey, dict[InstanceKey, _Statement]] = {}
        self._told: dict[ListKey, tuple[Verdict, ...]] = {}  # no empty ones
        self._changed: set[ListKey] = set()
        self._awaited: dict[ListKey, int] = {}  # instances on which the last word is not known
        self._ends_ms: dict[ListKey, int] = {}  # when the next handover of a list is over

    @property
    def is_pending(self) -> bool:
        return bool(self._changed or self._ends_ms)

    @property
    def unsaid(self) -> int:
        """Statements that wait, or that no record has room for."""
        stated = sum(len(statements) for statements in self._lists.values())
        return stated - sum(len(verdicts) for place, verdicts in self._told.items() if place in self._lists)

    def states(self, place: ListKey, key: InstanceKey) -> bool:
        return key in self._lists.get(place, ())

    def await_word(self, place: ListKey) -> None:
        """This node begins to probe an instance of the list, and has asked what was said of it before."""
        self._awaited[place] = self._awaited.get(place, 0) + 1

    def word_found(self, place: ListKey) -> None:
        """Or it does not matter any more."""
        self._awaited[place] -= 1
        if not self._awaited[place]:
            del self._awaited[place]

    def state(self, place: ListKey, key: InstanceKey, healthy: bool, stored: bool) -> None:
        self._lists.setdefault(place, {})[key] = _Statement(healthy, stored)
        self._changed.add(place)

    def hand_over(self, place: ListKey, key: InstanceKey, now_ms: int) -> None:
        """Another node probes it from now on, and begins with what is said here."""
        if self.states(place, key):
            until_ms = now_ms + self._handover_ms
            self._lists[place][key] = self._lists[place][key]._replace(until_ms=until_ms)
            self._ends_ms.setdefault(place, until_ms)

    def withdraw(self, place: ListKey, key: InstanceKey) -> None:
        """Nothing is said of it any more."""
        if not self.states(place, key):
            return
        del self._lists[place][key]
        if not self._lists[place]:
            del self._lists[place]
        self._changed.add(place)

    def take_due(self, now_ms: int) -> tuple[VerdictList, ...]:
        """What has to be told now, in order; a list that says the same as before is not told."""
        for place in [place for place, end_ms in self._ends_ms.items() if end_ms <= now_ms]:
            self._end_handovers(place, now_ms)
        news = []
        for place in sorted(self._changed - self._awaited.keys()):
            self._changed.remove(place)
            verdicts = self._fitting(place)
            if verdicts != self._told.get(place, ()):
                news.append(VerdictList(place.shard, place.service, verdicts))
                self._keep(place, verdicts)
        return tuple(news)

    def check_invariants(self) -> None:
        assert all(self._lists.values()), "a list is kept without statements"
        assert all(self._told.values()), "an empty list is remembered"
        assert all(count > 0 for count in self._awaited.values())
        assert self._lists.keys() ^ self._told.keys() <= self._changed, "a list would never be told"
        for place, statements in self._lists.items():
            ends_ms = [statement.until_ms for statement in statements.values() if statement.until_ms]
            assert not ends_ms or self._ends_ms[place] <= min(ends_ms), "a handover would never be over"

    def _end_handovers(self, place: ListKey, now_ms: int) -> None:
        del self._ends_ms[place]
        leaving = [(entry.until_ms, key) for key, entry in self._lists.get(place, {}).items() if entry.until_ms]
        for until_ms, key in leaving:
            if until_ms <= now_ms:
                self.withdraw(place, key)
            else:
                self._ends_ms[place] = min(until_ms, self._ends_ms.get(place, until_ms))

    def _fitting(self, place: ListKey) -> tuple[Verdict, ...]:
        statements = self._lists.get(place, {})
        return fitting(
            {key: statement.healthy for key, statement in statements.items()},
            {key: statement.stored for key, statement in statements.items()},
        )

    def _keep(self, place: ListKey, verdicts: tuple[Verdict, ...]) -> None:
        if verdicts:
            self._told[place] = verdicts
        else:
            del self._told[place]
