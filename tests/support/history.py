"""The history of a run: what applications wanted, what they and the nodes were seen to say, and the faults.

The simulated swarm and the real chaos round write the same events, so that the same checks read both. Times are
milliseconds of one true clock: virtual in the simulator, CLOCK_MONOTONIC of the one machine in the chaos round. An
instance is written as ``ip:port``; its payload is the text that its publisher last gave it (metadata ``v``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

OrderKind = Literal["publish", "withdraw", "subscribe", "close", "unsubscribe", "query"]


class OrderSent(msgspec.Struct, frozen=True, tag=True):
    """An application asks for something. ``instances``: what a publish adds; which keys a withdraw removes.

    ``wait``: for whom it waits.
    """

    at_ms: int
    client: str
    number: int  # of this client's orders, from 1
    kind: OrderKind
    service: str = ""
    instances: dict[str, str] = {}
    wait: str = "node"


class OrderAnswered(msgspec.Struct, frozen=True, tag=True):
    """``error`` is empty for what was done. It begins with ``unconfirmed`` for what was done, but not told to all who
    were waited for, and with ``refused`` for what a node will never do; else nobody knows what has happened."""

    at_ms: int
    client: str
    number: int
    error: str = ""


class ClientEnded(msgspec.Struct, frozen=True, tag=True):
    """``vanished``: its machine is gone without a word, so that connections are half open."""

    at_ms: int
    client: str
    how: Literal["killed", "vanished", "closed"]


class ClientStood(msgspec.Struct, frozen=True, tag=True):
    """A client process was stopped (SIGSTOP), or goes on; ``blocked``: only its application does nothing, while its
    connections live on."""

    at_ms: int
    client: str
    still: bool
    blocked: bool = False


class SessionSeen(msgspec.Struct, frozen=True, tag=True):
    """From now on this session serves the client; without a node none does (it was lost, or has ended)."""

    at_ms: int
    client: str
    node: str = ""
    session: int = 0


class PathSeen(msgspec.Struct, frozen=True, tag=True):
    """What one machine sends to another arrives, or does not. Names of nodes and clients."""

    at_ms: int
    source: str
    target: str
    carries: bool


class NodeSeen(msgspec.Struct, frozen=True, tag=True):
    at_ms: int
    node: str
    what: Literal["started", "ready", "crashed", "left", "paused", "resumed", "leaving", "unlisted", "listed"]
    flags: tuple[str, ...] = ()  # of a node that is ready: warming, preserved


class FaultBegan(msgspec.Struct, frozen=True, tag=True):
    """``kind`` is the word of the coverage table; ``what`` says it to a human, with names."""

    at_ms: int
    number: int
    kind: str
    what: str
    nodes: tuple[str, ...] = ()  # whose life, clock, disk or links it touches


class FaultEnded(msgspec.Struct, frozen=True, tag=True):
    at_ms: int
    number: int


class ViewSeen(msgspec.Struct, frozen=True, tag=True):
    """Somebody was told a list: a subscriber by ``push``, an asker by ``query``; ``table``: read from the node."""

    at_ms: int
    observer: str  # client id, or the node's name for ``table``
    how: Literal["push", "query", "table"]
    node: str
    session: int
    service: str
    version: int
    instances: dict[str, str]
    flags: tuple[str, ...] = ()  # warming, preserved, guarded
    number: int = 0  # of the order that asked for it; 0: nobody asked
    asked_ms: int = 0  # when a ``table`` was asked for; 0: nobody knows


class MemorySeen(msgspec.Struct, frozen=True, tag=True):
    at_ms: int
    node: str
    resident_kib: int


Event = (
    OrderSent
    | OrderAnswered
    | ClientEnded
    | ClientStood
    | SessionSeen
    | PathSeen
    | NodeSeen
    | FaultBegan
    | FaultEnded
    | ViewSeen
    | MemorySeen
)

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def write_history(path: Path, events: Iterable[Event]) -> None:
    """One JSON object per line."""
    with path.open("wb") as file:
        for event in events:
            file.write(msgspec.json.encode(event) + b"\n")


def read_history(path: Path) -> Iterator[Event]:
    with path.open("rb") as file:
        for line in file:
            yield _decoder.decode(line)
