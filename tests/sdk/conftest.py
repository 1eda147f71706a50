"""Three nodes with gateways for all tests that kill nothing: each uses services of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.official_sdk import KINDS, SdkKind
from tests.support.real_cluster import RealCluster
from tests.support.sdk_crowd import SdkCrowd


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkCrowd]:
    with RealCluster(tmp_path_factory.mktemp("cluster"), 3, gateways=1) as cluster:
        made = SdkCrowd(cluster, tmp_path_factory.mktemp("sdks"))
        try:
            made.until_ready()
            yield made
        finally:
            made.close()


@pytest.fixture(params=KINDS, ids=lambda kind: str(kind.name))
def kind(request: pytest.FixtureRequest) -> SdkKind:
    asked: SdkKind = request.param
    return asked
