"""Addresses as ZeroMQ and operators read them."""

from __future__ import annotations


class AddressUnusable(Exception):
    """A port is taken or an address is not one of this machine; one line for the operator."""


def endpoint_of(address: str) -> str:
    """host:port as ZeroMQ writes it; a host with colons is IPv6 and gets brackets."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
