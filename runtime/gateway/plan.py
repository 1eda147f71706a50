"""What one gateway process is told to do: by the supervisor in a pipe, or by the command line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from runtime.endpoints import endpoint_of
from runtime.gateway.settings import GatewaySettings
from runtime.local_socket import LocalSocket
from runtime.logs import LogSettings


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


def node_endpoint(plan: GatewayPlan) -> tuple[str, LocalSocket | None]:
    """Where to connect; a local socket is to be closed at the end."""
    if plan.node_address:
        return endpoint_of(plan.node_address), None
    local = LocalSocket(Path(plan.data_directory))
    return local.endpoint, local
