"""What the log of a gateway says of its node: that it is not there, is lost, stays away, and is met again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from runtime.gateway.node_link import NodeLink
from runtime.gateway.settings import GatewaySettings
from runtime.local_socket import LocalSocket
from tests.support.bare_node import BareNode
from tests.support.settings import settings_of

if TYPE_CHECKING:
    from loguru import Message

pytestmark = pytest.mark.cluster

WAIT_SECONDS = 30.0
SETTINGS = settings_of("gateway", GatewaySettings, node_patience_ms=300)
PATIENT = settings_of("gateway", GatewaySettings, node_patience_ms=60_000)


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []

    def take(message: Message) -> None:
        record = message.record
        lines.append(f"{record['level'].name} {record['message']} {record['extra'].get('endpoint', '')}")

    sink = logger.add(take, level="INFO", filter="runtime.gateway.node_link")
    yield lines
    logger.remove(sink)


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


def link_to(endpoint: str, settings: GatewaySettings = SETTINGS, *, is_to_own: bool = True) -> NodeLink:
    link = NodeLink(endpoint, settings, random.Random(endpoint), is_to_own=is_to_own)
    link.start()
    return link


def test_a_node_that_stands_still_is_lost_stays_away_and_is_met_again(lasting_node: BareNode, said: list[str]) -> None:
    local = LocalSocket(lasting_node.data)

    async def script() -> None:
        first = link_to(local.endpoint, PATIENT)
        await until(lambda: first.is_up, "the node has started")
        await first.stop()
        said.clear()
        link = link_to(local.endpoint)
        await until(lambda: link.is_up, "the link is up")
        lasting_node.pause()
        try:
            await until(lambda: link.has_given_up, "the node is given up")
        finally:
            lasting_node.resume()
        await until(lambda: link.is_up, "the link is up again")
        await link.stop()

    try:
        asyncio.run(script())
    finally:
        local.close()
    assert [line.strip() for line in said] == [
        "INFO the node is met",
        "WARNING the node is lost",
        f"WARNING the node stays away: all sessions end {local.endpoint}",
        "INFO the node is met",
    ]


def test_a_node_that_is_not_there_is_told_of_and_another_member_that_is_not_there_is_not(
    tmp_path: Path, said: list[str]
) -> None:
    async def script() -> None:
        links = [link_to(f"ipc://{tmp_path}/{name}", is_to_own=name == "own") for name in ("own", "member")]
        await until(lambda: all(link.has_given_up for link in links), "both are given up")
        for link in links:
            await link.stop()

    asyncio.run(script())
    assert [line.strip() for line in said] == [f"WARNING no node answers; it is tried on and on ipc://{tmp_path}/own"]
