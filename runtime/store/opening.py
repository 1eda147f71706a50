"""Which store a node opens, by its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from actors.base import StoreKind
from actors.messages.store import MemberSeen
from rollbook.errors import SettingsError
from runtime.settings import Settings
from runtime.store.etcd import EtcdStore
from runtime.store.etcd_census import EtcdCensus
from runtime.store.etcd_gateway import EtcdAccess
from runtime.store.etcd_seats import DIRECTORY, etcd_endpoints, seat_kept_in
from runtime.store.port import Store, StoreFault
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite_file import FOLDER, MARKER
from runtime.text_files import read_text_file


def open_store(settings: Settings, kind: StoreKind, on_failure: Callable[[BaseException], None]) -> Store | None:
    """None where another node keeps it. StoreUnusable or SettingsError say in one line what is wrong."""
    _check_remains(settings, kind)
    match kind:
        case "alone" | "home":
            return SqliteStore.open(Path(settings.node.data_directory), settings.sqlite, on_failure)
        case "etcd":
            try:
                return EtcdStore(_access(settings), settings.etcd, on_failure)
            except StoreFault as fault:
                raise SettingsError(str(fault), field="store") from None
        case "away" | "none":
            return None


def open_census(
    settings: Settings,
    kind: StoreKind,
    tell: Callable[[tuple[MemberSeen, ...]], None],
    on_failure: Callable[[BaseException], None],
) -> EtcdCensus | None:
    """None where one process is all there is. Open the store first: it says what is wrong with the settings."""
    return EtcdCensus(_access(settings), settings.etcd, tell, on_failure) if kind == "etcd" else None


def _check_remains(settings: Settings, kind: StoreKind) -> None:
    """Another engine would begin empty, beside data that nobody sees any more."""
    directory = Path(settings.node.data_directory)
    has_file, seat = (directory / MARKER).exists(), seat_kept_in(directory)
    if kind == "etcd" and has_file:
        where, remains = "in a file", f"{MARKER} and {FOLDER}/"
    elif seat and (kind in ("alone", "home") or settings.store.endpoints):
        where, remains = "in etcd beside the nodes", f"{DIRECTORY}/"
    else:
        return
    message = f"{directory} keeps durable data {where}, and store.engine is {settings.store.engine}"
    raise SettingsError(f"{message}: choose that engine, or move {remains} away to begin without it")


def _access(settings: Settings) -> EtcdAccess:
    store = settings.store
    scheme = "https" if store.authority_file else "http"
    endpoints = store.endpoints or etcd_endpoints(settings)
    password = read_text_file(Path(store.password_file), "the password file ") if store.password_file else ""
    return EtcdAccess(
        endpoints=tuple(f"{scheme}://{endpoint}" for endpoint in endpoints),
        key_prefix=store.key_prefix or f"{settings.node.cluster_name}/",
        authority_file=store.authority_file,
        certificate_file=store.certificate_file,
        key_file=store.key_file,
        user=store.user,
        password=password.partition("\n")[0].strip(),
    )
