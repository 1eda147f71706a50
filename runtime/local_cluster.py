"""A cluster of one to nine nodes on this machine: the logic of scripts/start_cluster.sh and scripts/stop_cluster.sh.

Owns the folder var/cluster: cluster.json (what was asked for), members.conf and a folder for each node. Stopping needs
the standard library only, so it also works when .venv is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.local_durable import CHILDREN, Durable, choose_durable
from runtime.local_node import (
    ETCD_PORT_OFFSETS,
    EXIT_NOT_READY,
    EXIT_OK,
    EXIT_USAGE,
    GATEWAY_PORT_OFFSETS,
    HOST,
    PEER_PORT_OFFSET,
    ROOT,
    ClusterTrouble,
    LocalNode,
    require_free_ports,
    whole_state,
    write_whole,
)
from runtime.processes import send_signal

NODES_MAX = 9
BASE_PORT = 8848
BASE_PORT_MAX = 65_535 - 1_000  # the gRPC port is P+1000
READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 8.0  # a node leaves within 5 s of SIGTERM
KILL_SECONDS_MAX = 5.0
POLL_SECONDS = 0.05
STATUS_SECONDS_MAX = 0.2  # a refused connection costs all of it


class ClusterPlan(NamedTuple):
    """What was asked for. ``nodes`` is 0 where nothing was."""

    nodes: int
    base_port: int
    durable: Durable


class LocalCluster:
    """What one folder says was started, and what can be done about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.members_file = folder / "members.conf"
        self._plan = folder / "cluster.json"

    def start(self, count: int, base_port: int | None) -> None:
        """Make ``count`` nodes run and wait until all are ready; ``base_port``: None if the caller does not mind."""
        with self._locked():
            running = self._running_nodes()
            nodes = self._recorded(count, base_port) if running else self._fresh(count, base_port or BASE_PORT)
            absent = [node for node in nodes if node.supervisor is None]
            self._start(absent)
        started = len(absent)
        wait_until_ready(nodes)
        if not started:
            print(f"rollbook: the cluster of {count} {_plural(count)} is up; nothing was changed")
        elif started < count:
            numbers = ", ".join(str(node.number) for node in absent)
            print(f"rollbook: started again: node {numbers}; the cluster of {count} {_plural(count)} is ready")
        else:
            print(f"rollbook: {count} {_plural(count)} ready")
        print(describe(nodes, self.folder.parent, self._durable()))

    def stop(self) -> None:
        """End everything that was started and still runs, and say what happened to each."""
        if not self.folder.is_dir():
            print("rollbook: nothing runs")
            return
        with self._locked():
            nodes = [node for node in self._all_nodes() if node.processes()]
            outcomes = stop_nodes(nodes)
            for node in self._all_nodes():
                node.forget()
            self._plan.unlink(missing_ok=True)
        if not nodes:
            print("rollbook: nothing runs")
        for node, outcome in zip(nodes, outcomes, strict=True):
            print(f"rollbook: node {node.number} {outcome}")

    def _start(self, absent: Sequence[LocalNode]) -> None:
        # A node process outlives its supervisor for a moment; hung ones need help.
        remains = [node for node in absent if node.processes()]
        for node, outcome in zip(remains, stop_nodes(remains), strict=True):
            print(f"rollbook: remains of node {node.number}: {outcome}", file=sys.stderr)
        durable = self._durable()
        for node in absent:
            require_free_ports(node, *_gateway_ports(), *_etcd_ports(node, durable))
        for node in absent:
            node.spawn(self._members(), durable.environment)

    def _fresh(self, count: int, base_port: int) -> list[LocalNode]:
        nodes = self._nodes(count, base_port)
        if nodes[-1].base_port > BASE_PORT_MAX:
            message = f"{count} nodes from base port {base_port} on do not fit: the last one is {BASE_PORT_MAX} at most"
            raise ClusterTrouble(message, EXIT_USAGE)
        durable = choose_durable([node.data for node in self._nodes(NODES_MAX, base_port)], count, os.environ)
        for node in nodes:
            require_free_ports(node, *_gateway_ports(), *_etcd_ports(node, durable))
        addresses = "".join(f"{HOST}:{node.base_port}\n" for node in nodes)
        write_whole(self.members_file, f"# The nodes of this cluster, ip:port; watched while they run.\n{addresses}")
        write_whole(self._plan, json.dumps({"nodes": count, "base_port": base_port, "durable": durable.value}))
        return nodes

    def _recorded(self, count: int, base_port: int | None) -> list[LocalNode]:
        plan = self._read_plan()
        running, at = plan.nodes, plan.base_port
        advice = "run scripts/stop_cluster.sh first"
        if running != count:
            message = f"a cluster of {running} {_plural(running)} is running, not of {count}; {advice}"
            raise ClusterTrouble(message, EXIT_USAGE)
        if base_port is not None and base_port != at:
            message = f"the cluster is running from base port {at}, not {base_port}; {advice}"
            raise ClusterTrouble(message, EXIT_USAGE)
        return self._nodes(count, at)

    def _members(self) -> list[str]:
        """A single node has no members: it is standalone."""
        return ["--members-file", str(self.members_file)] if self._read_plan().nodes > 1 else []

    def _durable(self) -> Durable:
        return self._read_plan().durable

    def _running_nodes(self) -> list[LocalNode]:
        return [node for node in self._all_nodes() if node.supervisor is not None]

    def _all_nodes(self) -> list[LocalNode]:
        """Every node that this folder may know of: which of them count is in their own records."""
        return self._nodes(NODES_MAX, self._read_plan().base_port)

    def _nodes(self, count: int, base_port: int) -> list[LocalNode]:
        return [LocalNode(self.folder, number, base_port) for number in range(1, count + 1)]

    def _read_plan(self) -> ClusterPlan:
        with contextlib.suppress(FileNotFoundError), whole_state(self._plan):  # nothing was started, or it was stopped
            plan = json.loads(self._plan.read_text(encoding="utf-8"))
            # Before there was a choice, nobody wrote it down.
            return ClusterPlan(int(plan["nodes"]), int(plan["base_port"]), Durable(plan.get("durable", "home")))
        return ClusterPlan(0, BASE_PORT, Durable.HOME)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time. The lock ends with this process; nodes do not inherit it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def wait_until_ready(nodes: Sequence[LocalNode]) -> None:
    """Ask every node until it says that it is ready; a node whose supervisor has ended never will be."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    waiting = list(nodes)
    while waiting:
        waiting = [node for node in waiting if not _is_ready(node)]
        for node in waiting:
            if node.supervisor is None:
                raise _not_ready(node, "ended before it was ready")
        if waiting and time.monotonic() > deadline:
            raise _not_ready(waiting[0], f"is not ready after {READY_SECONDS_MAX:.0f} s")
        if waiting:
            time.sleep(POLL_SECONDS)


def stop_nodes(nodes: Sequence[LocalNode]) -> list[str]:
    """SIGTERM to all at once, a bounded wait, then SIGKILL; for each node what it took."""
    had_supervisor = [node.supervisor is not None for node in nodes]
    for node in nodes:
        processes = node.processes()
        for mark in processes[:1] if node.supervisor else processes:  # the supervisor takes its children along
            send_signal(mark, signal.SIGTERM)
    _wait_for_end(nodes, STOP_SECONDS_MAX)
    hung = [node for node in nodes if node.processes()]
    for node in hung:
        for mark in node.processes():
            send_signal(mark, signal.SIGKILL)
    _wait_for_end(hung, KILL_SECONDS_MAX)
    for node in hung:
        if node.processes():
            pids = ", ".join(str(mark.pid) for mark in node.processes())
            raise ClusterTrouble(
                f"node {node.number} does not end, not even by SIGKILL: process {pids}", EXIT_NOT_READY
            )
    return [_outcome(node in hung, supervised) for node, supervised in zip(nodes, had_supervisor, strict=True)]


def describe(nodes: Sequence[LocalNode], var: Path, durable: Durable) -> str:
    """The table of a running cluster, and what to do with it."""
    rows = [("node", "HTTP", "gRPC", "clients", "peers", "pid", "log file")]
    for node in nodes:
        supervisor = node.supervisor
        gateway = (node.http_address, node.grpc_address) if _gateway_ports() else ("-", "-")
        peers = f"{HOST}:{node.base_port + PEER_PORT_OFFSET}"
        pid = str(supervisor.pid) if supervisor else "-"
        rows.append((str(node.number), *gateway, node.client_address, peers, pid, str(node.log)))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    table = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True))]) for row in rows]
    servers = ",".join(node.client_address for node in nodes)
    command = _typed(Path(sys.executable).with_name("rollbook"))
    usage = [
        # The command line asks the usual addresses; others have to be said.
        *([] if nodes[0].base_port == BASE_PORT else [f"export ROLLBOOK_SERVERS={servers}"]),
        f"{command} watch orders                     # in one terminal",
        f"{command} register orders 127.0.0.1:9000   # in another; Ctrl-C takes it back",
        f"{command} nodes",
        ("" if var == ROOT / "var" else f"ROLLBOOK_VAR={_typed(var)} ") + _typed(ROOT / "scripts" / "stop_cluster.sh"),
    ]
    return "\n".join(["", *table, "", durable.sentence, "", "Try it:", *(f"  {line}" for line in usage)])


def _typed(path: Path) -> str:
    """As it can be pasted into a shell."""
    return shlex.quote(str(path))


def _is_ready(node: LocalNode) -> bool:
    # Here, because stopping must not need what .venv holds.
    from rollbook.errors import RollbookError
    from rollbook.status_question import fetch_status

    try:
        is_ready = fetch_status(node.client_address, STATUS_SECONDS_MAX).ready
    except RollbookError:
        return False  # not listening yet, or restarting: ask again until the deadline
    return is_ready and (not _gateway_ports() or node.is_gateway_ready(STATUS_SECONDS_MAX))


def _not_ready(node: LocalNode, what: str) -> ClusterTrouble:
    message = f"node {node.number} {what}; the end of its log {node.log}:\n{node.last_lines()}"
    return ClusterTrouble(message, EXIT_NOT_READY)


def _wait_for_end(nodes: Sequence[LocalNode], seconds_max: float) -> None:
    deadline = time.monotonic() + seconds_max
    while any(node.processes() for node in nodes) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _outcome(was_killed: bool, had_supervisor: bool) -> str:
    if was_killed:
        return f"did not end within {STOP_SECONDS_MAX:.0f} s and was killed"
    return "stopped" if had_supervisor else "had lost its supervisor; the rest of it is stopped"


def _etcd_ports(node: LocalNode, durable: Durable) -> Sequence[int]:
    return ETCD_PORT_OFFSETS if durable is Durable.CHILDREN and node.number <= CHILDREN else ()


def _gateway_ports() -> Sequence[int]:
    """None where the environment says that nodes shall have no gateway."""
    return () if os.environ.get("ROLLBOOK_GATEWAY_ENABLED", "").lower() == "false" else GATEWAY_PORT_OFFSETS


def _plural(count: int) -> str:
    return "node" if count == 1 else "nodes"


def _base_port_wanted() -> int | None:
    text = os.environ.get("ROLLBOOK_BASE_PORT", "")
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) <= BASE_PORT_MAX):
        raise ClusterTrouble(f"ROLLBOOK_BASE_PORT is a port from 1 to {BASE_PORT_MAX}, not {text!r}", EXIT_USAGE)
    return int(text) if text else None


def _command_of(arguments: Sequence[str]) -> Callable[[], None]:
    cluster = LocalCluster(Path(os.environ.get("ROLLBOOK_VAR") or ROOT / "var").absolute() / "cluster")
    match arguments:
        case ["start", count] if count in "123456789" and len(count) == 1:
            return lambda: cluster.start(int(count), _base_port_wanted())
        case ["stop"]:
            return cluster.stop
    raise ClusterTrouble(f"usage: start 1..{NODES_MAX}, or stop", EXIT_USAGE)


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code."""
    # The scripts start Python deaf to Ctrl-C, so that it never falls into the middle of an import; now it counts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _command_of(arguments)()
        sys.stdout.flush()
    except ClusterTrouble as trouble:
        print(f"rollbook: {trouble}", file=sys.stderr)
        return trouble.exit_code
    except BrokenPipeError:
        # What stdout says, it says of what is done. Nobody reads it, and Python shall not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"rollbook: {error.filename}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("rollbook: interrupted; what was started goes on, scripts/stop_cluster.sh ends it", file=sys.stderr)
        return 130
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
