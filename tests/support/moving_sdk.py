"""An application with an SDK that goes where it is sent, or elsewhere when its stream ends, and registers again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

import grpc.aio

from tests.support.sdk_client import JAVA, SdkClient, instance_body

_LOOK_SECONDS = 0.01
_GRPC_OFFSET = 1_000


class MovingSdk:
    """With one instance of one service. ``ports``: the HTTP ports of the servers it knows, the first one first."""

    def __init__(self, service: str, number: int, ports: Iterable[int], version: str = JAVA) -> None:
        self.at = 0
        self.moves = -1
        self._service = service
        self._number = number
        self._ports = itertools.cycle(ports)
        self._version = version
        self._client: SdkClient | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._go(next(self._ports))
        self._following = asyncio.create_task(self._follow())

    async def withdraw(self) -> None:
        assert self._client is not None, "it was started"
        gone = {"type": "deregisterInstance", "instance": instance_body(self._number)}
        assert (await self._client.naming("InstanceRequest", self._service, **gone))["resultCode"] == 200

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            assert self._client is not None
            resets = self._client.told("ConnectResetRequest")
            if self._client.ends:
                await self._go(next(self._ports))
            elif resets:
                await self._go(int(resets[-1]["serverPort"]))

    async def _go(self, port: int) -> None:
        """First the new connection, then the end of the old one, then the registration: the order of the original."""
        while not await self._is_taken(port):
            port = next(self._ports)
            await asyncio.sleep(_LOOK_SECONDS)
        self.at = port
        self.moves += 1

    async def _is_taken(self, port: int) -> bool:
        left, client = self._client, SdkClient(f"127.0.0.1:{port + _GRPC_OFFSET}")
        try:
            await client.set_up(self._version, abilityTable={})
            if client.ends:
                raise ConnectionRefusedError
            self._client = client
            if left is not None:
                await left.close()
            registered = await client.register(self._service, self._number)
            return bool(registered["resultCode"] == 200)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, ConnectionRefusedError):
            await client.close()
            return False
