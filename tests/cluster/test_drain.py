"""Drain with proof on real nodes: what the SDK and the command line say, and what subscribers have at that moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import ROOT
from rollbook import Difference, Instance, NamingClient, NotConfirmed
from rollbook.cli.convergence_line import convergence_line
from tests.support.deaf_subscriber import DeafSubscriber
from tests.support.real_cluster import RealCluster, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SERVICE = "drained"
_COMMAND = "import sys; from runtime.command import main; sys.exit(main())"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    folder: Path = tmp_path_factory.mktemp("drain")
    with RealCluster(folder, 3) as running:
        yield running


@pytest.fixture
def subscribers(cluster: RealCluster) -> Iterator[list[NamingClient]]:
    """One on each node, with the service in its cache."""
    clients = [NamingClient(address) for address in cluster.addresses]
    for client in clients:
        client.get_all_instances(SERVICE)
    yield clients
    for client in clients:
        client.close()


def node_id_at(cluster: RealCluster, number: int) -> str:
    status = cluster.nodes[number].status()
    assert status is not None
    return status.node_id


def register_command(cluster: RealCluster, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _COMMAND,
            "register",
            SERVICE,
            "10.9.9.9:80",
            "--server",
            cluster.addresses[0],
            *options,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def until_registered(process: subprocess.Popen[str], subscribers: list[NamingClient]) -> None:
    """The command knows it, and so do they: whoever is interrupted earlier has nothing to drain."""
    assert process.stdout is not None
    assert " registered " in process.stdout.readline()
    until(lambda: all(client.get_all_instances(SERVICE) for client in subscribers), 15, "registered")


def test_when_a_drain_returns_no_cache_of_any_node_holds_the_instance(
    cluster: RealCluster, subscribers: list[NamingClient]
) -> None:
    with NamingClient(cluster.addresses[0]) as publisher:
        for number in range(30):
            ip = f"10.0.0.{number}"
            publisher.register_instance(SERVICE, ip, 80, wait="subscribers")
            held = [[each.ip for each in client.get_all_instances(SERVICE)] for client in subscribers]
            assert held == [[ip]] * 3
            publisher.deregister_instance(SERVICE, ip, 80, wait="subscribers")
            assert [list(client.get_all_instances(SERVICE)) for client in subscribers] == [[], [], []]
    statuses = [status for status in (node.status() for node in cluster.nodes) if status is not None]
    assert sum(sum(counts.counts) for status in statuses for counts in status.convergence) > 0
    assert "every subscriber told p50 ≤" in convergence_line(statuses)


def test_a_caller_that_subscribes_and_drains_inside_its_own_callback_is_answered(cluster: RealCluster) -> None:
    done = threading.Event()
    with NamingClient(cluster.addresses[1]) as client:

        def drain_at_once(instances: tuple[Instance, ...], _difference: Difference) -> None:
            if instances and not done.is_set():
                client.deregister_instance(SERVICE, "10.0.1.1", 80, wait="subscribers")
                done.set()

        client.subscribe(SERVICE, drain_at_once)
        client.register_instance(SERVICE, "10.0.1.1", 80)
        assert done.wait(10)


def test_a_subscriber_that_does_not_read_is_named_and_once_it_reads_the_drain_is_proved(
    cluster: RealCluster, subscribers: list[NamingClient]
) -> None:
    with (
        NamingClient(cluster.addresses[0], timeout=2.0) as publisher,
        DeafSubscriber(cluster.addresses[2], "deaf-one", SERVICE) as deaf,
    ):
        publisher.register_instance(SERVICE, "10.0.2.1", 80)
        with pytest.raises(NotConfirmed) as caught:
            publisher.deregister_instance(SERVICE, "10.0.2.1", 80, wait="subscribers")
        assert caught.value.nodes == (node_id_at(cluster, 2),)
        assert caught.value.subscribers == (f"deaf-one@{node_id_at(cluster, 2)}",)
        assert [list(client.get_all_instances(SERVICE)) for client in subscribers] == [[], [], []]
        deaf.acknowledge_next()
        deaf.acknowledge_next()
        publisher.deregister_instance(SERVICE, "10.0.2.1", 80, wait="subscribers")


def test_the_register_command_drains_at_its_end(cluster: RealCluster, subscribers: list[NamingClient]) -> None:
    with register_command(cluster, "--drain") as process:
        until_registered(process, subscribers)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert [list(client.get_all_instances(SERVICE)) for client in subscribers] == [[], [], []]
    assert process.returncode == 0, err
    assert "drained DEFAULT_GROUP@@drained" in out


def test_the_register_command_says_who_has_not_confirmed_its_drain(
    cluster: RealCluster, subscribers: list[NamingClient]
) -> None:
    with DeafSubscriber(cluster.addresses[1], "deaf-two", SERVICE):
        with register_command(cluster, "--drain", "--timeout", "2") as process:
            until_registered(process, subscribers)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 1
        assert f"deaf-two@{node_id_at(cluster, 1)}" in err
