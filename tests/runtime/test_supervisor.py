"""Supervisor and node as real processes: the end of each, in good order and without."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytestmark = pytest.mark.cluster

WAIT_SECONDS = 10.0
LEAVE_SECONDS_MAX = 5.0
ROOT = Path(__file__).resolve().parents[2]
Found = TypeVar("Found")

_PROGRAM = """
import json, sys
from runtime.settings import load_settings
from runtime.supervisor import run
sys.exit(run(load_settings(None, json.loads(sys.argv[1]), {})))
"""


def vacant_base_port() -> int:
    """P with P+2 and P+3 free."""
    for base_port in range(40_000 + os.getpid() % 10_000, 60_000, 4):
        # An error means that somebody has one of them.
        with socket.socket() as clients, socket.socket() as peers, contextlib.suppress(OSError):
            clients.bind(("127.0.0.1", base_port + 2))
            peers.bind(("127.0.0.1", base_port + 3))
            return base_port
    raise AssertionError("no free ports")


class RunningNode:
    """A supervisor with its node process."""

    def __init__(
        self,
        folder: Path,
        base_port: int,
        supervisor: dict[str, Any],
        gateway: dict[str, Any] | None = None,
        **node: Any,
    ) -> None:
        self.state = folder / "data" / "state.json"
        self.log = folder / "node.log"
        values = {"base_port": base_port, "data_directory": str(folder / "data"), **node}
        sections = {"node": values, "supervisor": supervisor, "gateway": gateway or {"enabled": False}}
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", _PROGRAM, json.dumps(sections)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def node_pid(self, other_than: int = 0) -> int:
        """The pid that the node wrote down once it listened."""

        def read() -> int:
            with contextlib.suppress(FileNotFoundError):  # not there yet
                pid: int = json.loads(self.state.read_text())["pid"]
                return pid if pid != other_than else 0
            return 0

        return until(read, f"a node other than {other_than} listens; log: {self.lines()}")

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def exit_code(self) -> int:
        return self.process.wait(WAIT_SECONDS)


def until(condition: Callable[[], Found], what: str) -> Found:
    """Poll until it holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        select.select([], [], [], 0.01)
    return found


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Starts nodes; ends what is left of them."""
    nodes: list[RunningNode] = []
    base_port = vacant_base_port()

    def start(supervisor: dict[str, Any] | None = None, **node: Any) -> RunningNode:
        nodes.append(RunningNode(tmp_path, base_port, {"restart_delay_ms": 10, **(supervisor or {})}, **node))
        return nodes[-1]

    yield start
    for node in nodes:
        node.process.terminate()
        node.process.wait(WAIT_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_told_to_stop_leaves_in_good_order(
    started: Callable[..., RunningNode], number: signal.Signals
) -> None:
    node = started()
    pid = node.node_pid()
    told = time.monotonic()
    node.process.send_signal(number)
    assert node.exit_code() == 0
    assert time.monotonic() - told < LEAVE_SECONDS_MAX
    assert not is_running(pid)
    assert not node.state.exists()
    assert "ended: left the cluster" in node.lines()[-1]


def test_a_node_whose_supervisor_is_killed_ends_by_itself(started: Callable[..., RunningNode]) -> None:
    node = started()
    pid = node.node_pid()
    node.process.kill()
    node.process.wait()
    until(lambda: not is_running(pid), "the node has ended")
    assert any("the supervisor is gone" in line for line in node.lines())


def test_a_node_that_dies_is_started_again_with_a_higher_epoch(started: Callable[..., RunningNode]) -> None:
    node = started()
    pid = node.node_pid()
    epoch = json.loads(node.state.read_text())["epoch"]
    os.kill(pid, signal.SIGKILL)
    again = node.node_pid(other_than=pid)
    assert is_running(again)
    assert json.loads(node.state.read_text())["epoch"] > epoch
    assert any("the node ended with 137; starting it again in 10 ms" in line for line in node.lines())


def test_a_node_that_dies_too_often_is_given_up_and_the_reason_said(started: Callable[..., RunningNode]) -> None:
    node = started(supervisor={"restarts_max": 1})
    pid = node.node_pid()
    os.kill(pid, signal.SIGKILL)
    os.kill(node.node_pid(other_than=pid), signal.SIGKILL)
    assert node.exit_code() == 137
    assert "gave up: the node ended 2 times in 60 s, at last with 137" in node.lines()[-1]


def test_a_port_in_use_is_one_line_and_no_restart(started: Callable[..., RunningNode], tmp_path: Path) -> None:
    first = started()
    first.node_pid()
    (tmp_path / "second").mkdir()
    base_port = int(json.loads(first.state.read_text())["client_address"].rpartition(":")[2]) - 2
    second = RunningNode(tmp_path / "second", base_port, {})
    assert second.exit_code() == 2
    (line,) = second.lines()
    assert f"cannot listen on 127.0.0.1:{base_port + 2}: Address already in use" in line


def test_a_data_directory_that_cannot_be_used_is_one_line(started: Callable[..., RunningNode], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    node = started(data_directory=str(tmp_path / "file"))
    assert node.exit_code() == 2
    (line,) = node.lines()
    assert "cannot be used" in line


def test_a_node_that_its_own_list_does_not_name_is_refused(started: Callable[..., RunningNode]) -> None:
    node = started(members=["10.0.0.1:8848"])
    assert node.exit_code() == 2
    assert "the members do not name this node" in node.lines()[-1]


def test_a_log_file_that_cannot_be_written_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    sections = {
        "node": {"base_port": vacant_base_port(), "data_directory": str(tmp_path / "data")},
        "log": {"file": str(tmp_path / "taken" / "node.log")},
    }
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sections)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "cannot write the log file" in ended.stderr
