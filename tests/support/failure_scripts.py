"""What the scripts of failures have in common: clients that register and move, and what nodes then list."""

from __future__ import annotations

from collections.abc import Collection

from actors.messages.distro import DeltaReceived
from actors.messages.values import Origin
from rollbook.wire import Done
from runtime.simulation.clients import RawClient
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn
from tests.support.sim_cluster import instance, shown


def everywhere(cluster: SimCluster, *numbers: int) -> bool:
    """Every running node lists exactly these instances of ``orders``."""
    return all(view == shown(*numbers) for view in cluster.views("orders"))


def agreed(cluster: SimCluster, *numbers: int) -> bool:
    return everywhere(cluster, *numbers) and cluster.digests_agree()


def some_listed(cluster: SimCluster, wanted: Collection[int], allowed: Collection[int]) -> bool:
    """Every ready node lists all that are wanted, and no others than are allowed."""
    views = [set(cluster.view(node, "orders")) for node in cluster.nodes if node.is_ready]
    return all(set(shown(*wanted)) <= view <= set(shown(*wanted, *allowed)) for view in views)


def registered(cluster: SimCluster, at: int, number: int) -> RawClient:
    client = cluster.client(at=at)
    done = client.publish("orders", instance(number))
    cluster.until(lambda: isinstance(client.answer(done), Done), 1_000, f"instance {number} acknowledged")
    return client


def moved(cluster: SimCluster, client: RawClient, to: int, number: int, **fields: str) -> None:
    """The next session elsewhere and a redo, as the SDK does it; the old connection is not touched."""
    cluster.move(client, to)
    done = client.publish("orders", instance(number, metadata=fields), replace=True)
    cluster.until(lambda: isinstance(client.answer(done), Done), 4_000, f"{client.client_id} has moved")


class Wiretap:
    """Every delta that a node has received, to be delivered again."""

    def __init__(self, cluster: SimCluster, node: SimNode) -> None:
        self.heard: list[DeltaReceived] = []
        self._place = node.name
        cluster.checkers.append(self._look)

    def _look(self, _cluster: SimCluster, _node: SimNode, turn: Turn) -> None:
        if turn.place == self._place and isinstance(turn.message, DeltaReceived):
            self.heard.append(turn.message)


def native_of(cluster: SimCluster, number: int) -> Origin:
    identity = cluster.node(number).identity
    assert identity is not None
    return Origin(identity.node_id, identity.epoch)
