"""An etcd that answers oddly costs a retry or a named fault, never a thread, a change, or a guess."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
import pytest

from actors.messages.store import Operation, Outcome, StoredChange
from runtime.store.etcd import EtcdStore
from runtime.store.etcd_gateway import EtcdAccess
from runtime.store.etcd_members import EtcdMembers
from runtime.store.port import Unavailable
from tests.store.etcd.scripted_etcd import ScriptedEtcd, content, last_words, refusal, silence, stream
from tests.store.listening import SECONDS, RememberingListener
from tests.support.etcd_cluster import wait_until
from tests.support.store_settings import ETCD, QUICK_ETCD

DONE = content(200, '{"header":{"revision":"7"},"succeeded":true}')
FOUND = content(200, '{"header":{"revision":"7"}}')
CREATED = '{"result":{"header":{"cluster_id":"1","revision":"7"},"created":true}}'
PUT_OF_A = '{"result":{"header":{"revision":"8"},"events":[{"kv":{"key":"cC9h","mod_revision":"8"}}]}}'


def open_store(etcd: ScriptedEtcd, failures: list[BaseException], **more: str) -> EtcdStore:
    return EtcdStore(EtcdAccess(endpoints=(etcd.url,), key_prefix="p/", **more), ETCD, failures.append)


def propose(store: EtcdStore, key: str = "a") -> Future[Outcome]:
    return store.propose([Operation(key, b"")], timeout_seconds=SECONDS)


def test_a_member_that_says_its_answer_is_the_last_is_left_without_harm() -> None:
    last = last_words('{"header":{"revision":"7"}}')
    with ScriptedEtcd(kv__txn=[DONE], kv__range=[last, FOUND]) as etcd:
        failures: list[BaseException] = []
        store = open_store(etcd, failures)
        futures = [store.barrier(timeout_seconds=SECONDS) for _ in range(20)]
        assert {future.result(SECONDS) for future in futures} == {7}
        store.close()
        assert failures == []


def test_what_a_listener_raises_is_told_and_not_taken_for_a_lost_watch() -> None:
    class OddListener(RememberingListener):
        def changed(self, changes: Sequence[StoredChange]) -> None:
            raise ValueError("a fault of the listener")

    with ScriptedEtcd(watch=[stream(CREATED, PUT_OF_A)], kv__range=[FOUND]) as etcd:
        failures: list[BaseException] = []
        store = open_store(etcd, failures)
        listener = OddListener()
        store.watch("", 8, listener)
        wait_until(lambda: failures, SECONDS, "the failure is told")
        store.close()
        assert [str(failure) for failure in failures] == ["a fault of the listener"]
        assert listener.faults == []


def test_a_store_that_closes_goes_on_pausing_between_its_attempts() -> None:
    with ScriptedEtcd(kv__txn=[refusal("etcdserver: no leader")]) as etcd:
        store = open_store(etcd, [])
        future = propose(store)
        wait_until(lambda: etcd.count("/v3/kv/txn") > 2, SECONDS, "it is tried again")
        store.close()
        with pytest.raises(Unavailable, match="no leader"):
            future.result(0)
        assert etcd.count("/v3/kv/txn") <= 1.5 / 0.05 + 2


def test_a_token_that_cannot_be_read_was_no_write() -> None:
    with ScriptedEtcd(auth__authenticate=[content(200, "<html>")]) as etcd:
        failures: list[BaseException] = []
        store = open_store(etcd, failures, user="u", password="p")
        with pytest.raises(Unavailable, match="does not answer as etcd does"):
            propose(store).result(SECONDS)
        store.close()
        assert failures == []


def test_a_member_that_opens_a_watch_and_says_nothing_is_left_also_by_one_that_comes_back() -> None:
    mute = stream()
    with (
        ScriptedEtcd(watch=[mute], kv__range=[silence]) as silent,
        ScriptedEtcd(watch=[refusal("etcdserver: no leader"), stream(CREATED, PUT_OF_A)], kv__range=[FOUND]) as other,
    ):
        failures: list[BaseException] = []
        access = EtcdAccess(endpoints=(other.url, silent.url), key_prefix="p/")
        store = EtcdStore(access, msgspec.structs.replace(QUICK_ETCD, answer_ms_max=500), failures.append)
        listener = RememberingListener()
        store.watch("", 8, listener)  # refused by the one, opened by the other, which then is stopped
        listener.wait_for_index(8)
        store.close()
        assert (failures, [type(fault) for fault in listener.faults]) == ([], [Unavailable])


def test_a_watch_that_was_opened_again_asks_at_once_whether_its_member_follows_the_others() -> None:
    no_leader = refusal("etcdserver: no leader")
    with ScriptedEtcd(watch=[no_leader] * 5 + [stream(CREATED)], kv__range=[no_leader] * 3 + [FOUND]) as etcd:
        failures: list[BaseException] = []
        settings = msgspec.structs.replace(ETCD, watch_silence_ms=60_000)  # silence alone asks nobody
        store = EtcdStore(EtcdAccess(endpoints=(etcd.url,), key_prefix="p/"), settings, failures.append)
        listener = RememberingListener()
        store.watch("", 8, listener)
        listener.wait_for(lambda found: found.advances == [7])
        store.close()
        assert (failures, [type(fault) for fault in listener.faults]) == ([], [Unavailable])


def test_a_member_that_was_added_and_not_heard_of_is_found() -> None:
    known = content(200, '{"members":[{"ID":"5","peerURLs":["http://n2"],"isLearner":true}]}')
    with ScriptedEtcd(
        cluster__member__list=[content(200, "{}"), known],
        cluster__member__add=[refusal("etcdserver: Peer URLs already exists")],
    ) as etcd:
        members = EtcdMembers(EtcdAccess(endpoints=(etcd.url,), key_prefix=""), ETCD)
        assert members.add_learner("http://n2", SECONDS).member_id == "5"
        members.close()


def test_a_store_that_is_closed_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with ScriptedEtcd(watch=[stream(CREATED)], kv__range=[FOUND]) as etcd:
        store = open_store(etcd, [])
        for _ in range(3):
            store.watch("", 8, RememberingListener())
        wait_until(lambda: etcd.count("/v3/watch") == 3, SECONDS, "the watches run")
        store.close()
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert not {name for name in names if name.startswith("etcd-")}


def test_no_more_watch_etcd_than_was_declared() -> None:
    settings = msgspec.structs.replace(ETCD, watches_max=2)
    failures: list[BaseException] = []
    with ScriptedEtcd(watch=[stream(CREATED)], kv__range=[FOUND]) as etcd:
        store = EtcdStore(EtcdAccess(endpoints=(etcd.url,), key_prefix="p/"), settings, failures.append)
        first, _ = (store.watch("", 8, RememberingListener()) for _ in range(2))
        with pytest.raises(Unavailable, match="2 watches already"):
            store.watch("", 8, RememberingListener())
        first.close()
        store.watch("", 8, RememberingListener())
        store.close()
        assert failures == []
