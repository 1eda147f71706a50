"""What is said of a call: in which words its parameters are named, what it answers, how it can be refused.

The routes themselves, with their styles, are in the tables of http_*.py. A test asks every handler which parameters it
reads, and objects where that is not what stands here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec

Ok = Literal["ok"]
Told = TypeVar("Told")

_EVERYWHERE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)


class RestShape(msgspec.Struct, Generic[Told], frozen=True):
    """The envelope of the first version of what is not naming."""

    code: Literal[200]
    message: None
    data: Told


class ApiOperation(NamedTuple):
    """``methods`` and ``paths`` have spaces between, as ``needs`` and ``takes`` have, which name parameters
    (parameters.py).

    ``answer``: the type of what is shown, as msgspec knows types; None for nothing. A text is sent as it is, unless it
    lies in an envelope. ``refusals``: statuses besides those of every call; a call that asks the node may get 503.
    """

    methods: str
    paths: str
    about: str
    needs: str = ""
    takes: str = ""
    answer: object = Ok
    refusals: tuple[int, ...] = ()
    asks_node: bool = True

    def statuses(self) -> list[int]:
        """Of refusals, in order."""
        of_node = (HTTPStatus.SERVICE_UNAVAILABLE,) if self.asks_node else ()
        return sorted({int(status) for status in (*_EVERYWHERE, *self.refusals, *of_node)})


def at(stems: str, *ends: str) -> str:
    """Paths of all combinations."""
    return " ".join(f"{stem}{end}" for stem in stems.split() for end in ends)
