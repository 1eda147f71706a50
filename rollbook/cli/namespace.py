"""``rollbook namespace list | put | delete``."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from rollbook.cli.clients import author_client, command_client
from rollbook.cli.options import JsonOption, ServerOption, TimeoutOption, common_options
from rollbook.cli.output import ExitCode, print_event, print_json, print_table
from rollbook.cli.service import Mode, ModeOption

namespace = typer.Typer(name="namespace", help="Namespaces: services in one know nothing of those in another.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="What --namespace takes.", show_default=False)]


@namespace.command("list")
def list_all(
    context: typer.Context, timeout: TimeoutOption = 3.0, server: ServerOption = None, json: JsonOption = False
) -> int:
    """List the namespaces that somebody has put, and public."""
    common = common_options(context, server, json)
    with command_client(common, timeout) as client:
        found = client.admin.list_namespaces()
    if common.json:
        print_json({"namespaces": [msgspec.structs.asdict(one) for one in found]})
    else:
        print_table(["id", "name", "description"], [[one.id, one.name, one.description] for one in found])
    return ExitCode.OK


@namespace.command()
def put(
    context: typer.Context,
    id_: IdArgument,
    name: Annotated[
        str | None, typer.Option("--name", help="What people call it; its id, if none is said.", show_default=False)
    ] = None,
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
    mode: ModeOption = Mode.PUT,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Put a namespace, all of it: a name or description that is not said is not kept."""
    common = common_options(context, server, json)
    with author_client(common, timeout) as client:
        client.admin.put_namespace(id_, name, description=description, mode=mode.value)
    print_event("put", f"namespace {id_}", {"namespace": id_}, as_json=common.json)
    return ExitCode.OK


@namespace.command()
def delete(
    context: typer.Context,
    id_: IdArgument,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Delete a namespace; refused while anything is kept or published in it."""
    common = common_options(context, server, json)
    with author_client(common, timeout) as client:
        client.admin.delete_namespace(id_)
    print_event("deleted", f"namespace {id_}", {"namespace": id_}, as_json=common.json)
    return ExitCode.OK
