"""A restore into etcd is all or nothing, whatever ends it: nobody works with half of the rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from actors.messages.store import Operation, Row
from runtime.store.etcd import EtcdStore
from runtime.store.etcd_gateway import Endpoints, GatewayLink
from runtime.store.etcd_restore import OVERTAKEN, EtcdRestore
from runtime.store.port import StoreFault, Unavailable, proposals_of
from tests.store.listening import SECONDS, RememberingListener, newest, values_of, write
from tests.support.etcd_cluster import EtcdTestCluster
from tests.support.store_settings import ETCD

ROWS = [Row(f"k{number:04}", b"%d" % number, 1) for number in range(500)]
VALUES = {row.key: row.value for row in ROWS}


@pytest.fixture
def store(one_etcd: EtcdTestCluster, request: pytest.FixtureRequest) -> Iterator[EtcdStore]:
    opened = one_etcd.open(f"rollbook/{request.node.name}/")
    yield opened
    opened.close()


class BrokenOff(Exception):
    """What a process that is killed does not even say."""


class RestoreUntil(EtcdRestore):
    """Something happens before a batch of it is sent."""

    def __init__(self, cluster: EtcdTestCluster, store: EtcdStore, number: int, event: Callable[[], None]) -> None:
        access = cluster.access(store.key_prefix)
        self.link = GatewayLink(access, Endpoints(access.endpoints), None, ETCD)
        super().__init__(self.link, store.key_prefix)
        self._number, self._event = number, event

    def _put(self, batch: list[Operation]) -> None:  # type: ignore[override]
        if self._number == 0:
            self._event()
        self._number -= 1
        super()._put(batch)


def break_off() -> None:
    raise BrokenOff


def leave_half(cluster: EtcdTestCluster, store: EtcdStore) -> None:
    broken = RestoreUntil(cluster, store, 2, break_off)
    with pytest.raises(BrokenOff):
        broken.run(list(proposals_of(ROWS)))
    broken.link.close()


def test_half_of_a_restore_is_shown_and_can_be_neither_read_nor_written(
    one_etcd: EtcdTestCluster, store: EtcdStore
) -> None:
    leave_half(one_etcd, store)
    asked: list[Callable[[], object]] = [
        lambda: values_of(store),
        lambda: store.read("k0", linearizable=False, timeout_seconds=SECONDS).result(SECONDS),
        lambda: list(store.snapshot()),
        lambda: write(store, a=b"1"),
        lambda: write(store, k0001=None),
    ]
    for ask in asked:
        with pytest.raises(Unavailable, match="a restore into this store is not finished"):
            ask()
    status = store.status()
    assert (status.is_writable, "a restore into this store is not finished" in status.trouble) == (False, True)


def test_the_next_restore_begins_with_an_empty_store(one_etcd: EtcdTestCluster, store: EtcdStore) -> None:
    leave_half(one_etcd, store)
    assert store.restore([Row("only", b"1", 1)]) == 1
    assert values_of(store) == {"only": b"1"}
    assert store.status().trouble == ""
    assert write(store, a=b"1").applied


def test_a_restore_that_fails_takes_its_rows_back(one_etcd: EtcdTestCluster, store: EtcdStore) -> None:
    def fail() -> None:
        raise Unavailable("etcd has no space")

    listener = RememberingListener()
    store.watch("", newest(store) + 1, listener)
    failing = RestoreUntil(one_etcd, store, 2, fail)
    with pytest.raises(Unavailable, match="etcd has no space"):
        failing.run(list(proposals_of(ROWS)))
    failing.link.close()
    assert values_of(store) == {}
    assert store.status().is_writable
    told: dict[str, bytes | None] = {}
    for change in listener.wait_for_index(newest(store)):
        told |= {operation.key: operation.value for operation in change.operations}
    assert (len(told), set(told.values())) == (254, {None})


def test_of_two_restores_the_later_one_is_whole_and_the_other_says_so(
    one_etcd: EtcdTestCluster, store: EtcdStore
) -> None:
    def restore_other() -> None:
        assert store.restore(ROWS[:7]) == 7

    earlier = RestoreUntil(one_etcd, store, 2, restore_other)
    with pytest.raises(StoreFault, match="another restore into this store was begun"):
        earlier.run(list(proposals_of(ROWS)))
    earlier.link.close()
    assert values_of(store) == {row.key: row.value for row in ROWS[:7]}


def test_whoever_reads_meanwhile_sees_nothing_or_everything(store: EtcdStore) -> None:
    seen: list[int] = []
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            try:
                seen.append(len(values_of(store)))
            except Unavailable:
                seen.append(-1)

    reader = threading.Thread(target=read_on)
    reader.start()
    assert store.restore(ROWS) == 500
    deadline = time.monotonic() + SECONDS
    while seen[-1:] != [500]:
        assert time.monotonic() < deadline
        done.wait(0.01)
    done.set()
    reader.join()
    assert set(seen) <= {0, -1, 500}
    assert values_of(store) == VALUES


def test_a_store_with_one_row_is_left_alone(store: EtcdStore) -> None:
    index = write(store, a=b"1").index
    with pytest.raises(StoreFault, match="only an empty store"):
        store.restore(ROWS)
    assert values_of(store) == {"a": b"1"}
    assert write(store, a=b"2").index == index + 1  # not even a mark was put


def restored_again(store: EtcdStore) -> int:
    """What the first one sent last is done now, and may come between: then it is to be said again."""
    for _ in range(10):
        try:
            return store.restore(ROWS)
        except StoreFault as fault:
            if str(fault) != OVERTAKEN:
                raise
    raise AssertionError("the restore was overtaken each time")


def test_a_restore_that_etcd_does_not_answer_says_that_it_was_not_taken_back(
    one_etcd: EtcdTestCluster, store: EtcdStore
) -> None:
    failing = RestoreUntil(one_etcd, store, 2, lambda: one_etcd.pause("n0"))
    failing.link.settings = msgspec.structs.replace(ETCD, piece_ms_max=300)
    try:
        with pytest.raises(StoreFault, match=r"was not finished .* nor taken back .* restore again"):
            failing.run(list(proposals_of(ROWS)))
    finally:
        one_etcd.resume("n0")
        failing.link.close()
    assert restored_again(store) == 500
    assert values_of(store) == VALUES
