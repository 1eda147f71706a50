"""TLS at both ports of a gateway: with a certificate of the server, with those of clients, and with files of no use."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme

from rollbook.errors import SettingsError
from runtime.gateway.settings import GatewaySettings
from runtime.gateway.tls import read_tls
from runtime.settings import load_settings
from tests.support.bare_node import BareNode
from tests.support.real_cluster import ROOT, free_base_ports
from tests.support.sdk_client import until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world
from tests.support.settings import settings_of

READINESS = "/nacos/v1/console/health/readiness"
NOBODY = 65_534


class TlsFiles:
    """An authority, a server's certificate of it, and what the settings say of them."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        server = self.authority.issue_cert("127.0.0.1", "localhost")
        self.certificate, self.key, self.ca = folder / "server.pem", folder / "server.key", folder / "ca.pem"
        self.certificate.write_bytes(b"".join(part.bytes() for part in server.cert_chain_pems))
        self.key.write_bytes(server.private_key_pem.bytes())
        self.key.chmod(0o600)
        self.authority.cert_pem.write_to_path(self.ca)

    @property
    def pair(self) -> dict[str, Any]:
        return {"tls_certificate": str(self.certificate), "tls_key": str(self.key)}

    @property
    def mutual(self) -> dict[str, Any]:
        return {**self.pair, "tls_client_ca": str(self.ca)}

    def channel(self, shown: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
        if shown is None:
            return grpc.ssl_channel_credentials(self.ca.read_bytes())
        chain = b"".join(part.bytes() for part in shown.cert_chain_pems)
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), shown.private_key_pem.bytes(), chain)

    def context(self, shown: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if shown is not None:
            shown.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return TlsFiles(tmp_path_factory.mktemp("tls"))


async def status(world: SdkWorld, context: ssl.SSLContext | None) -> int:
    """What HTTP says: to a connection with this context, or with none."""

    def ask() -> int:
        if context is None:
            connection = http.client.HTTPConnection("127.0.0.1", world.base_port, timeout=10)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", world.base_port, timeout=10, context=context)
        with contextlib.closing(connection):
            connection.request("GET", READINESS)
            return connection.getresponse().status

    return await asyncio.to_thread(ask)


@pytest.mark.cluster
def test_both_ports_speak_tls_and_nothing_else(lasting_node: BareNode, files: TlsFiles) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk = [await world.sdk(credentials=files.channel()).connected() for _ in range(2)]
        await watcher.subscribe("encrypted")
        await sdk.register("encrypted", 1)
        await until(lambda: watcher.lists("encrypted"), "it is pushed")
        assert await status(world, files.context()) == 200
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            await status(world, None)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await world.sdk().asked("ServerCheckRequest", {})
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert sdk.ends == watcher.ends == []

    in_sdk_world(lasting_node, script, **files.pair)


@pytest.mark.cluster
def test_with_an_authority_for_clients_only_its_certificates_get_in(lasting_node: BareNode, files: TlsFiles) -> None:
    own, strange = files.authority.issue_cert("an-application"), trustme.CA().issue_cert("a-stranger")

    async def script(world: SdkWorld) -> None:
        sdk = await world.sdk(credentials=files.channel(own)).connected()
        assert (await sdk.register("mutual", 1))["resultCode"] == 200
        assert await status(world, files.context(own)) == 200
        for shown in (None, strange):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                await status(world, files.context(shown))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await world.sdk(credentials=files.channel(shown)).asked("ServerCheckRequest", {})
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE

    in_sdk_world(lasting_node, script, **files.mutual)


@pytest.mark.cluster
def test_nonsense_and_silence_at_the_ports_cost_nobody_else_anything(
    lasting_node: BareNode, files: TlsFiles, capfd: pytest.CaptureFixture[str]
) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.sdk(credentials=files.channel()).connected()
        with contextlib.ExitStack() as stack:
            for port in (world.base_port, world.base_port + 1_000):
                for said in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(1_000), b"\x16\x03\x01\x02\x00"):
                    stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    stranger.sendall(said)
            assert (await sdk.register("undisturbed", 1))["resultCode"] == 200
            assert await status(world, files.context()) == 200

    in_sdk_world(lasting_node, script, **files.pair)
    assert "Traceback" not in "".join(capfd.readouterr())


def refusal(**fields: Any) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        read_tls(settings_of("gateway", GatewaySettings, **fields))
    assert "\n" not in refused.value.message
    return refused.value


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Whoever may do everything may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_without_a_certificate_there_is_no_tls() -> None:
    assert read_tls(settings_of("gateway", GatewaySettings)) is None


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "tls_client_ca"])
def test_a_file_that_is_not_there_is_named_with_its_setting(files: TlsFiles, tmp_path: Path, name: str) -> None:
    absent = tmp_path / "absent.pem"
    error = refusal(**{**files.mutual, name: str(absent)})
    assert (error.field, error.message) == (
        f"gateway.{name}",
        f"gateway.{name}: cannot read {absent}: No such file or directory",
    )


def test_a_file_that_may_not_be_read_is_named_with_its_setting(files: TlsFiles, tmp_path: Path) -> None:
    secret = tmp_path / "secret.key"
    secret.write_bytes(files.key.read_bytes())
    secret.chmod(0)
    with as_nobody():
        error = refusal(**{**files.pair, "tls_certificate": str(secret)})
    assert error.message == f"gateway.tls_certificate: cannot read {secret}: Permission denied"


def test_files_that_do_not_fit_are_refused_by_name(files: TlsFiles, tmp_path: Path) -> None:
    other, text = tmp_path / "other.key", tmp_path / "text.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(other)
    text.write_text("no certificate")
    fields = {**files.mutual, "tls_key": str(other)}
    assert (
        refusal(**fields).message
        == f"gateway.tls_key: {other} is not the key of the certificate in {files.certificate}"
    )
    assert refusal(**{**files.pair, "tls_certificate": str(text)}).field == "gateway.tls_certificate"
    assert refusal(**{**files.pair, "tls_key": str(text)}).field == "gateway.tls_certificate"
    assert refusal(**{**files.mutual, "tls_client_ca": str(text)}).field == "gateway.tls_client_ca"


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(files: TlsFiles, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(files.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    encryption = pem.BestAvailableEncryption(b"a password")
    locked.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption))
    assert refusal(**{**files.pair, "tls_key": str(locked)}).message.endswith("is encrypted; give one that is not")


def test_a_key_that_everybody_can_read_is_noticed(files: TlsFiles, tmp_path: Path) -> None:
    shared = tmp_path / "shared.key"
    shared.write_bytes(files.key.read_bytes())
    found = []
    for mode in (0o644, 0o640):
        shared.chmod(mode)
        read = read_tls(settings_of("gateway", GatewaySettings, **{**files.pair, "tls_key": str(shared)}))
        assert read is not None
        found.append(read.is_key_open)
    assert found == [True, False]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"tls_certificate": "a"}, "gateway.tls_certificate"),
        ({"tls_key": "a"}, "gateway.tls_key"),
        ({"tls_client_ca": "a"}, "gateway.tls_client_ca"),
    ],
)
def test_half_of_what_tls_needs_is_refused_with_the_settings(said: dict[str, str], field: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {"gateway": said}, {})
    assert refused.value.field == field


@pytest.mark.cluster
@pytest.mark.parametrize("command", [("start", "--data-directory", "data"), ("gateway", "--node", "127.0.0.1:1")])
def test_a_start_with_a_file_that_is_not_there_ends_with_one_line_and_exit_code_2(
    files: TlsFiles, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (port,) = free_base_ports(1)
    said = {"CERTIFICATE": str(files.certificate), "KEY": str(tmp_path / "absent.key")}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ROLLBOOK_NODE_BASE_PORT": str(port)}
    environment |= {f"ROLLBOOK_GATEWAY_TLS_{name}": value for name, value in said.items()}
    run = [sys.executable, "-m", "rollbook.cli", *command]
    ended = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith(f"gateway.tls_key: cannot read {tmp_path}/absent.key: No such file or directory")
