"""What scripts/start_cluster.sh, scripts/stop_cluster.sh and the command line do with real nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runtime.local_node import HOST, LocalNode
from runtime.processes import ProcessMark, is_running, send_signal
from tests.support.real_cluster import ROOT, free_base_ports, gateways_wanted, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Operator:
    """Someone who starts and stops clusters beside whatever else runs on this machine."""

    def __init__(self, var: Path, base_port: int, engine: str = "single_home", gateways: int = 0) -> None:
        self.engine = engine
        self.var = var
        self.base_port = base_port
        self.environment = {**os.environ, "ROLLBOOK_VAR": str(var), "ROLLBOOK_BASE_PORT": str(base_port)}
        self.environment |= gateways_wanted(gateways)
        self.servers = ",".join(f"{HOST}:{base_port + 10 * number + 2}" for number in range(3))

    def cluster(self, *arguments: str) -> Ran:
        """Whether etcd is installed here makes no difference, unless ``engine`` says that it should."""
        engine = {} if arguments == ("start", "1") else {"ROLLBOOK_STORE_ENGINE": self.engine}
        return self._run([sys.executable, "-m", "runtime.local_cluster", *arguments], engine)

    def script(self, name: str, *arguments: str) -> Ran:
        return self._run([str(ROOT / "scripts" / name), *arguments])

    def rollbook(self, *arguments: str) -> Ran:
        return self._run([sys.executable, "-m", "rollbook.cli", "--server", self.servers, *arguments])

    def node(self, number: int) -> LocalNode:
        return LocalNode(self.var / "cluster", number, self.base_port)

    def supervisor(self, number: int) -> ProcessMark:
        mark = self.node(number).supervisor
        assert mark is not None, f"node {number} does not run"
        return mark

    def processes(self) -> list[ProcessMark]:
        return [mark for number in range(1, 10) for mark in self.node(number).processes()]

    def _run(self, command: list[str], more: Mapping[str, str] | None = None) -> Ran:
        environment = {**self.environment, **(more or {})}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)


def free_run_of_base_ports(count: int) -> int:
    """The first of so many base ports in a row."""
    free = free_base_ports(60)
    return next(port for port in free if all(port + 10 * step in free for step in range(count)))


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    someone = Operator(tmp_path / "var with a space", free_run_of_base_ports(3))
    yield someone
    someone.cluster("stop")
    assert someone.processes() == []


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_a_node_is_ready_when_its_gateway_is_and_the_table_says_where_both_listen(
    stack: ExitStack, tmp_path: Path
) -> None:
    operator = Operator(tmp_path / "var", free_base_ports(1)[0], gateways=1)
    stack.callback(operator.cluster, "stop")
    started = operator.cluster("start", "1")
    assert started.code == 0, started.err
    assert operator.node(1).is_gateway_ready(5.0)
    row = started.out[started.out.index("\n1 ") :].split()[:5]
    assert row == ["1", *(f"{HOST}:{operator.base_port + offset}" for offset in (0, 1_000, 2, 3))]
    with socket.create_connection((HOST, operator.base_port + 1_000), timeout=5):
        stopped = operator.cluster("stop")
    assert (stopped.code, operator.processes()) == (0, [])


def test_a_gateways_port_that_is_taken_is_named_before_anything_starts(stack: ExitStack, tmp_path: Path) -> None:
    operator = Operator(tmp_path / "var", free_base_ports(1)[0], gateways=1)
    taken = stack.enter_context(socket.socket())
    taken.bind((HOST, operator.base_port + 1_000))
    taken.listen()
    started = operator.cluster("start", "1")
    assert started.code == 2
    assert f"port {operator.base_port + 1_000} (node 1) cannot be used" in started.err
    assert operator.processes() == []


def test_a_cluster_is_started_found_mended_and_stopped(operator: Operator) -> None:
    started = operator.cluster("start", "3")
    assert started.code == 0, started.err
    assert "3 nodes ready" in started.out
    assert str(operator.node(3).log) in started.out
    first = [operator.supervisor(number) for number in (1, 2, 3)]

    again = operator.cluster("start", "3")
    assert (again.code, [operator.supervisor(number) for number in (1, 2, 3)]) == (0, first)
    assert "nothing was changed" in again.out

    other = operator.cluster("start", "2")
    assert other.code == 2
    assert "a cluster of 3 nodes is running, not of 2" in other.err

    before = operator.processes()
    send_signal(first[1], signal.SIGKILL)
    mended = operator.cluster("start", "3")
    assert mended.code == 0, mended.err
    assert "started again: node 2;" in mended.out
    assert [operator.supervisor(1), operator.supervisor(3)] == [first[0], first[2]]
    assert operator.supervisor(2) != first[1]

    running = operator.processes()
    stopped = operator.cluster("stop")
    assert stopped.code == 0
    assert stopped.out.splitlines() == [f"rollbook: node {number} stopped" for number in (1, 2, 3)]
    assert not any(is_running(mark) for mark in before + running)
    assert operator.cluster("stop") == Ran(0, "rollbook: nothing runs\n", "")


def test_a_node_process_that_hangs_without_its_supervisor_is_stopped_too(operator: Operator) -> None:
    assert operator.cluster("start", "1").code == 0
    supervisor, node = operator.node(1).processes()
    send_signal(node, signal.SIGSTOP)
    send_signal(supervisor, signal.SIGKILL)
    until(lambda: not is_running(supervisor), 5, "the supervisor is gone")
    assert operator.node(1).processes() == [node]
    assert operator.cluster("stop").code == 0
    assert not is_running(node)


def test_a_port_that_somebody_else_has_is_named_and_nothing_is_started(operator: Operator) -> None:
    port = operator.base_port + 10 + 3
    with socket.create_server((HOST, port)):
        refused = operator.cluster("start", "3")
    assert refused.code == 2
    assert f"port {port} (node 2)" in refused.err
    assert refused.err.count("\n") == 1
    assert operator.processes() == []


def test_a_node_that_cannot_start_is_told_with_the_end_of_its_log(operator: Operator) -> None:
    operator.environment["ROLLBOOK_PUSH_INTERVAL_MS"] = "often"
    failed = operator.cluster("start", "1")
    assert failed.code == 1
    assert "node 1 ended before it was ready" in failed.err
    assert "push.interval_ms" in failed.err


@pytest.mark.parametrize("arguments", [["0"], ["10"], ["x"], ["3", "3"], [""]])
def test_the_start_script_explains_itself_when_it_is_used_wrongly(operator: Operator, arguments: list[str]) -> None:
    told = operator.script("start_cluster.sh", *arguments)
    assert told.code == 2
    assert "usage: scripts/start_cluster.sh [N]" in told.err


def test_the_stop_script_needs_nothing_to_say_that_nothing_runs(operator: Operator) -> None:
    assert operator.script("stop_cluster.sh") == Ran(0, "rollbook: nothing runs\n", "")


@pytest.mark.parametrize("text", ["{bad", "[1]", '{"nodes": 1}', "\xff"])
@pytest.mark.parametrize("name", ["cluster.json", "node-1/process.json"])
def test_a_damaged_state_file_is_named_in_one_line(operator: Operator, name: str, text: str) -> None:
    damaged = operator.var / "cluster" / name
    damaged.parent.mkdir(parents=True)
    damaged.write_text(text, encoding="latin-1")
    told = operator.cluster("stop")
    damaged.unlink()  # as the advice says; the next stop has nothing to complain about
    assert (told.code, told.out) == (2, "")
    assert f"the state file {damaged} is damaged" in told.err
    assert told.err.count("\n") == 1


def test_the_command_line_registers_watches_and_judges_a_cluster(operator: Operator, stack: ExitStack) -> None:
    assert operator.cluster("start", "3").code == 0
    watching = spawn(stack, operator, "watch", "orders", "--json")
    held = spawn(
        stack, operator, "register", "orders", "10.0.0.7:80", "--metadata", "v=1", "--wait", "cluster", "--json"
    )
    assert line_of(held)["event"] == "registered"
    added = line_of(watching)
    assert (added["event"], added["instance"]["ip"], added["instance"]["metadata"]) == ("added", "10.0.0.7", {"v": "1"})

    assert json.loads(operator.rollbook("services", "--json").out)["services"] == ["orders"]
    listed = operator.rollbook("instances", "orders")
    assert (listed.code, "10.0.0.7:80" in listed.out) == (0, True)
    assert operator.rollbook("instances", "nobody").code == 1

    judged = operator.rollbook("nodes", "--json", "--wait", "10")
    report = json.loads(judged.out)
    assert (judged.code, report["whole"], report["digests"]) == (0, True, "agree")
    assert [node["records"] for node in report["nodes"]] == [1, 1, 1]

    held.send_signal(signal.SIGTERM)
    assert line_of(held)["event"] == "deregistered"
    assert held.wait(10) == 0
    assert line_of(watching)["event"] == "removed"
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130


def test_a_registration_whose_process_is_killed_is_seen_to_go(operator: Operator, stack: ExitStack) -> None:
    assert operator.cluster("start", "2").code == 0
    watching = spawn(stack, operator, "watch", "orders", "--json")
    held = spawn(stack, operator, "register", "orders", "10.0.0.7:80", "--json")
    assert line_of(held)["event"] == "registered"
    assert line_of(watching)["event"] == "added"
    held.kill()
    assert line_of(watching)["event"] == "removed"


def test_a_member_that_is_gone_makes_the_cluster_less_than_whole(operator: Operator) -> None:
    assert operator.cluster("start", "3").code == 0
    for mark in operator.node(2).processes():
        send_signal(mark, signal.SIGKILL)
    judged = operator.rollbook("nodes", "--timeout", "0.5")
    assert judged.code == 4
    assert "no answer" in judged.out
    assert "does not answer" in judged.out


def spawn(stack: ExitStack, operator: Operator, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rollbook.cli", "--server", operator.servers, *arguments]
    process = stack.enter_context(
        subprocess.Popen(
            command, cwd=ROOT, env=operator.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    )
    stack.callback(process.kill)
    return process


def line_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next JSON line; the test's own time limit ends a wait that is in vain."""
    assert process.stdout is not None
    value: dict[str, Any] = json.loads(process.stdout.readline())
    return value
