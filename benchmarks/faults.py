"""What dies, and how long others still list it; what lives, and whether anybody ever misses it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import line_of, module
from rollbook import NamingClient
from rollbook.errors import RollbookError
from tests.support.real_cluster import RealCluster, RealNode, pause_s, until

SERVICE = "held"


class Observer:
    """Asks one node again and again what it lists."""

    def __init__(self, node: RealNode) -> None:
        self.node = node
        self.client = NamingClient(servers=[node.client_address], app="observer", timeout=1.0)

    def listed(self) -> int:
        return len(self.client.get_all_instances(SERVICE, subscribe=False))

    def close(self) -> None:
        self.client.close()


def client_killed(folder: Path, rounds: int = 10) -> list[float]:
    """Seconds from kill -9 of a client process until no node lists it."""
    with RealCluster(folder, 3) as cluster:
        observers = [Observer(node) for node in cluster]
        times = []
        for number in range(rounds):
            server = cluster.addresses[number % 3]
            with module("holder", SERVICE, "1", server) as holder:
                assert line_of(holder) == "ready"
                until(lambda: all(observer.listed() == 1 for observer in observers), 5, "listed everywhere")
                os.kill(holder.pid, signal.SIGKILL)
                times.append(until(lambda: not any(o.listed() for o in observers), 30, "gone everywhere"))
        for observer in observers:
            observer.close()
    return times


def node_killed_with_its_clients(folder: Path, rounds: int = 3) -> list[float]:
    """Seconds from kill -9 of a node and of its clients until no other node lists them."""
    return [_node_and_clients_killed(folder / f"round-{number}") for number in range(rounds)]


def _node_and_clients_killed(folder: Path) -> float:
    with RealCluster(folder, 3) as cluster, module("holder", SERVICE, "5", cluster.addresses[0]) as holder:
        observers = [Observer(node) for node in cluster.nodes[1:]]
        assert line_of(holder) == "ready"
        until(lambda: all(observer.listed() == 5 for observer in observers), 5, "listed everywhere")
        os.kill(holder.pid, signal.SIGKILL)
        cluster.nodes[0].kill()
        gone_s = until(lambda: not any(observer.listed() for observer in observers), 60, "gone everywhere")
        for observer in observers:
            observer.close()
        return gone_s


class Watch(NamedTuple):
    missing: int  # instances missing from an answer, summed over all answers
    answers: int


class Watcher:
    """Counts, in a thread of its own, what is missing from the answers of nodes that answer at all."""

    def __init__(self, nodes: list[RealNode], expected: int) -> None:
        self._observers = [Observer(node) for node in nodes]
        self._expected = expected
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.missing = 0
        self.answers = 0
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            for observer in self._observers:
                self._look(observer)
            self._stopped.wait(0.01)

    def _look(self, observer: Observer) -> None:
        try:
            listed = observer.listed()
        except RollbookError:
            return  # not up, or not ready: it gives no answer, so it can give no wrong one
        self.answers += 1
        self.missing += max(0, self._expected - listed)

    def stop(self) -> Watch:
        self._stopped.set()
        self._thread.join()
        for observer in self._observers:
            observer.close()
        return Watch(self.missing, self.answers)


def node_killed_clients_live(folder: Path) -> Watch:
    """50 clients on a node that dies: what the two others ever miss, for 40 s."""
    return _watched(folder, lambda cluster: (cluster.nodes[0].kill(), pause_s(40.0)), others_only=True)


def same_address_restart(folder: Path) -> Watch:
    return _watched(folder, lambda cluster: (_restart(cluster.nodes[0]), pause_s(25.0)))


def rolling_restart(folder: Path) -> Watch:
    """All three in turn, in good order, each when the one before is ready."""

    def roll(cluster: RealCluster) -> None:
        for node in cluster:
            node.terminate()
            node.start()
            until(node.is_ready, 30, f"{node.client_address} is ready again")
        pause_s(20.0)

    return _watched(folder, roll)


def _restart(node: RealNode) -> None:
    node.kill()
    node.start()
    until(node.is_ready, 30, f"{node.client_address} is ready again")


def _watched(folder: Path, fault: Callable[[RealCluster], object], *, others_only: bool = False) -> Watch:
    with RealCluster(folder, 3) as cluster:
        servers = ",".join(cluster.addresses)
        with module("holder", SERVICE, "50", servers) as holder:
            assert line_of(holder) == "ready"
            pause_s(0.5)
            watcher = Watcher(cluster.nodes[1:] if others_only else cluster.nodes, 50)
            fault(cluster)
            _still_runs(holder)
            return watcher.stop()


def _still_runs(holder: subprocess.Popen[str]) -> None:
    if holder.poll() is not None:
        raise RuntimeError(f"the clients ended with code {holder.returncode}")
