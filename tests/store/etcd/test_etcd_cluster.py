"""Three real members: leaders killed and paused, all killed at once, members replaced. What was acknowledged stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from actors.messages.store import Operation
from runtime.store.etcd import EtcdStore
from runtime.store.etcd_members import EtcdMembers, admit_member
from runtime.store.port import FateUnknown, Unavailable
from tests.support.etcd_cluster import ChangeLog, EtcdTestCluster, wait_until
from tests.support.store_settings import ETCD

SECONDS = 5.0
WRITERS = 4
RESUMED_SECONDS_MAX = 5.0


class Ledger:
    """Writers with keys of their own. What was acknowledged is in the ledger, and nowhere else."""

    def __init__(self, store: EtcdStore, name: str) -> None:
        self._store = store
        self._name = name
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        self.acknowledged: dict[str, int] = {}
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.newest_at = 0.0

    def __enter__(self) -> Ledger:
        for thread in self._threads:
            thread.start()
        self.wait_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(2 * SECONDS)

    def wait_more(self) -> None:
        """Something is acknowledged that was begun from now on: each writer waits for one answer at a time."""
        count = len(self.acknowledged) + WRITERS
        wait_until(lambda: len(self.acknowledged) > count, 2 * RESUMED_SECONDS_MAX, "writes are acknowledged")

    def check(self) -> None:
        found = {
            row.key: row.index for row in self._store.read(self._name, timeout_seconds=SECONDS).result(SECONDS).rows
        }
        assert self.acknowledged.items() <= found.items()
        assert found.keys() <= self.acknowledged.keys() | self.unknown
        assert not self.refused & found.keys()

    def _write(self, number: int) -> None:
        count = 0
        pause = threading.Event()
        while not self._stopped.is_set():
            count += 1
            key = f"{self._name}/{number}/{count:06}"
            try:
                outcome = self._store.propose([Operation(key, b"x" * 200)], timeout_seconds=1.0).result(SECONDS)
                self.acknowledged[key] = outcome.index
            except Unavailable:
                self.refused.add(key)
                pause.wait(0.01)
            except FateUnknown:
                self.unknown.add(key)


@pytest.fixture
def cluster(three_etcds: EtcdTestCluster) -> EtcdTestCluster:
    three_etcds.start()
    return three_etcds


@pytest.fixture
def store(cluster: EtcdTestCluster, request: pytest.FixtureRequest) -> Iterator[EtcdStore]:
    opened = cluster.open(f"rollbook/{request.node.name}/")
    yield opened
    opened.close()


def check_watch_equals_rows(log: ChangeLog, store: EtcdStore, last_key: str) -> None:
    """Every change once and in order: so the changes alone make the rows."""
    store.propose([Operation(last_key, b"")], timeout_seconds=SECONDS).result(SECONDS)
    wait_until(lambda: last_key in log.keys[-1:], SECONDS, "the watch has the last change")
    indexes = [change.index for change in log.changes]
    assert indexes == sorted(set(indexes))
    made = {operation.key: change.index for change in log.changes for operation in change.operations}
    assert len(made) == len(log.keys)
    assert made == {row.key: row.index for row in store.read("", timeout_seconds=SECONDS).result(SECONDS).rows}


def test_writes_go_on_after_the_leader_was_killed_and_a_watch_misses_nothing(
    cluster: EtcdTestCluster, store: EtcdStore
) -> None:
    leader = cluster.leader()
    first = [url for name, url in cluster.client_urls.items() if name == leader]
    watching = cluster.open(store.key_prefix, first + list(cluster.client_urls.values()))
    log = ChangeLog()
    watching.watch("", store.barrier(timeout_seconds=SECONDS).result(SECONDS) + 1, log)
    with Ledger(store, "k") as ledger:
        wait_until(lambda: log.changes, SECONDS, "the watch at the leader runs")
        cluster.kill(leader)
        began = time.monotonic()
        ledger.wait_more()
        assert time.monotonic() - began < RESUMED_SECONDS_MAX
        assert cluster.leader() != leader
        wait_until(lambda: log.faults, SECONDS, "the watch noticed")
    ledger.check()
    check_watch_equals_rows(log, store, "last")
    assert [type(fault) for fault in log.faults] == [Unavailable]


def test_all_killed_under_load_and_started_again_have_all_that_was_acknowledged(
    cluster: EtcdTestCluster, store: EtcdStore
) -> None:
    log = ChangeLog()
    store.watch("", store.barrier(timeout_seconds=SECONDS).result(SECONDS) + 1, log)
    with Ledger(store, "k") as ledger:
        for name in cluster.children:
            cluster.kill(name)
        wait_until(lambda: ledger.refused, SECONDS, "writes are refused")
        cluster.start()
        ledger.wait_more()
    ledger.check()
    check_watch_equals_rows(log, store, "last")


def test_without_a_majority_writes_are_refused_at_once_and_what_is_known_can_be_read(
    cluster: EtcdTestCluster, store: EtcdStore
) -> None:
    store.propose([Operation("a", b"1")], timeout_seconds=SECONDS).result(SECONDS)
    left = cluster.leader()
    for name in cluster.children:
        if name != left:
            cluster.kill(name)
    wait_until(lambda: "no leader" in store.status().trouble, SECONDS, "the last one gave up its leadership")
    with pytest.raises(Unavailable):  # patience is for an election, and this is none
        store.propose([Operation("b", b"")], timeout_seconds=3).result(SECONDS)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no leader|refused"):
        store.propose([Operation("b", b"")], timeout_seconds=3).result(SECONDS)
    assert time.monotonic() - began < 0.5
    with pytest.raises(Unavailable):
        store.read("", timeout_seconds=0.5).result(SECONDS)
    assert [row.key for row in store.read("", linearizable=False, timeout_seconds=2).result(SECONDS).rows] == ["a"]
    cluster.start()
    assert [row.key for row in store.read("", timeout_seconds=SECONDS).result(SECONDS).rows] == ["a"]


def test_a_watch_leaves_a_member_that_was_stopped(cluster: EtcdTestCluster, store: EtcdStore) -> None:
    follower = next(name for name in cluster.children if name != cluster.leader())
    url = cluster.client_urls[follower]
    others = [other for other in cluster.client_urls.values() if other != url]
    watching = cluster.open(store.key_prefix, [url, *others])
    index = store.propose([Operation("a", b"")], timeout_seconds=SECONDS).result(SECONDS).index
    log = ChangeLog()
    watching.watch("", index, log)
    wait_until(lambda: log.changes, SECONDS, "the watch runs")
    writing = cluster.open(store.key_prefix, others)
    cluster.pause(follower)
    try:
        writing.propose([Operation("b", b"")], timeout_seconds=SECONDS).result(SECONDS)
        wait_until(lambda: log.keys == ["a", "b"], 10, "another member says what the stopped one cannot")
    finally:
        cluster.resume(follower)
    watching.close()
    assert log.keys == ["a", "b"]


def test_a_lost_member_is_replaced_by_an_empty_one(cluster: EtcdTestCluster, store: EtcdStore) -> None:
    name = next(name for name in cluster.children if name != cluster.leader())
    with Ledger(store, "k") as ledger:
        cluster.kill(name)
        cluster.clear(name)
        members = EtcdMembers(cluster.access(), ETCD)
        lost = next(member for member in members.known(SECONDS) if member.name == name)
        peer_urls = dict(cluster.peers)
        peers = admit_member(members, name, peer_urls[name], tuple(peer_urls.values()), 15)
        cluster.children[name].stop()
        cluster.children[name] = cluster.child(name, peers, joins_existing=True)
        cluster.children[name].start()
        new = next(member for member in members.known(SECONDS) if peer_urls[name] in member.peer_urls)
        members.promote(new.member_id, 15)
        ledger.wait_more()
        now = members.known(SECONDS)
        members.close()
    assert new.member_id != lost.member_id
    assert {member.name for member in now} == set(cluster.children)
    assert not any(member.is_learner for member in now)
    ledger.check()
    cluster.wait_ready((cluster.client_urls[name],))
