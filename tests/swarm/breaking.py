"""How one rule of the product is broken for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple


class Ablation(NamedTuple):
    rule: str  # as the design has it
    instead: str  # what is done while it is broken
    begin: Callable[[], AbstractContextManager[Any]]


@contextmanager
def replaced(owner: Any, name: str, instead: Any) -> Iterator[None]:
    """Something else in the place of one attribute of a class or a module."""
    before = getattr(owner, name)
    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, before)


def all_of(*parts: AbstractContextManager[None]) -> AbstractContextManager[Any]:
    """Several replacements that break one rule together."""
    stack = ExitStack()
    for part in parts:
        stack.enter_context(part)
    return stack
