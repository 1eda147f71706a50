"""One gateway process, asked over gRPC and over HTTP by the same script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.http_gateway import HttpAnswer, HttpNode
from tests.support.sdk_client import WAIT_SECONDS, SdkClient


class BothWays:
    """What is asked over HTTP is asked from a thread, so that SDKs go on listening meanwhile."""

    def __init__(self, node: HttpNode) -> None:
        self._node = node
        self._sdks: list[SdkClient] = []

    async def connected(self) -> SdkClient:
        self._sdks.append(SdkClient(f"127.0.0.1:{self._node.base_port + 1_000}"))
        return await self._sdks[-1].connected()

    async def say(self, method: str, path: str, **parameters: object) -> HttpAnswer:
        return await asyncio.to_thread(self._node.caller.say, method, path, **parameters)

    async def shown(self, service: str, **parameters: object) -> list[str]:
        """``ip:port`` of who is listed over HTTP."""
        return await asyncio.to_thread(self._node.caller.shown, service, **parameters)

    async def close(self) -> None:
        for sdk in self._sdks:
            await sdk.close()


def in_both_ways(node: HttpNode, script: Callable[[BothWays], Awaitable[None]]) -> None:
    async def run() -> None:
        world = BothWays(node)
        try:
            await script(world)
        finally:
            await world.close()

    asyncio.run(run())


async def eventually(question: Callable[[], Awaitable[object]], expected: object) -> None:
    """Ask until this is the answer: between two ways of one gateway news take a push."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while (answer := await question()) != expected:
        assert asyncio.get_running_loop().time() < deadline, f"it is {answer} and not {expected}"
        await asyncio.sleep(0.02)
