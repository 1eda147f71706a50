"""SDKs whose server goes, or sends them elsewhere, before a real cluster: nobody misses an instance meanwhile, and what
they withdraw afterwards is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.http_gateway import READY_SECONDS, HttpCaller
from tests.support.moving_sdk import MovingSdk
from tests.support.real_cluster import RealCluster, RealNode
from tests.support.real_cluster import until as until_now
from tests.support.sdk_client import JAVA, PYTHON, SdkClient, until
from tests.support.watching import Observer, watch_complete

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

STREAMS = 40
STILL_MAX = 25  # at the crowded node: with 21 of 43 sessions, those of the gateways among them, it sheds no more
SOON_SECONDS = 20.0  # far below the 45 s for which what a connection has left stays
# So that it takes seconds instead of minutes: a short lease, and a comparison each second.
HASTY = "[connections]\nrebalance_above_sessions = 4\n[members]\nlease_ms = 4000\nrebalance_interval_ms = 1000\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    folder: Path = tmp_path_factory.mktemp("moves")
    config = folder / "hasty.toml"
    config.write_text(HASTY)
    with RealCluster(folder, 3, "--config", str(config), gateways=1) as started:
        for node in started:
            ready(node)
        yield started


def ready(node: RealNode) -> None:
    until_now(HttpCaller(node.base_port).finds_it_ready, READY_SECONDS, "the gateway is ready")


def ports_of(cluster: RealCluster, first: int) -> list[int]:
    ports = [node.base_port for node in cluster]
    return ports[first:] + ports[:first]


def run(script: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
    async def with_stack() -> None:
        async with AsyncExitStack() as stack:
            await script(stack)

    asyncio.run(with_stack())


async def started(
    stack: AsyncExitStack, service: str, numbers: range, ports: list[int], version: str
) -> list[MovingSdk]:
    sdks = [MovingSdk(service, number, ports, version) for number in numbers]
    for sdk in sdks:
        stack.push_async_callback(sdk.close)
    await asyncio.gather(*(sdk.start() for sdk in sdks))
    return sdks


def conflicts(cluster: RealCluster) -> list[str]:
    lines = [line for node in cluster for line in node.log.read_text().splitlines()]
    return [line for line in lines if "several clients" in line]


async def gone_everywhere(cluster: RealCluster, service: str) -> None:
    observers = [Observer(node, service) for node in cluster]
    try:
        async with asyncio.timeout(SOON_SECONDS):
            while any(await asyncio.gather(*(asyncio.to_thread(observer.count) for observer in observers))):
                await asyncio.sleep(0.05)
    finally:
        for observer in observers:
            observer.close()


def test_what_is_withdrawn_soon_after_a_gateway_has_died_is_gone(cluster: RealCluster) -> None:
    async def script(stack: AsyncExitStack) -> None:
        sdks = await started(stack, "died", range(5), ports_of(cluster, 0), PYTHON)
        watch = await asyncio.to_thread(watch_complete, cluster.nodes, "died", 5)
        (gateway,) = cluster.nodes[0].gateways()
        os.kill(gateway, signal.SIGKILL)
        await until(lambda: all(sdk.moves == 1 for sdk in sdks), "all are elsewhere")
        assert (await asyncio.to_thread(watch.stop)).gaps == ()
        for sdk in sdks:
            await sdk.withdraw()
        await gone_everywhere(cluster, "died")

    run(script)
    assert conflicts(cluster) == []
    ready(cluster.nodes[0])


def test_a_process_that_stays_keeps_what_another_one_at_its_address_withdraws(cluster: RealCluster) -> None:
    async def script(stack: AsyncExitStack) -> None:
        staying = await started(stack, "shared", range(1, 2), ports_of(cluster, 1), PYTHON)
        other = SdkClient(f"127.0.0.1:{ports_of(cluster, 2)[0] + 1_000}")
        stack.push_async_callback(other.close)
        await (await other.connected()).register("shared", 1)
        watch = await asyncio.to_thread(watch_complete, cluster.nodes, "shared", 1)
        gone = {"type": "deregisterInstance", "instance": {"ip": "10.0.0.1", "port": 1}}
        assert (await other.naming("InstanceRequest", "shared", **gone))["resultCode"] == 200
        await asyncio.sleep(1)
        assert (await asyncio.to_thread(watch.stop)).gaps == ()
        assert staying[0].moves == 0

    run(script)


def test_a_crowded_node_sends_streams_elsewhere_and_no_list_misses_an_instance(cluster: RealCluster) -> None:
    async def script(stack: AsyncExitStack) -> None:
        crowded = ports_of(cluster, 0)
        sdks = await started(stack, "crowded", range(STREAMS), crowded, JAVA)
        watch = await asyncio.to_thread(watch_complete, cluster.nodes, "crowded", STREAMS)
        await until(lambda: sum(sdk.at == crowded[0] for sdk in sdks) <= STILL_MAX, "the streams have spread")
        assert {sdk.at for sdk in sdks} == set(crowded)
        assert (await asyncio.to_thread(watch.stop)).gaps == ()
        for sdk in sdks:
            await sdk.withdraw()
        await gone_everywhere(cluster, "crowded")

    run(script)
    assert conflicts(cluster) == []


def test_a_node_that_leaves_sends_its_streams_elsewhere_and_no_list_misses_an_instance(cluster: RealCluster) -> None:
    leaving = cluster.nodes[2]

    async def script(stack: AsyncExitStack) -> None:
        ports = ports_of(cluster, 2)
        sdks = await started(stack, "left", range(6), ports, JAVA)
        sdks += await started(stack, "left", range(6, 12), ports, PYTHON)
        watch = await asyncio.to_thread(watch_complete, cluster.nodes[:2], "left", 12)
        await asyncio.to_thread(leaving.terminate)
        await until(lambda: all(sdk.at != leaving.base_port for sdk in sdks), "all are elsewhere")
        await asyncio.sleep(2)
        found = await asyncio.to_thread(watch.stop)
        assert found.gaps == ()
        assert found.answers > 100

    run(script)
    leaving.start()
    until_now(leaving.is_ready, READY_SECONDS, "the node is ready again")
    ready(leaving)
