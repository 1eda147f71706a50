"""Which version of rollbook runs here."""

from __future__ import annotations

from importlib import metadata


def installed_version() -> str:
    """As the package's metadata say; empty in a checkout that was never installed."""
    try:
        return metadata.version("rollbook")
    except metadata.PackageNotFoundError:
        return ""
