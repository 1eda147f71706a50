"""etcd as one of the engines that must all behave alike: one member for all tests, and keys of its own for each."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from runtime.store.etcd import EtcdStore
from tests.support.etcd_cluster import EtcdTestCluster
from tests.support.etcd_installed import installed_etcd

_numbers = itertools.count()


class SharedEtcd:
    """Started when it is first asked for, ended with the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster: EtcdTestCluster | None = None

    def cluster(self) -> EtcdTestCluster:
        if isinstance(found := installed_etcd(), str):
            pytest.skip(found)
        if self._cluster is None:
            self._cluster = EtcdTestCluster(found, self._folder / "etcd", 1)
        self._cluster.start()
        return self._cluster

    def end(self) -> None:
        if self._cluster is not None:
            self._cluster.end()


class EtcdEngine:
    advance_seconds_max = 5.0

    def __init__(self, shared: SharedEtcd) -> None:
        self._shared = shared
        self._cluster = shared.cluster()
        self._key_prefix = f"rollbook/engine-{next(_numbers)}/"
        self._store: EtcdStore | None = None

    def open(self) -> EtcdStore:
        self._store = self._shared.cluster().open(self._key_prefix)
        return self._store

    def reopen(self) -> EtcdStore:
        self.close()
        return self.open()

    def kill(self) -> None:
        for name in self._cluster.children:
            self._cluster.kill(name)
        self.close()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
