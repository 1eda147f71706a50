"""What host names stand for, asked of the system by one thread, remembered, and checked against the allowed networks.

A probe connects to the very address that was checked: between the look at a name and the connection nobody asks again.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from actors.messages.health import Outcome
from actors.probe_targets import Network, address_of, is_allowed

NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_FAIL})  # other errors say nothing about the name


class Found(NamedTuple):
    """Where to connect to, if ``outcome`` is ok; else what a probe of that host has come to."""

    outcome: Outcome
    family: socket.AddressFamily = socket.AF_INET
    address: str = ""


class NameFound(NamedTuple):
    """For the thread that asked."""

    host: str
    found: Found


class _Entry(NamedTuple):
    found: Found
    until_ms: int  # 0: for ever


class NameBook:
    """Belongs to one thread; ``tell`` hands it ``NameFound`` from the other."""

    def __init__(
        self,
        networks: Collection[Network],
        *,
        names_max: int,
        waiting_max: int,
        memory_ms: int,
        tell: Callable[[Any], None],
    ) -> None:
        self._networks = networks
        self._names_max = names_max
        self._waiting_max = waiting_max
        self._memory_ms = memory_ms
        self._entries: dict[str, _Entry] = {}  # oldest first
        self._asked: set[str] = set()
        self._resolver = _Resolver(networks, tell)

    def find(self, host: str, now_ms: int) -> Found | None:
        """None: it is being asked for, and ``NameFound`` will come."""
        entry = self._entries.get(host)
        if entry is not None and (entry.until_ms == 0 or now_ms < entry.until_ms):
            return entry.found
        if address_of(host) is not None:
            found = found_of([host], self._networks)
            self._remember(host, _Entry(found, 0))
            return found
        if host not in self._asked:
            if len(self._asked) >= self._waiting_max:
                return Found("void")
            self._asked.add(host)
            self._resolver.ask(host)
        return None

    def learn(self, answer: NameFound, now_ms: int) -> None:
        self._asked.discard(answer.host)
        self._remember(answer.host, _Entry(answer.found, now_ms + self._memory_ms))

    def close(self) -> None:
        self._resolver.close()

    def _remember(self, host: str, entry: _Entry) -> None:
        self._entries.pop(host, None)
        if len(self._entries) >= self._names_max:
            del self._entries[next(iter(self._entries))]
        self._entries[host] = entry


class _Resolver:
    """The thread that waits for the system; it may do so for long."""

    def __init__(self, networks: Collection[Network], tell: Callable[[Any], None]) -> None:
        self._networks = networks
        self._tell = tell
        self._changed = threading.Condition()
        self._hosts: deque[str] = deque()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def ask(self, host: str) -> None:
        with self._changed:
            self._hosts.append(host)
            self._changed.notify()
        if self._thread is None:  # most registries hold addresses only
            self._thread = threading.Thread(target=self._run, name="prober-names", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Not waited for: the system may be asking a server that does not answer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._hosts and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                host = self._hosts.popleft()
            self._tell(NameFound(host, resolve(host, self._networks)))


def resolve(host: str, networks: Collection[Network]) -> Found:
    """Ask the system, once."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Found("error" if error.errno in NO_SUCH_NAME else "void")
    except UnicodeError:
        return Found("error")
    return found_of([str(answer[4][0]) for answer in answers], networks)


def found_of(addresses: Iterable[str], networks: Collection[Network]) -> Found:
    """The first of them that is allowed."""
    for text in addresses:
        address = address_of(text)
        if address is not None and is_allowed(address, networks):
            return Found("ok", socket.AF_INET if address.version == 4 else socket.AF_INET6, str(address))
    return Found("forbidden")
