"""Official Nacos SDKs as they are installed below .sdks, each in a process of its own that does what it is told.

What is said to a driver and by it: tests/sdk/drivers/lines.py. Times are of the monotonic clock of this machine.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.real_cluster import ROOT

SDKS = ROOT / ".sdks"
DRIVERS = "tests/sdk/drivers"
CALL_SECONDS_MAX = 30.0  # longer than any SDK tries one call
END_SECONDS_MAX = 10.0
Hosts = list[dict[str, Any]]


class SdkKind(NamedTuple):
    """One SDK: how its driver is run, and what it calls itself."""

    name: str
    title: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]

    @property
    def is_installed(self) -> bool:
        return (SDKS / self.name / ".rollbook-stamp").exists() and shutil.which(self.command[0]) is not None


def _python_kind(name: str, title: str) -> SdkKind:
    command = (str(SDKS / name / "bin/python"), "-P", "-m", f"{DRIVERS.replace('/', '.')}.{name}")
    return SdkKind(name, title, command, (("PYTHONPATH", str(ROOT)),))


PYTHON_GRPC = _python_kind("python_grpc", "nacos-sdk-python 3.2.0")
PYTHON_HTTP = _python_kind("python_http", "nacos-sdk-python 1.0.0")
NPM = SdkKind(
    "npm",
    "npm nacos 2.6.3",
    ("node", f"{DRIVERS}/npm_nacos.js"),
    (("NODE_PATH", str(SDKS / "npm/node_modules")),),
)
KINDS = (PYTHON_GRPC, PYTHON_HTTP, NPM)


class Told(NamedTuple):
    """The SDK said to a client that a service is now so."""

    client: str
    service: str
    hosts: Hosts
    at: float

    @property
    def addresses(self) -> list[str]:
        return sorted(host["address"] for host in self.hosts)


class SdkError(Exception):
    """The SDK raised this, as it says it to an application."""


class SdkProcess:
    """A process with any number of clients of one SDK. ``close`` it."""

    def __init__(self, kind: SdkKind, folder: Path) -> None:
        if not kind.is_installed:
            pytest.skip(f"{kind.title} is not installed: scripts/install_sdks.sh says why, if it cannot be")
        folder.mkdir(parents=True)
        self.kind = kind
        self.folder = folder
        self._number = 0
        self._unread = b""
        self._told: list[Told] = []
        environment = {**os.environ, **dict(kind.environment), "HOME": str(folder)}
        with (folder / "driver.log").open("wb") as log:
            self._process = subprocess.Popen(
                kind.command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )

    def open(self, client: str, **options: Any) -> SdkClientOf:
        folder = self.folder / client
        folder.mkdir()
        self.ask(client, "open", folder=str(folder), **options)
        return SdkClientOf(self, client)

    def ask(self, client: str, call: str, **parameters: Any) -> Answer:
        self._number += 1
        question = {"number": self._number, "client": client, "call": call, "with": parameters}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        deadline = time.monotonic() + CALL_SECONDS_MAX
        while (answer := self._next_answer(deadline))["number"] != self._number:
            pass
        if "error" in answer:
            raise SdkError(f"{self.kind.title}, {client}, {call}: {answer['error']}")
        return Answer(answer["result"], answer["began"], answer["ended"])

    def until_told(self, client: str, service: str, holds: Callable[[Told], bool], seconds: float) -> Told:
        """The first of those it has been told since the last one that was asked for here."""
        deadline = time.monotonic() + seconds
        seen = []
        while True:
            for told in [told for told in self._told if (told.client, told.service) == (client, service)]:
                self._told.remove(told)
                if holds(told):
                    return told
                seen.append(told.addresses)
            if not self._reads_line(deadline):
                raise AssertionError(f"{self.kind.title}, {client}: not within {seconds:g} s, but told {seen}")

    def told_so_far(self, client: str, service: str, seconds: float) -> list[Told]:
        """All that comes within this time; nothing is waiting afterwards."""
        deadline = time.monotonic() + seconds
        while self._reads_line(deadline):
            pass
        found = [told for told in self._told if (told.client, told.service) == (client, service)]
        self._told = [told for told in self._told if told not in found]
        return found

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(END_SECONDS_MAX)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(END_SECONDS_MAX)
        self._process.stdin.close()
        self._process.stdout.close()

    def _next_answer(self, deadline: float) -> dict[str, Any]:
        while True:
            line = self._line(deadline)
            if line is None:
                log = (self.folder / "driver.log").read_text(errors="replace")[-2_000:]
                raise AssertionError(f"{self.kind.title} does not answer; its driver said: {log}")
            if (answer := self._heard(line)) is not None:
                return answer

    def _reads_line(self, deadline: float) -> bool:
        line = self._line(deadline)
        if line is not None:
            assert self._heard(line) is None, "an answer that nobody waits for"
        return line is not None

    def _heard(self, line: bytes) -> dict[str, Any] | None:
        said: dict[str, Any] = json.loads(line)
        if "told" not in said:
            return said
        self._told.append(Told(said["client"], said["told"], said["hosts"], said["at"]))
        return None

    def _line(self, deadline: float) -> bytes | None:
        """None when the time is over, or the driver has ended."""
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(self._process.stdout.fileno(), 65_536) if readable else b""
            if not read:
                return None
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line


class Answer(NamedTuple):
    result: Any
    began: float
    ended: float


class SdkClientOf(NamedTuple):
    """One client within such a process."""

    process: SdkProcess
    name: str

    def ask(self, call: str, **parameters: Any) -> Any:
        return self.process.ask(self.name, call, **parameters).result

    def timed(self, call: str, **parameters: Any) -> Answer:
        return self.process.ask(self.name, call, **parameters)

    def shown(self, service: str, **parameters: Any) -> list[str]:
        """``ip:port`` of who is listed."""
        return sorted(host["address"] for host in self.ask("list", service=service, **parameters))

    def until_told(self, service: str, holds: Callable[[Told], bool], seconds: float = 20.0) -> Told:
        return self.process.until_told(self.name, service, holds, seconds)

    def until_told_of(self, service: str, addresses: list[str], seconds: float = 20.0) -> Told:
        return self.until_told(service, lambda told: told.addresses == sorted(addresses), seconds)

    def told_so_far(self, service: str, seconds: float = 0.0) -> list[Told]:
        return self.process.told_so_far(self.name, service, seconds)
