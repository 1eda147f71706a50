"""Connection events as a ZeroMQ monitor socket tells them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import zmq

_EVENT = struct.Struct("=HI")
_NOBLOCK = int(zmq.NOBLOCK)


class MonitorEvent(NamedTuple):
    kind: int
    value: int  # a file descriptor, mostly


def read_events(monitor: zmq.Socket[bytes], events_max: int) -> Iterator[MonitorEvent]:
    """What waits, in order, up to a batch."""
    for _ in range(events_max):
        try:
            event = monitor.recv(_NOBLOCK)
        except zmq.Again:
            return
        monitor.recv(_NOBLOCK)  # the endpoint
        kind, value = _EVENT.unpack(event)
        yield MonitorEvent(kind, value)
