"""Real nodes for tests and benchmarks: each a supervisor with its node process, on free loopback ports, in its own
folder.

Everything that was started is ended by ``close``, by process id, whatever happened in between.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from rollbook.errors import RollbookError
from rollbook.status import NodeStatus
from rollbook.status_question import fetch_status
from runtime.processes import ProcessMark, carriers, is_running, send_signal
from runtime.store.etcd_child import DIRECTORY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
_POLL_S = 0.02


def until(condition: Callable[[], object], deadline_s: float, what: str) -> float:
    """Poll until it holds and return how long that took; fail by name when the deadline passes."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > deadline_s:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        select.select([], [], [], _POLL_S)
    return time.monotonic() - started


def pause_s(seconds: float) -> None:
    """Let time pass where the passing of time is what is tried."""
    select.select([], [], [], seconds)


def free_base_ports(count: int) -> list[int]:
    """Base ports P whose P to P+5, and P+1000 for gRPC, are free now."""
    found: list[int] = []
    # A place of its own for each call: clusters that start side by side must not find the same ports free. Below the
    # range from which the system hands out ports for outgoing connections.
    start = 10_000 + 10 * random.randrange(2_000)
    for port in range(start, 32_000, 10):
        if all(_is_free(port + offset) for offset in (0, 2, 3, 4, 5, 1_000)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def gateways_wanted(count: int) -> dict[str, str]:
    """The environment of a node with so many: most tests need none, and each costs a second to start."""
    if not count:
        return {"ROLLBOOK_GATEWAY_ENABLED": "false"}
    return {"ROLLBOOK_GATEWAY_ENABLED": "true", "ROLLBOOK_GATEWAY_PROCESSES": str(count)}


class RealNode:
    """One node; ``start`` after ``kill`` is a restart with the same address and data directory."""

    def __init__(
        self,
        folder: Path,
        base_port: int,
        members: list[str],
        options: tuple[str, ...],
        engine: str = "auto",
        gateways: int = 0,
    ) -> None:
        self.base_port = base_port
        self.folder = folder
        self.client_address = f"127.0.0.1:{base_port + 2}"
        self.log = folder / "node.log"
        self._environment = {**os.environ, "ROLLBOOK_STORE_ENGINE": engine, **gateways_wanted(gateways)}
        self._command = [sys.executable, "-m", "rollbook.cli", "start", "--base-port", str(base_port)]
        self._command += ["--data-directory", str(folder / "data"), *options]
        if members:
            self._command += ["--members", ",".join(members)]
        self._supervisor: subprocess.Popen[bytes] | None = None

    def launch_with(self, *command: str) -> None:
        """Let this command start the node, so that it can limit what the node may have."""
        self._command[:0] = command

    def start(self) -> None:
        assert self._supervisor is None, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._supervisor = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def supervisor_pid(self) -> int:
        assert self._supervisor is not None, "it does not run"
        return self._supervisor.pid

    @property
    def pid(self) -> int:
        """The node process."""
        nodes = self.children("runtime.node_process")
        assert len(nodes) == 1, f"the supervisor has the node processes {nodes}"
        return nodes[0]

    def gateways(self) -> list[int]:
        return self.children("runtime.gateway_process")

    def children(self, module: str) -> list[int]:
        """The supervisor's children that run this."""
        commands = {child: Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") for child in self._children()}
        return [child for child, command in commands.items() if module.encode() in command]

    def etcd_members(self) -> list[ProcessMark]:
        """The one beside this node, if one runs, also without its supervisor."""
        return carriers(DIRECTORY_VARIABLE, str((self.folder / "data" / "etcd").resolve()))

    def status(self) -> NodeStatus | None:
        """None while it does not answer."""
        try:
            return fetch_status(self.client_address, timeout=1.0)
        except RollbookError:
            return None

    def is_ready(self) -> bool:
        status = self.status()
        return status is not None and status.ready

    def kill(self) -> None:
        """kill -9 of supervisor, node and etcd, also while they start: the machine's plug, as far as others can see."""
        os.kill(self.supervisor_pid, signal.SIGSTOP)  # it starts nothing more, and its children keep their numbers
        until(lambda: self._state() in "TZ", 5.0, "the supervisor stands still, or had ended")
        for child in self._children():
            os.kill(child, signal.SIGKILL)
        self.kill_supervisor()
        self.kill_etcd()

    def kill_supervisor(self) -> None:
        """kill -9 of it alone: the node notices and ends, its etcd goes on."""
        os.kill(self.supervisor_pid, signal.SIGKILL)
        self._reap(5.0)

    def process(self) -> int | None:
        """The node process, if there is one now."""
        if self._supervisor is None:
            return None
        with contextlib.suppress(AssertionError, FileNotFoundError, ProcessLookupError):  # between two lives
            return self.pid
        return None

    def kill_process(self) -> bool:
        """kill -9 of the node alone: its supervisor sees it. False if there was none at this moment."""
        pid = self.process()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return pid is not None

    def kill_etcd(self) -> None:
        """kill -9 of every member that ran beside it; a supervisor starts another one."""
        killed = self.etcd_members()
        for mark in killed:
            send_signal(mark, signal.SIGKILL)
        until(lambda: not any(map(is_running, killed)), 5.0, "the etcd member is gone")

    def terminate(self, deadline_s: float = 10.0) -> int:
        """SIGTERM; the exit code of the supervisor."""
        os.kill(self.supervisor_pid, signal.SIGTERM)
        return self._reap(deadline_s)

    def wait(self, deadline_s: float) -> int:
        """It ends by itself; the exit code of the supervisor."""
        return self._reap(deadline_s)

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        if self._supervisor is None:
            self.kill_etcd()
        else:
            self.kill()

    def _children(self) -> list[int]:
        pid = self.supervisor_pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _state(self) -> str:
        return Path(f"/proc/{self.supervisor_pid}/stat").read_text().rpartition(")")[2].split()[0]

    def _reap(self, deadline_s: float) -> int:
        assert self._supervisor is not None
        code = self._supervisor.wait(deadline_s)
        self._supervisor = None
        return code


class RealCluster:
    """``with RealCluster(folder, 3) as cluster:`` has every node ready at its first line.

    ``engine``: where durable data is; whether etcd is installed here makes no difference unless a test asks for it.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int,
        *options: str,
        ready: bool = True,
        engine: str = "single_home",
        gateways: int = 0,
    ) -> None:
        ports = free_base_ports(nodes)
        members = [f"127.0.0.1:{port}" for port in ports] if nodes > 1 else []
        self.nodes = [
            RealNode(folder / f"node-{number}", port, members, options, engine if members else "sqlite", gateways)
            for number, port in enumerate(ports, 1)
        ]
        self._ready = ready

    def __enter__(self) -> RealCluster:
        try:
            for node in self.nodes:
                node.start()
            if self._ready:
                self.until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for node in self.nodes:
                sys.stderr.write(f"--- {node.log}\n{_tail(node.log)}\n")
        self.close()

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    @property
    def addresses(self) -> list[str]:
        return [node.client_address for node in self.nodes]

    def until_ready(self, deadline_s: float = 30.0) -> float:
        return until(lambda: all(node.is_ready() for node in self.nodes), deadline_s, "every node is ready")

    def __iter__(self) -> Iterator[RealNode]:
        return iter(self.nodes)

    def until_digests_agree(self, deadline_s: float) -> float:
        """Every node holds the same records of every living owner, by watermark and by content hash."""
        return until(self.digests_agree, deadline_s, "all digests agree")

    def digests_agree(self) -> bool:
        statuses = [node.status() for node in self.nodes]
        if any(status is None for status in statuses):
            return False
        living = {(status.node_id, status.epoch) for status in statuses if status is not None}
        tables = [_contents(status, living) for status in statuses if status is not None]
        return all(table == tables[0] for table in tables)


def _contents(status: NodeStatus, living: set[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """What a node holds of each living owner that ever changed anything."""
    return {
        (owner.owner, owner.epoch): (owner.applied, owner.records, owner.digest)
        for owner in status.owners
        if (owner.owner, owner.epoch) in living and owner.applied
    }


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-30:]) if path.exists() else "(nothing)"
