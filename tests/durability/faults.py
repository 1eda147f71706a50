"""What is done to the nodes of a cluster, by name, and from when on it has to take writes again.

Where a majority is left, that is from the blow on, and what was hit comes back only after the writes; else it is from
the start of what was killed.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from runtime.processes import send_signal
from tests.support.etcd_beside import leader_of
from tests.support.real_cluster import RealCluster, RealNode, pause_s

Engine = Literal["single_home", "etcd"]

AWAY_S = (0.0, 1.5)  # from the kill to the start
START_S = (0.2, 2.0)  # into a start that is not to succeed
STOPPED_S = 3.0


class Damage(NamedTuple):
    """Since when writes shall go on, and what is left to be done once they do."""

    since_ns: int
    mend: Callable[[], object]


Fault = Callable[[RealCluster, random.Random], Damage]


def faults_of(engine: Engine, nodes: int) -> dict[str, Fault]:
    any_engine: dict[str, Fault] = {"kill a node process": _kill_process, "kill a supervisor": _kill_supervisor}
    for count in range(1, nodes + 1):
        any_engine[f"kill {count}"] = partial(_kill, count, engine == "etcd" and count <= (nodes - 1) // 2)
        any_engine[f"kill {count} starting"] = partial(_kill_starting, count)
    if engine == "single_home":
        return {**any_engine, "kill the home": _kill_home, "stop the home": _stop_home}
    members: dict[str, Fault] = {f"kill {count} etcd": partial(_kill_etcd, count) for count in range(1, nodes + 1)}
    others: dict[str, Fault] = {
        "kill the leader": _kill_leader,
        "kill the leader's node": _kill_leader_node,
        "stop the leader": _stop_leader,
        "lose a disk": _lose_disk,
    }
    return {**any_engine, **members, **others}


def drawn(kinds: Sequence[str], rounds: int, chance: random.Random) -> list[str]:
    """Every kind as often as every other, give or take one."""
    found: list[str] = []
    while len(found) < rounds:
        found += chance.sample(kinds, len(kinds))
    return found[:rounds]


def _kill(count: int, goes_on_without: bool, cluster: RealCluster, chance: random.Random) -> Damage:
    victims = chance.sample(cluster.nodes, count)
    since_ns = _killed(victims)
    if goes_on_without:
        return Damage(since_ns, lambda: _start(victims))
    pause_s(chance.uniform(*AWAY_S))
    return Damage(_start(victims), _nothing)


def _kill_starting(count: int, cluster: RealCluster, chance: random.Random) -> Damage:
    victims = chance.sample(cluster.nodes, count)
    _killed(victims)
    _start(victims)
    pause_s(chance.uniform(*START_S))
    _killed(victims)
    return Damage(_start(victims), _nothing)


def _kill_home(cluster: RealCluster, chance: random.Random) -> Damage:
    _killed(cluster.nodes[:1])
    pause_s(chance.uniform(*AWAY_S))
    return Damage(_start(cluster.nodes[:1]), _nothing)


def _stop_home(cluster: RealCluster, chance: random.Random) -> Damage:
    cluster.nodes[0].pause()
    pause_s(STOPPED_S)
    cluster.nodes[0].resume()
    return Damage(time.monotonic_ns(), _nothing)


def _kill_etcd(count: int, cluster: RealCluster, chance: random.Random) -> Damage:
    for node in chance.sample(cluster.nodes, count):
        node.kill_etcd()
    return Damage(time.monotonic_ns(), _nothing)  # supervisors start them again


def _kill_process(cluster: RealCluster, chance: random.Random) -> Damage:
    chance.choice(cluster.nodes).kill_process()
    return Damage(time.monotonic_ns(), _nothing)


def _kill_supervisor(cluster: RealCluster, chance: random.Random) -> Damage:
    """What was left without it is taken over by the next one, or in its way."""
    node = chance.choice(cluster.nodes)
    node.kill_supervisor()
    pause_s(chance.uniform(*AWAY_S))
    return Damage(_start([node]), _nothing)


def _kill_leader(cluster: RealCluster, chance: random.Random) -> Damage:
    leader_of(cluster.nodes).kill_etcd()
    return Damage(time.monotonic_ns(), _nothing)


def _kill_leader_node(cluster: RealCluster, chance: random.Random) -> Damage:
    leader = leader_of(cluster.nodes)
    return Damage(_killed([leader]), lambda: _start([leader]))


def _stop_leader(cluster: RealCluster, chance: random.Random) -> Damage:
    [member] = leader_of(cluster.nodes).etcd_members()
    send_signal(member, signal.SIGSTOP)
    since_ns = time.monotonic_ns()

    def mend() -> None:
        pause_s(max(0.0, STOPPED_S - (time.monotonic_ns() - since_ns) / 1e9))
        send_signal(member, signal.SIGCONT)

    return Damage(since_ns, mend)


def _lose_disk(cluster: RealCluster, chance: random.Random) -> Damage:
    """All that one node has. Nobody else may be without its data then, nor before it has a vote again."""
    leader_of(cluster.nodes)
    victim = chance.choice(cluster.nodes)
    since_ns = _killed([victim])
    shutil.rmtree(victim.folder / "data")

    def mend() -> None:
        victim.start()
        leader_of(cluster.nodes)

    return Damage(since_ns, mend)


def _killed(victims: Sequence[RealNode]) -> int:
    for node in victims:
        node.kill()
    return time.monotonic_ns()


def _start(victims: Sequence[RealNode]) -> int:
    for node in victims:
        node.start()
    return time.monotonic_ns()


def _nothing() -> None:
    """It is whole, or becomes so by itself."""
