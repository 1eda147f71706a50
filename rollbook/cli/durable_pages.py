"""All durable data for a command: its first page, which says what it is, and then every page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from rollbook import DurablePage, NamingClient, Refused
from rollbook.cli.output import say_note, time_text
from rollbook.errors import Code

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Where it is kept.", show_default=False)]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite FILE if it is there.")]
StaleOption = Annotated[
    bool, typer.Option("--stale", help="Take what the node has, although it cannot follow the store.")
]
WithoutUnreadableOption = Annotated[
    bool, typer.Option("--without-unreadable", help="Leave out rows that the node cannot read.")
]


def pages_of(
    client: NamingClient, *, stale: bool, without_unreadable: bool
) -> tuple[DurablePage, Iterator[DurablePage]]:
    """The first page, and all of them, that one included. Refused if the node cannot read all there is."""
    pages = client.admin.read_durable(stale=stale)
    first = next(pages)
    if first.unreadable and not without_unreadable:
        sentence = f"the node cannot read {first.unreadable} rows of the store: ask one of a newer version, or say "
        raise Refused(sentence + "--without-unreadable", code=Code.VERSION_UNSUPPORTED)
    return first, chain((first,), pages)


def say_what_lacks(page: DurablePage) -> None:
    """In a note, what somebody who relies on it has to know."""
    if page.stale_since_ms:
        say_note(f"the node cannot follow the store since {time_text(page.stale_since_ms)}; this is what it had then")
    if page.unreadable:
        say_note(f"{page.unreadable} rows of the store are left out: the node cannot read them")


def read_facts(file: Path | str, page: DurablePage) -> dict[str, object]:
    """For --json: where it went, and which state of which store it is."""
    return {"file": str(file), "store": page.store, "index": page.index, "stale_since_ms": page.stale_since_ms}
