"""What a gateway orders for clients that speak HTTP. They have no connection, so beats keep what they publish.

Such a client is an ``ip:port`` (its id is ``ip:port#true``), and it publishes at most one instance for a service.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from rollbook.model import Instance, Service

BEATS_PER_ORDER_MAX = 500  # half the time of a turn, and far below what a frame holds unless all of them register


class HttpPublish(msgspec.Struct, frozen=True, array_like=True):
    """``register`` puts the instance in the place of what this client publishes for the service, and counts as a beat;
    ``update`` changes what is there (INSTANCE_NOT_FOUND if there is nothing), all but its health. Answered by Done."""

    service: Service
    instance: Instance
    mode: Literal["register", "update"] = "register"


class HttpWithdraw(msgspec.Struct, frozen=True, array_like=True):
    """Done too if there is nothing."""

    service: Service
    ip: str
    port: int


class InstanceChanges(msgspec.Struct, frozen=True, array_like=True):
    """What is null stays as it is; metadata is changed as a whole."""

    weight: float | None = None
    enabled: bool | None = None
    metadata: dict[str, str] | None = None


class HttpPatch(msgspec.Struct, frozen=True, array_like=True):
    """Change what is there; INSTANCE_NOT_FOUND if there is nothing."""

    service: Service
    ip: str
    port: int
    changes: InstanceChanges


class HttpBeat(msgspec.Struct, frozen=True, array_like=True):
    """This instance lives. ``instance``: to be registered if it is not known."""

    service: Service
    ip: str
    port: int
    instance: Instance | None = None


class Beats(msgspec.Struct, frozen=True, array_like=True):
    """Answered by BEATEN."""

    beats: Annotated[tuple[HttpBeat, ...], msgspec.Meta(max_length=BEATS_PER_ORDER_MAX)]


class BeatOutcome(msgspec.Struct, frozen=True, array_like=True):
    """``refused`` comes with the code, sentence and field of an error; else ``interval_ms`` says when the next beat is
    due."""

    word: Literal["renewed", "registered", "unknown", "refused"]
    interval_ms: int = 0
    code: int = 0
    message: str = ""
    field: str = ""


class Beaten(msgspec.Struct, frozen=True, array_like=True):
    """What became of each beat, in their order. ``isolated``: the node has taken them, but it hears no majority of the
    members, so the client should beat at another node too."""

    outcomes: tuple[BeatOutcome, ...]
    isolated: bool = False
