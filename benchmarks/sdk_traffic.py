"""SDKs beside others: how fast a change gets from one to another, and what native clients notice of a gateway that has
too much to do."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.gateways import cluster_with_gateways, gateway_of, grpc_load, http_load
from benchmarks.processes import cpu_seconds, line_of, median, module, pin, quantile, report_of, say
from benchmarks.spreading import Delays
from tests.support.real_cluster import RealNode, pause_s
from tests.support.sdk_client import SdkClient, instance_body

WATCHED = 200
ROUNDS = 10
CHANGES_PER_SECOND = 200

NATIVE_PER_SECOND, NATIVE_S, NATIVE_WINDOW = 500, 5.0, 250
PAIRS = 3
GATEWAY_CORE, NODE_CORE = 0, 1


# -- from SDK to SDK


def register_until_pushed(folder: Path) -> Delays:
    """A register over gRPC at node 1 until an SDK at node 2 has the push, 200 services, 200 changes/s."""
    with cluster_with_gateways(folder, 3) as cluster:
        publisher, subscriber = (f"127.0.0.1:{node.base_port + 1_000}" for node in cluster.nodes[:2])
        changes = WATCHED * ROUNDS
        with module("sdk_subscriber", str(WATCHED), str(changes), subscriber) as process:
            assert line_of(process) == "ready"
            asyncio.run(_publish(publisher, changes))
            delays = json.loads(line_of(process))
    return Delays(quantile(delays, 50), quantile(delays, 99))


async def _publish(address: str, changes: int) -> None:
    """Each at its time, whether the one before was answered or not."""
    async with SdkClient(address) as sdk:
        await sdk.connected()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.TaskGroup() as orders:
            for number in range(changes):
                await asyncio.sleep(begun + number / CHANGES_PER_SECOND - loop.time())
                orders.create_task(_register(sdk, f"watched-{number % WATCHED}"))


async def _register(sdk: SdkClient, service: str) -> None:
    instance = instance_body(80, metadata={"at_ns": str(time.monotonic_ns())})
    answer = await sdk.naming("InstanceRequest", service, type="registerInstance", instance=instance)
    assert answer["resultCode"] == 200, answer


# -- native clients beside


class NativeBeside(NamedTuple):
    """Medians of the pairs; the ratio is the median of their own ratios."""

    quiet_p99_ms: float
    saturated_p99_ms: float
    ratio: float
    gateway_percent: float  # of the core that the gateway shares with its load: both together


def native_beside_gateways(folder: Path, *, pinned: bool) -> NativeBeside:
    """500 native registrations/s at a node while its gateway is asked for all that it can answer, and while it is not.

    Pinned, the gateway and its load have one core, and the node and the native client the other.
    """
    lines = folder.with_suffix(".lines")
    lines.write_text("GET /nacos/v1/ns/instance/list?serviceName=load-1\n")
    with cluster_with_gateways(folder, 1) as cluster:
        node = cluster.nodes[0]
        if pinned:
            pin(node.pid, NODE_CORE)
            pin(gateway_of(node), GATEWAY_CORE)
        pairs = [(_native(node, pinned), _beside(node, lines, pinned)) for _ in range(PAIRS)]
    return NativeBeside(
        median([quiet for quiet, _ in pairs]),
        median([saturated for _, (saturated, _) in pairs]),
        median([saturated / quiet for quiet, (saturated, _) in pairs]),
        median([percent for _, (_, percent) in pairs]),
    )


def _native(node: RealNode, pinned: bool) -> float:
    """The p99 of their registrations."""
    requests = int(NATIVE_PER_SECOND * NATIVE_S)
    with module("load", node.client_address, str(requests), str(NATIVE_WINDOW), str(NATIVE_PER_SECOND)) as client:
        if pinned:
            pin(client.pid, NODE_CORE)
        report = report_of(client)
    assert report["failures"] == 0, report
    p99_ms: float = report["p99_ms"]
    return p99_ms


def _beside(node: RealNode, lines: Path, pinned: bool) -> tuple[float, float]:
    seconds = NATIVE_S + 3.0
    with ExitStack() as stack:
        loads = [
            stack.enter_context(module(*arguments))
            for arguments in (
                grpc_load(node.base_port + 1_000, seconds),
                http_load([node.base_port], lines, seconds=seconds),
            )
        ]
        for load in loads:
            if pinned:
                pin(load.pid, GATEWAY_CORE)
            assert line_of(load) == "ready"
        for load in loads:
            say(load)
        pause_s(1.0)
        pids = [gateway_of(node), *(load.pid for load in loads)]
        began, before = time.monotonic(), sum(map(cpu_seconds, pids))
        p99_ms = _native(node, pinned)
        percent = 100 * (sum(map(cpu_seconds, pids)) - before) / (time.monotonic() - began)
        for load in loads:
            report = report_of(load)
            assert report["failures"] == 0, report
    return p99_ms, percent
