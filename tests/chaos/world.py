"""The network of a round: a namespace for each machine, all joined by one that routes between them.

Everything it makes carries the number and the birth of this process in its name, so that a later round can tell what
belongs to nobody any more. Names: ``n1`` ... nodes, ``c1`` ... clients, ``h`` where the observers stand. The switch
forwards between them; it is where packets get lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from runtime.processes import ProcessMark, is_running, mark_of
from tests.chaos.firewall import Drop, table_text
from tests.chaos.relay import NAMESPACES

PREFIX = "rollbook-chaos"
_LABEL = re.compile(rf"({PREFIX}-(\d+)-(\d+))(?:\..+)?")
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DISK_KIB = 128
_SWITCH = "switch"
_OBSERVERS_NET = 200
_CLIENTS_NET = 100


class Place(NamedTuple):
    """One machine."""

    name: str
    namespace: str
    net: int

    @property
    def address(self) -> str:
        return f"10.77.{self.net}.2"

    @property
    def gateway(self) -> str:
        return f"10.77.{self.net}.1"


def run(*command: str, text: str = "") -> str:
    """A command that must work; its error says what did not."""
    ended = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip() or ended.returncode}")
    return ended.stdout


def inside(namespace: str, *command: str) -> list[str]:
    """The command that runs this command there."""
    return ["ip", "netns", "exec", namespace, *command]


class World:
    """``with World(3, 2) as world``: nothing of it is left afterwards."""

    def __init__(self, nodes: int, client_places: int) -> None:
        self.label = own_label()
        self.nodes = [self._place(f"n{number}", number) for number in range(1, nodes + 1)]
        self.clients = [self._place(f"c{number}", _CLIENTS_NET + number) for number in range(1, client_places + 1)]
        self.observers = self._place("h", _OBSERVERS_NET)
        self.switch = f"{self.label}.{_SWITCH}"
        self.folder = Path(tempfile.gettempdir()) / self.label
        self._drops: dict[int, tuple[Drop, ...]] = {}

    def _place(self, name: str, net: int) -> Place:
        return Place(name, f"{self.label}.{name}", net)

    def __enter__(self) -> World:
        # An interruption waits until all is built: a command cut short could make its namespace after we have looked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
        try:
            self.folder.mkdir(mode=0o700)
            self._build()
        except BaseException:
            self.close()
            raise
        finally:
            self._restore(before)
        return self

    def _restore(self, mask: set[int]) -> None:
        """Now comes what has waited."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        remove_label(self.label)

    def _build(self) -> None:
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "set", "lo", "up")
        run(*inside(self.switch, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"))
        for place in (*self.nodes, *self.clients, self.observers):
            self._join(place)
        self.drop({})

    def _join(self, place: Place) -> None:
        there = ("ip", "-n", place.namespace)
        run("ip", "netns", "add", place.namespace)
        port = f"to-{place.name}"
        run("ip", "link", "add", "eth0", "netns", place.namespace, "type", "veth", "peer", port, "netns", self.switch)
        run(*there, "link", "set", "lo", "up")
        run(*there, "addr", "add", f"{place.address}/30", "dev", "eth0")
        run(*there, "link", "set", "eth0", "up")
        run("ip", "-n", self.switch, "addr", "add", f"{place.gateway}/30", "dev", port)
        run("ip", "-n", self.switch, "link", "set", port, "up")
        self.route_straight(place)

    def disk(self, name: str) -> Path:
        """A small file system of its own, so that it can be full."""
        folder = self.folder / f"{name}-disk"
        folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={_DISK_KIB}k,mode=700", self.label, str(folder))
        return folder

    # What faults change

    def drop(self, drops: dict[int, tuple[Drop, ...]]) -> None:
        """By number of the fault: an empty one ends its rules."""
        self._drops |= drops
        self._drops = {number: kept for number, kept in self._drops.items() if kept}
        text = table_text(drop for kept in self._drops.values() for drop in kept)
        run(*inside(self.switch, "nft", "-f", "-"), text=text)

    def route_straight(self, place: Place) -> None:
        run("ip", "-n", place.namespace, "route", "replace", "default", "via", place.gateway)

    def route_through(self, place: Place, device: str) -> None:
        """Both directions of this place's traffic go over a device that stands in its namespace and in the switch."""
        run("ip", "-n", self.switch, "route", "replace", f"{place.address}/32", "dev", device)
        run("ip", "-n", place.namespace, "route", "replace", "default", "dev", device, "src", place.address)

    def blackhole(self, place: Place, target: Place) -> None:
        run("ip", "-n", place.namespace, "route", "add", "blackhole", f"{target.address}/32")

    def no_blackhole(self, place: Place, target: Place) -> None:
        run("ip", "-n", place.namespace, "route", "del", "blackhole", f"{target.address}/32")


def own_label() -> str:
    mark = mark_of(os.getpid())
    assert mark is not None
    return label_of(mark)


def label_of(mark: ProcessMark) -> str:
    """``started`` is the boot and the tick of the process' birth; the tick is enough beside its number."""
    return f"{PREFIX}-{mark.pid}-{mark.started.rpartition(':')[2]}"


def sweep() -> list[str]:
    """Remove what rounds left behind that were killed; their labels. Rounds that begin at once do it one by one."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        left = sorted(label for label in _labels() if not _has_owner(label))
        for label in left:
            remove_label(label)
        return left
    finally:
        os.close(folder)


def remove_label(label: str) -> None:
    """End the processes in the namespaces of this label, then unmount and remove everything that carries it."""
    namespaces = [name for name in _names(NAMESPACES) if _is_of(name, label)]
    for name in namespaces:
        _kill_all(run("ip", "netns", "pids", name).split())
    for target in _mounts(label):
        run("umount", "--lazy", target)
    for name in namespaces:
        run("ip", "netns", "delete", name)
    folder = Path(tempfile.gettempdir()) / label
    if folder.exists():
        shutil.rmtree(folder)


def _kill_all(pids: Iterable[str]) -> None:
    for pid in pids:
        if int(pid) == os.getpid():  # a round stands where its observers are
            continue
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(int(pid), signal.SIGKILL)


def _labels() -> set[str]:
    names = [*_names(NAMESPACES), *_names(Path(tempfile.gettempdir()))]
    return {found.group(1) for name in names if (found := _LABEL.fullmatch(name))}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _is_of(name: str, label: str) -> bool:
    found = _LABEL.fullmatch(name)
    return found is not None and found.group(1) == label


def _has_owner(label: str) -> bool:
    found = _LABEL.fullmatch(label)
    assert found is not None
    mark = mark_of(int(found.group(2)))
    return mark is not None and is_running(mark) and label_of(mark) == label


def _mounts(label: str) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[0] == label]
