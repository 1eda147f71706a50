"""Nodes for tests that only ask them something: each test uses services of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.bare_node import BareNode
from tests.support.http_gateway import HttpCaller, HttpNode

# Nodes are started by processes that have a gateway in them. What gRPC does at a fork may never end, and none of them
# uses gRPC after one.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"


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


@pytest.fixture(scope="module")
def lasting_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareNode]:
    made = BareNode(tmp_path_factory.mktemp("node"), store={"engine": "sqlite"})
    made.data.mkdir(parents=True)
    made.start()
    try:
        yield made
    finally:
        made.close()
