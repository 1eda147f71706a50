"""Requests that are under way when a gateway ends: each is answered, and the log has no traceback of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from runtime.logs import LogSettings, set_up_logs
from tests.support.bare_node import BareNode
from tests.support.http_gateway import HttpCaller
from tests.support.sdk_client import until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster

LISTENER = "/v1/cs/configs/listener"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[BareNode]:
    made = BareNode(tmp_path)
    made.data.mkdir(parents=True)
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What is logged as an error, uvicorn's included."""
    said: list[str] = []
    set_up_logs(LogSettings("INFO", False, ""))
    logger.add(said.append, level="ERROR", format="{message} {exception}")
    yield said
    logger.remove()  # that of the logs too


async def asked(world: SdkWorld, method: str, target: str) -> asyncio.Task[int]:
    """The status to come, of a request that has come to the gateway."""
    caller = HttpCaller(world.base_port)
    task = asyncio.create_task(asyncio.to_thread(lambda: caller.ask(method, target).status))
    await until(lambda: world.gateway._http._server.server_state.tasks, "it has come")
    return task


def test_whoever_waits_for_what_will_not_come_is_answered_at_once(lasting_node: BareNode, errors: list[str]) -> None:
    async def script(world: SdkWorld) -> None:
        answer = await asked(world, "POST", LISTENER)
        begun = asyncio.get_running_loop().time()
        await world.end()
        assert asyncio.get_running_loop().time() - begun < 0.9, "before the grace of the server is over"
        assert await answer == 200
        assert errors == []

    in_sdk_world(lasting_node, script)


def test_whoever_waits_for_a_node_that_hangs_is_told_to_go_elsewhere(node: BareNode, errors: list[str]) -> None:
    async def script(world: SdkWorld) -> None:
        node.pause()
        answer = await asked(world, "GET", "/v1/ns/instance/list?serviceName=a")
        await world.end()
        assert await answer == 503
        assert "Traceback" not in "".join(errors)

    in_sdk_world(node, script)
