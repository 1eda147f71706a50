"""Names of services page by page, as SDKs and consoles ask for them: of any length, out of the node's own pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from rollbook.orders import CallBody
from rollbook.wire import PAGE_SIZE_MAX, ListServices, Services

NAMES_MAX = 10_000  # of one page
_PLACE_MAX = 1 << 40  # beyond any list, and a number that still fits into a frame

Ask = Callable[[CallBody], Awaitable[Any]]


class NamesPage(NamedTuple):
    total: int
    names: list[str]


class Places(NamedTuple):
    """From the place ``first``, counted from 0, up to but not including ``last``."""

    first: int
    last: int


def places_of(page: int, size: int) -> Places:
    """Of a page, counted from 1. What lies beyond any list is one place."""
    first = min((page - 1) * size, _PLACE_MAX)
    return Places(first, first + size)


async def names_of(ask: Ask, namespace: str, group: str, places: Places) -> NamesPage:
    """Services with an instance or with settings."""
    first, last = places
    names: list[str] = []
    number = first // PAGE_SIZE_MAX + 1
    while True:
        found: Services = await ask(ListServices(namespace, group, number, PAGE_SIZE_MAX, with_empty=True))
        start = (number - 1) * PAGE_SIZE_MAX
        names += found.names[max(0, first - start) : max(0, last - start)]
        number += 1
        if start + PAGE_SIZE_MAX >= min(last, found.total):
            return NamesPage(found.total, names)
