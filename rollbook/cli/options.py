"""What commands take alike: servers, JSON, the name of a service, an address, pairs. Words in, checked values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
import typer

from rollbook.arguments import TIMEOUT_S_MAX, checked_text
from rollbook.checkers import CheckerSettings
from rollbook.errors import InvalidField
from rollbook.model import Service, check_service
from rollbook.servers import check_server

DEFAULT_SERVERS = "127.0.0.1:8850,127.0.0.1:8860,127.0.0.1:8870"

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT[,HOST:PORT]",
        help=f"Nodes to ask, in this order. Default: $ROLLBOOK_SERVERS, else {DEFAULT_SERVERS}.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Machine-readable output: one JSON object, or one a line where it goes on.")
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.05, max=TIMEOUT_S_MAX, help="How long a call may take."),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="Namespace of the service.")]
GroupOption = Annotated[str, typer.Option("--group", help="Group of the service.")]
ClustersOption = Annotated[
    str, typer.Option("--clusters", metavar="NAME[,NAME]", help="Only instances of these clusters.")
]
ServiceArgument = Annotated[
    str, typer.Argument(metavar="SERVICE", help="Its name, or GROUP@@NAME.", show_default=False)
]


AddressArgument = Annotated[str, typer.Argument(metavar="IP:PORT", help="Where it is served.", show_default=False)]
ClusterOption = Annotated[str, typer.Option("--cluster", help="Cluster of the instance.")]
MetadataOption = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be given many times.")
]

_CHECKER = re.compile(r"([^=]+)=(tcp|http|none)(?::([0-9]{1,5}))?(/.*)?")


class Common(NamedTuple):
    """What stands before the command (``rollbook --json nodes``) or behind it (``rollbook nodes --json``)."""

    servers: list[str]
    json: bool


def common_options(context: typer.Context, server: str | None, json: bool) -> Common:
    """Merge both places; what stands behind the command counts more."""
    root_server, root_json = context.find_root().params["server"], context.find_root().params["json"]
    return Common(parse_servers(server or root_server or DEFAULT_SERVERS), json or root_json)


def parse_servers(text: str) -> list[str]:
    """``host:port[,host:port]``; InvalidField names what does not fit."""
    parts = [part.strip() for part in text.split(",")]
    pairs = (parse_address(part, "server") for part in parts)
    return [check_server(f"{host}:{port}") for host, port in pairs]


def parse_address(text: str, field: str) -> tuple[str, int]:
    """``host:port`` or ``[ipv6]:port``; the host as written, brackets included."""
    host, colon, port = text.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not colon or not digits or not 0 < int(port) < 65_536:
        raise InvalidField(f"{field} must be HOST:PORT, not {text!r}", field=field)
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise InvalidField(f"{field} {text!r}: write an IPv6 address as [ADDRESS]:PORT", field=field)
    return host, int(port)


def parse_ip_and_port(text: str) -> tuple[str, int]:
    """Of an instance: an IPv6 address without its brackets."""
    ip, port = parse_address(text, "IP:PORT")
    return ip.strip("[]"), port


def parse_service(text: str, namespace: str, group: str) -> Service:
    """A service by its name, or by ``group@@name`` as it is shown."""
    for field, value in (("service", text), ("namespace", namespace), ("group", group)):
        checked_text(field, value)
    left, separator, right = text.partition("@@")
    return check_service(Service(namespace, left, right) if separator else Service(namespace, group, text))


def parse_metadata(pairs: Sequence[str]) -> dict[str, str]:
    """``key=value`` each; a later one wins."""
    metadata = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidField(f"metadata must be KEY=VALUE, not {pair!r}", field="metadata")
        metadata[key] = value
    return metadata


def parse_checker(text: str) -> tuple[str, CheckerSettings]:
    """``CLUSTER=KIND[:PORT][/PATH]``: for a cluster, how its persistent instances are probed."""
    found = _CHECKER.fullmatch(text)
    if found is None or (found[4] and found[2] != "http") or (found[3] and found[2] == "none"):
        raise InvalidField(
            f"checker must be CLUSTER=tcp[:PORT], CLUSTER=http[:PORT][/PATH] or CLUSTER=none, not {text!r}",
            field="checker",
        )
    cluster, kind, port, path = found.groups()
    return cluster, msgspec.convert(
        [kind, port is None, int(port or CheckerSettings().port), path or ""], CheckerSettings
    )
