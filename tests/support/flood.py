"""A crowd that means a node no good, in a process of its own: it needs as many descriptors as it has connections.

    python -m tests.support.flood PORT KIND COUNT [KIND COUNT ...]

Keeps COUNT connections of each kind open, from addresses of its own (127.9.x.1), and opens again after a second what
was cut. Prints ``ready`` when each was open once; each line of its standard input is answered with one of JSON.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence

from tests.support.hostile import GREETING, ready, zmtp_frame

CONNECTIONS_PER_ADDRESS = 500
OPENED_PER_ROUND_MAX = 500
ROUND_S = 0.05
AGAIN_S = 1.0  # after a cut
STEP_S = 1.0
_IP_BIND_ADDRESS_NO_PORT = 24  # of Linux: a port is taken when the other end is known, so there are enough
_PING = b"\x04\x07\x04PING\x00\x28"  # expect the next within 4 s
_ENDLESS = zmtp_frame(b"x" * 100_000)


class Kind:
    """What such a connection says at once, and what it then says step by step, a step a second."""

    def __init__(self, at_once: bytes, said: bytes, step_bytes: int) -> None:
        self.at_once = at_once
        self.said = said
        self.step_bytes = step_bytes


KINDS = {
    "silent": Kind(b"", b"", 0),
    "greeting": Kind(GREETING, b"", 0),
    "handshake-dribbled": Kind(b"", GREETING + ready(), 1),
    "shaken": Kind(GREETING + ready(), b"", 0),
    "pinging": Kind(GREETING + ready(), _PING * 10_000, len(_PING)),  # as a living client does
    "frame-dribbled": Kind(GREETING + ready(), _ENDLESS, 1),
}


class Connection:
    """One place of the crowd; the socket behind it changes."""

    def __init__(self, kind: Kind, source: str, port: int) -> None:
        self.kind = kind
        self.raw: socket.socket | None = None
        self.due_s = 0.0
        self._source = source
        self._port = port
        self._said = 0

    def open(self) -> socket.socket:
        self.raw = socket.socket()
        self.raw.setblocking(False)
        self.raw.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        self.raw.bind((self._source, 0))
        with contextlib.suppress(BlockingIOError):
            self.raw.connect(("127.0.0.1", self._port))
        self._said = 0
        return self.raw

    def opened(self) -> None:
        assert self.raw is not None
        if self.kind.at_once:
            self.raw.send(self.kind.at_once)

    def say(self) -> None:
        assert self.raw is not None
        end = self._said + self.kind.step_bytes
        self.raw.send(self.kind.said[self._said : end])
        self._said = end

    def close(self, again_s: float) -> None:
        assert self.raw is not None
        self.raw.close()
        self.raw, self.due_s = None, again_s


class Flood:
    """All of the crowd, one thread."""

    def __init__(self, port: int, kinds: Sequence[str]) -> None:
        self._connections = [
            Connection(KINDS[kind], f"127.9.{number // CONNECTIONS_PER_ADDRESS}.1", port)
            for number, kind in enumerate(kinds)
        ]
        self._poll = select.epoll()
        self._by_descriptor: dict[int, Connection] = {}
        self._established: set[Connection] = set()
        self._next_step_s = 0.0
        self._is_ready = False
        self.opened = self.cut = 0

    def run(self) -> None:
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        while True:
            now_s = time.monotonic()
            self._open_some(now_s)
            if now_s >= self._next_step_s:
                self._next_step_s = now_s + STEP_S
                self._say(now_s)
            for descriptor, events in self._poll.poll(ROUND_S):
                if descriptor == sys.stdin.fileno():
                    if not sys.stdin.readline():
                        return
                    print(json.dumps(self.report()), flush=True)
                else:
                    self._on_events(self._by_descriptor[descriptor], events)
            if not self._is_ready and self.opened >= len(self._connections):
                self._is_ready = True
                print("ready", flush=True)

    def report(self) -> dict[str, int]:
        return {"open": len(self._established), "opened": self.opened, "cut": self.cut}

    def _open_some(self, now_s: float) -> None:
        due = [place for place in self._connections if place.raw is None and place.due_s <= now_s]
        for place in due[:OPENED_PER_ROUND_MAX]:
            raw = place.open()
            self._by_descriptor[raw.fileno()] = place
            self._poll.register(raw, select.EPOLLIN | select.EPOLLOUT)

    def _say(self, now_s: float) -> None:
        for place in [place for place in self._established if place.kind.said]:
            self._unless_cut(place, place.say, now_s)

    def _on_events(self, place: Connection, events: int) -> None:
        self._unless_cut(place, lambda: self._talk(place, events), time.monotonic())

    def _talk(self, place: Connection, events: int) -> None:
        assert place.raw is not None
        if place not in self._established and events & select.EPOLLOUT and not events & select.EPOLLERR:
            self._poll.modify(place.raw, select.EPOLLIN)
            self._established.add(place)
            self.opened += 1
            place.opened()
        if events & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP):
            received = place.raw.recv(4_096)
            if not received:
                raise ConnectionResetError

    def _unless_cut(self, place: Connection, do: Callable[[], object], now_s: float) -> None:
        try:
            with contextlib.suppress(BlockingIOError):  # the node does not read; the next second tries again
                do()
        except OSError:
            assert place.raw is not None
            self.cut += place in self._established
            self._established.discard(place)
            del self._by_descriptor[place.raw.fileno()]
            place.close(now_s + AGAIN_S)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, *crowd = sys.argv[1:]
    pairs = zip(crowd[::2], crowd[1::2], strict=True)
    Flood(int(port), [kind for kind, count in pairs for _ in range(int(count))]).run()


if __name__ == "__main__":
    main()
