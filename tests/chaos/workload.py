"""A process of applications: real NamingClients that publish, change, withdraw, subscribe, end and begin again.

    python -m tests.chaos.workload SPEC

SPEC is the JSON of ``WorkloadSpec``. Prints ``ready`` when every client has published; a line on standard input makes
it still, which it says with ``still``; the end of its standard input ends it. No instance key is ever used twice, so
that a list that shows one again is a list from the past.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from rollbook import Difference, Instance, InstanceList, NamingClient
from rollbook.errors import NotConfirmed, Refused, RollbookError
from rollbook.orders import Deliver, Ended, Forget, SessionsChanged
from rollbook.wire import Wait
from tests.chaos.journal import NOW, Journal
from tests.support.history import ClientEnded, OrderAnswered, OrderSent, SessionSeen, ViewSeen

_Kind = Literal["publish", "withdraw", "subscribe", "close"]

_THREADS = 3
_CALL_TIMEOUT_S = 5.0
_INSTANCES_MAX = 3  # of one client in its first service
_BATCH_INSTANCES = 4
_HEARD_S_MAX = 1.0
_CLUSTER_SHARE = 0.2  # of what is published waits until the whole cluster has it


class WorkloadSpec(msgspec.Struct, frozen=True):
    name: str  # first part of every client id
    number: int  # second part of every ip
    clients: int
    subscribers: int  # so many of the clients also watch two services each
    services: tuple[str, ...]
    servers: dict[str, str]  # client address by node
    orders_per_second: float
    seed: int
    journal: str


class WatchedClient(NamingClient):
    """A NamingClient that also says which session serves it, as it learns that itself."""

    def __init__(self, names: dict[str, str], journal: Journal, client_id: str) -> None:
        self.is_closing = False  # from here on the end of its session is its own doing
        self._names = names  # of nodes, by address
        self._journal = journal
        super().__init__(list(names), app="chaos", client_id=client_id, timeout=_CALL_TIMEOUT_S)

    def _on_news(self, news: Deliver | Forget | SessionsChanged | Ended) -> None:
        super()._on_news(news)
        if isinstance(news, SessionsChanged) and not self.is_closing:
            node = self._names.get(news.server, "")
            self._journal.note(SessionSeen(NOW, self.client_id, node, max(news.live, default=0)))

    def told(self, service: str, instances: InstanceList, _difference: Difference) -> None:
        """A callback: what this application was pushed."""
        seen = {f"{found.ip}:{found.port}": found.metadata.get("v", "") for found in instances}
        flags = tuple(name for name in ("warming", "preserved", "guarded") if getattr(instances, name))
        node, version = self._names.get(self.server, ""), instances.version
        self._journal.note(
            ViewSeen(NOW, self.client_id, "push", node, instances.session, service, version, seen, flags)
        )


class Application:
    """One NamingClient after the other: when one is closed, the next has a new id and new instances."""

    def __init__(self, spec: WorkloadSpec, place: int, journal: Journal, chance: random.Random) -> None:
        self._spec = spec
        self._place = place
        self._journal = journal
        self._chance = chance
        self._names = {address: name for name, address in spec.servers.items()}
        self._life = 0
        self._begin()

    def _begin(self) -> None:
        self._life += 1
        self.client_id = f"{self._spec.name}-{self._place}.{self._life}"
        self._client = WatchedClient(self._names, self._journal, self.client_id)
        self._orders = 0
        self._port = 0
        self._payload = 0
        self._home, self._second = self._chance.sample(self._spec.services, 2)
        self._published: dict[str, list[str]] = {self._home: [], self._second: []}

    def publish_first(self) -> None:
        self._publish(self._home, [self._fresh()])

    def watch(self) -> None:
        for service in (self._home, self._second):
            told = partial(self._client.told, service)
            self._order("subscribe", service, {}, partial(self._client.subscribe, service, told))

    def act(self) -> None:
        """One order, drawn by weight; what does not fit the moment becomes a change of payload."""
        home = self._published[self._home]
        draw = self._chance.random()
        if draw < 0.03:
            self._start_over()
        elif draw < 0.15 and len(home) > 1:
            self._withdraw(self._home, self._chance.choice(home))
        elif draw < 0.30 and len(home) < _INSTANCES_MAX:
            self._publish(self._home, [self._fresh()])
        elif draw < 0.36:
            self._turn_batch()
        elif home:
            self._publish(self._home, [self._chance.choice(home)])
        else:
            self._publish(self._home, [self._fresh()])

    def close(self) -> None:
        client_id, started = self.client_id, time.monotonic()
        self._client.is_closing = True
        self._order("close", "", {}, self._client.close)
        # A goodbye without an answer is given up after a while, and then nobody may have heard it.
        how: Literal["closed", "vanished"] = "closed" if time.monotonic() - started < _HEARD_S_MAX else "vanished"
        self._journal.note(ClientEnded(NOW, client_id, how))

    # Inside

    def _start_over(self) -> None:
        self.close()
        self._begin()
        self.publish_first()

    def _turn_batch(self) -> None:
        """Several instances in one step, or all of them one by one away again."""
        if self._published[self._second]:
            for address in list(self._published[self._second]):
                self._withdraw(self._second, address)
        else:
            self._publish(self._second, [self._fresh() for _ in range(_BATCH_INSTANCES)])

    def _fresh(self) -> str:
        self._port += 1
        return f"10.{self._spec.number}.{self._place}.{self._life % 250}:{self._port}"

    def _publish(self, service: str, addresses: list[str]) -> None:
        self._payload += 1
        payload = str(self._payload)
        instances = dict.fromkeys(addresses, payload)
        self._published[service] += [address for address in addresses if address not in self._published[service]]
        listed = [_instance(address, payload) for address in addresses]
        wait: Wait = "cluster" if self._chance.random() < _CLUSTER_SHARE else "node"
        publish = partial(self._client.register_instances, service, listed, wait=wait)
        self._order("publish", service, instances, publish, wait)

    def _withdraw(self, service: str, address: str) -> None:
        self._published[service].remove(address)
        ip, _, port = address.rpartition(":")
        withdraw = partial(self._client.deregister_instance, service, ip, int(port))
        self._order("withdraw", service, {address: ""}, withdraw)

    def _order(
        self, kind: _Kind, service: str, instances: dict[str, str], call: Callable[[], None], wait: Wait = "node"
    ) -> None:
        """Write down the wish, carry it out, write down what came of it."""
        self._orders += 1
        number, client_id, error = self._orders, self.client_id, ""
        self._journal.note(OrderSent(NOW, client_id, number, kind, service, instances, wait))
        try:
            call()
        except Refused as refusal:
            error = f"refused: {refusal}"
        except NotConfirmed as unconfirmed:
            error = f"unconfirmed: {unconfirmed}"
        except RollbookError as failure:
            error = f"{type(failure).__name__}: {failure}"
        self._journal.note(OrderAnswered(NOW, client_id, number, error))


def _instance(address: str, payload: str) -> Instance:
    ip, _, port = address.rpartition(":")
    return Instance(ip, int(port), metadata={"v": payload})


class Crowd:
    """All applications of the process, each always worked by the same thread."""

    def __init__(self, spec: WorkloadSpec, journal: Journal) -> None:
        chance = random.Random(spec.seed)
        self._pause_s = _THREADS / spec.orders_per_second
        self._still = threading.Event()
        everyone = [
            Application(spec, place, journal, random.Random(chance.getrandbits(64))) for place in range(spec.clients)
        ]
        for application in everyone:
            application.publish_first()
        for application in everyone[: spec.subscribers]:
            application.watch()
        shares = [everyone[number::_THREADS] for number in range(_THREADS)]
        self._threads = [
            threading.Thread(target=self._work, args=(share, random.Random(chance.getrandbits(64))))
            for share in shares
            if share
        ]
        for thread in self._threads:
            thread.start()

    def be_still(self) -> None:
        """No order is in progress when this returns; everyone stays signed in."""
        self._still.set()
        for thread in self._threads:
            thread.join()

    def _work(self, share: list[Application], chance: random.Random) -> None:
        while not self._still.wait(chance.expovariate(1 / self._pause_s)):
            chance.choice(share).act()


def main() -> None:
    spec = msgspec.json.decode(sys.argv[1], type=WorkloadSpec)
    journal = Journal(Path(spec.journal))
    crowd = Crowd(spec, journal)
    print("ready", flush=True)
    for _ in sys.stdin:
        crowd.be_still()
        print("still", flush=True)
    os._exit(0)  # hundreds of goodbyes would take their time, and the nodes are on their way down as well


if __name__ == "__main__":
    main()
