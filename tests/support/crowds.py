"""Crowds against a node: connections that mean no good (flood.py), each process with descriptors of its own, and
subscribers whose connections live and whose applications do not read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import zmq

from rollbook.model import DEFAULT_GROUP, DEFAULT_NAMESPACE, Service, View
from rollbook.wire import OpenSession, PushAck, Subscribe, Tag, encode
from tests.support.deaf_subscriber import receive
from tests.support.real_cluster import ROOT

_SESSION = 7


class FloodProcess:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def until_up(self) -> None:
        """Each of its connections was open once."""
        assert self._line() == "ready"

    def report(self) -> dict[str, int]:
        """How many are open now, and how often it opened and was cut."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._line())
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the flood has ended"
        return line


@contextmanager
def flood(port: int, crowd: dict[str, int], processes: int = 1) -> Iterator[list[FloodProcess]]:
    """So many connections of each kind from each of these processes, until the end of the block."""
    arguments = [str(word) for pair in crowd.items() for word in pair]
    command = [sys.executable, "-m", "tests.support.flood", str(port), *arguments]
    with ExitStack() as stack:
        made = []
        for _ in range(processes):
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(_end, process)
            made.append(FloodProcess(process))
        for one in made:
            one.until_up()
        yield made


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


class DeafCrowd:
    """Subscribers of one service that acknowledge nothing until they are told to."""

    def __init__(self, server: str, service: str, count: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = count + 10
        self._service = Service(DEFAULT_NAMESPACE, DEFAULT_GROUP, service)
        self._sockets = [self._context.socket(zmq.DEALER) for _ in range(count)]
        for number, socket in enumerate(self._sockets):
            socket.set(zmq.LINGER, 0)
            socket.connect(f"tcp://{server}")
            socket.send(encode(Tag.OPEN_SESSION, 1, _SESSION, OpenSession(f"deaf-{number}", _SESSION, "deaf")))
        for socket in self._sockets:
            receive(socket, Tag.SESSION_OPENED)
            socket.send(encode(Tag.SUBSCRIBE, 1, _SESSION, Subscribe(self._service)))
        for socket in self._sockets:
            receive(socket, Tag.VIEW)

    def read_until(self, port: int) -> None:
        """All read and acknowledge at last, each until it is shown exactly this port."""
        for socket in self._sockets:
            while [instance.port for instance in self._next_view(socket).instances] != [port]:
                pass

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _next_view(self, socket: zmq.Socket[bytes]) -> View:
        view: View = receive(socket, Tag.PUSH)
        socket.send(encode(Tag.PUSH_ACK, 1, _SESSION, PushAck(self._service, view.version)))
        return view
