"""Random histories of orders about durable data on a simulated cluster, by seed: applications that write a few
instances of one service, faults of the store, of nodes and of paths, and what is left when all of it has ended.

Each write has a weight of its own, so that a list says which write stands. The end of a call is taken from the SDK in
the moment in which the application learns of it.

One thing is allowed that no single object would do: an order that the SDK has said again, because its first answer was
lost, may be carried out once more by the node that it was said to first, whenever that gets to it: it may have been
paused with the order in its socket. ``tests/simulation/test_durable_histories.py`` shows how.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from actors.durable_rows import read_row
from actors.durable_values import KeptInstance
from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.errors import ClusterUnreachable, OutcomeUnknown, Refused
from rollbook.orders import Action, DurableBody, Reject, Resolve, Send
from rollbook.wire import Done, Tag, open_envelope, request_body
from runtime.simulation.clients import service_of
from runtime.simulation.cluster import SimCluster, StoreOf
from runtime.simulation.node import SimNode
from runtime.simulation.sdk_client import SdkClient
from runtime.simulation.store import COMMIT_US, LATE_US, SimStore
from tests.support.linearizability import Call, RegisterAction, register_step, unexplained
from tests.support.sim_cluster import instance, sim_cluster

NODES = 3
KEYS = 3
UNDER_WAY_MAX = 2  # of one application
PAUSE_MS = (1, 250)  # between two looks at what to do next
FAULT_MS = (100, 5_000)  # how long one lasts
FAULTS_MAX = 2  # at a time
SLOW_US = (50_000, 1_500_000)  # a disk that is nearly dead
READY_MS_MAX = 30_000
CALLS_END_MS_MAX = 10_000
AGREED_MS_MAX = 15_000
SERVICE = "orders"

Step = Callable[[], object]


class Keyed(NamedTuple):
    """What was asked of one instance; as the action of a call."""

    number: int
    write: RegisterAction


class Begun(NamedTuple):
    start_us: int
    action: Keyed
    body: DurableBody


class Fault(NamedTuple):
    name: str
    begin: Step
    end: Step


class Counts(NamedTuple):
    """How calls have ended. ``unsent``: no node could be reached. ``said_again``: of all."""

    done: int
    refused: int
    unknown: int
    unsent: int
    said_again: int


class DurableHistory:
    """One run: ``play`` for a while, ``settle``, then look at ``unexplained``."""

    def __init__(self, seed: int, store: StoreOf, *, applications: int = 5) -> None:
        self.cluster: SimCluster = sim_cluster(NODES, seed, store=store, invariants_every=20)
        self._chance = random.Random(f"{seed}/durable")
        self._applications = [self._application() for _ in range(applications)]
        self._begun: dict[tuple[str, int], Begun] = {}
        self._ended: dict[tuple[str, int], tuple[int, Any]] = {}
        self._sent: list[tuple[int, str, DurableBody]] = []
        self._weight = 0
        self._faults: list[tuple[int, Fault]] = []  # and until when
        self.told: list[str] = []  # what was done, to read

    # -- time

    def play(self, duration_ms: int) -> None:
        """Writes and faults, as chance has it."""
        until_ms = self.cluster.now_ms + duration_ms
        while self.cluster.now_ms < until_ms:
            self._end_faults(self.cluster.now_ms)
            if len(self._faults) < FAULTS_MAX and self._chance.random() < 0.1:
                self._begin_fault()
            if self._chance.random() < 0.7:
                self._write(self._chance.choice(self._applications))
            self.cluster.run_ms(self._chance.randint(*PAUSE_MS))

    def settle(self) -> None:
        """All faults end, all calls too, and whatever may be written late is."""
        self._end_faults(None)
        self.cluster.heal()
        self.cluster.until(self.cluster.all_ready, READY_MS_MAX, "all ready")
        self.cluster.until(lambda: self._begun.keys() == self._ended.keys(), CALLS_END_MS_MAX, "every call has ended")
        self.cluster.run_ms(LATE_US // 1_000 + 1_000)
        self.cluster.until(self._is_agreed, AGREED_MS_MAX, "all nodes list the rows of the store")

    # -- what came of it

    @property
    def counts(self) -> Counts:
        results = [result for _, result in self._ended.values()]
        kinds = (Done, Refused, OutcomeUnknown, ClusterUnreachable)
        done, refused, unknown, unsent = (sum(isinstance(result, kind) for result in results) for kind in kinds)
        assert done + refused + unknown + unsent == len(results), results
        said_again = sum(self._sent_again(call) > 0 for call in self._ended)
        return Counts(done, refused, unknown, unsent, said_again)

    def calls(self) -> list[Call[Keyed]]:
        """With what is left at the end as the last read of each. A refused call has written nothing, by its word."""
        found = []
        for call, (start_us, action, _) in self._begun.items():
            end_us, result = self._ended[call]
            if isinstance(result, Done | OutcomeUnknown):
                found.append(Call(start_us, end_us if isinstance(result, Done) else None, action))
                found += [Call(start_us, None, action)] * min(max(self._sent_again(call), 0), NODES - 1)
        now_us, rows = self.cluster.scheduler.now_us, self.rows()
        for number in range(KEYS):
            read = RegisterAction(False, rows.get(instance(number).ip))
            found.append(Call(now_us, now_us, Keyed(number, read)))
        return found

    def unexplained(self) -> dict[int, list[Call[Keyed]]]:
        def step(state: str, action: Keyed) -> str | None:
            return register_step(state, action.write)

        return unexplained(self.calls(), lambda action: action.number, "", step)

    def rows(self) -> dict[str, str]:
        """By address: the weight that the store holds."""
        kept = [read_row(row.key, row.value, row.index) for row in self._store.rows.values()]
        return {each.instance.ip: f"{each.instance.weight:g}" for each in kept if isinstance(each, KeptInstance)}

    def story(self, number: int) -> str:
        """Every call about this instance with its times and its end, between the faults."""
        lines = list(self.told)
        for (client, call), (start_us, action, _) in self._begun.items():
            if action.number == number:
                end_us, result = self._ended[client, call]
                times = f"{start_us / 1_000:10.1f} .. {end_us / 1_000:10.1f} ms"
                again = f" (said {count} times more)" if (count := self._sent_again((client, call))) else ""
                lines.append(f"{times}  {client}/{call} writes {action.write.value}: {result!r}{again}")
        return "\n".join([*sorted(lines), f"at the end: {self.rows().get(instance(number).ip)}"])

    # -- applications

    def _application(self) -> SdkClient:
        client = self.cluster.sdk_client()
        client.on_action = partial(self._acted, client.client_id)
        return client

    def _write(self, client: SdkClient) -> None:
        under_way = sum(name == client.client_id for name, _ in self._begun.keys() - self._ended.keys())
        if under_way >= UNDER_WAY_MAX:
            return
        number, start_us = self._chance.randrange(KEYS), self.cluster.scheduler.now_us
        self._weight += 1
        weight = None if self._chance.random() < 0.3 else self._weight
        body = _order(number, weight)
        call = client.order(body)
        action = Keyed(number, RegisterAction(True, None if weight is None else f"{weight}"))
        self._begun[client.client_id, call] = Begun(start_us, action, body)

    def _acted(self, client: str, action: Action) -> None:
        now_us = self.cluster.scheduler.now_us
        match action:
            case Resolve(call, value):
                self._ended[client, call] = now_us, value
            case Reject(call, error):
                self._ended[client, call] = now_us, error
            case Send(_, payload):
                envelope = open_envelope(payload)
                if envelope.tag in (Tag.PUBLISH_PERSISTENT, Tag.WITHDRAW_PERSISTENT):
                    self._sent.append((now_us, client, request_body(envelope)))

    def _sent_again(self, call: tuple[str, int]) -> int:
        """How many times more than once. Of equal orders of one application at a time nobody can say which it is."""
        start_us, _, body = self._begun[call]
        sent = [at_us for at_us, client, sent in self._sent if (client, sent) == (call[0], body)]
        return sum(start_us <= at_us <= self._ended[call][0] for at_us in sent) - 1

    # -- faults

    def _begin_fault(self) -> None:
        fault = self._chance.choice(self._possible_faults())
        if fault.name in {each.name for _, each in self._faults}:
            return
        self._tell(f"begins: {fault.name}")
        fault.begin()
        self._faults.append((self.cluster.now_ms + self._chance.randint(*FAULT_MS), fault))

    def _end_faults(self, now_ms: int | None) -> None:
        """Those whose time has come; without a time all."""
        over = [fault for until_ms, fault in self._faults if now_ms is None or until_ms <= now_ms]
        self._faults = [each for each in self._faults if each[1] not in over]
        for fault in over:
            self._tell(f"ends: {fault.name}")
            fault.end()

    def _possible_faults(self) -> list[Fault]:
        cluster, number = self.cluster, self._chance.randrange(NODES)
        other = (number + self._chance.randint(1, NODES - 1)) % NODES
        client = self._chance.choice(self._applications)
        near, far = cluster.nodes[number].host, cluster.nodes[other].host
        faults = [
            Fault(f"node {number} down", partial(cluster.crash, number), partial(cluster.restart, number)),
            Fault("all nodes down", partial(self._each, cluster.crash), partial(self._each, cluster.restart)),
            Fault(f"node {number} down", partial(cluster.pause, number), partial(cluster.resume, number)),
            Fault(
                f"{number} cut from {other}", partial(cluster.cut, number, other), partial(self._join, number, other)
            ),
            Fault(f"{number} reset to {other}", partial(cluster.network.reset, near, far), lambda: None),
            Fault(
                f"{client.client_id} cut from {number}",
                partial(cluster.cut_client, client, number),
                partial(cluster.restore_client, client, number),
            ),
            *self._store_faults(),
        ]
        is_down = any("down" in fault.name for _, fault in self._faults)
        return [fault for fault in faults if not (is_down and "down" in fault.name)]

    def _store_faults(self) -> list[Fault]:
        store = self._store
        faults = [
            Fault("the store is slow", partial(setattr, store, "commit_us", SLOW_US), partial(_well, store)),
            Fault("the store is away", partial(setattr, store, "is_available", False), partial(_well, store)),
            Fault("the store is full", partial(setattr, store, "is_full", True), partial(_well, store)),
            Fault("the store forgets its log", store.compact, lambda: None),
        ]
        if store.is_shared:
            doubt = partial(setattr, store, "doubt_share", self._chance.choice((0.2, 0.6, 1.0)))
            faults.append(Fault("the store doubts", doubt, partial(_well, store)))
        return faults

    def _each(self, act: Callable[[int], object]) -> None:
        for number in range(NODES):
            act(number)

    def _join(self, one: int, two: int) -> None:
        self.cluster.restore(one, two)
        self.cluster.restore(two, one)

    # -- inside

    @property
    def _store(self) -> SimStore:
        assert self.cluster.store is not None
        return self.cluster.store

    def _is_agreed(self) -> bool:
        rows = self.rows()
        return all(_listed(node) == rows for node in self.cluster.nodes)

    def _tell(self, what: str) -> None:
        self.told.append(f"{self.cluster.scheduler.now_us / 1_000:10.1f}                   {what}")


def _order(number: int, weight: int | None) -> DurableBody:
    """Without a weight: it shall go."""
    service = service_of(SERVICE)
    if weight is None:
        return WithdrawPersistent(service, (instance(number).key,))
    return PublishPersistent(service, (instance(number, ephemeral=False, weight=float(weight)),))


def _listed(node: SimNode) -> dict[str, str]:
    return {found.ip: f"{found.weight:g}" for found in node.view(service_of(SERVICE))}


def _well(store: SimStore) -> None:
    store.is_available, store.is_full, store.commit_us, store.doubt_share = True, False, COMMIT_US, 0.0
