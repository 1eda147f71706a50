"""One node of a cluster on this machine: its folder, its ports, and what was started for it.

The node is recorded with a fresh token before its process exists, and the process carries the token in its environment;
so whatever moment a start dies at, stopping finds what it left behind.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.processes import ProcessMark, carriers, is_running, mark_of

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PORT_STEP = 10
CLIENT_PORT_OFFSET, PEER_PORT_OFFSET = 2, 3
GATEWAY_PORT_OFFSETS = HTTP_PORT_OFFSET, GRPC_PORT_OFFSET = (0, 1_000)
ETCD_PORT_OFFSETS = (4, 5)  # where an etcd runs beside the node
LOG_BYTES_MAX = 16 * 1024 * 1024  # then the log of the earlier runs moves to node.log.1
LOG_LINES_SHOWN = 12
TOKEN = "ROLLBOOK_LOCAL_NODE"
READINESS_PATH = "/nacos/v1/console/health/readiness"

EXIT_OK, EXIT_NOT_READY, EXIT_USAGE = 0, 1, 2


class ClusterTrouble(Exception):
    """Why a start or a stop cannot go on, in words for whoever typed the command."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NodeRecord(NamedTuple):
    """What was started for one node. ``supervisor`` is None if the start died before it could say."""

    token: str
    log_offset: int  # where the log of this run begins
    supervisor: ProcessMark | None = None


class LocalNode:
    """One node of the cluster: its folder, its ports and the processes that were started for it."""

    def __init__(self, folder: Path, number: int, first_base_port: int) -> None:
        self.number = number
        self.folder = folder / f"node-{number}"
        self.base_port = first_base_port + PORT_STEP * (number - 1)
        self.log = self.folder / "node.log"
        self._record = self.folder / "process.json"

    @property
    def client_address(self) -> str:
        return f"{HOST}:{self.base_port + CLIENT_PORT_OFFSET}"

    @property
    def http_address(self) -> str:
        return f"{HOST}:{self.base_port + HTTP_PORT_OFFSET}"

    @property
    def grpc_address(self) -> str:
        return f"{HOST}:{self.base_port + GRPC_PORT_OFFSET}"

    def is_gateway_ready(self, seconds_max: float) -> bool:
        """Its gateway answers, and finds its node ready."""
        connection = http.client.HTTPConnection(HOST, self.base_port + HTTP_PORT_OFFSET, timeout=seconds_max)
        try:
            connection.request("GET", READINESS_PATH)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False  # not listening yet, or not HTTP: whoever waits asks again until a deadline
        finally:
            connection.close()

    @property
    def supervisor(self) -> ProcessMark | None:
        """The supervisor that was started and still runs."""
        record = self._read()
        if record is None or record.supervisor is None or not is_running(record.supervisor):
            return None
        return record.supervisor

    def processes(self) -> list[ProcessMark]:
        """Everything that was started for this node and still runs: the supervisor first, then what outlived it."""
        record = self._read()
        if record is None:
            return []
        supervisor = self.supervisor
        others = [mark for mark in carriers(TOKEN, record.token) if mark != supervisor]
        return [supervisor, *others] if supervisor else others

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def spawn(self, members: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the supervisor, detached from this terminal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        started = NodeRecord(secrets.token_hex(16), self.log.stat().st_size if self.log.exists() else 0)
        self._write(started)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self._command(members),
                cwd=ROOT,
                env={**os.environ, **environment, TOKEN: started.token},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._write(started._replace(supervisor=mark_of(process.pid)))

    def forget(self) -> None:
        self._record.unlink(missing_ok=True)

    def last_lines(self) -> str:
        """The end of what this run wrote, indented."""
        record = self._read()
        if record is None or not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(record.log_offset)
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join(f"    {line}" for line in lines or ["(nothing was written)"])

    def _command(self, members: Sequence[str]) -> list[str]:
        command = [sys.executable, "-m", "rollbook.cli", "start", "--config", str(ROOT / "configs" / "local.toml")]
        command += ["--host", HOST, "--base-port", str(self.base_port), "--data-directory", str(self.data)]
        return [*command, *members]

    def _read(self) -> NodeRecord | None:
        with contextlib.suppress(FileNotFoundError), whole_state(self._record):  # never started, or stopped in order
            record = json.loads(self._record.read_text(encoding="utf-8"))
            supervisor = None
            if record["supervisor"]:
                pid, started = record["supervisor"]
                supervisor = ProcessMark(int(pid), str(started))
            return NodeRecord(str(record["token"]), int(record["log_offset"]), supervisor)
        return None

    def _write(self, record: NodeRecord) -> None:
        write_whole(self._record, json.dumps(record._asdict()))


def require_free_ports(node: LocalNode, *more_offsets: int) -> None:
    """A port that somebody else listens on is named before anything starts."""
    for port in (node.base_port + offset for offset in (CLIENT_PORT_OFFSET, PEER_PORT_OFFSET, *more_offsets)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As libzmq binds: past connections that only wait out their time do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                message = f"port {port} (node {node.number}) cannot be used: {(error.strerror or str(error)).lower()}; "
                advice = "end what listens there, or choose other ports with ROLLBOOK_BASE_PORT"
                raise ClusterTrouble(message + advice, EXIT_USAGE) from None


@contextlib.contextmanager
def whole_state(path: Path) -> Iterator[None]:
    """Whoever edits state by hand is told which file is not what it should be."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        message = f"the state file {path} is damaged ({type(error).__name__}: {error}); remove it"
        raise ClusterTrouble(message, EXIT_USAGE) from None


def write_whole(path: Path, text: str) -> None:
    """The old text or the new one, whenever the power goes."""
    draft = path.with_suffix(path.suffix + ".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
