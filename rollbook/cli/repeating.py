"""Writes that are said again until they are done: for orders of which a repeat is safe, when many follow on each other.

A node that stood still, a store that elects, a session that moves: each costs a long restore or import a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import typer

from rollbook.cli.output import say_note
from rollbook.errors import RollbookError

_PAUSE_SECONDS = 0.5

PatienceOption = Annotated[
    float,
    typer.Option("--patience", metavar="SECONDS", min=0, help="How long a write is repeated when that can help."),
]


def repeated(write: Callable[[], None], patience_seconds: float) -> None:
    """The last error, if it never went well for so long, or at once one that no repeat can help."""
    ends_seconds = time.monotonic() + patience_seconds
    is_said = False
    while True:
        try:
            write()
            return
        except RollbookError as error:
            if not error.retryable or time.monotonic() >= ends_seconds:
                raise
            if not is_said:
                say_note(f"said again until it is done: {error.message}")
            is_said = True
            time.sleep(_PAUSE_SECONDS)
