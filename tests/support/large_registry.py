"""Many clients at one node of a simulated cluster, without a connection each; and what nodes send one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from actors.base import Role
from actors.messages.clients import OpenSessionOrdered, OrdersReceived
from actors.messages.distro import DeltaReceived, DigestAccepted
from actors.messages.values import Order, Route, Standing
from rollbook.model import Instance
from rollbook.wire import Publish, Withdraw
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn

BATCH = 1_000
FILLING = "x" * 150


class Crowd:
    """Clients that ClientManager of one node knows as if they were connected."""

    def __init__(self, cluster: SimCluster, at: int, count: int, services: int = 40) -> None:
        self._cluster = cluster
        self._node = cluster.node(at)
        self._at = at
        self._services = services
        standing = Standing(ready=True)
        for number in range(count):
            order = OpenSessionOrdered(self._route(number), 1, f"crowd-{at}-{number}", 15_000, standing)
            self._node.tell(Role.CLIENTS, order)
        self._orders(range(count), "")
        wanted = self._node.behaviour(Role.CLIENTS).native.applied + count
        cluster.until(lambda: self._node.behaviour(Role.CLIENTS).native.applied >= wanted, 60_000, "all have published")

    def change(self, numbers: Iterable[int], what: str) -> None:
        self._orders(numbers, what)

    def withdraw(self, numbers: Iterable[int]) -> None:
        self._tell([Order(self._route(number), 3, Withdraw(service_of(self._service(number)))) for number in numbers])

    def _orders(self, numbers: Iterable[int], what: str) -> None:
        self._tell(
            [
                Order(
                    self._route(number),
                    2,
                    Publish(
                        service_of(self._service(number)),
                        (Instance(f"10.{self._at}.{number >> 8}.{number & 255}", 80, metadata=_data(what)),),
                        "replace",
                    ),
                )
                for number in numbers
            ]
        )

    def _tell(self, orders: list[Order]) -> None:
        for at in range(0, len(orders), BATCH):
            self._node.tell(Role.CLIENTS, OrdersReceived(tuple(orders[at : at + BATCH])))

    def _service(self, number: int) -> str:
        return f"service-{number % self._services}"

    def _route(self, number: int) -> Route:
        return Route(b"crowd%d" % number, 1)


class Traffic:
    """What one node has received of deltas, by sender, and how long it waited for digests."""

    def __init__(self, cluster: SimCluster, node: SimNode) -> None:
        self.bytes: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.chunk_bytes_max = 0
        self.digest_gap_ms_max = 0
        self._digest_ms: dict[str, int] = {}
        self._node = node
        cluster.checkers.append(self._look)

    def _look(self, cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        if node is not self._node or turn.role is not Role.DISTRO:
            return
        match turn.message:
            case DeltaReceived(link, delta):
                size = sum(map(len, delta.bodies))
                sender = node.behaviour(Role.DISTRO)._peers.node_of(link) or "gone"
                self.bytes[sender] += size
                self.records[sender] += len(delta.bodies)
                self.chunk_bytes_max = max(self.chunk_bytes_max, size)
            case DigestAccepted(node_id=sender):
                before = self._digest_ms.get(sender, cluster.now_ms)
                self.digest_gap_ms_max = max(self.digest_gap_ms_max, cluster.now_ms - before)
                self._digest_ms[sender] = cluster.now_ms


def _data(what: str) -> dict[str, str]:
    return {"filling": FILLING, "what": what}
