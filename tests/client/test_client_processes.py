"""What happens to a client when its process does something unusual: forks, ends, blocks, is killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollbook import NamingClient, Service
from rollbook.errors import Code
from rollbook.wire import CloseSession, Failed
from tests.support.real_cluster import until
from tests.support.small_registry import SmallRegistry

ROOT = Path(__file__).resolve().parents[2]
ORDERS = Service("public", "DEFAULT_GROUP", "orders")


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    with SmallRegistry() as started:
        yield started


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process; ended in any case, by its own id."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # so that ``said`` sees every line that is there
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def script(registry: SmallRegistry, body: str) -> str:
    """A program with a client that has registered one instance."""
    return (
        "import ctypes, os, signal, sys, threading, time\n"
        "from rollbook import NamingClient\n"
        f"client = NamingClient([{registry.address!r}])\n"
        "client.register_instance('orders', '10.0.0.1', 80)\n" + body
    )


def said(process: subprocess.Popen[bytes]) -> str:
    """The next line; fails instead of waiting for ever."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 10)[0], "the process says nothing"
    return process.stdout.readline().decode().strip()


def finished(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=20)
    return process.returncode, out.decode(), error.decode()


def ports(registry: SmallRegistry) -> list[int]:
    return sorted(key.port for key in registry.instances(ORDERS))


def test_a_program_that_just_ends_deregisters_and_leaves_nothing_unclosed(registry: SmallRegistry) -> None:
    with running("-c", script(registry, "")) as process:
        assert finished(process) == (0, "", "")
    assert registry.requests[-1] == CloseSession("leave")
    assert ports(registry) == []


def test_a_program_that_fails_deregisters_too(registry: SmallRegistry) -> None:
    with running("-c", script(registry, "raise SystemExit(3)")) as process:
        assert finished(process)[0] == 3
    assert ports(registry) == []


def test_a_client_stays_connected_while_its_process_holds_the_interpreter_lock(registry: SmallRegistry) -> None:
    """A call through PyDLL keeps the lock: no Python thread runs, only libzmq's own."""
    blocking = (
        "print('blocking', flush=True)\nctypes.PyDLL(None).sleep(8)\nprint(client.get_server_status(), flush=True)\n"
    )
    with running("-c", script(registry, blocking)) as process:
        assert said(process) == "blocking"
        assert said(process) == "UP"
        assert finished(process)[0] == 0
    assert sum(type(body).__name__ == "OpenSession" for body in registry.requests) == 1, "one session all the time"


def test_a_paused_node_costs_a_caller_less_than_its_time_out(registry: SmallRegistry) -> None:
    """The client gives a silent node up after two seconds, long before the node's own four are over."""
    body = (
        "import time\n"
        "from tests.support.small_registry import SmallRegistry\n"
        "with SmallRegistry() as paused:\n"
        "    print(paused.address, flush=True)\n"
        "    time.sleep(30)\n"
    )
    with running("-c", body) as process:
        registry.refusal = Failed(Code.NOT_READY, "until the other one is paused", retryable=True)
        with NamingClient([said(process), registry.address], timeout=3.0) as client:
            client.register_instance("orders", "10.0.0.1", 80)
            assert client.server != registry.address
            registry.refusal = None
            process.send_signal(signal.SIGSTOP)
            client.register_instance("orders", "10.0.0.1", 81)
            assert client.server == registry.address
            assert ports(registry) == [80, 81]


def test_a_forked_child_starts_afresh_and_the_parent_keeps_what_it_has(registry: SmallRegistry) -> None:
    client = NamingClient([registry.address])
    client.register_instance("orders", "10.0.0.1", 80)
    body = (
        "parent_id = client.client_id\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert client.client_id != parent_id\n"
        "    assert client.get_subscribed_services() == []\n"
        "    client.register_instance('orders', '10.0.0.1', 81)\n"
        "    sys.exit(0)\n"
        "_, status = os.waitpid(child, 0)\n"
        "print(os.waitstatus_to_exitcode(status), client.get_server_status(), flush=True)\n"
        "time.sleep(30)\n"
    )
    with running("-c", script(registry, body)) as process:
        assert said(process) == "0 UP"
        assert ports(registry) == [80], "the child's own is gone with it, the parent's stays"
        assert len(registry.clients()) == 3
    client.close()


def test_a_child_does_not_hold_its_dead_parents_connection(registry: SmallRegistry) -> None:
    """Otherwise a dead parent would stay listed until the heartbeats give it up."""
    body = (
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(30)\n"
        "    os._exit(0)\n"
        "print(child, flush=True)\n"
        "time.sleep(30)\n"
    )
    with running("-c", script(registry, body)) as process:
        child = int(said(process))
        try:
            connections = _connections_to(registry.port, process.pid)
            assert len(connections) == 1
            until(lambda: _connections_to(registry.port, child) == [], 5, "the child lets go")
            assert _connections_to(registry.port, process.pid) == connections
        finally:
            os.kill(child, signal.SIGKILL)


def _connections_to(port: int, process_id: int) -> list[str]:
    """The inodes of established TCP connections of this process to the port, from /proc."""
    table = Path(f"/proc/{process_id}/net/tcp").read_text().splitlines()[1:]
    remote = f":{port:04X}"
    inodes = {line.split()[9] for line in table if line.split()[2].endswith(remote) and line.split()[3] == "01"}
    held = []
    for entry in Path(f"/proc/{process_id}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # Closed since it was listed.
            target = os.readlink(entry)
            held += [target for inode in inodes if target == f"socket:[{inode}]"]
    return sorted(held)


@pytest.mark.parametrize("name", ["register.py", "raw_register.py"])
def test_an_example_registers_holds_and_takes_back(registry: SmallRegistry, name: str) -> None:
    with running(f"examples/{name}", registry.address, "orders", "10.0.0.1", "8080") as process:
        assert "is listed" in said(process)
        assert ports(registry) == [8080]
        process.send_signal(signal.SIGINT)
        code, _, error = finished(process)
        assert (code, error) == (0, "")
    assert ports(registry) == []


def test_the_raw_example_fits_on_a_page_and_needs_no_rollbook() -> None:
    text = (ROOT / "examples" / "raw_register.py").read_text()
    assert len(text.splitlines()) <= 40
    assert "rollbook" not in text.replace("rollbook ", "")


def test_the_example_subscriber_shows_changes(registry: SmallRegistry) -> None:
    with running("examples/subscribe.py", registry.address, "orders") as process:
        with NamingClient([registry.address]) as client:
            client.register_instance("orders", "10.0.0.1", 80)
            assert said(process) == "+ 10.0.0.1:80 weight 1 {}"
            assert said(process) == "1 in all"
        assert said(process) == "- 10.0.0.1:80 weight 1 {}"
        process.send_signal(signal.SIGTERM)
        assert finished(process)[0] == 0


def test_the_example_caller_finds_instances(registry: SmallRegistry) -> None:
    with NamingClient([registry.address]) as client:
        client.register_instance("orders", "10.0.0.1", 80)
        with running("examples/discover.py", registry.address, "orders") as process:
            code, out, _ = finished(process)
    assert code == 0
    assert "10.0.0.1:80 would have served 1000 of 1000 calls" in out


def test_an_example_without_a_cluster_ends_with_one_line() -> None:
    with running("examples/discover.py", "127.0.0.1:1", "orders") as process:
        code, out, error = finished(process)
    assert (code, out) == (1, "")
    assert error.startswith("ClusterUnreachable: no answer in time")
    assert len(error.splitlines()) == 1
