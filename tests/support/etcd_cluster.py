"""An etcd of one or more members on loopback, in a directory of the test: opened, killed and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.messages.store import StoredChange
from runtime.processes import send_signal
from runtime.store.etcd import EtcdStore
from runtime.store.etcd_child import EtcdChild, FoundEtcd
from runtime.store.etcd_gateway import EtcdAccess
from runtime.store.etcd_plan import MemberPlan, Timers
from runtime.store.port import StoreFault
from tests.support.store_settings import ETCD, QUICK_ETCD

READY_SECONDS_MAX = 20.0
POLL_SECONDS = 0.005


def free_url() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        pause.wait(POLL_SECONDS)
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"


def _state(thread: Path) -> str:
    """Of a thread in /proc: what stands behind its name, which is in parentheses."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


class EtcdTestCluster:
    """``open`` as often as wanted; every store is closed and every member stopped by ``end``."""

    def __init__(self, found: FoundEtcd, directory: Path, members: int) -> None:
        self._found = found
        self._directory = directory
        self._stores: list[EtcdStore] = []
        self.failures: list[BaseException] = []
        self.peers = tuple((f"n{number}", free_url()) for number in range(members))
        self.client_urls = {name: free_url() for name, _ in self.peers}
        self.children = {name: self.child(name, self.peers, joins_existing=False) for name, _ in self.peers}

    def child(self, name: str, peers: tuple[tuple[str, str], ...], *, joins_existing: bool) -> EtcdChild:
        directory = self._directory / name
        plan = MemberPlan(
            name=name,
            cluster_token="test",
            data_directory=str(directory / "data"),
            client_url=self.client_urls[name],
            peer_url=dict(peers)[name],
            peers=peers,
            timers=Timers.LAPTOP,
            joins_existing=joins_existing,
        )
        return EtcdChild(self._found, plan, directory, ETCD)

    def start(self) -> None:
        """Whatever does not run, until a write would be accepted and all members follow."""
        stopped = [child for child in self.children.values() if not child.is_running]
        for child in stopped:
            child.start()
        if stopped:
            for url in self.client_urls.values():
                self.wait_ready((url,))

    def wait_ready(self, endpoints: Sequence[str]) -> None:
        store = EtcdStore(self.access(endpoints=endpoints), QUICK_ETCD, self.failures.append)
        try:
            wait_until(lambda: store.status().is_writable, READY_SECONDS_MAX, f"{endpoints} is ready")
        finally:
            store.close()

    def access(self, key_prefix: str = "rollbook/test/", endpoints: Sequence[str] = ()) -> EtcdAccess:
        return EtcdAccess(endpoints=tuple(endpoints) or tuple(self.client_urls.values()), key_prefix=key_prefix)

    def open(self, key_prefix: str = "rollbook/test/", endpoints: Sequence[str] = ()) -> EtcdStore:
        store = EtcdStore(self.access(key_prefix, endpoints), QUICK_ETCD, self.failures.append)
        self._stores.append(store)
        return store

    def leader(self) -> str:
        """Its name, as the members see it now."""
        store = EtcdStore(self.access(), QUICK_ETCD, self.failures.append)
        try:
            wait_until(lambda: store.status().leader, READY_SECONDS_MAX, "there is a leader")
            return store.status().leader
        finally:
            store.close()

    def kill(self, name: str) -> None:
        self._signal(name, signal.SIGKILL)
        wait_until(lambda: not self.children[name].is_running, 5, f"{name} is gone")

    def pause(self, name: str) -> None:
        """The signal stops the threads one after the other: one that still runs may answer."""
        self._signal(name, signal.SIGSTOP)
        mark = self.children[name].mark
        assert mark is not None
        threads = Path(f"/proc/{mark.pid}/task")
        wait_until(lambda: all(_state(thread) == "T" for thread in threads.iterdir()), 5, f"{name} stands still")

    def resume(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def clear(self, name: str) -> None:
        """The disk of one that does not run is lost."""
        assert not self.children[name].is_running
        shutil.rmtree(self._directory / name / "data")

    def end(self) -> None:
        for store in self._stores:
            store.close()
        for child in self.children.values():
            child.stop()
        assert self.failures == []

    def _signal(self, name: str, number: signal.Signals) -> None:
        mark = self.children[name].mark
        assert mark is not None
        assert send_signal(mark, number)


class ChangeLog:
    """A WatchListener that keeps all it is told."""

    def __init__(self) -> None:
        self.changes: list[StoredChange] = []
        self.advances: list[int] = []
        self.faults: list[StoreFault] = []

    def changed(self, changes: Sequence[StoredChange]) -> None:
        self.changes += changes

    def advanced(self, index: int) -> None:
        self.advances.append(index)

    def failed(self, fault: StoreFault) -> None:
        self.faults.append(fault)

    @property
    def keys(self) -> list[str]:
        return [operation.key for change in self.changes for operation in change.operations]
