"""One node with a gateway for all tests that only ask it something: each has services of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.http_gateway import HttpCaller, HttpNode


@pytest.fixture(scope="session")
def http_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpNode]:
    node = HttpNode(tmp_path_factory.mktemp("http"))
    try:
        node.until_ready()
        yield node
    finally:
        node.close()


@pytest.fixture
def caller(http_node: HttpNode) -> HttpCaller:
    return http_node.caller
