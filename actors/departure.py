"""How a node leaves in good order: its sessions move, its peers get what they lack, it says goodbye, it ends.

MemberManager hands it each step's news; whatever takes too long is cut short, so that SIGTERM ends within its time.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from actors.announcements import Announcements
from actors.base import Effect, Log, Remind, Role, Tell, Terminate
from actors.links import LinkTable, send
from actors.messages.connections import SessionsShed
from actors.messages.distro import FlushOrdered
from actors.messages.members import Flushed, LeaveOrdered, SessionsGone
from actors.messages.peers import Goodbye, PeerTag
from actors.messages.values import Origin

GOODBYE_LINGER_MS = 50  # so that the frames leave before the process does


class DeparturePatience(Protocol):
    """The members section of configs/defaults.toml, as far as it is about leaving."""

    @property
    def leave_timeout_ms(self) -> int: ...

    @property
    def flush_timeout_ms(self) -> int: ...


class LeaveOverdue(msgspec.Struct, frozen=True):
    """Leaving took too long: say goodbye with what is done."""


class GoodbyeSent(msgspec.Struct, frozen=True):
    pass


DepartureInput = LeaveOrdered | SessionsGone | Flushed | LeaveOverdue | GoodbyeSent


class Departure:
    def __init__(self, own: Origin, links: LinkTable, told: Announcements, patience: DeparturePatience) -> None:
        self._own = own
        self._links = links
        self._told = told
        self._patience = patience
        self.stage: Literal["serving", "leaving", "flushing", "gone"] = "serving"

    def step(self, message: DepartureInput) -> list[Effect]:
        match message, self.stage:
            case LeaveOrdered(), "serving":
                return self._begin()
            case SessionsGone(), "leaving":
                self.stage = "flushing"
                return [Tell(Role.DISTRO, FlushOrdered(self._patience.flush_timeout_ms))]
            case (Flushed(), "flushing") | (LeaveOverdue(), "leaving" | "flushing"):
                return self._say_goodbye()
            case GoodbyeSent(), "gone":
                return [Terminate(0, "left the cluster")]
        return []  # A step that has been taken already.

    def _begin(self) -> list[Effect]:
        self.stage = "leaving"
        shed_ms = self._patience.leave_timeout_ms - self._patience.flush_timeout_ms
        return [
            Log("INFO", "leaving", {}),
            *self._told.set_standing(leaving=True),
            Tell(Role.CONNECTIONS, SessionsShed(shed_ms)),
            Remind(self._patience.leave_timeout_ms, LeaveOverdue()),
        ]

    def _say_goodbye(self) -> list[Effect]:
        self.stage = "gone"
        frames = [(name, PeerTag.GOODBYE, Goodbye(*self._own)) for name in self._links.shaken()]
        return [send(*frames), Remind(GOODBYE_LINGER_MS, GoodbyeSent())]
