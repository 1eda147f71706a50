"""Where etcd is not installed, its tests are skipped, with the one line that says how to get it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.store.etcd_child import FoundEtcd
from tests.store.etcd_engine import SharedEtcd
from tests.support.etcd_cluster import EtcdTestCluster
from tests.support.etcd_installed import NEEDS_ETCD, installed_etcd, why_no_etcd


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and "found_etcd" in item.fixturenames:
            item.add_marker(NEEDS_ETCD)


@pytest.fixture(scope="session")
def found_etcd() -> FoundEtcd:
    found = installed_etcd()
    assert isinstance(found, FoundEtcd), why_no_etcd()
    return found


@pytest.fixture
def one_etcd(found_etcd: FoundEtcd, shared_etcd: SharedEtcd) -> EtcdTestCluster:
    return shared_etcd.cluster()


@pytest.fixture(scope="module")
def three_etcds(found_etcd: FoundEtcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdTestCluster]:
    cluster = EtcdTestCluster(found_etcd, tmp_path_factory.mktemp("etcd"), 3)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
