"""What SDKs notice of a node that restarts, or stays away, behind their gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.bare_node import BareNode
from tests.support.sdk_client import until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster


@pytest.fixture
def node(tmp_path: Path) -> Iterator[BareNode]:
    made = BareNode(tmp_path)
    made.data.mkdir(parents=True)
    made.start()
    try:
        yield made
    finally:
        made.close()


def test_a_restart_of_the_node_is_no_news_to_streams_and_times_go_on_rising(node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        await sdk.register("lasting", 1)
        first = (await watcher.subscribe("lasting"))["serviceInfo"]
        node.kill()
        await until(lambda: not world.gateway.link.is_up, "the node is away")
        assert (await sdk.asked("HealthCheckRequest", {}))[0] == "HealthCheckResponse"
        node.start()
        assert await sdk.ports("lasting") == [1]
        await sdk.register("lasting", 2)
        await until(lambda: watcher.lists("lasting"), "the change is pushed")
        shown = watcher.lists("lasting")
        assert [[host["port"] for host in each["hosts"]] for each in shown] == [[2]]
        assert shown[0]["lastRefTime"] > first["lastRefTime"]
        assert watcher.ends == sdk.ends == []

    in_sdk_world(node, script, node_patience_ms=60_000)


def test_times_rise_across_gateways_too(node: BareNode) -> None:
    times: list[int] = []

    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        await sdk.register("rising", len(times))
        times.append((await sdk.naming("ServiceQueryRequest", "rising"))["serviceInfo"]["lastRefTime"])

    for _ in range(3):
        in_sdk_world(node, script)
    assert times == sorted(set(times))


def test_a_node_that_stays_away_sends_sdks_elsewhere(node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        await sdk.register("orphaned", 1)
        node.kill()
        await until(lambda: sdk.ends == [grpc.StatusCode.UNAVAILABLE], "its stream has ended")
        assert (await sdk.asked("HealthCheckRequest", {}))[1]["errorCode"] == 300
        refused = world.sdk()
        await refused.set_up()
        await until(lambda: refused.ends == [grpc.StatusCode.UNAVAILABLE], "nobody is taken")
        node.start()
        await world.ready()
        assert (await (await world.connected()).register("orphaned", 2))["resultCode"] == 200

    in_sdk_world(node, script, node_patience_ms=500)
