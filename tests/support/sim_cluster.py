"""Clusters of the real actors under simulation, with the shipped settings, less what a test changes.

``scale=5`` divides every patience by five, of nodes, clients and TCP alike, so that a virtual minute holds twenty
leases. What is not patience stays: delays of the network, the cost of turns, the rhythm of pushes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from actors.base import Behaviour, NodeIdentity, Role
from actors.beat_keeper import BeatKeeper, BeatsSettings
from actors.client_manager import ClientManager, ClientsSettings
from actors.connection_manager import ConnectionManager, ConnectionsSettings
from actors.distro_sync_actor import DistroSettings, DistroSyncActor
from actors.health_checker import HealthChecker, HealthSettings
from actors.home_follower import HomeFollower, HomeSettings
from actors.home_server import HomeServer
from actors.index_manager import IndexManager, IndexSettings
from actors.member_manager import MemberManager, MembersSettings
from actors.persistent_store import PersistentSettings, PersistentStore
from actors.push_actor import PushActor, PushSettings
from actors.verify_timer import VerifySettings, VerifyTimer
from rollbook.model import Instance
from rollbook.patience import HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS, SessionSettings
from runtime.edge import IoSettings
from runtime.simulation.cluster import SimCluster, SimSettings, StoreOf
from runtime.simulation.hosts import Heartbeats, SimNetworkProfile
from runtime.simulation.sdk_client import SdkPatience
from tests.support.checkers import SafetyChecks
from tests.support.settings import settings_of

Overrides = dict[str, dict[str, Any]]  # by section; never scaled
Struct = TypeVar("Struct", bound=msgspec.Struct)

READY_MS_MAX = 5_000
CLUSTER_SIZE_MAX = 10  # up to here every node is told every digest, and READY_MS_MAX is enough
READY_MS_MAX_LARGE = 30_000
WARM_MS_MAX = 20_000
RETRANSMIT_US = 200_000  # TCP's shortest time-out on Linux
CALL_TIMEOUT_MS = 3_000
# Rhythms of work, not of patience: at a fifth they would only cost more.
_UNSCALED = frozenset({"push.interval_ms", "connections.shed_interval_ms", "io.probe_interval_ms"})

# In the order in which a node starts them: whoever is told something comes before who tells it.
_ACTORS: tuple[tuple[type[Any], type[Any]], ...] = (
    (PushActor, PushSettings),
    (IndexManager, IndexSettings),
    (BeatKeeper, BeatsSettings),
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
    scale: int = 1,
    store: StoreOf = "none",
) -> SimCluster:
    """A cluster whose every turn is checked; ``ready``: time has passed until all nodes are.

    ``warm``: and until they no longer say that others may know more, as nodes of a cold cluster do. ``store``: who
    keeps durable data.
    """
    cluster = SimCluster(
        sim_settings(settings or {}, scale, store),
        nodes=nodes,
        seed=seed,
        start=start,
        checkers=[SafetyChecks()],
        profile=profile,
        invariants_every=invariants_every,
    )
    if start and ready:
        deadline_ms = READY_MS_MAX if nodes <= CLUSTER_SIZE_MAX else READY_MS_MAX_LARGE
        cluster.until(cluster.all_ready, deadline_ms=deadline_ms, what="all ready")
    if warm:
        cluster.until(lambda: not any(node.standing.warming for node in cluster.nodes), WARM_MS_MAX, "warm")
    return cluster


def sim_settings(overrides: Overrides, scale: int = 1, store: StoreOf = "none") -> SimSettings:
    io = _section("io", IoSettings, overrides, scale)
    settings = {actor.role: _section(actor.role.value, kind, overrides, scale) for actor, kind in _ACTORS}
    persistent = _section("persistent", PersistentSettings, overrides, scale)
    home = _section("home", HomeSettings, overrides, scale)
    health = _section("health", HealthSettings, overrides, scale)

    def factory(identity: NodeIdentity, chance_seed: str, store_id: str) -> Sequence[Behaviour]:
        behaviours = [actor(identity, settings[actor.role], _chance(chance_seed, actor.role)) for actor, _ in _ACTORS]
        if identity.store != "none":
            behaviours.insert(0, PersistentStore(identity, persistent, _chance(chance_seed, Role.PERSISTENT)))
            behaviours.insert(0, HealthChecker(identity, health, _chance(chance_seed, Role.HEALTH)))
        if identity.store == "home":
            behaviours.append(HomeServer(identity, home, store_id, _chance(chance_seed, Role.HOME)))
        if identity.store == "away":
            behaviours.append(HomeFollower(identity, home, _chance(chance_seed, Role.STORE)))
        return behaviours

    return SimSettings(io, factory, _patience(scale), RETRANSMIT_US // scale, store)


def _section(name: str, kind: type[Struct], overrides: Overrides, scale: int) -> Struct:
    scaled = msgspec.structs.asdict(_scaled(settings_of(name, kind), scale, name))
    return msgspec.convert({**scaled, **overrides.get(name, {})}, kind)


def _patience(scale: int) -> SdkPatience:
    shipped = SessionSettings()
    session = msgspec.structs.replace(_scaled(shipped, scale), link=_scaled(shipped.link, scale))
    heartbeats = Heartbeats(HEARTBEAT_INTERVAL_MS * 1_000 // scale, HEARTBEAT_TIMEOUT_MS * 1_000 // scale)
    return SdkPatience(session, heartbeats, CALL_TIMEOUT_MS // scale)


def _scaled(settings: Struct, scale: int, section: str = "") -> Struct:
    """Every time in it divided, but for the few that are no patience; a unit stands in each name."""
    values = msgspec.structs.asdict(settings)
    times = {name for name in values if "ms" in name.split("_") and f"{section}.{name}" not in _UNSCALED}
    return msgspec.structs.replace(settings, **{name: _divided(values[name], scale) for name in times})


def _divided(value: Any, scale: int) -> Any:
    return tuple(each // scale for each in value) if isinstance(value, tuple) else value // scale


def _chance(seed: str, role: Role) -> random.Random:
    return random.Random(f"{seed}/{role.value}")


def instance(number: int, **fields: Any) -> Instance:
    """The instance that a view shows as ``10.1.x.y:80``."""
    return Instance(f"10.1.{number // 250}.{number % 250}", 80, **fields)


def shown(*numbers: int) -> list[str]:
    """What a view shows of these instances."""
    return sorted(f"{instance(number).ip}:80" for number in numbers)
