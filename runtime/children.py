"""The processes of a supervisor: how each is started, and what it is told first."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from runtime.handover import framed

_SIGNAL_EXIT_BASE = 128  # how a shell shows that a signal ended a process
EXIT_TERMINATED = _SIGNAL_EXIT_BASE + signal.SIGTERM
_ROOT = Path(__file__).resolve().parent.parent


def spawn(module: str, told: msgspec.Struct) -> subprocess.Popen[bytes]:
    """Start it. Its standard input stays open for as long as somebody wants it to live."""
    # -P: a folder named like one of our packages where the user stands must not take its place.
    command = [sys.executable, "-P", "-m", module]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, preexec_fn=_ignore_interrupts)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended already, and its exit code says why
        process.stdin.write(framed(told))
        process.stdin.flush()
    return process


def code_of(process: subprocess.Popen[bytes]) -> int:
    """How a process that has ended did so, as a shell shows it. Its standard input is closed."""
    assert process.stdin is not None
    process.stdin.close()
    return process.returncode if process.returncode >= 0 else _SIGNAL_EXIT_BASE - process.returncode


def _ignore_interrupts() -> None:
    """In the child, before its program: Ctrl-C goes to all processes of a terminal; the supervisor tells its children.

    A child listens for itself once it is up; until then it would end in the middle of an import, with a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
