"""``rollbook start``: one node in the foreground, from a file, the environment and flags (which count most)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rollbook.cli.configuration import ConfigOption, find_config
from rollbook.cli.options import JsonOption

_Sections = dict[str, dict[str, Any]]


def start(
    context: typer.Context,
    config: ConfigOption = None,
    base_port: Annotated[
        int | None,
        typer.Option("--base-port", metavar="P", help="HTTP at P, gRPC at P+1000, clients at P+2, peers at P+3."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="What to listen on; loopback by default.")] = None,
    advertised_host: Annotated[
        str | None, typer.Option("--advertised-host", help="What others dial, if that is not the host.")
    ] = None,
    data_directory: Annotated[
        str | None, typer.Option("--data-directory", metavar="FOLDER", help="Where the node keeps who it is.")
    ] = None,
    members: Annotated[
        str | None,
        typer.Option("--members", metavar="HOST:P[,HOST:P]", help="All nodes, this one included. None: standalone."),
    ] = None,
    members_file: Annotated[
        str | None, typer.Option("--members-file", metavar="FILE", help="The same, one a line; watched.")
    ] = None,
    cluster_name: Annotated[
        str | None, typer.Option("--cluster-name", help="Nodes of another cluster are refused.")
    ] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON, one object a line.")] = False,
    json: JsonOption = False,
) -> int:
    """Run one node in the foreground until SIGTERM or Ctrl-C, restarting it if it dies.

    The log goes to standard error. Exit code 2: the configuration is wrong, a port is in use or the data directory
    cannot be written. A node that dies too often ends the command with its own exit code.
    """
    # Only this command needs a node, so only this command loads one.
    from runtime.settings import load_settings
    from runtime.supervisor import run

    node = {
        "base_port": base_port,
        "host": host,
        "advertised_host": advertised_host,
        "data_directory": data_directory,
        "members": _split(members),
        "members_file": members_file,
        "cluster_name": cluster_name,
    }
    wants_json = log_json or json or context.find_root().params["json"]
    log = {"level": log_level.upper() if log_level else None, "json": True if wants_json else None}
    overrides: _Sections = {"node": _said(node), "log": _said(log)}
    return run(_anchored(load_settings(find_config(config), overrides)))


def _anchored(settings: Any) -> Any:
    """Paths as the caller means them: from where the command was typed, wherever the node process stands."""
    node, log, gateway = settings.node, settings.log, settings.gateway
    node = msgspec.structs.replace(
        node, data_directory=_absolute(node.data_directory), members_file=_absolute(node.members_file)
    )
    log = msgspec.structs.replace(log, file=_absolute(log.file))
    files = ("tls_certificate", "tls_key", "tls_client_ca")
    gateway = msgspec.structs.replace(gateway, **{name: _absolute(getattr(gateway, name)) for name in files})
    return msgspec.structs.replace(settings, node=node, log=log, gateway=gateway)


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else path


def _said(values: dict[str, Any]) -> dict[str, Any]:
    """Only what stands on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def _split(members: str | None) -> list[str] | None:
    return None if members is None else [part.strip() for part in members.split(",") if part.strip()]
