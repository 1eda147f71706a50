"""What one gateway process is told to do: by the supervisor in a pipe, or by the command line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from runtime.gateway.settings import GatewaySettings
from runtime.local_socket import LocalSocket
from runtime.logs import LogSettings
from runtime.settings import Settings
from runtime.sockets import endpoint_of


class GatewayPlan(msgspec.Struct, frozen=True):
    """``data_directory``: of the node, if it is on this machine; else ``node_address``, where its clients connect.

    ``shares_ports``: other gateways of this node listen on the same ports, and the system spreads connections.
    """

    settings: GatewaySettings
    log: LogSettings
    host: str
    http_port: int
    grpc_port: int
    data_directory: str = ""
    node_address: str = ""
    shares_ports: bool = False


def plan_beside_node(settings: Settings, number: int) -> GatewayPlan:
    """For the gateway with this number (from 1) that the supervisor keeps."""
    return GatewayPlan(
        settings.gateway,
        msgspec.structs.replace(settings.log, file=_log_file(settings.log.file, number)),
        settings.gateway.host or settings.node.host,
        settings.node.base_port,
        settings.node.grpc_port,
        data_directory=settings.node.data_directory,
        shares_ports=settings.gateway.processes > 1,
    )


def node_endpoint(plan: GatewayPlan) -> tuple[str, LocalSocket | None]:
    """Where to connect; a local socket is to be closed at the end."""
    if plan.node_address:
        return endpoint_of(plan.node_address), None
    local = LocalSocket(Path(plan.data_directory))
    return local.endpoint, local


def _log_file(node_file: str, number: int) -> str:
    """Beside the node's: two processes cannot rotate one file."""
    if not node_file:
        return ""
    path = Path(node_file)
    return str(path.with_name(f"{path.stem}.gateway-{number}{path.suffix}"))
