"""``rollbook export``, ``rollbook import``: durable data as JSON lines, for people, programs and other clusters."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from rollbook import DurablePage
from rollbook.cli.clients import author_client, command_client
from rollbook.cli.durable_pages import (
    ForceOption,
    StaleOption,
    WithoutUnreadableOption,
    pages_of,
    read_facts,
    say_what_lacks,
)
from rollbook.cli.importing import Import
from rollbook.cli.new_file import new_file, unusable_file
from rollbook.cli.options import JsonOption, ServerOption, TimeoutOption, common_options
from rollbook.cli.output import ExitCode, print_event, say_note, wall_ms
from rollbook.cli.progress import Advance, progress_bar
from rollbook.cli.repeating import PatienceOption
from rollbook.durable import kept_incarnation
from rollbook.errors import RollbookError
from rollbook.exchange_lines import NAME, VERSION, ContentLine, HeaderLine, encoded, line_of, read_lines
from rollbook.kept_rows import DurableRows
from rollbook.model import InstanceKey, Service
from rollbook.restoring import RowCounts, counts_text

LineFileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="JSON lines; - is the terminal, or a pipe.", show_default=False)
]
_LEFT_OUT_SHOWN = 10


def export(
    context: typer.Context,
    file: LineFileArgument,
    force: ForceOption = False,
    stale: StaleOption = False,
    without_unreadable: WithoutUnreadableOption = False,
    timeout: TimeoutOption = 10.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Write durable data to FILE as JSON lines: namespaces, settings of services, persistent instances, intents.

    Of one moment. Ephemeral instances, and intents about them, are no part of it: rollbook backup keeps the latter.
    """
    common = common_options(context, server, json)
    began_s, counts = time.monotonic(), RowCounts()
    with _output(file, force=force) as out, command_client(common, timeout) as client:
        first, pages = pages_of(client, stale=stale, without_unreadable=without_unreadable)
        out.write(encoded(HeaderLine(NAME, VERSION, first.store, first.index, wall_ms())))
        with progress_bar("export", first.total, quiet=common.json) as advance:
            left_out = _write(out, pages, counts, advance)
    say_what_lacks(first)
    if left_out:
        say_note(
            f"intents that were left out, because they have expired or are about no persistent instance: {left_out}"
        )
    facts = {
        **read_facts(file, first),
        **counts.facts(),
        "left_out": left_out,
        "seconds": round(time.monotonic() - began_s, 3),
    }
    if file == "-":
        say_note(f"exported {counts}  store index {first.index}")
    else:
        print_event("exported", f"{counts} to {file}  store index {first.index}", facts, as_json=common.json)
    return ExitCode.OK


def import_(
    context: typer.Context,
    file: LineFileArgument,
    patience: PatienceOption = 30.0,
    timeout: TimeoutOption = 10.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Write what the JSON lines of FILE say, each in the place of what is there; what they do not name stays.

    The whole file is checked before anything is written. Whoever types it is the author. Ephemeral instances are no
    part of it.
    """
    common = common_options(context, server, json)
    began_s, lines = time.monotonic(), _lines(file)
    orders = Import(lines, patience)
    try:
        with progress_bar("import", len(lines), quiet=common.json) as advance:
            orders.carry_out(partial(author_client, common, timeout), advance)
    except RollbookError:
        say_note(f"written until then: {counts_text(orders.counts)}; the same command may be typed again")
        raise
    for reason in orders.left_out[:_LEFT_OUT_SHOWN]:
        say_note(reason)
    if len(orders.left_out) > _LEFT_OUT_SHOWN:
        say_note(f"and {len(orders.left_out) - _LEFT_OUT_SHOWN} more were left out")
    seconds = round(time.monotonic() - began_s, 3)
    facts = {"file": file, **orders.counts, "left_out": len(orders.left_out), "seconds": seconds}
    print_event("imported", f"{counts_text(orders.counts)} from {file}", facts, as_json=common.json)
    return ExitCode.REFUSED if orders.left_out else ExitCode.OK


def _write(out: BinaryIO, pages: Iterator[DurablePage], counts: RowCounts, advance: Advance) -> int:
    """How many intents were left out. Whom one is about stands before it."""
    incarnations: dict[tuple[Service, InstanceKey], str] = {}
    left_out = 0
    for page in pages:
        rows = page.rows
        incarnations |= {(row.service, row.instance.key): kept_incarnation(row.added_ms) for row in rows.instances}
        meant = tuple(
            intent
            for intent in rows.intents
            if not 0 < intent.expires_ms <= wall_ms()
            and incarnations.get((intent.service, intent.key)) == intent.incarnation
        )
        said = DurableRows(rows.services, rows.namespaces, rows.instances, meant)
        for row in said:
            out.write(encoded(line_of(row)))
        counts.add(said)
        left_out += len(rows.intents) - len(meant)
        advance(len(rows))
    return left_out


@contextlib.contextmanager
def _output(file: str, *, force: bool) -> Iterator[BinaryIO]:
    if file != "-":
        with new_file(Path(file), force=force) as out:
            yield out
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _lines(file: str) -> list[tuple[int, ContentLine]]:
    if file == "-":
        return read_lines(sys.stdin.buffer, "stdin")
    try:
        with open(file, "rb") as opened:
            return read_lines(opened, file)
    except OSError as error:
        raise unusable_file("read", Path(file), error) from None
