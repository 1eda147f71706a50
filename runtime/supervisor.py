"""Starts the node process, starts it again when it dies, and gives up, saying why, when that does not help.

It holds the node's standard input: however the supervisor ends, the node notices. Where the node has a seat it keeps
the etcd member too, which outlives the lives of the node. It does nothing else, so that it has no reason to die.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from loguru import logger

from rollbook.errors import SettingsError
from runtime.handover import EXIT_CONFIGURATION, EXIT_EPOCH, framed
from runtime.logs import LogSettings, set_up_logs
from runtime.restarts import RestartRhythm
from runtime.settings import Settings
from runtime.store.etcd_seat import EtcdSeat, open_seat

STOP_SECONDS_MAX = 6.0  # a node leaves within 5 s
LOOK_SECONDS = 1.0  # between two looks at what a signal does not tell of
_SIGNAL_EXIT_BASE = 128  # how a shell shows that a signal ended a process
_ROOT = Path(__file__).resolve().parent.parent


def run(settings: Settings) -> int:
    """Run a node in the foreground until it ends for good; the exit code. Call it in the main thread."""
    # Only the node writes to the log file: two writers cannot rotate one file.
    set_up_logs(LogSettings(settings.log.level, settings.log.json, ""))
    return Supervisor(settings).run()


class Supervisor:
    """One node process after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.supervisor
        self._log = logger.bind(actor="supervisor")
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_signals = 0
        self._rhythm = RestartRhythm(settings.supervisor)
        self._seat: EtcdSeat | None = None
        self._wake_end, self._signal_end = socket.socketpair()

    def run(self) -> int:
        self._listen_to_signals()
        try:
            self._seat = open_seat(self._settings, self._log)
        except SettingsError as error:
            self._log.error("{}", error)
            return EXIT_CONFIGURATION
        try:
            return self._run_lives()
        finally:
            if self._seat is not None:
                self._seat.stop()

    def _run_lives(self) -> int:
        while True:
            code = self._run_once()
            if self._is_stopping():
                return 0 if code in (0, _SIGNAL_EXIT_BASE + signal.SIGTERM) else code
            if code in (0, EXIT_CONFIGURATION):
                return code
            delay_seconds = self._delay_after_death(code)
            if delay_seconds is None:
                return code
            self._wait(delay_seconds)
            if self._is_stopping():
                return 0

    def _run_once(self) -> int:
        """One life; how it ended."""
        # -P: a folder named like one of our packages where the user stands must not take its place.
        command = [sys.executable, "-P", "-m", "runtime.node_process"]
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        process = self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environment, preexec_fn=_ignore_interrupts
        )
        assert process.stdin is not None
        try:
            process.stdin.write(framed(self._settings))
            process.stdin.flush()
        except BrokenPipeError:
            self._log.error("the node process ended before it read its settings")
        if self._stop_signals:  # it came while the process was being made
            process.terminate()
        stopping_since: float | None = None
        while process.poll() is None:
            self._wait(LOOK_SECONDS if self._seat is None or self._stop_signals else self._seat.look())
            if self._stop_signals and stopping_since is None:
                stopping_since = time.monotonic()
            if stopping_since is not None and time.monotonic() - stopping_since > STOP_SECONDS_MAX:
                self._log.error("the node did not end within {:g} s; killed", STOP_SECONDS_MAX)
                process.kill()
                process.wait()
        self._process = None
        process.stdin.close()
        return process.returncode if process.returncode >= 0 else _SIGNAL_EXIT_BASE - process.returncode

    def _is_stopping(self) -> bool:
        return self._stop_signals > 0

    def _delay_after_death(self, code: int) -> float | None:
        """How long to wait before the next life; None: there shall be none."""
        deaths = self._rhythm.note_death(time.monotonic())
        if deaths > self._limits.restarts_max:
            window_seconds = self._limits.restart_window_ms / 1000
            self._log.error("gave up: the node ended {} times in {:g} s, at last with {}", deaths, window_seconds, code)
            return None
        delay_ms = 0 if code == EXIT_EPOCH else self._rhythm.delay_ms
        self._log.warning("the node ended with {}; starting it again in {} ms", code, delay_ms)
        return delay_ms / 1000

    def _listen_to_signals(self) -> None:
        """A signal wakes ``_wait``; nothing happens inside of handlers but what is safe there."""
        self._wake_end.setblocking(False)
        self._signal_end.setblocking(False)
        signal.set_wakeup_fd(self._signal_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake_only)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Pass it on; whoever asks a second time does not want to wait."""
        self._stop_signals += 1
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGTERM if self._stop_signals == 1 else signal.SIGKILL)
        if self._seat is not None and self._stop_signals > 1:
            self._seat.kill()

    def _wait(self, seconds: float) -> None:
        """Until a signal comes, at most this long."""
        readable, _, _ = select.select([self._wake_end], [], [], seconds)
        if readable:
            self._wake_end.recv(4_096)


def _ignore_interrupts() -> None:
    """In the child, before its program: Ctrl-C goes to all processes of a terminal; the supervisor tells the node.

    The node listens for itself once it is up; until then it would end in the middle of an import, with a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wake_only(number: int, frame: FrameType | None) -> None:
    """Without a handler, the end of a child would not wake ``_wait``."""
