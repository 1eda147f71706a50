"""What the I/O thread is told. It decides nothing: it sends, dials, counts."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from actors.messages.values import Route
from rollbook.wire import LogLevel


class ClientFrame(msgspec.Struct, frozen=True, gc=False):
    route: Route
    payload: bytes


class AnswerClients(msgspec.Struct, frozen=True):
    """Each frame answers one request: it leaves the session's window."""

    frames: tuple[ClientFrame, ...]


class PushToClients(msgspec.Struct, frozen=True):
    """Frames that nobody asked for: pushes, advice, ends of sessions. Dropped and counted if the link is gone."""

    frames: tuple[ClientFrame, ...]


class WatchLinks(msgspec.Struct, frozen=True):
    """Tell PushActor ``SubscriberHeard`` at the next frame of each of these links (once)."""

    links: tuple[bytes, ...]


class PeerFrame(NamedTuple):
    link: str
    payload: bytes


class SendToPeers(msgspec.Struct, frozen=True):
    """May be lost; never raises for an absent peer."""

    frames: tuple[PeerFrame, ...]


class DialPeers(msgspec.Struct, frozen=True):
    """Keep exactly these peer addresses (host:port) dialled; hang up on all others."""

    addresses: tuple[str, ...]


class LogLevelOrdered(msgspec.Struct, frozen=True):
    """The logs of this process say this level and all above it from now on."""

    level: LogLevel


class Beat(msgspec.Struct, frozen=True):
    """Pass this tick on to ClientManager: a heartbeat proves that the I/O thread, record table and index all run."""

    number: int
