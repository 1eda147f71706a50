"""A node process without a supervisor, so that a test decides when it lives; gateways find its socket file."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from runtime.children import code_of, spawn
from runtime.settings import load_settings
from tests.support.real_cluster import free_base_ports


class BareNode:
    """``start`` after ``kill`` is a restart with the same addresses and data directory."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        (self.base_port,) = free_base_ports(1)
        self.data = folder / "data"
        node = {"base_port": self.base_port, "data_directory": str(self.data), **sections.pop("node", {})}
        self.settings = load_settings(None, {"node": node, "log": {"level": "WARNING"}, **sections}, {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client_address(self) -> str:
        return self.settings.node.bound_client_address

    def start(self) -> None:
        assert self._process is None, "it runs already"
        self._process = spawn("runtime.node_process", self.settings)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def leave(self) -> None:
        self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        process.wait(10)
        return code_of(process)

    def close(self) -> None:
        if self._process is not None:
            self.resume()
            self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Returns when all of its threads stand still; until then they may answer."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        self.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
