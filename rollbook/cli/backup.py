"""``rollbook backup``, ``rollbook restore``: all durable data in a file, exactly as it is kept, and back from there."""

from __future__ import annotations

import time
from functools import partial

import typer

from rollbook import NamingClient
from rollbook.backup_file import BackupHeader, BackupReader, BackupWriter
from rollbook.cli.clients import command_client
from rollbook.cli.durable_pages import (
    FileArgument,
    ForceOption,
    StaleOption,
    WithoutUnreadableOption,
    pages_of,
    read_facts,
    say_what_lacks,
)
from rollbook.cli.new_file import new_file, unusable_file
from rollbook.cli.options import JsonOption, ServerOption, TimeoutOption, common_options
from rollbook.cli.output import ExitCode, print_event, say_note, time_text, wall_ms
from rollbook.cli.progress import progress_bar
from rollbook.cli.repeating import PatienceOption, repeated
from rollbook.errors import RollbookError
from rollbook.restoring import Restoring, RowCounts


def backup(
    context: typer.Context,
    file: FileArgument,
    force: ForceOption = False,
    stale: StaleOption = False,
    without_unreadable: WithoutUnreadableOption = False,
    timeout: TimeoutOption = 10.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Write all durable data to FILE: persistent instances, settings of services, intents, namespaces.

    It is exact, of one moment, and for rollbook restore. Ephemeral instances are no part of it: they live as long as
    their processes, which sign in again by themselves.
    """
    common = common_options(context, server, json)
    began_s, counts = time.monotonic(), RowCounts()
    with new_file(file, force=force) as out, command_client(common, timeout) as client:
        first, pages = pages_of(client, stale=stale, without_unreadable=without_unreadable)
        writer = BackupWriter(out, BackupHeader(first.store, first.index, first.total, wall_ms(), first.stale_since_ms))
        with progress_bar("backup", first.total, quiet=common.json) as advance:
            for page in pages:
                writer.add(page.rows)
                counts.add(page.rows)
                advance(len(page.rows))
        writer.finish()
    say_what_lacks(first)
    facts = {**read_facts(file, first), **counts.facts(), "seconds": round(time.monotonic() - began_s, 3)}
    print_event("backed up", f"{counts} to {file}  store index {first.index}", facts, as_json=common.json)
    return ExitCode.OK


def restore(
    context: typer.Context,
    file: FileArgument,
    patience: PatienceOption = 30.0,
    timeout: TimeoutOption = 10.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Put everything that rollbook backup wrote to FILE back into an empty store, exactly as it was.

    The whole file is checked before anything is written. A restore that was interrupted is said again: what is there
    already, as FILE has it, is left alone. Ephemeral instances are no part of it.
    """
    common = common_options(context, server, json)
    began_s = time.monotonic()
    try:
        opened = file.open("rb")
    except OSError as error:
        raise unusable_file("read", file, error) from None
    with opened:
        try:
            reader = BackupReader(opened, str(file))
            restoring = _verified(reader, quiet=common.json)
            with command_client(common, timeout) as client:
                there = _compared(restoring, client, quiet=common.json)
                _restored(restoring, client, patience, quiet=common.json)
        except RollbookError:
            raise
        except OSError as error:
            raise unusable_file("read", file, error) from None
    place = {"file": str(file), "made_ms": reader.header.made_ms, "rows_there_already": there}
    facts = {**place, **restoring.counts.facts(), "seconds": round(time.monotonic() - began_s, 3)}
    text = f"{restoring.counts} from {file}, made {time_text(reader.header.made_ms)}"
    already = f"; {there:,} of these rows were there already" if there else ""
    print_event("restored", text + already, facts, as_json=common.json)
    return ExitCode.OK


def _verified(reader: BackupReader, *, quiet: bool) -> Restoring:
    restoring = Restoring(reader)
    with progress_bar("check", reader.header.rows, quiet=quiet) as advance:
        for count in restoring.verify():
            advance(count)
    return restoring


def _compared(restoring: Restoring, client: NamingClient, *, quiet: bool) -> int:
    """How many of the rows are there already."""
    rows_max = restoring.missing
    with progress_bar("compare", None, quiet=quiet) as advance:
        for page in client.admin.read_durable():
            restoring.compare(page)
            advance(len(page.rows))
    return rows_max - restoring.missing


def _restored(restoring: Restoring, client: NamingClient, patience: float, *, quiet: bool) -> None:
    written = 0
    try:
        with progress_bar("restore", restoring.missing, quiet=quiet) as advance:
            for rows in restoring.orders():
                repeated(partial(client.admin.restore_rows, rows), patience)
                written += len(rows)
                advance(len(rows))
    except RollbookError:
        say_note(f"{written:,} of {restoring.missing:,} rows were written; the same command goes on from there")
        raise
