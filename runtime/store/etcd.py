"""The store of a cluster: an etcd of its own or an external one, behind the port.

Owns: lanes for writes and for reads, the watches, and a thread that refuses what waited too long for a lane. The index
is etcd's revision. Every thread has a connection of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from actors.messages.store import Cut, Expectation, Operation, Outcome, Row
from runtime.store.etcd_backlog import Backlog, WaitingProposal
from runtime.store.etcd_gateway import (
    COMPACTED,
    NOT_YET,
    PLAIN_ANSWER,
    Endpoints,
    EtcdAccess,
    GatewayLink,
    NoAnswer,
    NotSent,
    Refusal,
    encode_request,
    fault_of_write,
    tls_context,
)
from runtime.store.etcd_lane import EtcdLane, LaneShare, Question
from runtime.store.etcd_reads import EtcdReader, prefix_range, read_status
from runtime.store.etcd_restore import EtcdRestore
from runtime.store.etcd_settings import EtcdSettings
from runtime.store.etcd_watch import EtcdWatch
from runtime.store.etcd_watches import EtcdWatches
from runtime.store.port import StoreStatus, Unavailable, WatchListener, check_proposal, proposals_of
from runtime.store.threads import OnFailure, guarded_thread

TICK_SECONDS = 0.1

T = TypeVar("T")


class EtcdStore:
    """A Store. Opening it needs no etcd that answers: what is asked before there is one fails as unavailable."""

    def __init__(self, access: EtcdAccess, settings: EtcdSettings, on_failure: OnFailure) -> None:
        self._settings = settings
        self._on_failure = on_failure
        self._access = access
        self.key_prefix = access.key_prefix
        self._tls = tls_context(access)
        self._endpoints = Endpoints(access.endpoints)
        self._reader = EtcdReader(access.key_prefix)
        self._writes = Backlog(settings.waiting_max, settings.waiting_bytes_max)
        self._reads = Backlog(settings.waiting_max, settings.waiting_bytes_max)
        self._share = LaneShare(settings)
        self._watches = EtcdWatches(
            lambda endpoint: self._link(Endpoints((endpoint,))), self._reader.newest_index, settings, on_failure
        )
        self._lanes = [self._lane(f"etcd-write-{n}", self._writes) for n in range(settings.write_lanes_max)]
        self._lanes += [self._lane(f"etcd-read-{n}", self._reads) for n in range(settings.read_lanes_max)]
        self._ended = threading.Event()
        self._is_closed = False
        self._timekeeper = guarded_thread("etcd-time", self._expire, on_failure)
        for lane in self._lanes:
            lane.start()
        self._timekeeper.start()
        self._watches.start()

    @property
    def identity(self) -> str:
        """An etcd is what its keys are under; that it has lost them shows in its revision."""
        return f"etcd {self.key_prefix}"

    def propose(
        self, operations: Sequence[Operation], expectations: Sequence[Expectation] = (), *, timeout_seconds: float
    ) -> Future[Outcome]:
        check_proposal(operations, expectations)
        proposal = WaitingProposal(operations, expectations, time.monotonic() + timeout_seconds)
        self._writes.put(proposal)
        future: Future[Outcome] = proposal.future
        return future

    def read(self, prefix: str, *, linearizable: bool = True, timeout_seconds: float) -> Future[Cut]:
        return self._ask(lambda link, deadline: self._reader.cut(link, prefix, linearizable, deadline), timeout_seconds)

    def barrier(self, *, timeout_seconds: float) -> Future[int]:
        return self._ask(self._reader.newest_index, timeout_seconds)

    def watch(self, prefix: str, from_index: int, listener: WatchListener) -> EtcdWatch:
        key_range = prefix_range(self.key_prefix)  # with the mark of a restore, which is an index too
        link, plain_key = self._link(self._endpoints), self._reader.plain_key
        watch = EtcdWatch(link, key_range, prefix, from_index, listener, plain_key, self._on_failure)
        self._watches.add(watch)
        return watch

    def snapshot(self) -> Iterator[Row]:
        if self._is_closed:
            raise Unavailable("the store is closed")
        return self._snapshot()

    def _snapshot(self) -> Iterator[Row]:
        link = self._link(self._endpoints)
        try:
            yield from self._reader.rows(link, "", lambda: time.monotonic() + self._settings.piece_ms_max / 1_000)
        finally:
            link.close()

    def restore(self, rows: Iterable[Row]) -> int:
        batches = list(proposals_of(rows))
        if self._is_closed:
            raise Unavailable("the store is closed")
        link = self._link(self._endpoints)
        try:
            EtcdRestore(link, self.key_prefix).run(batches)
        finally:
            link.close()
        return sum(map(len, batches))

    def compact(self, index: int, *, timeout_seconds: float) -> Future[None]:
        return self._ask(lambda link, deadline: self._compact(link, index, deadline), timeout_seconds)

    def status(self) -> StoreStatus:
        if self._is_closed:
            return StoreStatus("etcd", 0, 0, False, "the store is closed")
        link = self._link(self._endpoints)
        try:
            return read_status(link, self._reader, time.monotonic() + self._settings.status_ms_max / 1_000)
        finally:
            link.close()

    def close(self) -> None:
        self._is_closed = True
        self._writes.close()
        self._reads.close()
        self._watches.close()
        for lane in self._lanes:
            lane.join()
        self._ended.set()
        self._timekeeper.join()

    def _link(self, endpoints: Endpoints) -> GatewayLink:
        return GatewayLink(self._access, endpoints, self._tls, self._settings)

    def _lane(self, name: str, backlog: Backlog) -> EtcdLane:
        return EtcdLane(name, self._link(self._endpoints), backlog, self.key_prefix, self._share, self._on_failure)

    def _ask(self, ask: Callable[[GatewayLink, float], T], timeout_seconds: float) -> Future[T]:
        question = Question(ask, time.monotonic() + timeout_seconds)
        self._reads.put(question)
        future: Future[Any] = question.future
        return future

    def _compact(self, link: GatewayLink, index: int, deadline: float) -> None:
        try:
            link.ask("/v3/kv/compaction", encode_request({"revision": index}), PLAIN_ANSWER, deadline)
        except Refusal as refusal:
            if refusal.sentence == NOT_YET:  # there is less than is not needed any more
                self._compact(link, self._reader.newest_index(link, deadline), deadline)
            elif refusal.sentence != COMPACTED:  # somebody was here before us: what was asked for is so
                raise fault_of_write(refusal) from None
        except (NotSent, NoAnswer) as trouble:
            raise fault_of_write(trouble) from None

    def _expire(self) -> None:
        """Goes on while the store closes: what is finished then has its deadline too."""
        while not self._ended.wait(TICK_SECONDS):
            now = time.monotonic()
            self._writes.expire(now)
            self._reads.expire(now)
