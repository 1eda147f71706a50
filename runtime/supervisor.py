"""Starts the node process, starts it again when it dies, and gives up, saying why, when that does not help.

It holds the node's standard input: however the supervisor ends, the node notices. It keeps the node's gateways, and the
etcd member where the node has a seat: both outlive the lives of the node. It does nothing else, so that it has no
reason to die.
"""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import time
from types import FrameType

from loguru import logger

from rollbook.errors import SettingsError
from runtime.children import EXIT_TERMINATED, code_of, spawn
from runtime.gateway.tls import read_tls
from runtime.gateway_keeper import GatewayKeeper
from runtime.handover import EXIT_CONFIGURATION, EXIT_EPOCH
from runtime.logs import LogSettings, set_up_logs
from runtime.restarts import RestartRhythm
from runtime.settings import Settings
from runtime.store.etcd_seat import EtcdSeat, open_seat

STOP_SECONDS_MAX = 6.0  # a node leaves within 5 s


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
        self._gateways = GatewayKeeper(settings)
        self._seat: EtcdSeat | None = None
        self._wake_end, self._signal_end = socket.socketpair()

    def run(self) -> int:
        self._listen_to_signals()
        try:
            if self._settings.gateway.enabled:
                read_tls(self._settings.gateway)  # what gateways would stumble over, one after the other
            self._seat = open_seat(self._settings, self._log)
        except SettingsError as error:
            self._log.error("{}", error)
            return EXIT_CONFIGURATION
        try:
            return self._run_lives()
        finally:
            self._end_gateways()
            if self._seat is not None:
                self._seat.stop()

    def _run_lives(self) -> int:
        while True:
            code = self._run_once()
            if self._is_stopping():
                return 0 if code in (0, EXIT_TERMINATED) else code
            if code in (0, EXIT_CONFIGURATION):
                return code
            delay_seconds = self._delay_after_death(code)
            if delay_seconds is None:
                return code
            self._rest(delay_seconds)
            if self._is_stopping():
                return 0

    def _run_once(self) -> int:
        """One life; how it ended."""
        process = self._process = spawn("runtime.node_process", self._settings)
        stopping_since: float | None = None
        is_told = False
        while process.poll() is None:
            self._wait(self._look())
            if not self._stop_signals:
                continue
            now = time.monotonic()
            stopping_since = stopping_since or now
            if not is_told and not self._gateways.is_running:
                is_told = True
                process.terminate()
            if now - stopping_since > STOP_SECONDS_MAX:
                self._log.error("the node did not end within {:g} s; killed", STOP_SECONDS_MAX)
                process.kill()
                process.wait()
        self._process = None
        return code_of(process)

    def _look(self) -> float:
        """At everything that outlives a life of the node; how long until the next look."""
        if self._stop_signals:
            self._gateways.stop()
        seconds = self._gateways.look()
        return seconds if self._seat is None or self._stop_signals else min(seconds, self._seat.look())

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
        """Gateways are told to leave first, then the node; whoever asks a second time does not want to wait."""
        self._stop_signals += 1
        if self._stop_signals == 1:
            return
        if self._process is not None:
            self._process.kill()
        self._gateways.kill()
        if self._seat is not None:
            self._seat.kill()

    def _rest(self, seconds: float) -> None:
        """Between two lives of the node; gateways wait for it meanwhile."""
        until = time.monotonic() + seconds
        while not self._stop_signals and (left := until - time.monotonic()) > 0:
            self._wait(min(left, self._gateways.look()))

    def _end_gateways(self) -> None:
        """The node has ended for good."""
        self._gateways.stop()
        while self._gateways.is_running:
            self._wait(self._gateways.look())

    def _wait(self, seconds: float) -> None:
        """Until a signal comes, at most this long."""
        readable, _, _ = select.select([self._wake_end], [], [], seconds)
        if readable:
            self._wake_end.recv(4_096)


def _wake_only(number: int, frame: FrameType | None) -> None:
    """Without a handler, the end of a child would not wake ``_wait``."""
