"""What dies, and how long others still list it; what lives, and whether anybody ever misses it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import line_of, module
from rollbook import NamingClient
from tests.support.real_cluster import RealCluster, RealNode, pause_s, until
from tests.support.watching import Observer, Watch, watch_complete

SERVICE = "held"


def client_killed(folder: Path, rounds: int = 10) -> list[float]:
    """Seconds from kill -9 of a client process until no node lists it."""
    with RealCluster(folder, 3) as cluster:
        observers = [Observer(node, SERVICE) for node in cluster]
        times = []
        for number in range(rounds):
            server = cluster.addresses[number % 3]
            with module("holder", SERVICE, "1", server) as holder:
                assert line_of(holder) == "ready"
                until(lambda: all(observer.count() == 1 for observer in observers), 5, "listed everywhere")
                os.kill(holder.pid, signal.SIGKILL)
                times.append(until(lambda: not any(o.count() for o in observers), 30, "gone everywhere"))
        for observer in observers:
            observer.close()
    return times


def node_killed_with_its_clients(folder: Path, rounds: int = 3) -> list[float]:
    """Seconds from kill -9 of a node and of its clients until no other node lists them."""
    return [_node_and_clients_killed(folder / f"round-{number}") for number in range(rounds)]


def _node_and_clients_killed(folder: Path) -> float:
    with (
        RealCluster(folder, 3) as cluster,
        module("holder", SERVICE, "5", cluster.addresses[0]) as holder,
        NamingClient(servers=[cluster.addresses[1]]) as living,
    ):
        observers = [Observer(node, SERVICE) for node in cluster.nodes[1:]]
        for number in range(5):  # half of the service: what takes more is guarded for one lease
            living.register_instance(SERVICE, f"10.1.0.{number}", 80)
        assert line_of(holder) == "ready"
        until(lambda: all(observer.count() == 10 for observer in observers), 5, "listed everywhere")
        os.kill(holder.pid, signal.SIGKILL)
        cluster.nodes[0].kill()
        gone_s = until(lambda: all(observer.count() == 5 for observer in observers), 60, "gone everywhere")
        for observer in observers:
            observer.close()
        return gone_s


def node_killed_clients_live(folder: Path) -> Watch:
    """50 clients on a node that dies: what the two others ever miss, for 40 s."""

    def kill(cluster: RealCluster) -> None:
        cluster.nodes[0].kill()
        pause_s(40.0)

    return _watched(folder, kill, others_only=True)


def same_address_restart(folder: Path) -> Watch:
    def restart(cluster: RealCluster) -> None:
        _restart(cluster.nodes[0])
        pause_s(25.0)

    return _watched(folder, restart)


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


def _watched(folder: Path, fault: Callable[[RealCluster], None], *, others_only: bool = False) -> Watch:
    with RealCluster(folder, 3) as cluster:
        servers = ",".join(cluster.addresses)
        with module("holder", SERVICE, "50", servers) as holder:
            assert line_of(holder) == "ready"
            watcher = watch_complete(cluster.nodes[1:] if others_only else cluster.nodes, SERVICE, 50)
            fault(cluster)
            _still_runs(holder)
            return watcher.stop()


def _still_runs(holder: subprocess.Popen[str]) -> None:
    if holder.poll() is not None:
        raise RuntimeError(f"the clients ended with code {holder.returncode}")
