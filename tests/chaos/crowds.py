"""The application processes of a round and the process of its observers: started in their namespaces, ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.chaos.eyes import EyesSpec
from tests.chaos.journal import merged
from tests.chaos.workload import WorkloadSpec
from tests.chaos.world import Place, inside
from tests.support.history import ClientEnded, OrderSent
from tests.support.real_cluster import ROOT

_PATIENCE_S = 3.0  # with a process that was asked to end


class HelperProcess:
    """A module of this package in a namespace: it says ``ready``, and ends with its standard input."""

    def __init__(self, place: Place, log: Path, module: str, *arguments: str) -> None:
        self.place = place
        command = inside(place.namespace, sys.executable, "-m", f"tests.chaos.{module}", *arguments)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"{self._process.args!r} said {line!r}, not {word!r}")

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def ask_to_end(self) -> None:
        """By its standard input."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def end(self, patience_s: float = _PATIENCE_S) -> None:
        """As it is asked to, and by force if that takes long."""
        self.ask_to_end()
        try:
            self._process.wait(max(0.0, patience_s))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Crowd(HelperProcess):
    """Applications: real clients."""

    def __init__(self, place: Place, spec: WorkloadSpec) -> None:
        super().__init__(place, Path(spec.journal).with_suffix(".log"), "workload", msgspec.json.encode(spec).decode())
        self.spec = spec

    def stand(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def living_clients(self) -> list[str]:
        """Who has begun and not ended. Only while it stands still is the answer the truth."""
        living: dict[str, None] = {}
        for event in merged([Path(self.spec.journal)]):
            if isinstance(event, OrderSent):
                living[event.client] = None
            elif isinstance(event, ClientEnded):
                living.pop(event.client, None)
        return list(living)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def successor(self) -> Crowd:
        """The next generation at the same place, with new clients, new instances and a new journal."""
        spec = self.spec
        generation = int(spec.name.rpartition("g")[2]) + 1
        name = f"{spec.name.rpartition('g')[0]}g{generation}"
        journal = str(Path(spec.journal).with_name(f"{name}.jsonl"))
        number = spec.number + 1
        return Crowd(
            self.place,
            msgspec.structs.replace(spec, name=name, number=number, seed=spec.seed + generation, journal=journal),
        )


class Eyes(HelperProcess):
    """The observers of all nodes."""

    def __init__(self, place: Place, spec: EyesSpec) -> None:
        super().__init__(place, Path(spec.journal).with_suffix(".log"), "eyes", msgspec.json.encode(spec).decode())


def end_all(processes: Sequence[HelperProcess]) -> None:
    """All at once: who is still signing its clients in does not listen."""
    deadline = time.monotonic() + _PATIENCE_S
    for process in processes:
        process.ask_to_end()
    for process in processes:
        process.end(deadline - time.monotonic())
