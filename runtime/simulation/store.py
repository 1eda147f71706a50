"""A store for durable data in the simulation, and the store port that stands between it and the actors of one node.

``SimStore`` is what survives: rows, and the log of changes from an index on. It is kept by one machine (a file) or by
none (an etcd beside the cluster). ``SimStorePort`` belongs to one life of one node. A proposal takes time until it is
on disk; whoever dies before leaves it to chance whether it was written. An etcd may lose sight of a proposal, say
that the outcome is unknown, and write it much later or never.

Everything that is left to chance here is drawn from chance of its own: clusters without durable data run as ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from actors.base import Role
from actors.messages.store import (
    NOTHING,
    ChangesSeen,
    Cut,
    CutTaken,
    FollowEnded,
    FollowOrdered,
    Operation,
    Outcome,
    Proposal,
    ProposalSettled,
    ProposalsMade,
    ProposalsSettled,
    Row,
    StoredChange,
    StoreSilent,
)
from runtime.simulation.scheduler import Scheduler, SimStage

COMMIT_US = (200, 1_500)  # an fsync
NEWS_US = (50, 2_000)  # until a watch tells
READ_US = (500, 20_000)
PROGRESS_US = 1_000_000  # how often an idle watch says that it is one
REFUSED_US = 1_000
LATE_US = 8_000_000  # how much later something may be written of which nobody knew


class SimStore:
    """Rows and a log. ``is_shared``: an etcd that nodes reach over a network of its own."""

    def __init__(self, chance: random.Random, *, is_shared: bool) -> None:
        self.store_id = f"{chance.getrandbits(64):016x}"
        self.is_shared = is_shared
        self.chance = chance
        self.rows: dict[str, Row] = {}
        self.log: list[StoredChange] = []
        self.index = 0
        self.oldest_index = 1  # a watch can begin at this one or later
        self.is_available = True
        self.is_full = False  # reads go on
        self.commit_us = COMMIT_US
        self.doubt_share = 0.0  # of the proposals: nobody learns what becomes of them
        self.on_change: dict[int, Callable[[], None]] = {}  # by the port that wants to know
        self._listeners = 0

    def write(self, proposal: Proposal) -> Outcome:
        """All of it or nothing, now."""
        for expectation in proposal.expectations:
            row = self.rows.get(expectation.key)
            if (0 if row is None else row.index) != expectation.index:
                return Outcome(False, self.index)
        changing = tuple(
            operation
            for operation in sorted(proposal.operations, key=lambda each: each.key)
            if operation.value is not None or operation.key in self.rows
        )
        if changing:
            self.index += 1
            self.log.append(StoredChange(self.index, changing))
            for operation in changing:
                self._put(operation)
            for wake in tuple(self.on_change.values()):
                wake()
        return Outcome(True, self.index)

    def cut(self) -> Cut:
        return Cut(tuple(self.rows[key] for key in sorted(self.rows)), self.index)

    def since(self, after: int) -> Sequence[StoredChange] | None:
        """None if the log begins later."""
        if after + 1 < self.oldest_index:
            return None
        return self.log[after + 1 - self.oldest_index :]

    def compact(self) -> None:
        """Whoever is behind by now has missed something."""
        self.log.clear()
        self.oldest_index = self.index + 1

    def listen(self, wake: Callable[[], None]) -> int:
        self._listeners += 1
        self.on_change[self._listeners] = wake
        return self._listeners

    def _put(self, operation: Operation) -> None:
        if operation.value is None:
            del self.rows[operation.key]
        else:
            self.rows[operation.key] = Row(operation.key, operation.value, self.index)


class SimStorePort:
    """What ``Role.STORE`` is in one life of a node that reaches the store by itself."""

    def __init__(self, scheduler: Scheduler, stage: SimStage, store: SimStore, seed: str) -> None:
        self._scheduler = scheduler
        self._stage = stage
        self._store = store
        self._chance = random.Random(f"{seed}/store")
        self._follows: dict[str, int] = {}  # by follower: the last index told
        self._orders: dict[str, int] = {}  # and how often it has asked
        self._is_due = False
        self._writing: list[tuple[Proposal, str]] = []  # on their way to the disk, in order, and who asked
        self._listener = store.listen(self._news)

    def tell(self, message: Any) -> None:
        match message:
            case ProposalsMade():
                for proposal in message.proposals:
                    self._propose(proposal, message.asker)
            case FollowOrdered():
                self._follow(message)
            case FollowEnded():
                self._follows.pop(message.follower, None)
                self._orders[message.follower] = self._orders.get(message.follower, 0) + 1
            case _:
                raise TypeError(f"the store port was told {type(message).__name__}")

    def end(self) -> None:
        """The process has died. What it was writing to a file of its own is there up to any point."""
        del self._store.on_change[self._listener]
        if not self._store.is_shared:
            for proposal, _ in self._writing[: self._chance.randint(0, len(self._writing))]:
                self._store.write(proposal)
        self._writing.clear()

    # -- proposals

    def _propose(self, proposal: Proposal, asker: str) -> None:
        store = self._store
        if not store.is_available or store.is_full:
            reason = "the disk is full" if store.is_full else "the store does not answer"
            self._answer(ProposalSettled(proposal.number, None, "unavailable", reason), asker, REFUSED_US)
        elif store.is_shared and self._chance.random() < store.doubt_share:
            if self._chance.random() < 0.7:
                self._scheduler.after(self._chance.randint(0, LATE_US), self._write_late, proposal)
            doubtful = ProposalSettled(proposal.number, None, "unknown", "the leader has changed")
            self._answer(doubtful, asker, self._chance.randint(REFUSED_US, LATE_US // 4))
        elif store.is_shared:
            self._scheduler.after(self._chance.randint(*store.commit_us), self._written_far_away, proposal, asker)
        else:
            self._writing.append((proposal, asker))
            self._stage.later(self._chance.randint(*store.commit_us), self._committed)

    def _committed(self) -> None:
        """One thread writes, in order; each commit takes what has come by then."""
        group, self._writing = self._writing, []
        for proposal, asker in group:
            settled = ProposalSettled(proposal.number, self._store.write(proposal))
            self._say(ProposalsSettled((settled,), asker))

    def _write_late(self, proposal: Proposal) -> None:
        self._store.write(proposal)

    def _written_far_away(self, proposal: Proposal, asker: str) -> None:
        """Whether the asker still lives is no matter."""
        outcome = self._store.write(proposal)
        self._answer(ProposalSettled(proposal.number, outcome), asker, self._chance.randint(*NEWS_US))

    # -- following

    def _follow(self, order: FollowOrdered) -> None:
        self._follows.pop(order.follower, None)
        self._orders[order.follower] = number = self._orders.get(order.follower, 0) + 1
        delay_us = self._chance.randint(*READ_US)
        self._stage.later(delay_us, partial(self._begin, order.follower, order.after, number))

    def _begin(self, follower: str, after: int, number: int) -> None:
        if self._orders[follower] != number:
            return
        if not self._store.is_available:
            self._say(StoreSilent("the store does not answer", follower))
            self._stage.later(PROGRESS_US, partial(self._begin, follower, after, number))
            return
        if after == NOTHING or self._store.since(after) is None:
            cut = self._store.cut()
            self._say(CutTaken(cut, follower, self._store.store_id))
            after = cut.index
        self._follows[follower] = after
        self._stage.later(PROGRESS_US, partial(self._progress, follower, number))
        self._news()

    def _news(self) -> None:
        if not self._is_due and self._follows:
            self._is_due = True
            self._stage.later(self._chance.randint(*NEWS_US), self._tell_news)

    def _tell_news(self) -> None:
        self._is_due = False
        if not self._store.is_available:
            return  # the next progress says so
        for follower, after in sorted(self._follows.items()):
            changes = self._store.since(after)
            if changes is None:
                self._follow(FollowOrdered(follower))
            elif changes:
                self._follows[follower] = changes[-1].index
                self._say(ChangesSeen(tuple(changes), changes[-1].index, follower))

    def _progress(self, follower: str, number: int) -> None:
        if self._orders[follower] != number or follower not in self._follows:
            return
        if self._store.is_available:
            self._tell_news()
            self._say(ChangesSeen((), self._follows.get(follower, 0), follower))
        else:
            self._say(StoreSilent("the store does not answer", follower))
        self._stage.later(PROGRESS_US, partial(self._progress, follower, number))

    def _answer(self, settled: ProposalSettled, asker: str, delay_us: int) -> None:
        self._stage.later(delay_us, partial(self._say, ProposalsSettled((settled,), asker)))

    def _say(self, message: Any) -> None:
        follower = message.asker if isinstance(message, ProposalsSettled) else message.follower
        self._stage.tell(Role.HOME if follower else Role.PERSISTENT, message)
