"""What may be probed, and how a checker's settings become a probe. Pure rules.

Whoever registers an instance says where a node connects to. So addresses must lie in allowed networks, a path cannot
become the name of another host, and headers cannot become a second request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from rollbook.checkers import CheckerSettings, headers_of
from rollbook.model import InstanceKey

_HOST = re.compile(r"[0-9A-Za-z._:-]{1,253}")

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Probing(NamedTuple):
    """How one instance is probed."""

    kind: str
    host: str
    port: int
    request: bytes
    expected_status: int


def probing_of(key: InstanceKey, checker: CheckerSettings, networks: Iterable[Network]) -> Probing | None:
    """None for what must not be probed. A name may pass: whoever resolves it looks at what it stands for."""
    port = probe_port(key, checker)
    address = address_of(key.ip)
    if port == 0 or _HOST.fullmatch(key.ip) is None or not (address is None or is_allowed(address, networks)):
        return None
    request = request_of(key.ip, port, checker) if checker.kind == "http" else b""
    return Probing(checker.kind, key.ip, port, request, checker.expected_status)


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """ValueError for what is no network."""
    return tuple(ip_network(text) for text in texts)


def address_of(host: str) -> Address | None:
    """The address that this text is; None if it is a name. An IPv4 address in the clothes of IPv6 is what it wears."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    """An address with a zone is none that others could mean."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    return any(address in network for network in networks)


def probe_port(key: InstanceKey, checker: CheckerSettings) -> int:
    return key.port if checker.use_instance_port else checker.port


def request_of(host: str, port: int, checker: CheckerSettings) -> bytes:
    """The bytes of one GET; a path begins with exactly one slash, so that it stays a path."""
    headers = dict(headers_of(checker.headers))
    if not any(name.lower() == "host" for name in headers):
        headers["Host"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"GET /{checker.path.lstrip('/')} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii")
