"""Does with the last nacos-sdk-python that speaks HTTP only what it is told by lines."""

from __future__ import annotations

import os
import sys
from typing import Any

from nacos import NacosClient
from nacos.listener import SubscribeListener

from tests.sdk.drivers.lines import Answering, tell


class HttpClient:
    """One of the SDK's clients. It finds changes by asking again and again."""

    def __init__(self, name: str, sdk: Any) -> None:
        self._name = name
        self._sdk = sdk

    def register(self, service: str, ip: str, port: int, *, beat_seconds: float | None = None, **said: Any) -> Any:
        return self._sdk.add_naming_instance(service, ip, port, heartbeat_interval=beat_seconds, **_named(said))

    def update(self, service: str, ip: str, port: int, **said: Any) -> Any:
        return self._sdk.modify_naming_instance(service, ip, port, **_named(said))

    def deregister(self, service: str, ip: str, port: int, **said: Any) -> Any:
        return self._sdk.remove_naming_instance(service, ip, port, **_named(said))

    def beat(self, service: str, ip: str, port: int, **said: Any) -> Any:
        return self._sdk.send_heartbeat(service, ip, port, **_named(said))

    def list(self, service: str, *, healthy: bool = False, group: str | None = None, clusters: Any = None) -> Any:
        chosen = ",".join(clusters) if clusters else None
        found = self._sdk.list_naming_instance(service, clusters=chosen, group_name=group, healthy_only=healthy)
        return [_host(host) for host in found["hosts"]]

    def detail(self, service: str, ip: str, port: int, **said: Any) -> Any:
        """Of an instance."""
        return self._sdk.get_naming_instance(service, ip, port, **_named(said))

    def subscribe(self, service: str, *, every_seconds: float) -> Any:
        def launched(event: str, instance: Any) -> None:
            tell(self._name, service, [{**_host(instance.instance), "event": event}])

        self._sdk.subscribe(SubscribeListener(launched, self._name), every_seconds, service)

    def unsubscribe(self, service: str) -> Any:
        self._sdk.unsubscribe(service, self._name)

    def server(self) -> Any:
        return self._sdk.get_server()[1]

    def close(self) -> Any:
        """It has no call for this: what it does by itself ends, and nothing is withdrawn."""
        self._sdk.stop_subscribe()
        for task in self._sdk.heartbeats.values():
            task.stop()


def _named(said: dict[str, Any]) -> dict[str, Any]:
    """The SDK's own names for what is said."""
    names = {"group": "group_name", "cluster": "cluster_name", "enabled": "enable"}
    return {names.get(name, name): value for name, value in said.items()}


def _host(host: dict[str, Any]) -> dict[str, Any]:
    return {
        "address": f"{host['ip']}:{host['port']}",
        "cluster": host["clusterName"],
        **{name: host[name] for name in ("weight", "healthy", "enabled", "ephemeral", "metadata")},
    }


def _opened(folder: str, servers: str, namespace: str = "", username: str = "", password: str = "") -> Any:
    return NacosClient(servers, namespace=namespace, username=username, password=password, logDir=folder)


def _run() -> None:
    clients: dict[str, HttpClient] = {}
    for line in sys.stdin:
        with Answering(line) as question:
            if question.call == "open":
                clients[question.client] = HttpClient(question.client, _opened(**question.parameters))
            else:
                question.result = getattr(clients[question.client], question.call)(**question.parameters)
    os._exit(0)  # its timers would keep the process


if __name__ == "__main__":
    _run()
