"""An etcd from outside: with users, with TLS, and one whose space is used up."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from actors.messages.store import Operation
from runtime.store.etcd import EtcdStore
from runtime.store.etcd_child import FoundEtcd
from runtime.store.etcd_gateway import (
    PLAIN_ANSWER,
    Endpoints,
    EtcdAccess,
    GatewayLink,
    NoAnswer,
    NotSent,
    Refusal,
    encode_request,
    member_status,
    tls_context,
)
from runtime.store.etcd_plan import MemberPlan, Timers, member_command
from runtime.store.port import FateUnknown, StoreFault, TooLarge, Unavailable
from tests.support.etcd_cluster import ChangeLog, free_url, wait_until
from tests.support.store_settings import ETCD

SECONDS = 5.0


class OutsideEtcd:
    """One member that is not ours: with flags that no child gets."""

    def __init__(self, found: FoundEtcd, directory: Path, scheme: str = "http", flags: Sequence[str] = ()) -> None:
        self.url = free_url().replace("http", scheme)
        peer_url = free_url()
        plan = MemberPlan(
            name="outside",
            cluster_token="outside",
            data_directory=str(directory / "data"),
            client_url=self.url,
            peer_url=peer_url,
            peers=(("outside", peer_url),),
            timers=Timers.LAPTOP,
        )
        self._command = [*member_command(found.binary, plan, found.version, ETCD), *flags]
        self._process: subprocess.Popen[bytes] | None = None

    def access(self, **more: str) -> EtcdAccess:
        return msgspec.structs.replace(EtcdAccess(endpoints=(self.url,), key_prefix="rollbook/x/"), **more)

    @contextmanager
    def running(self, access: EtcdAccess) -> Iterator[None]:
        self.start(access)
        try:
            yield
        finally:
            self.kill()

    def start(self, access: EtcdAccess) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        store = EtcdStore(access, ETCD, fail)
        wait_until(lambda: store.status().is_writable, 15, "it is ready")
        store.close()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def fail(failure: BaseException) -> None:
    """A thread that ends so is a failure of the test."""
    raise failure


def ask(access: EtcdAccess, path: str, request: dict[str, object]) -> None:
    link = GatewayLink(access, Endpoints(access.endpoints), tls_context(access), ETCD)
    link.ask(path, encode_request(request), PLAIN_ANSWER, time.monotonic() + SECONDS)
    link.close()


def put(store: EtcdStore, key: str, value: bytes = b"") -> int:
    return store.propose([Operation(key, value)], timeout_seconds=SECONDS).result(SECONDS).index


def test_a_user_is_let_in_also_after_the_tokens_were_forgotten(found_etcd: FoundEtcd, tmp_path: Path) -> None:
    etcd = OutsideEtcd(found_etcd, tmp_path)
    anybody, root = etcd.access(), etcd.access(user="root", password="right")
    with etcd.running(anybody):
        ask(anybody, "/v3/auth/user/add", {"name": "root", "password": "right"})
        ask(anybody, "/v3/auth/role/add", {"name": "root"})
        ask(anybody, "/v3/auth/user/grant", {"user": "root", "role": "root"})
        ask(anybody, "/v3/auth/enable", {})
        for access in (anybody, etcd.access(user="root", password="wrong")):
            store = EtcdStore(access, ETCD, fail)
            with pytest.raises(Unavailable):
                put(store, "refused")
            store.close()
        store = EtcdStore(root, ETCD, fail)
        log = ChangeLog()
        store.watch("", put(store, "first"), log)
        wait_until(lambda: log.keys == ["first"], SECONDS, "the watch runs")
        etcd.kill()
        etcd.start(root)
        put(store, "second")
        wait_until(lambda: log.keys == ["first", "second"], SECONDS, "the watch goes on")
        store.close()


def test_without_space_writes_are_refused_until_there_is_some(found_etcd: FoundEtcd, tmp_path: Path) -> None:
    etcd = OutsideEtcd(found_etcd, tmp_path, flags=["--quota-backend-bytes=8388608"])
    with etcd.running(etcd.access()):
        store = EtcdStore(etcd.access(), ETCD, fail)
        with pytest.raises(FateUnknown, match="space"):  # the first to hear of it may have been applied
            put_until_refused(store)
        with pytest.raises(Unavailable, match="no space"):
            put(store, "small", b"1")
        status = store.status()
        assert not status.is_writable
        assert "no space" in status.trouble
        assert store.propose([Operation("large", None)], timeout_seconds=SECONDS).result(SECONDS).applied
        store.compact(store.barrier(timeout_seconds=SECONDS).result(SECONDS), timeout_seconds=SECONDS).result(SECONDS)
        ask(etcd.access(), "/v3/maintenance/defragment", {})
        alarm = {"memberID": member_id(etcd.access()), "alarm": "NOSPACE"}
        ask(etcd.access(), "/v3/maintenance/alarm", {"action": "DEACTIVATE", **alarm})
        wait_until(lambda: writes(store), SECONDS, "writes are accepted again")
        assert store.status().trouble == ""
        store.close()


def test_where_etcd_takes_less_at_once_what_waits_together_is_sent_in_parts(
    found_etcd: FoundEtcd, tmp_path: Path
) -> None:
    etcd = OutsideEtcd(found_etcd, tmp_path, flags=["--max-txn-ops=16"])
    with etcd.running(etcd.access()):
        store = EtcdStore(etcd.access(), ETCD, fail)
        futures = [store.propose([Operation(f"k{n}", b"")], timeout_seconds=SECONDS) for n in range(300)]
        too_many = store.propose([Operation(f"k{n}", b"") for n in range(17)], timeout_seconds=SECONDS)
        assert all(future.result(SECONDS).applied for future in futures)
        with pytest.raises(TooLarge, match="too many operations"):
            too_many.result(SECONDS)
        store.close()


def put_until_refused(store: EtcdStore) -> None:
    for n in range(100):
        put(store, "large", bytes([n]) * 250_000)


def member_id(access: EtcdAccess) -> str:
    link = GatewayLink(access, Endpoints(access.endpoints), None, ETCD)
    only = member_status(link, time.monotonic() + SECONDS).leader
    link.close()
    return only


def writes(store: EtcdStore) -> bool:
    try:
        put(store, "small", b"2")
    except Unavailable:
        return False
    return True


def test_tls_both_ways(found_etcd: FoundEtcd, tmp_path: Path) -> None:
    authority, certificate, key = certificates(tmp_path)
    flags = [f"--cert-file={certificate}", f"--key-file={key}", f"--trusted-ca-file={authority}", "--client-cert-auth"]
    etcd = OutsideEtcd(found_etcd, tmp_path, "https", flags)
    trusted = etcd.access(authority_file=authority, certificate_file=certificate, key_file=key)
    with etcd.running(trusted):
        store = EtcdStore(trusted, ETCD, fail)
        log = ChangeLog()
        store.watch("", put(store, "a", b"x" * 100_000), log)
        put(store, "b")
        wait_until(lambda: log.keys == ["a", "b"], SECONDS, "the watch runs")
        store.close()
        for stranger in (etcd.access(), etcd.access(authority_file=authority)):
            with pytest.raises((NotSent, NoAnswer, Refusal)):
                ask(stranger, "/v3/kv/range", {"key": b"a"})
    with pytest.raises(StoreFault, match="TLS"):
        EtcdStore(etcd.access(authority_file=str(tmp_path / "nowhere.pem")), ETCD, fail)


def certificates(directory: Path) -> tuple[str, str, str]:
    """An authority, and one certificate by it for 127.0.0.1 with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the path: it makes the certificates of this test")
    authority, authority_key = directory / "authority.pem", directory / "authority.key"
    request, certificate, key = directory / "own.csr", directory / "own.pem", directory / "own.key"
    names = directory / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *fresh, "-subj", "/CN=authority", "-keyout", authority_key, "-out", authority)
    openssl("req", *fresh, "-subj", "/CN=own", "-keyout", key, "-out", request)
    signed_by = ["-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-extfile", names]
    openssl("x509", "-req", "-in", request, *signed_by, "-out", certificate)
    return str(authority), str(certificate), str(key)


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
