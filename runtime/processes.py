"""Processes that an earlier run started: are they still there, and how to end them and nothing else.

A process number alone proves nothing, because systems use it again. A mark adds when the process began. On Linux a
signal goes through a pidfd, so between the check and the signal the number cannot pass to another process; and a token
in the environment finds children whose parent, and with it its mark, is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_STATE, _STARTED = 0, 19  # fields of /proc/N/stat, counted behind the name in parentheses


class ProcessMark(NamedTuple):
    """One process, for all time: ``started`` differs for every process that ever had this number."""

    pid: int
    started: str


def mark_of(pid: int) -> ProcessMark | None:
    """The mark of a process that runs now; None if there is none (one that only waits to be reaped has ended)."""
    started = _started_from_proc(pid) if (_PROC / "self" / "stat").exists() else _started_from_ps(pid)
    return ProcessMark(pid, started) if started else None


def is_running(mark: ProcessMark) -> bool:
    return mark_of(mark.pid) == mark


def send_signal(mark: ProcessMark, number: signal.Signals) -> bool:
    """Signal exactly this process; False if it has ended."""
    try:
        return _send_by_handle(mark, number) if sys.platform == "linux" else _send_by_number(mark, number)
    except ProcessLookupError:
        return False


def carriers(variable: str, value: str) -> list[ProcessMark]:
    """Processes that were started with this environment variable, in order of number. Empty where there is no /proc."""
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's: not one that we started
        if wanted in environment.split(b"\0") and (mark := mark_of(int(folder.name))) is not None:
            found.append(mark)
    return sorted(found)


def _started_from_proc(pid: int) -> str:
    try:
        # A name may hold spaces and parentheses, so the fields begin behind the last one.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[_STATE] in ("Z", "X") else f"{boot}:{fields[_STARTED]}"


def _started_from_ps(pid: int) -> str:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


if sys.platform == "linux":

    def _send_by_handle(mark: ProcessMark, number: signal.Signals) -> bool:
        try:
            handle = os.pidfd_open(mark.pid)
        except ProcessLookupError:
            return False
        except OSError:
            return _send_by_number(mark, number)  # a kernel before 5.3, or a sandbox that knows no pidfd
        try:
            if not is_running(mark):
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        finally:
            os.close(handle)


def _send_by_number(mark: ProcessMark, number: signal.Signals) -> bool:
    if not is_running(mark):
        return False
    os.kill(mark.pid, number)
    return True
