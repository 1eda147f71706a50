"""Every test that asks for an engine runs on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.store.port import Store
from tests.store.engines import NAMES, Engine, make_engine
from tests.store.etcd_engine import SharedEtcd


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedEtcd]:
    shared = SharedEtcd(tmp_path_factory.mktemp("shared"))
    yield shared
    shared.end()


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest, tmp_path: Path, shared_etcd: SharedEtcd) -> Iterator[Engine]:
    made = make_engine(request.param, tmp_path, shared_etcd)
    yield made
    made.close()


@pytest.fixture
def store(engine: Engine) -> Store:
    return engine.open()
