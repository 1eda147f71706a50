"""The connections that others opened to one ROUTER, by file descriptor: how many there may be, and which are cut.

ZeroMQ bounds the frame, but neither the parts of a message (all wait in its memory until the last one has come) nor
the connections (at the limit of the process it spins in ``accept``), nor the time until the first message (a
connection that has shaken hands may stay silent for ever), nor for how long a machine that is gone is waited for. So
four kinds are cut here, by shutting their TCP connection down: libzmq then frees what it holds of them, and everybody
else goes on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path
from typing import TypeVar

from runtime.edge import IoSettings

T = TypeVar("T")

# Of Linux' struct tcp_info.
_RETRANSMITS, _PROBES = 2, 3
_LAST_DATA_MS, _LAST_ACK_MS = slice(52, 56), slice(56, 60)  # since something was received
_BYTES_RECEIVED = slice(128, 136)
_UNANSWERED_MAX = 2  # a single one may be on its way just now
_PASS_SLICES = 4
_PASS_SLICE_MIN = 256
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """The memory of this process; 0 where the system does not say, and then nothing is looked at."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def is_deaf(info: bytes, silence_ms: int) -> bool:
    """Whether nothing has come for so long, and what the system sent since then was not confirmed either."""
    if not info or max(info[_RETRANSMITS], info[_PROBES]) < _UNANSWERED_MAX:
        return False
    return min(_number(info[_LAST_DATA_MS]), _number(info[_LAST_ACK_MS])) > silence_ms


def connection_info(descriptor: int) -> bytes:
    """What the system knows of a connection; empty if it is closed, or if the system does not say."""
    with contextlib.suppress(OSError, AttributeError):
        return _borrowed(descriptor, lambda connection: connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
    return b""


def _number(part: bytes) -> int:
    return int.from_bytes(part, sys.byteorder)


def _borrowed(descriptor: int, do: Callable[[socket.socket], T]) -> T:
    """Use a descriptor that belongs to libzmq. It may be closed at any moment, and in the rarest case be another
    connection by now: that one would have to connect again."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
    try:
        return do(connection)
    finally:
        connection.detach()


class ConnectionWatch:
    """Every method is called by the I/O thread."""

    def __init__(
        self,
        settings: IoSettings,
        open_max: int,
        count: Callable[[str], None],
        memory: Callable[[], int] = resident_bytes,
        info: Callable[[int], bytes] = connection_info,
    ) -> None:
        self._info = info
        self._silence_ms = settings.client_silence_ms
        self._next_pass_ms = 0
        self._unpassed: deque[int] = deque()  # what this pass has yet to look at
        self._pass_slice = 0
        self._look_interval_ms = settings.memory_look_interval_ms
        self._memory_step_bytes = settings.memory_step_bytes_max
        self._unread_bytes_max = settings.unread_bytes_per_connection_max
        self.cuts = 0
        self._silent_ms_max = settings.first_message_ms_max
        self._open_max = open_max
        self._count = count
        self._memory = memory
        self._read_bytes: dict[int, int] = {}  # in order of acceptance: bytes received when last known to be read
        # In order of acceptance. A plain dict would search for its first entry at each cut.
        self._silent_since: OrderedDict[int, int] = OrderedDict()
        self._cut: set[int] = set()  # shut down, and not yet reported as closed
        self._memory_bytes = 0
        self._next_look_ms = 0

    def opened(self, descriptor: int, now_ms: int, *, has_spoken: bool) -> None:
        self.closed(descriptor)
        self._read_bytes[descriptor] = 0
        if not has_spoken:
            self._silent_since[descriptor] = now_ms

    def spoke(self, descriptor: int) -> None:
        self._silent_since.pop(descriptor, None)

    def closed(self, descriptor: int) -> None:
        self._read_bytes.pop(descriptor, None)
        self._silent_since.pop(descriptor, None)
        self._cut.discard(descriptor)

    def make_room(self) -> None:
        """Cut what is too many: first who has said nothing, longest ago first, then who came last."""
        excess = len(self._read_bytes) - len(self._cut) - self._open_max
        while excess > 0 and self._silent_since:
            self.cut(next(iter(self._silent_since)), "connections_cut_too_many")
            excess -= 1
        if excess > 0:
            last = (descriptor for descriptor in reversed(self._read_bytes) if descriptor not in self._cut)
            for descriptor in list(islice(last, excess)):
                self.cut(descriptor, "connections_cut_too_many")

    def cut_silent(self, now_ms: int) -> None:
        """Cut who has said nothing for too long. Call it when everything that waited has been read."""
        while self._silent_since:
            descriptor, since_ms = next(iter(self._silent_since.items()))
            if now_ms - since_ms < self._silent_ms_max:
                return
            self.cut(descriptor, "connections_cut_silent")

    def is_look_due(self, now_ms: int) -> bool:
        """Whether this process has grown so much that somebody may be sending without end."""
        if now_ms < self._next_look_ms:
            return False
        self._next_look_ms = now_ms + self._look_interval_ms
        memory_bytes = self._memory()
        self._memory_bytes = min(self._memory_bytes, memory_bytes) or memory_bytes
        if memory_bytes - self._memory_bytes < self._memory_step_bytes:
            return False
        self._memory_bytes = memory_bytes
        return True

    def look(self, heard: Collection[int]) -> None:
        """Cut who has sent more than any message may hold since the last look, and no message has come of it."""
        for descriptor, read_bytes in list(self._read_bytes.items()):
            if descriptor in self._cut:
                continue
            received = _number(self._info(descriptor)[_BYTES_RECEIVED])
            if descriptor in heard:
                self._read_bytes[descriptor] = received
            elif received - read_bytes > self._unread_bytes_max:
                self.cut(descriptor, "connections_cut_endless_message")

    def cut_deaf(self, now_ms: int) -> None:
        """Cut whose machine answers no more. A client that pings asks the node to wait for the next ping, but libzmq
        forgets that when anything else arrives; and TCP itself tries for a quarter of an hour what nobody confirms.

        A slice of all connections at each call that is due.
        """
        if now_ms < self._next_pass_ms:
            return
        self._next_pass_ms = now_ms + self._silence_ms // (2 * _PASS_SLICES)
        if not self._unpassed:
            self._unpassed = deque(self._read_bytes)
            self._pass_slice = max(_PASS_SLICE_MIN, len(self._unpassed) // _PASS_SLICES + 1)
        for _ in range(min(self._pass_slice, len(self._unpassed))):
            descriptor = self._unpassed.popleft()
            if descriptor in self._read_bytes and is_deaf(self._info(descriptor), self._silence_ms):
                self.cut(descriptor, "connections_cut_deaf")

    def cut(self, descriptor: int, why: str) -> None:
        if descriptor in self._cut or descriptor not in self._read_bytes:
            return
        self._cut.add(descriptor)
        self.cuts += 1
        self._silent_since.pop(descriptor, None)
        self._count(why)
        with contextlib.suppress(OSError):  # closed meanwhile
            _borrowed(descriptor, lambda connection: connection.shutdown(socket.SHUT_RDWR))
