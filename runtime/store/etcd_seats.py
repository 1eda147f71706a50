"""Beside which nodes an etcd member runs, and where it listens. All nodes read the same from the same list.

A seat is the peer address of its node, which also names its member. Clients of the member meet it two ports above P+2,
its peers two above P+3.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from rollbook.errors import SettingsError
from runtime.members_file import ETCD_CLIENT_PORT_OFFSET, ETCD_PEER_PORT_OFFSET, PEER_PORT_OFFSET
from runtime.settings import WILDCARD_HOSTS, Settings, configured_members
from runtime.store.etcd_plan import seats

NODES_MIN = 3  # two have a majority only together, which is worse than one
DIRECTORY, SEAT_FILE = "etcd", "seat"  # below the data directory: there was a member, and whose


def etcd_seats(settings: Settings) -> tuple[str, ...]:
    """Empty where durable data is elsewhere; SettingsError where etcd cannot run beside these nodes."""
    if settings.store.engine != "etcd" or settings.store.endpoints:
        return ()
    listed = configured_members(settings.node)
    if len(listed) < NODES_MIN:
        message = f"etcd beside the nodes takes three of them, and the list names {len(listed)}: choose single_home"
        raise SettingsError(f"store.engine: {message}, or name an etcd in store.endpoints", field="store.engine")
    found = seats(listed, settings.etcd.children_max)
    for address in found:
        if not is_loopback(address) and not settings.etcd.children_unencrypted:
            message = f"no TLS between etcd and {address}: set etcd.children_unencrypted where nobody listens in"
            raise SettingsError(f"{message}, or name an etcd in store.endpoints", field="etcd.children_unencrypted")
    return found


def etcd_endpoints(settings: Settings) -> tuple[str, ...]:
    """host:port of all members beside nodes, this node's own first."""
    found, own = etcd_seats(settings), settings.node.advertised_peer_address
    return tuple(client_endpoint(seat) for seat in sorted(found, key=lambda seat: seat != own))


def client_endpoint(seat: str) -> str:
    return _moved(seat, ETCD_CLIENT_PORT_OFFSET - PEER_PORT_OFFSET)


def peer_endpoint(seat: str) -> str:
    return _moved(seat, ETCD_PEER_PORT_OFFSET - PEER_PORT_OFFSET)


def listen_host(settings: Settings) -> str:
    """As etcd takes it: an address, not a name."""
    host = "0.0.0.0" if settings.node.host == "*" else settings.node.host
    host = f"[{host}]" if host == "::" else host
    if host not in WILDCARD_HOSTS and host != "localhost" and _address(host) is None:
        raise SettingsError(f"node.host: etcd listens on addresses only, and {host} is a name", field="node.host")
    return host


def is_loopback(seat: str) -> bool:
    host = seat.rpartition(":")[0]
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def seat_kept_in(data_directory: Path) -> str:
    """Whose member has, or had, its data here; "" if none."""
    try:
        return (data_directory / DIRECTORY / SEAT_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _moved(address: str, ports: int) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + ports}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
