"""One planned run: a cluster, its applications, the faults, and time that passes between them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Literal

from rollbook.wire import Wait
from runtime.simulation.cluster import SimCluster
from runtime.simulation.sdk_client import SdkClient
from tests.support.checkers import SafetyChecks
from tests.support.history import ClientEnded, ClientStood, OrderKind, OrderSent, PathSeen
from tests.support.sim_cluster import Overrides, instance, sim_cluster
from tests.support.zombies import Bounds
from tests.swarm.checks import SwarmChecks
from tests.swarm.faults import Faults
from tests.swarm.forging import forge_removal
from tests.swarm.plan import Deed, Plan
from tests.swarm.turn_checks import TurnChecks
from tests.swarm.watch import Watch

SWEEP_MS = 1_000
INVARIANTS_EVERY = 500  # turns; every one would cost more than the run
TINY: Overrides = {
    "io": {"requests_in_flight_per_session_max": 32, "requests_in_flight_max": 48, "drain_frames_max": 16},
    "push": {"in_flight_per_subscriber_max": 1},
    "clients": {"chunk_bytes_max": 2_048, "tombstones_max": 100},
    "distro": {"chunks_in_flight_max": 1, "cluster_waits_max": 2},
}
FORGETFUL = {"chunk_bytes_max": 600, "collect_interval_ms": 200}
NATIVE_GRACE_MS = 15_000  # unscaled, of all sessions here; a longer one that no record carries would put off purging
SPARED_MS = 4_500  # unscaled: an owner is hidden 6 s after its last heartbeat at the earliest; it beats once a second
WARMING_MS = 14_500  # unscaled: a lease, less what it takes to say that it is over


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.cluster: SimCluster = sim_cluster(
            plan.nodes,
            plan.seed,
            ready=False,
            scale=plan.scale,
            settings=_settings(plan),
            invariants_every=INVARIANTS_EVERY,
        )
        self.bounds = Bounds().scaled(plan.scale)
        names = [node.name for node in self.cluster.nodes]
        self.checks = SwarmChecks(names, self.bounds, SPARED_MS // plan.scale, WARMING_MS // plan.scale)
        self.turn_checks = TurnChecks()
        self.cluster.checkers.append(self.turn_checks)
        self.watch = Watch(self.cluster, self.checks)
        self.faults = Faults(self.cluster, self.watch, plan.scale)
        self.clients: dict[int, SdkClient] = {}
        self._orders: dict[int, int] = {}
        self._waits = count()
        self._later: list[tuple[int, int, Callable[[], None]]] = []

    # -- time

    def run_plan(self) -> None:
        for deed in self.plan.deeds:
            self.pass_until(deed.at_ms)
            self.do(deed)
        self.pass_until(self.plan.duration_ms)

    def pass_until(self, at_ms: int) -> None:
        while self._later and self._later[0][0] <= at_ms:
            due_ms, _, act = heapq.heappop(self._later)
            self._pass(due_ms)
            act()
        self._pass(at_ms)

    def _pass(self, at_ms: int) -> None:
        """With a sweep in every second."""
        while self.cluster.now_ms < at_ms:
            next_ms = min(at_ms, (self.cluster.now_ms // SWEEP_MS + 1) * SWEEP_MS)
            self.cluster.run_ms(next_ms - self.cluster.now_ms)
            if next_ms % SWEEP_MS == 0:
                self._sweep(next_ms)

    def _sweep(self, at_ms: int) -> None:
        self.checks.sweep(at_ms)
        for safety in self.cluster.checkers:
            if isinstance(safety, SafetyChecks):
                for node in self.cluster.running:
                    safety.check_queues(node)

    def _after(self, lasts_ms: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._later, (self.cluster.now_ms + lasts_ms, next(self._waits), act))

    def heal(self) -> None:
        """Every path carries, every node and every client runs."""
        later, self._later = self._later, []
        self.faults.heal()
        for _, _, act in sorted(later):
            act()
        for node in self.cluster.nodes:
            if not node.is_running:
                self.cluster.restart(int(node.name[1:]))

    # -- deeds

    def do(self, deed: Deed) -> None:
        if deed.kind == "foreign claim":
            forge_removal(self.cluster, *deed.nodes)
        elif deed.client < 0:
            victims = self._victims(deed)
            number = self.faults.begin(deed)
            if number is not None:
                self._after(deed.lasts_ms, lambda: self.faults.end(number))
                for client in victims:
                    self._end(client, "killed")
        elif deed.kind == "come":
            self._come(deed.client)
        elif deed.client in self.clients:
            client = self.clients[deed.client]
            if not client.is_dead and client.ended is None:
                self._do_as(client, deed)

    def _come(self, number: int) -> None:
        client = self.clients[number] = self.cluster.sdk_client(f"c{number}")
        self._orders[number] = 0
        self.watch.follow(client)

    def _do_as(self, client: SdkClient, deed: Deed) -> None:
        service = f"s{deed.service}"
        match deed.kind:
            case "publish":
                published = instance(deed.key, metadata={"v": str(deed.amount)})
                wait: Wait = "cluster" if deed.word == "cluster" else "node"
                self._order(deed, "publish", {f"{published.ip}:{published.port}": str(deed.amount)}, wait)
                client.publish(service, published, wait=wait)
            case "withdraw":
                withdrawn = instance(deed.key)
                self._order(deed, "withdraw", {f"{withdrawn.ip}:{withdrawn.port}": ""})
                client.withdraw(service, [withdrawn.key])
            case "query":
                self._order(deed, "query")
                client.query(service)
            case "subscribe":
                self._order(deed, "subscribe")
                client.subscribe(service)
            case "unsubscribe":
                self._order(deed, "unsubscribe")
                client.unsubscribe(service)
            case _:
                self._befall(client, deed)

    def _order(self, deed: Deed, kind: OrderKind, instances: dict[str, str] | None = None, wait: str = "node") -> None:
        self._orders[deed.client] += 1
        name, service = f"c{deed.client}", f"s{deed.service}" if deed.service >= 0 else ""
        sent = OrderSent(self.cluster.now_ms, name, self._orders[deed.client], kind, service, instances or {}, wait)
        self.watch.record(sent)

    def _befall(self, client: SdkClient, deed: Deed) -> None:
        """What happens to its process or its machine."""
        now_ms, name = self.cluster.now_ms, client.client_id
        match deed.kind:
            case "close":
                self._order(deed, "close")
                client.close()
            case "kill":
                self._end(client, "killed")
            case "vanish":
                self._end(client, "vanished")
            case "stand still":
                self.watch.record(ClientStood(now_ms, name, True))
                client.pause()
                self._after(deed.lasts_ms, lambda: self._go_on(client))
            case "block":
                self.watch.record(ClientStood(now_ms, name, True, blocked=True))
                client.block(deed.lasts_ms)
                self._after(deed.lasts_ms, lambda: self._unblock(client))
            case "cut client":
                self._cut_off(client, deed)
            case _:
                raise ValueError(f"no such deed: {deed.kind}")

    def _end(self, client: SdkClient, how: Literal["killed", "vanished"]) -> None:
        self.watch.record(ClientEnded(self.cluster.now_ms, client.client_id, how))
        if how == "killed":
            client.crash()
        else:
            client.vanish()

    def _victims(self, deed: Deed) -> list[SdkClient]:
        """Every second client that a node serves dies with it."""
        if deed.word != "with clients":
            return []
        serving = {name: party.serving for name, party in self.checks.parties.items() if party.alive}
        names = [name for name, at in serving.items() if at is not None and at.node == f"n{deed.nodes[0]}"]
        return [self.clients[int(name[1:])] for name in names[::2]]

    def _go_on(self, client: SdkClient) -> None:
        if not client.is_dead:
            self.watch.record(ClientStood(self.cluster.now_ms, client.client_id, False))
            client.resume()

    def _unblock(self, client: SdkClient) -> None:
        if not client.is_stopped:
            self.watch.record(ClientStood(self.cluster.now_ms, client.client_id, False, blocked=True))

    def _cut_off(self, client: SdkClient, deed: Deed) -> None:
        """The path between the client and the node that serves it breaks without a word."""
        serving = self.checks.parties[client.client_id].serving if client.client_id in self.checks.parties else None
        if serving is None:
            return
        node = int(serving.node[1:])
        self.cluster.cut_client(client, node)
        self._note_path(client, serving.node, carries=False)

        def undo() -> None:
            self.cluster.restore_client(client, node)
            self._note_path(client, serving.node, carries=True)

        self._after(deed.lasts_ms, undo)

    def _note_path(self, client: SdkClient, node: str, *, carries: bool) -> None:
        for source, target in ((client.client_id, node), (node, client.client_id)):
            self.watch.record(PathSeen(self.cluster.now_ms, source, target, carries))


def _settings(plan: Plan) -> Overrides:
    sections: Overrides = dict(TINY) if plan.tiny else {}
    sections["members"] = {"graces_ms": [NATIVE_GRACE_MS // plan.scale]}
    if plan.tombstones_max:
        few = {**FORGETFUL, "tombstones_max": plan.tombstones_max}
        sections["clients"] = {**sections.get("clients", {}), **few}
    return sections
