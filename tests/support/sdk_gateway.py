"""A gateway's gRPC side on the loop of a test, before a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runtime.gateway.gateway import Gateway
from runtime.gateway.plan import GatewayPlan
from runtime.gateway.settings import GatewaySettings
from runtime.logs import LogSettings
from tests.support.bare_node import BareNode
from tests.support.real_cluster import free_base_ports
from tests.support.sdk_client import SdkClient, until
from tests.support.settings import settings_of


class SdkWorld:
    """A gateway and the SDKs before it. Times are long where a test does not say otherwise: machines are busy."""

    def __init__(self, node: BareNode, data: Path | None = None, **overrides: Any) -> None:
        (self.base_port,) = free_base_ports(1)
        settings = settings_of("gateway", GatewaySettings, **{"request_timeout_ms": 20_000, **overrides})
        log = settings_of("log", LogSettings)
        self._plan = GatewayPlan(
            settings, log, "127.0.0.1", self.base_port, self.base_port + 1_000, data_directory=str(data or node.data)
        )
        self._end = asyncio.Event()
        self._sdks: list[SdkClient] = []
        self.gateway = Gateway(self._plan)
        self._running = asyncio.create_task(self.gateway.run(self._end))

    @property
    def connections(self) -> int:
        return len(self.gateway.connections)

    async def ready(self) -> None:
        await until(lambda: self.gateway.link.is_up, "the gateway has met its node")

    def sdk(self, **options: Any) -> SdkClient:
        self._sdks.append(SdkClient(f"127.0.0.1:{self.base_port + 1_000}", **options))
        return self._sdks[-1]

    async def connected(self, version: str = "Nacos-Python-Client:v3.2.0") -> SdkClient:
        return await self.sdk().connected(version)

    async def end(self) -> None:
        """As if it were told to."""
        self._end.set()
        await self._running

    async def close(self) -> None:
        for sdk in self._sdks:
            await sdk.close()
        await self.end()


Script = Callable[[SdkWorld], Awaitable[None]]


def in_sdk_world(node: BareNode, script: Script, **overrides: Any) -> None:
    async def run() -> None:
        world = SdkWorld(node, **overrides)
        try:
            await world.ready()
            await script(world)
        finally:
            await world.close()

    asyncio.run(run())
