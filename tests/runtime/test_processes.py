"""Marks of processes: what an earlier run started is found again, and nothing else is touched."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runtime.processes import ProcessMark, carriers, is_running, mark_of, send_signal

VARIABLE = "ROLLBOOK_TEST_TOKEN"
WAIT_FOR_END = "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()"


@pytest.fixture
def token() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def process(token: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WAIT_FOR_END]
    environment = {**os.environ, VARIABLE: token}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.read(2) == b"up"
        yield started
        started.kill()


def marked(process: subprocess.Popen[bytes]) -> ProcessMark:
    mark = mark_of(process.pid)
    assert mark is not None
    return mark


def test_a_running_process_keeps_its_mark(process: subprocess.Popen[bytes]) -> None:
    assert is_running(marked(process))
    assert mark_of(process.pid) == marked(process)


def test_a_signal_reaches_the_marked_process(process: subprocess.Popen[bytes]) -> None:
    mark = marked(process)
    assert send_signal(mark, signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    assert not is_running(mark)
    assert not send_signal(mark, signal.SIGTERM)


def test_a_process_that_only_waits_to_be_reaped_has_ended(process: subprocess.Popen[bytes]) -> None:
    mark = marked(process)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert not is_running(mark)


def test_a_number_that_was_used_again_is_left_alone(process: subprocess.Popen[bytes]) -> None:
    earlier = ProcessMark(process.pid, "another beginning")
    assert not is_running(earlier)
    assert not send_signal(earlier, signal.SIGKILL)
    assert process.poll() is None


def test_a_token_finds_its_process_and_no_other(process: subprocess.Popen[bytes], token: str) -> None:
    assert carriers(VARIABLE, token) == [marked(process)]
    assert carriers(VARIABLE, token[:-1]) == []
