"""The entry point: which commands there are, and how everything that can go wrong becomes one line and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rollbook.cli.backup import backup, restore
from rollbook.cli.configuration import check
from rollbook.cli.decide import offline, online, weight
from rollbook.cli.exchange import export, import_
from rollbook.cli.gateway import gateway
from rollbook.cli.namespace import namespace
from rollbook.cli.nodes import nodes
from rollbook.cli.options import DEFAULT_SERVERS, JsonOption
from rollbook.cli.output import EXIT_CODES_HELP, ExitCode, exit_code_of, say_error, show_client_log
from rollbook.cli.queries import instances, services
from rollbook.cli.register import deregister, register
from rollbook.cli.service import service
from rollbook.cli.start import start
from rollbook.cli.watch import watch
from rollbook.errors import Code, RollbookError

_TRACEBACK_VARIABLE = "ROLLBOOK_TRACEBACK"
_OUTPUT_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no command writes anything but its output

app = typer.Typer(
    name="rollbook",
    help="A service registry: services sign in, callers learn within milliseconds where they are.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode="rich",
)
config = typer.Typer(name="config", help="Look at the configuration of a node.")

for group in (service, namespace, config):
    app.add_typer(group)
for command in (start, gateway, register, deregister, services, instances, watch, offline, online, weight, nodes):
    app.command()(command)
for transfer in (backup, restore, export):
    app.command()(transfer)
app.command("import")(import_)
config.command()(check)


@app.callback()
def root(
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="HOST:PORT[,HOST:PORT]",
            envvar="ROLLBOOK_SERVERS",
            help=f"Nodes to ask, in this order. Default: {DEFAULT_SERVERS}.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """A service registry: services sign in, callers learn within milliseconds where they are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    show_client_log("ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the terminal cannot show is escaped
    try:
        result = app(args=arguments, prog_name="rollbook", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except typer.TyperException as error:
        say_error(f"{error.format_message().rstrip('.')}; see rollbook --help", Code.PARAMETER_INVALID)
        return ExitCode.USAGE
    except RollbookError as error:
        say_error(str(error), error.code)
        return exit_code_of(error)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OUTPUT_FULL:
            _give_up_output(error)
            return ExitCode.REFUSED
        if os.environ.get(_TRACEBACK_VARIABLE):
            raise
        say_error(
            f"a defect of rollbook: {type(error).__name__}: {error}; set {_TRACEBACK_VARIABLE}=1 to see where",
            Code.INTERNAL,
        )
        return ExitCode.DEFECT


def _give_up_output(error: OSError) -> None:
    """Say so, and keep Python from trying to write the rest once more at its end."""
    say_error(f"cannot write the output: {error.strerror}", Code.INTERNAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
