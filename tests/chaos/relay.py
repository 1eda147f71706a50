"""A slow line: a process that carries the packets of one node by hand, between its namespace and the switch.

    python -m tests.chaos.relay INSIDE OUTSIDE DEVICE DELAY_MS JITTER_MS LOSS_PERCENT DUPLICATE_PERCENT SEED

It makes a TUN device of this name in both namespaces, prints ``ready`` when both are up, and carries packets with
delay, jitter (so that they overtake each other), loss and duplicates, until its standard input ends. The devices end
with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET_BYTES_MAX = 65_536
_WAITING_MAX = 20_000  # packets; a real line's queue is no longer either


class LineQuality(msgspec.Struct, frozen=True):
    delay_ms: int = 0
    jitter_ms: int = 0  # added, evenly spread: later packets overtake earlier ones
    loss_percent: int = 0
    duplicate_percent: int = 0


class Line:
    """Decides when each packet arrives, how often, or never."""

    def __init__(self, quality: LineQuality, chance: random.Random) -> None:
        self._quality = quality
        self._chance = chance
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def offer(self, way: int, packet: bytes, now: float) -> None:
        """``way``: in which direction, for whoever takes it out again."""
        quality, chance = self._quality, self._chance
        if chance.random() * 100 < quality.loss_percent or len(self._waiting) >= _WAITING_MAX:
            return
        copies = 2 if chance.random() * 100 < quality.duplicate_percent else 1
        for _ in range(copies):
            self._number += 1
            due = now + (quality.delay_ms + chance.uniform(0, quality.jitter_ms)) / 1000
            heapq.heappush(self._waiting, (due, self._number, way, packet))

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """What arrives by now, in order of arrival."""
        arrived = []
        while self._waiting and self._waiting[0][0] <= now:
            _, _, way, packet = heapq.heappop(self._waiting)
            arrived.append((way, packet))
        return arrived

    def pause_s(self, now: float) -> float | None:
        """Until the next arrival."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def enter_namespace(name: str) -> None:
    """The calling thread, and the threads it starts from now on."""
    with (NAMESPACES / name).open("rb") as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {name}")


def _tun(namespace: str, device: str) -> int:
    enter_namespace(namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    # Before any packet is carried: the system sends its own at once, and a device that is down takes none.
    subprocess.run(["ip", "link", "set", device, "up"], check=True)
    return descriptor


def _carry(ends: tuple[int, int], line: Line) -> None:
    while True:
        readable, _, _ = select.select([*ends, sys.stdin], [], [], line.pause_s(time.monotonic()))
        if sys.stdin in readable:
            return
        for way, end in enumerate(ends):
            if end in readable:
                line.offer(1 - way, os.read(end, _PACKET_BYTES_MAX), time.monotonic())
        for way, packet in line.due(time.monotonic()):
            os.write(ends[way], packet)


def main() -> None:
    inside, outside, device, *figures = sys.argv[1:]
    delay_ms, jitter_ms, loss_percent, duplicate_percent, seed = map(int, figures)
    ends = (_tun(inside, device), _tun(outside, device))
    print("ready", flush=True)
    quality = LineQuality(delay_ms, jitter_ms, loss_percent, duplicate_percent)
    _carry(ends, Line(quality, random.Random(seed)))


if __name__ == "__main__":
    main()
