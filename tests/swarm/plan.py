"""From one seed, what is done to a cluster and its clients in about a minute: data, so that it can be shrunk and told.

A plan names clients, nodes, services and keys by number and never asks how a run goes. A deed whose time has come and
that makes no sense then (its client is gone, its node is down) is passed over; so any part of a plan is a plan too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec

DURATION_MS = 60_000
CALM_SHARE = 0.15  # so often a fault is followed by a time without any
BOLD_SHARE = 0.2  # of the seeds: as many nodes may be down as like
SHARED_SHARE = 0.03  # of what is published: an instance that several clients claim
SHARED_KEY = 10_000
WORK_INTERVAL_MS = 260
LASTS_MS = (400, 1_500, 4_000, 9_000, 18_000, 40_000)  # faults, before they are scaled


class Deed(msgspec.Struct, frozen=True):
    """One thing that is done at one time. Which fields count depends on the kind."""

    at_ms: int
    kind: str
    lasts_ms: int = 0  # of a fault: it is undone after this
    client: int = -1
    nodes: tuple[int, ...] = ()
    service: int = -1
    key: int = -1
    amount: int = 0
    word: str = ""


class Plan(msgspec.Struct, frozen=True):
    seed: int
    nodes: int
    clients: int
    scale: int
    duration_ms: int
    deeds: tuple[Deed, ...]
    tiny: bool = False  # mailboxes and windows are so small that they overflow
    tombstones_max: int = 0  # if not 0, so few are kept, and a delta has many chunks


class FaultKind(NamedTuple):
    weight: int
    make: Callable[[Planner], Deed]
    takes_down: bool = False  # a node cannot serve meanwhile


def make_plan(seed: int, nodes: int, clients: int, scale: int) -> Plan:
    planner = Planner(seed, nodes, clients, scale)
    planner.plan_work()
    planner.plan_faults()
    timely = [deed for deed in planner.deeds if deed.at_ms < DURATION_MS]
    deeds = tuple(sorted(timely, key=lambda deed: deed.at_ms))  # stable: what was planned first goes first
    return Plan(seed, nodes, clients, scale, DURATION_MS, deeds, tiny=planner.chance.random() < 0.1)


class Planner:
    """Draws everything from one source of chance, in one order."""

    def __init__(self, seed: int, nodes: int, clients: int, scale: int) -> None:
        self.chance = random.Random(f"swarm {seed} {nodes}")
        self.nodes = nodes
        self.clients = clients
        self.scale = scale
        self.services = max(4, clients // 8)
        self.deeds: list[Deed] = []
        self.at_ms = 0
        self.lasts_ms = 0
        self._living: list[int] = []
        self._comers = 0
        self._keys: dict[int, list[tuple[int, int]]] = {}  # client → (service, key)
        self._next_key = 0
        self._payloads = 0
        self._down_until_ms: list[int] = []
        self._down_max = nodes if self.chance.random() < BOLD_SHARE else (nodes - 1) // 2

    # -- work

    def plan_work(self) -> None:
        """Clients come in the first seconds; then they do what clients do, and who goes is replaced."""
        for _ in range(self.clients):
            self.at_ms = self.chance.randrange(50, 3_000)
            self._come()
        self.at_ms = 3_000
        while self.at_ms < DURATION_MS:
            self.at_ms += int(self.chance.expovariate(1 / WORK_INTERVAL_MS)) + 1
            self.chance.choices(self._work, weights=self._work_weights)[0](self)

    def _come(self) -> None:
        client, self._comers = self._comers, self._comers + 1
        self._living.append(client)
        self._keys[client] = []
        self._add("come", client=client)
        for service in self.chance.sample(range(self.services), self.chance.choice((1, 1, 2))):
            self._add("subscribe", client=client, service=service)
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            self._publish_new(client)

    def _publish_new(self, client: int) -> None:
        service = self.chance.randrange(self.services)
        if self.chance.random() < SHARED_SHARE:
            key = SHARED_KEY + service
        else:
            key, self._next_key = self._next_key, self._next_key + 1
        if (service, key) not in self._keys[client]:
            self._keys[client].append((service, key))
        self._publish(client, service, key)

    def _publish(self, client: int, service: int, key: int) -> None:
        self._payloads += 1
        wait = "cluster" if self.chance.random() < 0.1 else "node"
        self._add("publish", client=client, service=service, key=key, amount=self._payloads, word=wait)

    def _do_publish(self) -> None:
        self._publish_new(self.chance.choice(self._living))

    def _do_update(self) -> None:
        client = self.chance.choice(self._living)
        if self._keys[client]:
            self._publish(client, *self.chance.choice(self._keys[client]))

    def _do_withdraw(self) -> None:
        client = self.chance.choice(self._living)
        if self._keys[client]:
            service, key = self._keys[client].pop(self.chance.randrange(len(self._keys[client])))
            self._add("withdraw", client=client, service=service, key=key)

    def _do_query(self) -> None:
        client = self.chance.choice(self._living)
        services = [service for service, _ in self._keys[client]] or [self.chance.randrange(self.services)]
        self._add("query", client=client, service=self.chance.choice(services))

    def _do_subscribe(self) -> None:
        kind = self.chance.choice(("subscribe", "subscribe", "unsubscribe"))
        self._add(kind, client=self.chance.choice(self._living), service=self.chance.randrange(self.services))

    def _do_stand(self) -> None:
        kind = self.chance.choice(("stand still", "block"))
        lasts_ms = self.chance.choice((300, 2_500, 6_000, 20_000)) // self.scale
        self._add(kind, client=self.chance.choice(self._living), lasts_ms=lasts_ms)

    def _do_cut_client(self) -> None:
        self.lasts_ms = self.chance.choice(LASTS_MS) // self.scale
        self._add("cut client", client=self.chance.choice(self._living), lasts_ms=self.lasts_ms)

    def _do_end(self) -> None:
        if len(self._living) > self.clients // 2:
            client = self._living.pop(self.chance.randrange(len(self._living)))
            self._add(self.chance.choice(("close", "kill", "kill", "vanish")), client=client)
        self._come()

    _work = (_do_publish, _do_update, _do_withdraw, _do_query, _do_subscribe, _do_stand, _do_cut_client, _do_end)
    _work_weights = (4, 6, 3, 5, 2, 2, 1, 4)

    # -- faults

    def plan_faults(self) -> None:
        self.at_ms = 3_500
        gap_ms = 9_000 / self.scale
        names = list(FAULTS)
        weights = [FAULTS[name].weight for name in names]
        while self.at_ms < DURATION_MS - 1_000:
            name = self.chance.choices(names, weights=weights)[0]
            self.lasts_ms = self.chance.choice(LASTS_MS) // self.scale
            deed = FAULTS[name].make(self)
            if not FAULTS[name].takes_down or self._may_take_down(deed):
                self.deeds.append(deed)
            pause_ms = self.chance.expovariate(1 / gap_ms)
            if self.chance.random() < CALM_SHARE:
                pause_ms += self.lasts_ms + 25_000 / self.scale
            self.at_ms += int(pause_ms) + 1

    def fault(self, kind: str, *nodes: int, amount: int = 0, word: str = "") -> Deed:
        return Deed(self.at_ms, kind, self.lasts_ms, nodes=nodes, amount=amount, word=word)

    def some(self, count: int) -> list[int]:
        return self.chance.sample(range(self.nodes), count)

    def _may_take_down(self, deed: Deed) -> bool:
        self._down_until_ms = [until_ms for until_ms in self._down_until_ms if until_ms > self.at_ms]
        if len(self._down_until_ms) + len(deed.nodes) > self._down_max:
            return False
        self._down_until_ms += [self.at_ms + deed.lasts_ms + 1_000] * len(deed.nodes)
        return True

    def _add(
        self,
        kind: str,
        *,
        client: int,
        service: int = -1,
        key: int = -1,
        amount: int = 0,
        word: str = "",
        lasts_ms: int = 0,
    ) -> None:
        self.deeds.append(
            Deed(self.at_ms, kind, lasts_ms, client=client, service=service, key=key, amount=amount, word=word)
        )


def _pair(kind: str) -> Callable[[Planner], Deed]:
    return lambda planner: planner.fault(kind, *planner.some(2))


def _one(kind: str) -> Callable[[Planner], Deed]:
    return lambda planner: planner.fault(kind, *planner.some(1))


def _graded(kind: str, count: int, *amounts: int) -> Callable[[Planner], Deed]:
    return lambda planner: planner.fault(kind, *planner.some(count), amount=planner.chance.choice(amounts))


def _bridge(planner: Planner) -> Deed:
    """The first node reaches everybody; the others see only their own side."""
    return planner.fault("bridge", *planner.some(planner.nodes))


def _halves(planner: Planner) -> Deed:
    return planner.fault("halves", *planner.some(planner.nodes // 2))


def _crash_with_clients(planner: Planner) -> Deed:
    """Long enough for others to judge it."""
    planner.lasts_ms = planner.chance.choice(LASTS_MS[3:]) // planner.scale
    return planner.fault("crash with clients", *planner.some(1), word="with clients")


def _failpoint(planner: Planner) -> Deed:
    """The node dies, stands still or loses its power in the midst of something."""
    action = planner.chance.choice(("crash", "crash", "power_off"))
    return planner.fault("failpoint", *planner.some(1), amount=planner.chance.choice((1, 3, 30, 300)), word=action)


def _rolling(planner: Planner) -> Deed:
    nodes = planner.some(min(planner.nodes, 5))
    return planner.fault("rolling restart", *nodes, amount=planner.chance.choice((500, 3_000, 8_000)) // planner.scale)


FAULTS: dict[str, FaultKind] = {
    "cut": FaultKind(3, _pair("cut")),
    "one-way cut": FaultKind(3, _pair("one-way cut")),
    "bridge": FaultKind(2, _bridge),
    "isolation": FaultKind(2, _one("isolation"), takes_down=True),
    "halves": FaultKind(1, _halves),
    "reset": FaultKind(2, _pair("reset")),
    "lost dials": FaultKind(2, _pair("lost dials")),
    "loss": FaultKind(2, _graded("loss", 2, 2, 5, 20)),
    "delay": FaultKind(2, _graded("delay", 2, 5, 50, 300)),
    "duplication": FaultKind(1, _graded("duplication", 2, 5, 30)),
    "bandwidth": FaultKind(1, _graded("bandwidth", 2, 20, 200)),
    "slow node": FaultKind(2, _graded("slow node", 1, 500, 1_000)),
    "slow processing": FaultKind(2, _graded("slow processing", 1, 50, 500, 2_000)),
    "crash": FaultKind(3, _one("crash"), takes_down=True),
    "crash with clients": FaultKind(2, _crash_with_clients, takes_down=True),
    "new address": FaultKind(1, _one("new address"), takes_down=True),
    "power loss": FaultKind(2, _one("power loss"), takes_down=True),
    "failpoint": FaultKind(3, _failpoint, takes_down=True),
    "pause": FaultKind(3, _one("pause"), takes_down=True),
    "clock step": FaultKind(1, _graded("clock step", 1, -3_600_000, -30_000, 30_000, 3_600_000)),
    "member flap": FaultKind(1, _one("member flap")),
    "leave": FaultKind(2, _one("leave"), takes_down=True),
    "rolling restart": FaultKind(1, _rolling),
}
