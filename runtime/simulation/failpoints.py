"""Named moments at which a process can be made to die or to stand still.

Every turn of every behaviour has three: ``{role}.{message}.before``, ``.mid`` (half of its effects are performed) and
``.after`` (it has changed its tables, and nobody has been told). The I/O has the first and the last for each order, and
the disk has one between any two of its steps. Names exist by construction: whoever adds a message adds its failpoints.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from actors.base import Role

FailpointAction = Literal["crash", "pause", "power_off"]

START = "start"  # the turn without a message


class Fired(NamedTuple):
    """One failpoint that did something."""

    at_us: int
    place: str
    name: str
    action: FailpointAction


class _Armed:
    def __init__(self, place: str, pattern: str, nth: int, action: FailpointAction) -> None:
        self.place = place
        self.pattern = pattern
        self.left = nth
        self.action = action

    def meets(self, place: str, name: str) -> bool:
        if self.place not in ("", place) or (self.action == "pause" and not _can_pause(name)):
            return False
        return not self.pattern or fnmatchcase(name, self.pattern)


class Failpoints:
    """All of one cluster. Nothing armed costs one look per turn."""

    def __init__(self) -> None:
        self.armed: list[_Armed] = []
        self.fired: list[Fired] = []
        self.turns: defaultdict[Role, Counter[type]] = defaultdict(Counter)  # those that went from before to after
        self.halves: defaultdict[Role, Counter[type]] = defaultdict(Counter)  # of these, with effects to cut in two
        self.steps: Counter[str] = Counter()  # of disks

    def arm(self, place: str, pattern: str | None, nth: int = 1, action: FailpointAction = "crash") -> None:
        """At the nth moment from now whose name fits ``pattern`` (any, if None) at ``place`` (anywhere, if empty)."""
        self.armed.append(_Armed(place, pattern or "", max(nth, 1), action))

    def disarm(self) -> None:
        """What has not fired by now never does."""
        self.armed.clear()

    @property
    def hits(self) -> dict[str, int]:
        """How often each moment was passed, by name."""
        found = dict(self.steps)
        for passed, moments in ((self.turns, ("before", "after")), (self.halves, ("mid",))):
            for role, kinds in passed.items():
                for kind, count in kinds.items():
                    found.update({f"{name_of(role, kind)}.{moment}": count for moment in moments})
        return dict(sorted(found.items()))

    def strike(self, at_us: int, place: str, name: str) -> FailpointAction | None:
        """This moment has come at this place: what is to happen, if anything."""
        for armed in self.armed:
            if armed.meets(place, name):
                armed.left -= 1
                if not armed.left:
                    self.armed.remove(armed)
                    self.fired.append(Fired(at_us, place, name, armed.action))
                    return armed.action
        return None


def name_of(role: Role, kind: type) -> str:
    return f"{role.value}.{START if kind is type(None) else kind.__name__.lstrip('_')}"


def _can_pause(name: str) -> bool:
    """A process that is being born has nothing yet that could stand still."""
    return not name.startswith("disk.") and f".{START}." not in name
