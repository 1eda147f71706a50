"""Who the members are: the configured list, or a watched file with one ``ip:port`` per line.

Addresses in settings and files name the base port P of a node; peers meet at P+3, clients at
P+2, and an etcd beside the node has P+4 and P+5.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from rollbook.errors import SettingsError
from runtime.text_files import read_text_file, shown

CLIENT_PORT_OFFSET = 2
PEER_PORT_OFFSET = 3
ETCD_CLIENT_PORT_OFFSET = 4
ETCD_PEER_PORT_OFFSET = 5
BASE_PORT_DEFAULT = 8848  # of a line without a port
BASE_PORT_MAX = 65_535 - 1_000  # the gRPC port of SDKs is P+1000
WATCH_INTERVAL_MS = 1_000
MEMBERS_MAX = 128  # a node keeps three sockets for each
HOST_LENGTH_MAX = 253  # of a name in the DNS
_HOST = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+(%\w+)?\]")


def split_address(text: str, port_default: int = BASE_PORT_DEFAULT, port_max: int = BASE_PORT_MAX) -> tuple[str, int]:
    """``host:port``, ``host`` or ``[ipv6]:port``, with the base port; SettingsError says what is wrong with it."""
    shown = text if len(text) <= HOST_LENGTH_MAX else f"{text[:40]}..."
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(port_default)
    if len(host) > HOST_LENGTH_MAX or _HOST.fullmatch(host) is None:
        raise SettingsError(f"{shown!r} is not host:port; an IPv6 address is written as [address]:port")
    if not (port.isascii() and port.isdigit() and len(port) <= 5) or not 0 < int(port) <= port_max:
        raise SettingsError(f"{shown!r} needs a port between 1 and {port_max}")
    return host, int(port)


def peer_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Where to dial these members; each once, in their order."""
    split = [split_address(text) for text in texts]
    found = tuple(dict.fromkeys(f"{host}:{port + PEER_PORT_OFFSET}" for host, port in split))
    if len(found) > MEMBERS_MAX:
        raise SettingsError(f"{len(found)} members are more than {MEMBERS_MAX}, the most that a node dials")
    return found


def read_members_file(path: Path) -> tuple[str, ...]:
    """The members that a file names, as peer addresses; SettingsError names file and line."""
    found: list[str] = []
    for number, line in enumerate(read_text_file(path, "the members file ").splitlines(), start=1):
        if text := line.partition("#")[0].strip():
            try:
                found += peer_addresses([text])
            except SettingsError as error:
                raise SettingsError(f"{shown(path)}, line {number}: {error.message}") from None
    if not found:
        raise SettingsError(f"the members file {shown(path)} names nobody")
    if len(set(found)) > MEMBERS_MAX:
        raise SettingsError(f"the members file {shown(path)} names more than {MEMBERS_MAX}, the most that a node dials")
    return tuple(dict.fromkeys(found))


class MembersFileWatch:
    """Says what the file holds whenever it has changed; a file that cannot be used leaves the last list in force."""

    def __init__(
        self, path: Path, changed: Callable[[tuple[str, ...]], None], refused: Callable[[SettingsError], None]
    ) -> None:
        self._path = path
        self._changed = changed
        self._refused = refused
        self._mark = self._read_mark()

    def look(self) -> None:
        """Call it every now and then. From one thread."""
        mark = self._read_mark()
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._changed(read_members_file(self._path))
        except SettingsError as error:
            self._refused(error)

    def _read_mark(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self._path)
        except (OSError, ValueError):  # ValueError: a path that can be none
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)
