"""Keeps the gateways of one node running. What becomes of them never costs the node anything.

A gateway that keeps dying is left alone for a while, said once each time, and tried again: whoever holds its port may
be gone by then.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import msgspec
from loguru import logger

from runtime.children import code_of, spawn
from runtime.gateway.plan import GatewayPlan
from runtime.handover import EXIT_CONFIGURATION
from runtime.local_socket import FILE_NAME
from runtime.restarts import RestartRhythm
from runtime.settings import Settings

LOOK_SECONDS = 1.0
FIRST_LOOK_SECONDS = 0.05  # until the node listens
KILL_MARGIN_SECONDS = 0.5  # after the time that a gateway has to leave


class GatewayKeeper:
    """Look at it in a rhythm; it says when the next look is due."""

    def __init__(self, settings: Settings) -> None:
        count = settings.gateway.processes if settings.gateway.enabled else 0
        self._socket_file = Path(settings.node.data_directory) / FILE_NAME
        self._gateways = [_KeptGateway(settings, number) for number in range(1, count + 1)]
        self._leave_seconds = settings.gateway.leave_timeout_ms / 1000 + KILL_MARGIN_SECONDS
        self._stopping_since: float | None = None

    @property
    def is_running(self) -> bool:
        return any(gateway.is_running for gateway in self._gateways)

    def look(self) -> float:
        """Start what is due; take note of what has ended."""
        now = time.monotonic()
        if self._stopping_since is not None:
            if now - self._stopping_since > self._leave_seconds:
                self.kill()
            return FIRST_LOOK_SECONDS
        if not self._gateways:
            return LOOK_SECONDS
        if not self._socket_file.exists():
            return FIRST_LOOK_SECONDS
        return min(gateway.look(now) for gateway in self._gateways)

    def stop(self) -> None:
        """Tell all to leave; ``look`` and see. Those that do not leave in time are killed."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            for gateway in self._gateways:
                gateway.tell_to_leave()

    def kill(self) -> None:
        for gateway in self._gateways:
            gateway.kill()


class _KeptGateway:
    """One gateway process after the other."""

    def __init__(self, settings: Settings, number: int) -> None:
        self._plan = plan_beside_node(settings, number)
        self._limits = settings.supervisor
        self._name = "the gateway" if settings.gateway.processes == 1 else f"gateway {number}"
        self._rhythm = RestartRhythm(settings.supervisor)
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0
        self._log = logger.bind(actor="supervisor")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def look(self, now: float) -> float:
        """How long until the next look."""
        if self._process is not None and not self.is_running:
            self._due = now + self._rest_after_death(code_of(self._process), now)
            self._process = None
        if self._process is None and now >= self._due:
            self._process = spawn("runtime.gateway_process", self._plan)
        return LOOK_SECONDS if self._process is not None else max(0.0, min(LOOK_SECONDS, self._due - now))

    def tell_to_leave(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and self.is_running:
            self._log.error("{} did not end in time; killed", self._name)
            self._process.kill()
            self._process.wait()

    def _rest_after_death(self, code: int, now: float) -> float:
        """In seconds."""
        deaths = self._rhythm.note_death(now)
        if deaths <= self._limits.restarts_max and code != EXIT_CONFIGURATION:
            self._log.warning("{} ended with {}; starting it again in {} ms", self._name, code, self._rhythm.delay_ms)
            return self._rhythm.delay_ms / 1000
        rest_seconds = self._limits.restart_window_ms / 1000
        sentence = "{} ended with {}, {} times in {:g} s; the node goes on without it, it is tried again after as long"
        self._log.error(sentence, self._name, code, deaths, rest_seconds)
        return rest_seconds


def plan_beside_node(settings: Settings, number: int) -> GatewayPlan:
    """For the gateway with this number (from 1) that the supervisor keeps."""
    return GatewayPlan(
        settings.gateway,
        msgspec.structs.replace(settings.log, file=_log_file(settings.log.file, number)),
        settings.gateway.host or settings.node.host,
        settings.node.base_port,
        settings.node.grpc_port,
        data_directory=settings.node.data_directory,
        shares_ports=settings.gateway.processes > 1,
    )


def _log_file(node_file: str, number: int) -> str:
    """Beside the node's: two processes cannot rotate one file."""
    if not node_file:
        return ""
    path = Path(node_file)
    return str(path.with_name(f"{path.stem}.gateway-{number}{path.suffix}"))
