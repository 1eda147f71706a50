"""``rollbook gateway``: one more gateway in the foreground, for a node here or elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from rollbook.cli.configuration import ConfigOption, find_config
from rollbook.errors import InvalidField
from rollbook.servers import check_server

_PORT_MAX = 65_535


def gateway(
    node: Annotated[str, typer.Option("--node", metavar="HOST:PORT", help="Where native clients connect: P+2.")],
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option("--host", help="What to listen on; loopback by default.")] = None,
    http_port: Annotated[
        int | None, typer.Option("--http-port", metavar="PORT", help="For HTTP; the base port P by default.")
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option("--grpc-port", metavar="PORT", help="For gRPC; SDKs look 1000 above that of HTTP."),
    ] = None,
) -> int:
    """Run one more gateway for a node in the foreground, until SIGTERM or Ctrl-C.

    Each node has a gateway beside it already; further ones take load off that one, or stand where clients can reach
    them. It waits for a node that is away. Exit code 2: the configuration is wrong or a port is in use.
    """
    # Only this command needs a gateway, so only this command loads one.
    from runtime.gateway.plan import GatewayPlan
    from runtime.gateway.settings import GRPC_PORT_OFFSET
    from runtime.gateway_process import run
    from runtime.settings import load_settings

    settings = load_settings(find_config(config))
    http = settings.node.base_port if http_port is None else http_port
    plan = GatewayPlan(
        settings.gateway,
        settings.log,
        host or settings.gateway.host or settings.node.host,
        _checked("--http-port", http),
        _checked("--grpc-port", http + GRPC_PORT_OFFSET if grpc_port is None else grpc_port),
        node_address=check_server(node),
    )
    return run(plan, has_supervisor=False)


def _checked(option: str, port: int) -> int:
    if not 0 < port <= _PORT_MAX:
        raise InvalidField(f"{option} must lie between 1 and {_PORT_MAX}, not {port}", field=option)
    return port
