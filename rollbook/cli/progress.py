"""Progress bars, on stderr and only for people who look at it live."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]


@contextlib.contextmanager
def progress_bar(title: str, total: int | None, *, quiet: bool) -> Iterator[Advance]:
    """What is yielded is told how many more are done. ``total`` None: nobody knows yet. It leaves no trace."""
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        bar = progress.add_task(title, total=total)

        def advance(count: int) -> None:
            progress.advance(bar, count)

        yield advance
