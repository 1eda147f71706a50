"""A cluster under simulation, as scenarios read it: nodes, clients, faults, and time that passes when it is told to.

cluster = SimCluster(nodes=3, seed=7)
cluster.until(cluster.all_ready, deadline_ms=3_000)
cluster.client(at=0).publish("orders", instance)
cluster.cut(0, 1)
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from actors.base import Role, StoreKind
from actors.messages.clients import BeatPassed
from actors.messages.distro import DigestAccepted, DigestRound
from actors.messages.members import DigestsTaken, PeerFrameReceived
from actors.messages.peers import Digest, LinkPing, LinkPong
from actors.messages.verify import VerifyDue
from runtime.edge import IoSettings
from runtime.simulation.clients import RawClient, service_of
from runtime.simulation.failpoints import Failpoints
from runtime.simulation.hosts import SimNetworkProfile
from runtime.simulation.network import SimNetwork
from runtime.simulation.node import BehaviourFactory, SimNode
from runtime.simulation.paths import PathFault
from runtime.simulation.scheduler import NodeClock, Scheduler, Turn
from runtime.simulation.sdk_client import SdkClient, SdkPatience
from runtime.simulation.sim_io import silence_of
from runtime.simulation.store import SimStore

STORY_TURNS = 5_000  # kept for the story of a failure
BOOT_MS_MAX = 10_000_000
SKEW_MS_MAX = 30  # wall clocks that are kept by NTP
DRIFT_PPM_MAX = 100

Checker = Callable[["SimCluster", SimNode, Turn], None]


class SimulationError(AssertionError):
    """Something went wrong at one moment of a run; the message holds the seed and the last turns before it."""


StoreOf = Literal["none", "home", "etcd"]  # who keeps durable data: nobody, the first node, an etcd beside the cluster


class SimSettings(NamedTuple):
    """What the cluster needs to know of the settings that its nodes run with."""

    io: IoSettings
    factory: BehaviourFactory
    patience: SdkPatience = SdkPatience()
    retransmit_us: int = 200_000
    store: StoreOf = "none"


class SimCluster:
    """Nodes that list each other as members. All start at once, unless ``start`` is False."""

    def __init__(
        self,
        settings: SimSettings,
        *,
        nodes: int = 3,
        seed: int = 1,
        start: bool = True,
        checkers: Sequence[Checker] = (),
        profile: SimNetworkProfile | None = None,
        invariants_every: int = 1,
    ) -> None:
        self.seed = seed
        self.settings = settings
        self.scheduler = Scheduler(seed)
        self.network = SimNetwork(self.scheduler, profile or profile_of(settings.io, settings.retransmit_us))
        self.failpoints = Failpoints()
        self.turns: deque[Turn] = deque(maxlen=STORY_TURNS)
        self.checkers = list(checkers)
        self.invariants_every = invariants_every
        self.nodes: list[SimNode] = []
        self.clients: list[RawClient] = []
        self.applications: list[SdkClient] = []
        self.listed: tuple[int, ...] = ()  # the nodes that member files name
        self.store: SimStore | None = None
        if settings.store != "none":
            self.store = SimStore(random.Random(f"{seed}/store"), is_shared=settings.store == "etcd")
        for _ in range(nodes):
            self.add_node()
        self.list_members(range(nodes))
        for node in self.nodes if start else ():
            self._start(node)

    # -- time

    @property
    def now_ms(self) -> int:
        return self.scheduler.now_ms

    @property
    def trace_hash(self) -> str:
        """The same for two runs with the same seed and the same script, whatever the machine."""
        return self.scheduler.trace_hash

    def run_ms(self, duration_ms: int) -> None:
        """Let time pass."""
        end_us = self.scheduler.now_us + duration_ms * 1_000
        self._guarded(lambda: self.scheduler.run_until(end_us))

    def until(self, predicate: Callable[[], bool], deadline_ms: int, what: str = "") -> int:
        """Let time pass until the predicate holds; how many ms it took. Looks after every event."""
        start_us = self.scheduler.now_us
        end_us = start_us + deadline_ms * 1_000
        while not predicate():
            if self.scheduler.now_us > end_us or not self._guarded(self.scheduler.step):
                raise SimulationError(self.explain(f"not {what or 'so'} within {deadline_ms} ms"))
        return (self.scheduler.now_us - start_us) // 1_000

    def always(self, predicate: Callable[[], bool], duration_ms: int, what: str = "") -> None:
        """Let time pass, and see that the predicate holds after every event of it."""
        end_us = self.scheduler.now_us + duration_ms * 1_000
        while self.scheduler.now_us < end_us and self._guarded(self.scheduler.step):
            if not predicate():
                raise SimulationError(self.explain(f"no longer {what or 'so'}"))

    # -- nodes

    def node(self, number: int) -> SimNode:
        return self.nodes[number]

    @property
    def running(self) -> list[SimNode]:
        return [node for node in self.nodes if node.is_running]

    def all_ready(self) -> bool:
        return all(node.is_ready for node in self.nodes)

    def views(self, service: str) -> list[list[str]]:
        """What each running node would answer: sorted ``ip:port``, in order of the nodes."""
        return [self.view(node, service) for node in self.running]

    def view(self, node: SimNode, service: str) -> list[str]:
        return sorted(f"{instance.ip}:{instance.port}" for instance in node.view(service_of(service)))

    def digests_agree(self) -> bool:
        """Every running node holds the same live records of every origin."""
        held = [{origin: what for origin, what in node.holdings().items() if what[1]} for node in self.running]
        return all(each == held[0] for each in held)

    def add_node(self) -> SimNode:
        """One more machine, listed nowhere yet (``list_members``) and not started."""
        settings = self.settings
        number, clock = len(self.nodes), self._clock()
        kind: StoreKind = "none" if settings.store == "none" else "etcd"
        if settings.store == "home":
            kind = "home" if number == 0 else "away"
        store = None if kind == "away" else self.store
        node = SimNode(
            *(number, self.scheduler, self.network, clock, settings.io, settings.factory, self.failpoints, kind, store)
        )
        node.invariants_every = self.invariants_every
        node.on_turn = partial(self._turned, node)
        self.nodes.append(node)
        return node

    def list_members(self, numbers: Iterable[int]) -> None:
        """Every machine's member file now names these nodes."""
        self.listed = tuple(numbers)
        addresses = tuple(self.nodes[number].peer_address for number in self.listed)
        for node in self.nodes:
            node.list_members(addresses)

    def crash(self, number: int) -> None:
        self.nodes[number].crash()

    def restart(self, number: int, new_address: bool = False) -> None:
        """A new life, at another address if asked (member lists follow); a running one is killed first, and a
        machine without power gets it back."""
        node = self.nodes[number]
        if node.is_running:
            node.crash()
        node.power_on()
        if new_address:
            node.move_machine()
            self.list_members(self.listed)
        self._start(node)

    def power_off(self, number: int) -> None:
        """The machine is gone without a word; what its disk had not synced may be gone too."""
        self.nodes[number].power_off()

    def start_all(self) -> None:
        """Every machine has power, and every node that does not run starts."""
        for number, node in enumerate(self.nodes):
            if not node.is_running:
                self.restart(number)

    def pause(self, number: int) -> None:
        self.nodes[number].pause()

    def resume(self, number: int) -> None:
        self.nodes[number].resume()

    def leave(self, number: int) -> None:
        self.nodes[number].leave()

    def slow(self, number: int, delay_us: int) -> None:
        """Gray: every turn of this node takes that much more, and what comes faster queues up. 0 ends it."""
        self.nodes[number].slow(delay_us)

    def slow_processing(self, number: int, delay_us: int) -> None:
        """Gray: whatever arrives at this node lies for so long before it is looked at. 0 ends it."""
        self.nodes[number].slow_io(delay_us)

    def step_clock(self, number: int, by_ms: int) -> None:
        """Somebody sets the wall clock of this machine."""
        self.nodes[number].clock.step_wall(by_ms)

    # -- paths

    def cut(self, one: int, two: int) -> None:
        self.cut_one_way(one, two)
        self.cut_one_way(two, one)

    def cut_one_way(self, source: int, target: int) -> None:
        self.network.cut(self.nodes[source].host, self.nodes[target].host)

    def cut_client(self, client: RawClient | SdkClient, number: int) -> None:
        """Half open: neither side hears the other, and nobody says so."""
        self.network.cut(client.host, self.nodes[number].host)
        self.network.cut(self.nodes[number].host, client.host)

    def degrade(self, source: int, target: int, fault: PathFault) -> None:
        """What source sends to target suffers from now on; it takes the place of an earlier fault of this path."""
        self.network.degrade(self.nodes[source].host, self.nodes[target].host, fault)

    def degrade_client(self, client: RawClient | SdkClient, number: int, fault: PathFault) -> None:
        """Both ways."""
        self.network.degrade(client.host, self.nodes[number].host, fault)
        self.network.degrade(self.nodes[number].host, client.host, fault)

    def refuse_dials(self, source: int, target: int) -> None:
        """What stands goes on; source gets no new connection to target, and hears nothing of why."""
        self.network.refuse_dials(self.nodes[source].host, self.nodes[target].host)

    def restore(self, source: int, target: int) -> None:
        """This path is well again."""
        self.network.restore(self.nodes[source].host, self.nodes[target].host)

    def restore_client(self, client: RawClient | SdkClient, number: int) -> None:
        """Both ways."""
        self.network.restore(client.host, self.nodes[number].host)
        self.network.restore(self.nodes[number].host, client.host)

    def partition(self, *groups: Sequence[int]) -> None:
        """Nodes of different groups cannot reach each other."""
        for group in groups:
            for other in groups:
                if group is not other:
                    for one in group:
                        for two in other:
                            self.cut_one_way(one, two)

    def heal(self) -> None:
        """Every path is well again."""
        self.network.heal()

    def reset_links(self, one: int, two: int) -> None:
        self.network.reset(self.nodes[one].host, self.nodes[two].host)

    # -- clients

    def client(self, at: int | None = None, client_id: str = "") -> RawClient:
        """A new client, with a session at that node if one is named."""
        name = client_id or f"client-{len(self.clients)}"
        client = RawClient(self.scheduler, self.network, name, silence_of(self.settings.io))
        self.clients.append(client)
        if at is not None:
            client.open(self.nodes[at].client_address)
        return client

    def sdk_client(self, client_id: str = "") -> SdkClient:
        """A new application process that uses the SDK with all nodes in its server list."""
        name = client_id or f"application-{len(self.applications)}"
        servers = [node.client_address for node in self.nodes]
        client = SdkClient(self.scheduler, self.network, self._clock(), name, servers, self.settings.patience)
        self.applications.append(client)
        return client

    def move(self, client: RawClient, to: int) -> None:
        """Open the next session of this client at another node; the old one stays until it is left."""
        client.open(self.nodes[to].client_address)

    # -- failures

    def explain(self, what: str, turns: int = 30) -> str:
        return f"{what} (seed {self.seed}, at {self.now_ms} ms)\n{self.story(turns)}"

    def story(self, turns: int = 30, node: int | None = None, role: Role | None = None) -> str:
        """The last turns that were more than routine, one a line."""
        place = None if node is None else self.nodes[node].name
        told = [
            turn
            for turn in self.turns
            if (place is None or turn.place == place) and (role is None or turn.role is role) and not _is_routine(turn)
        ]
        return "\n".join(_line(turn) for turn in told[-turns:])

    def _start(self, node: SimNode) -> None:
        node.start(standalone=len(self.nodes) == 1)

    def _clock(self) -> NodeClock:
        chance = self.scheduler.chance
        return NodeClock(
            self.scheduler,
            boot_ms=chance.randrange(BOOT_MS_MAX),
            skew_ms=chance.randint(-SKEW_MS_MAX, SKEW_MS_MAX),
            drift_ppm=chance.randint(-DRIFT_PPM_MAX, DRIFT_PPM_MAX),
        )

    def _turned(self, node: SimNode, turn: Turn) -> None:
        self.turns.append(turn)
        for check in self.checkers:
            check(self, node, turn)

    def _guarded(self, act: Callable[[], Any]) -> Any:
        """Whatever a behaviour, an invariant or a checker raises is told with seed and story."""
        try:
            return act()
        except SimulationError:
            raise
        except Exception as error:
            raise SimulationError(self.explain(f"{type(error).__name__}: {error}")) from error


def profile_of(io: IoSettings, retransmit_us: int = 200_000) -> SimNetworkProfile:
    """A local network whose sockets have the time-outs of the settings."""
    return SimNetworkProfile(
        connect_timeout_us=io.peer_connect_timeout_ms * 1_000,
        handshake_timeout_us=io.handshake_timeout_ms * 1_000,
        reconnect_us=io.peer_reconnect_ms * 1_000,
        reconnect_us_max=io.peer_reconnect_ms_max * 1_000,
        heartbeat_us=io.peer_heartbeat_ms * 1_000,
        heartbeat_timeout_us=io.peer_heartbeat_timeout_ms * 1_000,
        retransmit_us=retransmit_us,
    )


def _is_routine(turn: Turn) -> bool:
    """Pings, and the rhythm as long as it changes nothing."""
    match turn.message:
        case PeerFrameReceived(body=LinkPing() | LinkPong() | Digest()) | BeatPassed() | DigestsTaken() | VerifyDue():
            return len(turn.effects) <= 2
        case DigestRound() | DigestAccepted():
            return len(turn.effects) <= 1
        case _:
            return False


def _line(turn: Turn) -> str:
    message = repr(turn.message)
    short = message if len(message) <= 200 else f"{message[:200]}..."
    effects = ", ".join(_effect(effect) for effect in turn.effects)
    return f"{turn.at_us / 1_000:10.3f} ms  {turn.place} {turn.role.value:<11} {short} -> [{effects}]"


def _effect(effect: Any) -> str:
    match effect:
        case (Role() as to, message):
            return f"{to.value}: {type(message).__name__}"
        case _:
            return type(effect).__name__
