"""Answers that a store gives one right behind the other, on one thread: who is told of them is told once.

A commit answers hundreds of proposals. Whoever passes their outcomes on by ``tell_together`` sends one message for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class _Gathered(threading.local):
    items: dict[Callable[[list[Any]], None], list[Any]] | None = None  # by who is told; None outside of a group


_gathered = _Gathered()


@contextmanager
def answered_together() -> Iterator[None]:
    """Around the futures that are done now. Nothing is kept back beyond its end, however that comes."""
    assert _gathered.items is None, "a group of answers within another"
    items = _gathered.items = {}
    try:
        yield
    finally:
        _gathered.items = None
        for tell, gathered in items.items():
            tell(gathered)


def tell_together(tell: Callable[[list[T]], None], item: T) -> None:
    """At the end of the group that is being answered on this thread, or at once if none is."""
    if _gathered.items is None:
        tell([item])
    else:
        _gathered.items.setdefault(tell, []).append(item)
