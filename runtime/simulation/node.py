"""A simulated node: what survives a crash (name, addresses, disk, clock) and its lives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from actors.base import Behaviour, NodeIdentity, Role, StoreKind, Terminate
from actors.messages.connections import StandingChanged
from actors.messages.members import LeaveOrdered, MembersListed
from actors.messages.values import Origin, Standing
from actors.verdicts import overlaid, verdicts_in_force
from actors.views import merge_instances, winners_and_heirs
from rollbook.model import Instance, Service
from runtime.edge import IoSettings
from runtime.node_store import IdentityStore, StoreUnusable
from runtime.simulation.disk import SimDisk
from runtime.simulation.failpoints import FailpointAction, Failpoints
from runtime.simulation.hosts import SimHost
from runtime.simulation.network import SimNetwork
from runtime.simulation.scheduler import NodeClock, Scheduler, SimStage, Turn
from runtime.simulation.sim_io import SimIo
from runtime.simulation.sim_prober import SimProber
from runtime.simulation.store import SimStore, SimStorePort

CLUSTER_NAME = "simulated"
RESTART_DELAY_US = 200_000  # what the supervisor waits before it starts a node that ended by itself again
EXIT_UNUSABLE = 2
PROBE_TIMEOUT_MS = 500  # as health.probe_timeout_ms is shipped
ENDS_FOR_GOOD = (0, EXIT_UNUSABLE)  # exit codes after which the supervisor does not
NODE_ID = re.compile(r"node-[0-9]+(-[0-9]+)?")  # shorter than real ones, because stories are read by people

# Its identity, a seed for its chance, and the identity of the store that it keeps, if any.
BehaviourFactory = Callable[[NodeIdentity, str, str], Sequence[Behaviour]]


class _Died(Exception):
    """A failpoint has struck while the disk was written: this process goes no further."""


class SimNode:
    """One node of a simulated cluster, on a machine of its own."""

    def __init__(
        self,
        number: int,
        scheduler: Scheduler,
        network: SimNetwork,
        clock: NodeClock,
        io_settings: IoSettings,
        factory: BehaviourFactory,
        failpoints: Failpoints,
        store_kind: StoreKind,
        store: SimStore | None,
    ) -> None:
        """``store``: what durable data this machine keeps, or reaches by itself."""
        self.store_kind = store_kind
        self.store = store
        self.name = f"n{number}"
        self.node_id = f"node-{number}"
        self.clock = clock
        self.disk = SimDisk(scheduler.chance)
        self.disk.on_step = self._disk_step
        self.host: SimHost = network.host(self.name)
        self.members: tuple[str, ...] = ()
        self.exits: list[Terminate] = []
        self.identity: NodeIdentity | None = None
        self.origin: Origin | None = None  # of what this life of it owns
        self.was_ready = False  # at any moment of this life
        self.standing = Standing()  # as IndexManager was last told: behind all records that came before
        self.on_turn: Callable[[Turn], None] = lambda _: None
        self.on_ended: Callable[[], None] = lambda: None
        self.invariants_every = 1
        self._scheduler = scheduler
        self._network = network
        self._io_settings = io_settings
        self._factory = factory
        self._number = number
        self._addresses = self._node_ids = 0  # how many this machine has had before
        self._store = IdentityStore(self.disk, self.name, self._new_node_id, NODE_ID)
        self._failpoints = failpoints
        self._slow_us = 0
        self._slow_io_us = 0
        self._stage: SimStage | None = None
        self._io: SimIo | None = None
        self._store_port: SimStorePort | None = None

    # -- what happens to it

    def start(self, standalone: bool = False) -> None:
        """A new process starts here, above every earlier epoch."""
        assert self._stage is None, f"{self.name} is running"
        assert self.has_power, f"the machine of {self.name} has no power"
        try:
            self.identity = self._next_identity(standalone)
        except _Died:
            return
        except StoreUnusable as error:
            self.exits.append(Terminate(EXIT_UNUSABLE, str(error)))
            return
        self.origin = Origin(self.node_id, self.identity.epoch)
        self.was_ready, self.standing = False, Standing()
        stage = self._stage = SimStage(self._scheduler, self.clock, self.name, self._failpoints)
        stage.slow_us = self._slow_us
        stage.on_failpoint = self._struck
        stage.on_turn = self._turned
        stage.on_terminate = self._terminated
        stage.invariants_every = self.invariants_every
        io = self._io = SimIo(self._scheduler, stage, self._network, self.host, self._io_settings, self.store_kind)
        io.slow_us = self._slow_io_us
        stage.on_message[Role.IO] = io.tell
        self._scheduler.note("started", self.name, self.identity.epoch)
        life = f"{self._scheduler.seed}/{self.name}/{self.identity.epoch}"
        if self.store is not None:
            port = self._store_port = SimStorePort(self._scheduler, stage, self.store, life)
            stage.on_message[Role.STORE] = port.tell
        stage.on_message[Role.PROBER] = SimProber(stage, self._network, self.host, PROBE_TIMEOUT_MS).tell
        stage.start(self._factory(self.identity, life, "" if self.store is None else self.store.store_id))
        if stage.ended:
            return
        stage.tell(Role.MEMBERS, MembersListed(self.members))
        io.open(self.identity)

    def crash(self) -> None:
        """kill -9: everything is lost but what was written. Its system closes the sockets."""
        self._end("crashed")

    def power_off(self) -> None:
        """The machine is gone without a word, and with it what was not synced to its disk."""
        self._network.power_off(self.host)
        self.disk.lose_power()
        if self._stage is not None:
            self._end("powered off")

    def power_on(self) -> None:
        self._network.power_on(self.host)

    def pause(self) -> None:
        """SIGSTOP: no turn, no pong, but the sockets stay."""
        self._running.halt()
        self._network.halt(self.host)
        self._scheduler.note("paused", self.name)

    def resume(self) -> None:
        self._scheduler.note("resumed", self.name)
        self.io.has_stalled = True
        self._network.resume(self.host)
        self._running.resume()

    def slow(self, delay_us: int) -> None:
        """Every turn takes this much longer, from its next one on."""
        self._slow_us = delay_us
        if self._stage is not None:
            self._stage.slow_us = delay_us

    def slow_io(self, delay_us: int) -> None:
        """Whatever arrives lies for so long before the I/O looks at it."""
        self._slow_io_us = delay_us
        if self._io is not None:
            self._io.slow_us = delay_us

    def move_machine(self) -> None:
        """Its next life has another address, and nobody has the old one."""
        assert self._stage is None, f"{self.name} is running"
        assert self.has_power, f"the machine of {self.name} has no power"
        self._network.withdraw(self.peer_address)
        self._network.withdraw(self.client_address)
        self._addresses += 1

    def leave(self) -> None:
        """SIGTERM."""
        self._running.tell(Role.MEMBERS, LeaveOrdered())

    def list_members(self, addresses: Iterable[str]) -> None:
        """The watched file of members has changed."""
        self.members = tuple(addresses)
        if self._stage is not None:
            self._stage.tell(Role.MEMBERS, MembersListed(self.members))

    # -- what can be seen of it

    @property
    def peer_address(self) -> str:
        return f"10.0.{self._addresses}.{self._number + 1}:8851"

    @property
    def client_address(self) -> str:
        return f"10.0.{self._addresses}.{self._number + 1}:8850"

    @property
    def has_power(self) -> bool:
        return not self.host.down

    @property
    def is_running(self) -> bool:
        return self._stage is not None

    @property
    def is_ready(self) -> bool:
        return self.is_running and self.standing.ready

    @property
    def backlog(self) -> int:
        """Messages in the longest mailbox of its actors."""
        return self._running.backlog

    def facts(self) -> list[str]:
        """What it has logged in this life."""
        return [log.fact for log in self._running.logs]

    def live_native(self) -> int:
        """How many live records this node owns."""
        return int(self.behaviour(Role.CLIENTS).native.live)

    def view(self, service: Service) -> tuple[Instance, ...]:
        """What this node would answer now; nothing is built or remembered by looking."""
        index = self.behaviour(Role.INDEX).index
        entry, hidden = index.entries.get(service), index.filter_of(service)
        if entry is None:
            return ()
        winners, heirs = winners_and_heirs(entry.clients.values(), hidden)
        found = overlaid(merge_instances(winners).instances, verdicts_in_force(entry.verdicts.values(), hidden))
        instances, _ = index.views.overlays.laid_over(service, found, winners, heirs)
        return tuple(instances)

    def holdings(self) -> dict[Origin, tuple[int, int, int]]:
        """Of each origin: applied watermark, live records, digest."""
        tables = self.behaviour(Role.CLIENTS).tables
        return {origin: (table.applied, table.live, table.digest) for origin, table in sorted(tables.items())}

    def behaviour(self, role: Role) -> Any:
        """The behaviour object itself: for checkers, which read and never write."""
        return self._running.behaviour(role)

    def waiting(self, role: Role) -> tuple[Any, ...]:
        """What has been told to one of its actors and not been taken in yet: for checkers too."""
        return self._running.waiting(role)

    def tell(self, role: Role, message: Any) -> None:
        self._running.tell(role, message)

    @property
    def io(self) -> SimIo:
        assert self._io is not None, f"{self.name} is not running"
        return self._io

    @property
    def _running(self) -> SimStage:
        assert self._stage is not None, f"{self.name} is not running"
        return self._stage

    # -- how its lives begin and end

    def _next_identity(self, standalone: bool) -> NodeIdentity:
        self.node_id = self._store.node_id()
        return NodeIdentity(
            node_id=self.node_id,
            epoch=self._store.next_epoch(self.clock.now().wall_ms, self._scheduler.chance.getrandbits(16)),
            cluster_name=CLUSTER_NAME,
            peer_address=self.peer_address,
            client_address=self.client_address,
            requests_in_flight_max=self._io_settings.requests_in_flight_per_session_max,
            standalone=standalone,
            store=self.store_kind,
        )

    def _new_node_id(self) -> str:
        """A directory that has lost its node id makes a new node."""
        self._node_ids += 1
        return f"node-{self._number}" + (f"-{self._node_ids}" if self._node_ids > 1 else "")

    def _disk_step(self, step: str) -> None:
        name = f"disk.{step}"
        self._failpoints.steps[name] += 1
        if self._failpoints.armed:
            action = self._failpoints.strike(self._scheduler.now_us, self.name, name)
            if action is not None:
                self._struck(action)
                raise _Died(name)

    def _struck(self, action: FailpointAction) -> None:
        """A failpoint: the process dies or stands still, whatever it was doing."""
        if action == "pause":
            self.pause()
        elif action == "power_off":
            self.power_off()
        elif self._stage is not None:
            self.crash()

    def _turned(self, turn: Turn) -> None:
        if turn.role is Role.INDEX and isinstance(turn.message, StandingChanged):
            self.standing = turn.message.standing
            self.was_ready = self.was_ready or self.standing.ready
        self.on_turn(turn)

    def _terminated(self, order: Terminate) -> None:
        self.exits.append(order)
        try:
            self._store.raise_epoch_floor(order.epoch_floor)
        except _Died:
            return
        self.io.flush()
        if self._stage is None:  # a failpoint was faster
            return
        standalone = self.identity is not None and self.identity.standalone
        self._end(f"exit {order.exit_code}: {order.reason}")
        if order.exit_code not in ENDS_FOR_GOOD:
            self._scheduler.after(RESTART_DELAY_US, partial(self._restart, standalone))

    def _restart(self, standalone: bool) -> None:
        if self._stage is None and self.has_power:
            self.start(standalone)

    def _end(self, how: str) -> None:
        self._scheduler.note("ended", self.name, how)
        self._running.end()
        self._network.kill(self.host)
        if self._store_port is not None:
            self._store_port.end()
        self._stage = self._io = self._store_port = None
        self.on_ended()
