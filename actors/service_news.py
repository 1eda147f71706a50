"""Which services have come and gone lately, and which names a pattern means. A table of ServiceIndex.

Whoever follows services by a pattern asks again and again with the number that it was given last. As long as the log
reaches back to it, the answer is what has changed; else it is everything, and so it is after a restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from rollbook.model import Service

CHANGES_MAX = 10_000
ANYTHING = "*"


class ServiceNews:
    """The last services that were given their first live publisher, or lost their last one, in order."""

    def __init__(self) -> None:
        self.number = 1  # of the last change; whoever has been told nothing says 0
        self._changes: deque[tuple[Service, bool]] = deque(maxlen=CHANGES_MAX)

    def note(self, service: Service, *, is_live: bool) -> None:
        self.number += 1
        self._changes.append((service, is_live))

    def since(
        self, number: int, namespace: str, group_pattern: str = ANYTHING, name_pattern: str = ANYTHING
    ) -> dict[Service, bool] | None:
        """The last word on each of these that has changed since; None if that cannot be said any more."""
        count = self.number - number
        if number < 1 or not 0 <= count <= len(self._changes):
            return None
        return {
            service: is_live
            for service, is_live in islice(self._changes, len(self._changes) - count, None)
            if service.namespace == namespace
            and matches(group_pattern, service.group)
            and matches(name_pattern, service.name)
        }


def matches(pattern: str, name: str) -> bool:
    """``*`` is anything; ``x*``, ``*x`` and ``*x*`` are what begins with x, ends with it and has it; else equal. A star
    elsewhere is in no name."""
    if pattern == ANYTHING:
        return True
    starts, ends = pattern.startswith(ANYTHING), pattern.endswith(ANYTHING)
    core = pattern.removeprefix(ANYTHING).removesuffix(ANYTHING)
    if ANYTHING in core or (not core and pattern):
        return False
    if starts and ends:
        return core in name
    if starts:
        return name.endswith(core)
    return name.startswith(core) if ends else name == core


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if matches(pattern, name)]
