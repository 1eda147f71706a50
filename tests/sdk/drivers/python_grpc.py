"""Does with the newest nacos-sdk-python (gRPC) what it is told by lines."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from v2.nacos import (
    BatchRegisterInstanceParam,
    ClientConfigBuilder,
    DeregisterInstanceParam,
    GetServiceParam,
    Instance,
    ListInstanceParam,
    ListServiceParam,
    NacosNamingService,
    RegisterInstanceParam,
    SubscribeServiceParam,
)

from tests.sdk.drivers.lines import Answering, tell

LINE_BYTES_MAX = 1_000_000


class GrpcClient:
    """One of the SDK's clients."""

    def __init__(self, name: str, sdk: Any) -> None:
        self._name = name
        self._sdk = sdk
        self._callbacks: dict[str, Any] = {}

    async def register(self, **said: Any) -> Any:
        return await self._sdk.register_instance(RegisterInstanceParam(**_named(said)))

    async def update(self, **said: Any) -> Any:
        return await self._sdk.update_instance(RegisterInstanceParam(**_named(said)))

    async def deregister(self, **said: Any) -> Any:
        return await self._sdk.deregister_instance(DeregisterInstanceParam(**_named(said)))

    async def register_batch(self, **said: Any) -> Any:
        return await self._sdk.batch_register_instances(_batch(**said))

    async def deregister_batch(self, **said: Any) -> Any:
        return await self._sdk.batch_deregister_instances(_batch(**said))

    async def list(self, *, healthy: bool | None = None, subscribe: bool = False, **said: Any) -> Any:
        question = ListInstanceParam(**_named(said), healthy_only=healthy, subscribe=subscribe)
        return [_host(instance) for instance in await self._sdk.list_instances(question)]

    async def detail(self, **said: Any) -> Any:
        """Of a service, with its instances."""
        service = await self._sdk.get_service(GetServiceParam(**_named(said)))
        return {"name": service.name, "group": service.groupName, "hosts": [_host(host) for host in service.hosts]}

    async def services(self, *, page: int, size: int, **said: Any) -> Any:
        found = await self._sdk.list_services(ListServiceParam(**_named(said), page_no=page, page_size=size))
        return {"count": found.count, "names": found.services}

    async def subscribe(self, **said: Any) -> Any:
        async def callback(instances: list[Instance]) -> None:
            tell(self._name, said["service"], [_host(instance) for instance in instances])

        self._callbacks[said["service"]] = callback
        await self._sdk.subscribe(SubscribeServiceParam(**_named(said), subscribe_callback=callback))

    async def unsubscribe(self, **said: Any) -> Any:
        callback = self._callbacks.pop(said["service"])
        await self._sdk.unsubscribe(SubscribeServiceParam(**_named(said), subscribe_callback=callback))

    async def status(self) -> Any:
        return await self._sdk.server_health()

    async def server(self) -> Any:
        """The HTTP port of the server that it is connected to."""
        server = self._sdk.grpc_client_proxy.rpc_client.get_current_server()
        return int(server.server_port) - self._sdk.client_config.grpc_config.port_offset

    async def servers(self) -> Any:
        return [address.strip() for address in self._sdk.grpc_client_proxy.nacos_server_connector.get_server_list()]

    async def token(self) -> Any:
        """What it has logged in with."""
        return await self._sdk.grpc_client_proxy.nacos_server_connector.auth_client.get_access_token(False)

    async def close(self) -> Any:
        await self._sdk.shutdown()


def _named(said: dict[str, Any]) -> dict[str, Any]:
    """The SDK's own names for what is said."""
    names = {"service": "service_name", "group": "group_name", "cluster": "cluster_name"}
    return {names.get(name, name): value for name, value in said.items()}


def _batch(service: str, instances: list[dict[str, Any]], **said: Any) -> BatchRegisterInstanceParam:
    made = [RegisterInstanceParam(service_name=service, **_named(instance)) for instance in instances]
    return BatchRegisterInstanceParam(service_name=service, instances=made, **_named(said))


def _host(instance: Instance) -> dict[str, Any]:
    return {
        "address": f"{instance.ip}:{instance.port}",
        "cluster": instance.clusterName,
        "weight": instance.weight,
        "healthy": instance.healthy,
        "enabled": instance.enabled,
        "ephemeral": instance.ephemeral,
        "metadata": instance.metadata,
    }


async def _opened(
    folder: str,
    servers: str = "",
    endpoint: str = "",
    namespace: str = "",
    username: str = "",
    password: str = "",
    asks: bool = False,
) -> Any:
    """``asks``: it asks again and again for what it is subscribed to, beside being told."""
    builder = ClientConfigBuilder().server_address(servers).endpoint(endpoint).namespace_id(namespace)
    builder = builder.username(username).password(password)
    config = builder.log_dir(str(Path(folder, "log"))).log_level("INFO").cache_dir(str(Path(folder, "cache"))).build()
    config.set_update_cache_when_empty(True).set_async_update_service(asks)
    return await NacosNamingService.create_naming_service(config)


async def _run() -> None:
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    clients: dict[str, GrpcClient] = {}
    while line := await lines.readline():
        with Answering(line) as question:
            if question.call == "open":
                clients[question.client] = GrpcClient(question.client, await _opened(**question.parameters))
            else:
                call = getattr(clients[question.client], question.call)
                question.result = await call(**question.parameters)


if __name__ == "__main__":
    asyncio.run(_run())
