"""Clusters of the real actors under simulation, with the shipped settings, less what a test changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from actors.base import Behaviour, NodeIdentity, Role
from actors.client_manager import ClientManager, ClientsSettings
from actors.connection_manager import ConnectionManager, ConnectionsSettings
from actors.distro_sync_actor import DistroSettings, DistroSyncActor
from actors.index_manager import IndexManager, IndexSettings
from actors.member_manager import MemberManager, MembersSettings
from actors.push_actor import PushActor, PushSettings
from actors.verify_timer import VerifySettings, VerifyTimer
from rollbook.model import Instance
from runtime.edge import IoSettings
from runtime.simulation.cluster import SimCluster, SimSettings
from runtime.simulation.network import SimNetworkProfile
from tests.support.checkers import SafetyChecks
from tests.support.settings import settings_of

Overrides = dict[str, dict[str, Any]]  # by section

# In the order in which a node starts them: whoever is told something comes before who tells it.
_ACTORS: tuple[tuple[type[Any], type[Any]], ...] = (
    (PushActor, PushSettings),
    (IndexManager, IndexSettings),
    (ClientManager, ClientsSettings),
    (ConnectionManager, ConnectionsSettings),
    (DistroSyncActor, DistroSettings),
    (MemberManager, MembersSettings),
    (VerifyTimer, VerifySettings),
)


def sim_cluster(
    nodes: int = 3,
    seed: int = 1,
    *,
    start: bool = True,
    ready: bool = True,
    warm: bool = False,
    settings: Overrides | None = None,
    profile: SimNetworkProfile | None = None,
    invariants_every: int = 1,
) -> SimCluster:
    """A cluster whose every turn is checked; ``ready``: time has passed until all nodes are.

    ``warm``: and until they no longer say that others may know more, as nodes of a cold cluster do.
    """
    cluster = SimCluster(
        sim_settings(settings or {}),
        nodes=nodes,
        seed=seed,
        start=start,
        checkers=[SafetyChecks()],
        profile=profile,
        invariants_every=invariants_every,
    )
    if start and ready:
        cluster.until(cluster.all_ready, deadline_ms=5_000, what="all ready")
    if warm:
        cluster.until(lambda: not any(node.standing.warming for node in cluster.nodes), 20_000, "warm")
    return cluster


def sim_settings(overrides: Overrides) -> SimSettings:
    io = settings_of("io", IoSettings, **overrides.get("io", {}))
    settings = {
        actor.role: settings_of(actor.role.value, kind, **overrides.get(actor.role.value, {}))
        for actor, kind in _ACTORS
    }

    def factory(identity: NodeIdentity, chance_seed: str) -> Sequence[Behaviour]:
        return [actor(identity, settings[actor.role], _chance(chance_seed, actor.role)) for actor, _ in _ACTORS]

    return SimSettings(io, factory)


def _chance(seed: str, role: Role) -> random.Random:
    return random.Random(f"{seed}/{role.value}")


def instance(number: int, **fields: Any) -> Instance:
    """The instance that a view shows as ``10.1.x.y:80``."""
    return Instance(f"10.1.{number // 250}.{number % 250}", 80, **fields)


def shown(*numbers: int) -> list[str]:
    """What a view shows of these instances."""
    return sorted(f"{instance(number).ip}:80" for number in numbers)
