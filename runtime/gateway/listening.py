"""The ports of a gateway: taken at once, or said in one line why not."""

from __future__ import annotations

import socket

from runtime.endpoints import AddressUnusable
from runtime.gateway.plan import GatewayPlan

BACKLOG_MAX = 2_048


def listen(plan: GatewayPlan, port: int, what: str) -> socket.socket:
    """A socket that listens there."""
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    # By its protocol asyncio knows that answers in two pieces are not to wait for an acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if plan.shares_ports:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((plan.host.strip("[]"), port))
        listener.listen(BACKLOG_MAX)
    except OSError as error:
        listener.close()
        sentence = f"cannot listen on {plan.host}:{port} for {what}"
        raise AddressUnusable(f"{sentence}: {error.strerror or error}") from None
    return listener
