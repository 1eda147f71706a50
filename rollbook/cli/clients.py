"""The client that a command uses: one that asks and publishes, or one that decides, and then is known by its author."""

from __future__ import annotations

from rollbook import NamingClient
from rollbook.cli.author import author_id
from rollbook.cli.options import Common
from rollbook.model import DEFAULT_NAMESPACE

_APP = "rollbook-cli"


def command_client(common: Common, timeout: float, namespace: str = DEFAULT_NAMESPACE) -> NamingClient:
    return NamingClient(common.servers, namespace=namespace, app=_APP, timeout=timeout)


def author_client(common: Common, timeout: float, namespace: str = DEFAULT_NAMESPACE) -> NamingClient:
    """What it writes is kept under the name of whoever typed the command."""
    return NamingClient(common.servers, namespace=namespace, app=_APP, client_id=author_id(), timeout=timeout)
