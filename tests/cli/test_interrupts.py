"""Ctrl-C has a meaning at every moment, also before and while a command does its work: no traceback, and no waiting."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 20.0
NOBODY = "127.0.0.1:9"  # the discard port: nobody listens there

_COMMAND = "import sys; from runtime.command import main; sys.exit(main())"
_INTERRUPTED_WHILE_LOADING = """
import os, signal, sys
class InterruptsItself:
    def find_spec(self, name, path=None, target=None):
        if name == "rollbook.session":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, InterruptsItself())
"""

_DEAF_WITH_A_NEW_FILE = """
import ctypes, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_DFL)  # as every command begins
from rollbook.cli.new_file import new_file
mutex = ctypes.create_string_buffer(64)
lock = ctypes.CDLL(None).pthread_mutex_lock
with new_file(Path(sys.argv[1]), force=False):
    lock(mutex)
    print("there", flush=True)
    lock(mutex)  # a wait that no signal ends
"""


def listens_to_interrupts() -> None:
    """Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listens_to_interrupts,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.005)


def threads_of(process: subprocess.Popen[str]) -> int:
    return len(os.listdir(f"/proc/{process.pid}/task"))


def children_of(process: subprocess.Popen[str]) -> str:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()


def test_a_command_that_is_interrupted_while_it_loads_ends_without_a_word() -> None:
    process = start(_INTERRUPTED_WHILE_LOADING + _COMMAND, "services", "--server", NOBODY)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("command", [["register", "orders", "10.0.0.1:80"], ["watch", "orders"], ["services"]])
def test_a_call_that_waits_for_a_dead_cluster_is_interrupted_at_once(command: list[str]) -> None:
    process = start(_COMMAND, *command, "--server", NOBODY, "--timeout", "600")
    wait_until(lambda: threads_of(process) > 1)  # the client's thread: the call has begun
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert err == ""


@pytest.mark.cluster
def test_an_interrupt_for_the_whole_terminal_leaves_an_early_node_to_its_supervisor(tmp_path: Path) -> None:
    process = start(_COMMAND, "start", "--base-port", "64000", "--data-directory", str(tmp_path))
    wait_until(lambda: bool(children_of(process)))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["backup", "export"])
def test_a_backup_that_is_interrupted_leaves_nothing_behind(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = start(_COMMAND, command, str(tmp_path / "data"), "--server", NOBODY, "--timeout", "600")
    wait_until(lambda: os.listdir(tmp_path) != [] and threads_of(process) > 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, err, os.listdir(tmp_path)) == (-number, "", [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_whose_main_thread_hears_no_signal_ends_too_and_leaves_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = start(_DEAF_WITH_A_NEW_FILE, str(tmp_path / "data"))
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, os.listdir(tmp_path)) == (-number, [])
