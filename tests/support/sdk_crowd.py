"""Clients of official SDKs at the nodes of a real cluster, opened as tests want them and closed at their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollbook import NamingClient
from tests.support.http_gateway import READY_SECONDS, HttpCaller
from tests.support.official_sdk import SdkClientOf, SdkKind, SdkProcess
from tests.support.real_cluster import RealCluster, until

SOON_SECONDS = 20.0
IP = "10.1.0.1"


class SdkCrowd:
    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self.cluster = cluster
        self.callers = [HttpCaller(node.base_port) for node in cluster]
        self._folder = folder
        self._processes: dict[SdkKind, SdkProcess] = {}
        self._clients: dict[tuple[SdkKind, int, str], SdkClientOf] = {}
        self._natives: dict[int, NamingClient] = {}
        self._opened = 0

    def until_ready(self) -> None:
        for caller in self.callers:
            until(caller.finds_it_ready, READY_SECONDS, f"the gateway at {caller.port} is ready")

    def process(self, kind: SdkKind) -> SdkProcess:
        if kind not in self._processes:
            self._processes[kind] = SdkProcess(kind, self._folder / kind.name)
        return self._processes[kind]

    def address(self, node: int) -> str:
        """Where SDKs find this node: they count from 1, as people do."""
        return f"127.0.0.1:{self.cluster.nodes[node - 1].base_port}"

    def addresses(self, first: int = 1) -> str:
        """All of them, this one first."""
        count = len(self.cluster.nodes)
        return ",".join(self.address((first - 1 + step) % count + 1) for step in range(count))

    def client(self, kind: SdkKind, node: int, namespace: str = "") -> SdkClientOf:
        """At this node only; the same one at every call."""
        key = (kind, node, namespace)
        if key not in self._clients:
            self._clients[key] = self.open(kind, servers=self.address(node), namespace=namespace)
        return self._clients[key]

    def open(self, kind: SdkKind, **options: Any) -> SdkClientOf:
        """A new one, for whoever closes it himself."""
        self._opened += 1
        return self.process(kind).open(f"client-{self._opened}", **options)

    def native(self, node: int) -> NamingClient:
        if node not in self._natives:
            self._natives[node] = NamingClient(self.cluster.nodes[node - 1].client_address, timeout=SOON_SECONDS)
        return self._natives[node]

    def until_listed(self, service: str, addresses: list[str], **parameters: object) -> None:
        """By the HTTP of every node."""

        def is_so() -> bool:
            return all(sorted(caller.shown(service, **parameters)) == sorted(addresses) for caller in self.callers)

        until(is_so, SOON_SECONDS, f"{service} is listed everywhere as {addresses}")

    def close(self) -> None:
        for native in self._natives.values():
            native.close()
        for process in self._processes.values():
            process.close()
