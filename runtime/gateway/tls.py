"""TLS of a gateway: files of the operator, read once at the start, and refused in one line where they do not do.

The same certificate serves HTTP and gRPC. With a certificate authority for clients nobody gets in without one of its
certificates. Who may read the key is looked at too: a key that everybody on the machine can read is worth a warning.
"""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import NamedTuple

from rollbook.errors import SettingsError
from runtime.gateway.settings import GatewaySettings
from runtime.text_files import read_text_file, shown


class GatewayTls(NamedTuple):
    """``context`` for HTTP; the texts (PEM) for gRPC, which makes its own of them. ``client_ca``: empty, if anybody may
    come."""

    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_ca: bytes
    is_key_open: bool


def read_tls(settings: GatewaySettings) -> GatewayTls | None:
    """None if there is to be none. SettingsError names the setting and the file."""
    if not settings.tls_certificate:
        return None
    certificate = _text(settings, "tls_certificate")
    key = _text(settings, "tls_key")
    client_ca = _text(settings, "tls_client_ca") if settings.tls_client_ca else ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, settings)
    if client_ca:
        _load_client_ca(context, client_ca, settings)
    is_open = bool(Path(settings.tls_key).stat().st_mode & stat.S_IROTH)
    return GatewayTls(context, certificate.encode(), key.encode(), client_ca.encode(), is_open)


def _text(settings: GatewaySettings, name: str) -> str:
    try:
        return read_text_file(Path(getattr(settings, name)))
    except SettingsError as error:
        raise SettingsError(f"gateway.{name}: {error.message}", field=f"gateway.{name}") from None


def _load_pair(context: ssl.SSLContext, settings: GatewaySettings) -> None:
    certificate, key = shown(settings.tls_certificate), shown(settings.tls_key)

    def refuse_password() -> str:
        raise SettingsError(f"gateway.tls_key: {key} is encrypted; give one that is not", field="gateway.tls_key")

    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"{key} is not the key of the certificate in {certificate}"
            raise SettingsError(f"gateway.tls_key: {message}", field="gateway.tls_key") from None
        message = f"{certificate} and {key} are no certificate and its key in PEM"
        raise SettingsError(f"gateway.tls_certificate: {message}", field="gateway.tls_certificate") from None


def _load_client_ca(context: ssl.SSLContext, client_ca: str, settings: GatewaySettings) -> None:
    try:
        context.load_verify_locations(cadata=client_ca)
    except (ssl.SSLError, ValueError):
        message = f"there is no certificate in PEM in {shown(settings.tls_client_ca)}"
        raise SettingsError(f"gateway.tls_client_ca: {message}", field="gateway.tls_client_ca") from None
    context.verify_mode = ssl.CERT_REQUIRED
