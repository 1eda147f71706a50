"""Three real nodes, real sockets, real clients: what a user relies on, with processes dying around it.

The end state is compared by digest (every node, every living owner) and by content (every list, every instance).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.processes import line_of, module
from rollbook import Instance, NamingClient
from rollbook.errors import RollbookError
from tests.support.real_cluster import RealCluster, RealNode, pause_s, until
from tests.support.watching import Observer, PushWatcher, Watcher, watch_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SERVICE = "held"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with RealCluster(tmp_path, 3) as running:
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def observers_of(stack: ExitStack, nodes: list[RealNode], service: str = SERVICE) -> list[Observer]:
    found = [Observer(node, service) for node in nodes]
    for observer in found:
        stack.callback(observer.close)
    return found


def holder(stack: ExitStack, clients: int, *servers: str) -> int:
    """A process with so many clients that each hold one instance; its process id."""
    process = stack.enter_context(module("holder", SERVICE, str(clients), ",".join(servers)))
    assert line_of(process) == "ready"
    return process.pid


def restart(node: RealNode) -> None:
    node.kill()
    node.start()
    until(node.is_ready, 30, f"{node.client_address} is ready again")


def assert_same_content(observers: list[Observer], count: int) -> None:
    lists = [observer.listed() for observer in observers]
    assert [len(listed) for listed in lists] == [count] * len(lists)
    assert all(listed == lists[0] for listed in lists)


def test_what_is_registered_at_any_node_is_listed_by_all(cluster: RealCluster, stack: ExitStack) -> None:
    for number, address in enumerate(cluster.addresses):
        client = stack.enter_context(NamingClient(servers=[address]))
        client.register_instance(SERVICE, "10.0.0.1", 8000 + number, metadata={"at": str(number)}, wait="cluster")
    observers = observers_of(stack, cluster.nodes)
    assert_same_content(observers, 3)
    assert [instance.port for instance in observers[0].listed()] == [8000, 8001, 8002]
    cluster.until_digests_agree(3)


def test_a_killed_client_is_gone_everywhere_within_a_second(cluster: RealCluster, stack: ExitStack) -> None:
    pid = holder(stack, 3, cluster.addresses[0])
    observers = observers_of(stack, cluster.nodes)
    until(lambda: all(observer.count() == 3 for observer in observers), 3, "listed everywhere")
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: not any(o.count() for o in observers), 10, "gone everywhere") < 1.0
    cluster.until_digests_agree(3)


def test_a_killed_node_takes_its_dead_clients_along(cluster: RealCluster, stack: ExitStack) -> None:
    pid = holder(stack, 5, cluster.addresses[0])
    living = stack.enter_context(NamingClient(servers=[cluster.addresses[1]]))
    for number in range(5):  # no more than half of the service dies
        living.register_instance(SERVICE, f"10.1.0.{number}", 80)
    observers = observers_of(stack, cluster.nodes[1:])
    until(lambda: all(observer.count() == 10 for observer in observers), 3, "listed everywhere")
    os.kill(pid, signal.SIGKILL)
    cluster.nodes[0].kill()
    assert until(lambda: all(o.count() == 5 for o in observers), 30, "gone everywhere") < 15.0


def test_a_killed_node_that_most_of_a_service_was_at_takes_it_along_one_lease_later(
    cluster: RealCluster, stack: ExitStack
) -> None:
    pid = holder(stack, 5, cluster.addresses[0])
    observers = observers_of(stack, cluster.nodes[1:])
    until(lambda: all(observer.count() == 5 for observer in observers), 3, "listed everywhere")
    os.kill(pid, signal.SIGKILL)
    cluster.nodes[0].kill()
    guarded_s = until(lambda: all(o.is_guarded() for o in observers), 15, "guarded, and says so")
    assert all(observer.count() == 5 for observer in observers)
    gone_s = until(lambda: not any(o.count() for o in observers), 30, "gone everywhere")
    assert gone_s > 13.0
    assert guarded_s + gone_s < 30.0


def test_a_killed_node_costs_none_of_its_living_clients(cluster: RealCluster, stack: ExitStack) -> None:
    holder(stack, 30, *cluster.addresses)
    pushes = PushWatcher(cluster.addresses[1:], SERVICE, 30)
    stack.callback(pushes.close)
    pushes.wait_complete(5)
    watcher = watch_complete(cluster.nodes[1:], SERVICE, 30)
    cluster.nodes[0].kill()
    pause_s(20.0)
    watch = watcher.stop()
    assert watch.answers > 500
    assert (watch.gaps, pushes.shortest) == ((), 30)


def test_a_restart_with_the_same_address_hides_nobody(cluster: RealCluster, stack: ExitStack) -> None:
    holder(stack, 30, *cluster.addresses)
    watcher = watch_complete(cluster.nodes, SERVICE, 30)
    epoch = cluster.nodes[0].status()
    restart(cluster.nodes[0])
    pause_s(17.0)  # past the grace of what the earlier life left behind
    watch = watcher.stop()
    assert (watch.gaps, watch.answers > 500) == ((), True)
    after = cluster.nodes[0].status()
    assert epoch is not None
    assert after is not None
    assert (after.node_id, after.epoch > epoch.epoch) == (epoch.node_id, True)
    assert_same_content(observers_of(stack, cluster.nodes), 30)
    cluster.until_digests_agree(3)


class Load:
    """Registrations one after the other, in a thread of its own, through whatever happens."""

    def __init__(self, servers: list[str]) -> None:
        self.changes = 0
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._client = NamingClient(servers=servers, app="load", timeout=10.0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            try:
                self._client.register_instance("busy", "10.0.0.9", 1 + self.changes % 500)
                self.changes += 1
            except RollbookError as error:
                self.failures.append(str(error))

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._client.close()


def test_a_rolling_restart_under_load_loses_nobody_and_shrinks_no_push(cluster: RealCluster, stack: ExitStack) -> None:
    holder(stack, 30, *cluster.addresses)
    load = Load(cluster.addresses)
    stack.callback(load.close)
    pushes = PushWatcher(cluster.addresses, SERVICE, 30)
    stack.callback(pushes.close)
    pushes.wait_complete(5)
    watcher = watch_complete(cluster.nodes, SERVICE, 30)
    for node in cluster:
        assert node.terminate() == 0
        node.start()
        until(node.is_ready, 30, f"{node.client_address} is ready again")
        pause_s(3.0)
    pause_s(17.0)  # past the grace of what the earlier lives left behind
    watch = watcher.stop()
    assert (load.changes > 500, load.failures) == (True, [])
    assert (watch.gaps, watch.answers > 500, pushes.shortest) == ((), True, 30)
    assert_same_content(observers_of(stack, cluster.nodes), 30)
    load.close()
    cluster.until_digests_agree(5)


def test_a_node_that_was_stopped_for_forty_seconds_costs_nobody(cluster: RealCluster, stack: ExitStack) -> None:
    holder(stack, 20, *cluster.addresses)
    observers = observers_of(stack, cluster.nodes)
    watcher = watch_complete(cluster.nodes[1:], SERVICE, 20)
    paused = cluster.nodes[0]
    paused.pause()
    pause_s(40.0)
    paused.resume()
    until(paused.is_ready, 10, "the stopped node answers again")
    until(lambda: all(observer.count() == 20 for observer in observers), 10, "all list all again")
    watch = watcher.stop()
    assert (watch.gaps, watch.answers > 500) == ((), True)
    assert_same_content(observers, 20)
    cluster.until_digests_agree(10)


def test_a_node_started_late_has_everything_before_it_answers(tmp_path: Path, stack: ExitStack) -> None:
    cluster = stack.enter_context(RealCluster(tmp_path, 3))
    late = cluster.nodes[2]
    late.kill()
    client = stack.enter_context(NamingClient(servers=[cluster.addresses[0]], timeout=10.0))
    for group in range(10):
        instances = [Instance(f"10.0.{group}.{number % 250}", 1 + number // 250) for number in range(1000)]
        client.register_instances(f"many-{group}", instances)
    watchers = [Watcher([late], f"many-{group}", 1000) for group in range(10)]
    late.start()
    until(late.is_ready, 30, "the late node is ready")
    pause_s(1.0)
    watches = [watcher.stop() for watcher in watchers]
    assert [gap for watch in watches for gap in watch.gaps] == []
    assert all(watch.answers > 0 for watch in watches)
    cluster.until_digests_agree(5)


def test_two_of_three_restarted_at_once_never_answer_an_empty_list(cluster: RealCluster, stack: ExitStack) -> None:
    holder(stack, 30, *cluster.addresses)
    pushes = PushWatcher(cluster.addresses, SERVICE, 30)
    stack.callback(pushes.close)
    pushes.wait_complete(5)
    watcher = watch_complete(cluster.nodes, SERVICE, 30)
    for node in cluster.nodes[:2]:
        node.kill()
    for node in cluster.nodes[:2]:
        node.start()
    cluster.until_ready()
    pause_s(17.0)
    watch = watcher.stop()
    assert (watch.gaps, pushes.shortest) == ((), 30)
    assert_same_content(observers_of(stack, cluster.nodes), 30)
    cluster.until_digests_agree(5)
