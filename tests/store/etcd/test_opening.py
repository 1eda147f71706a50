"""Which etcd a node opens, under which keys and as whom: all of it from its settings."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from runtime.settings import Settings, load_settings
from runtime.store.opening import open_store
from runtime.store.port import Store, Unavailable
from tests.store.etcd.scripted_etcd import ScriptedEtcd, content
from tests.store.etcd.test_etcd_access import certificates, fail

EMPTY = '{"header":{"cluster_id":"1","revision":"7"}}'
SECONDS = 5.0
CLIENTS_OF_ETCD = 4  # above the base port


@pytest.fixture
def scripted() -> ScriptedEtcd:
    return ScriptedEtcd(kv__range=[content(200, EMPTY)], auth__authenticate=[content(200, '{"token":"t"}')])


def settings_of_node(directory: Path, etcd: ScriptedEtcd, **store: Any) -> Settings:
    node = {"data_directory": str(directory), "cluster_name": "shop"}
    endpoint = etcd.url.removeprefix("http://")
    return load_settings(None, {"node": node, "store": {"endpoints": [endpoint], **store}}, {})


def opened(settings: Settings) -> Store:
    store = open_store(settings, "etcd", fail)
    assert store is not None
    return store


def read(settings: Settings) -> int:
    """The index of a cut of everything."""
    store = opened(settings)
    try:
        return store.read("", timeout_seconds=SECONDS).result(SECONDS).index
    finally:
        store.close()


@pytest.mark.parametrize(("key_prefix", "prefix"), [("", "shop/"), ("teams/a/", "teams/a/")])
def test_keys_are_those_of_the_cluster_unless_another_prefix_is_said(
    tmp_path: Path, scripted: ScriptedEtcd, key_prefix: str, prefix: str
) -> None:
    with scripted as etcd:
        settings = settings_of_node(tmp_path, etcd, key_prefix=key_prefix)
        assert read(settings) == 7
        assert etcd.count("/v3/auth/authenticate") == 0, "nobody is named"
        keys = {base64.b64decode(asked["key"]).decode() for asked in etcd.requests("/v3/kv/range")}
        assert keys
        assert all(key.startswith(prefix) for key in keys)


@pytest.mark.parametrize("text", ["secret", "secret\n", " secret \nand what it is for\n"])
def test_the_password_is_the_first_line_of_its_file(tmp_path: Path, scripted: ScriptedEtcd, text: str) -> None:
    (tmp_path / "password").write_text(text)
    with scripted as etcd:
        settings = settings_of_node(tmp_path, etcd, user="bob", password_file=str(tmp_path / "password"))
        assert read(settings) == 7
        assert etcd.requests("/v3/auth/authenticate")[0] == {"name": "bob", "password": "secret"}


def test_whoever_names_an_authority_never_speaks_in_the_clear(tmp_path: Path, scripted: ScriptedEtcd) -> None:
    authority, _, _ = certificates(tmp_path)
    with scripted as etcd:
        settings = settings_of_node(tmp_path, etcd, authority_file=authority)
        store = opened(settings)
        with pytest.raises(Unavailable):
            store.read("", timeout_seconds=1.0).result(SECONDS)
        store.close()
        assert etcd.count("/v3/kv/range") == 0


def test_where_no_endpoint_is_named_etcd_is_beside_the_nodes(tmp_path: Path, scripted: ScriptedEtcd) -> None:
    with scripted as etcd:
        base_port = int(etcd.url.rpartition(":")[2]) - CLIENTS_OF_ETCD
        members = [f"127.0.0.1:{base_port}", "127.0.0.1:18848", "127.0.0.1:28848"]
        node = {"data_directory": str(tmp_path), "base_port": base_port, "members": members}
        assert read(load_settings(None, {"node": node, "store": {"engine": "etcd"}}, {})) == 7
