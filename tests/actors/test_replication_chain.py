"""ClientManager, IndexManager and DistroSyncActor of several nodes over a network that loses, delays and cuts."""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import Any

import msgspec
import pytest

from actors.base import NodeIdentity, Now, Remind, Role, Tell
from actors.client_manager import ClientManager, ClientsSettings
from actors.distro_sync_actor import DistroSettings, DistroSyncActor
from actors.index_manager import IndexManager, IndexSettings
from actors.messages.clients import BeatPassed, OpenSessionOrdered, OrdersReceived
from actors.messages.distro import (
    DeltaAcknowledged,
    DeltaReceived,
    DigestAccepted,
    DigestRound,
    PeersChanged,
    PullReceived,
)
from actors.messages.io import AnswerClients, SendToPeers
from actors.messages.members import DigestsTaken
from actors.messages.peers import Delta, DeltaAck, Digest, Pull
from actors.messages.values import Order, Origin, Peer, Route, Standing
from actors.peer_frames import decode_peer
from rollbook.model import Instance, Service
from rollbook.wire import Done, Failed, Publish, Withdraw, answer_body, open_envelope
from tests.support.settings import settings_of


class Cluster:
    """Nodes without members: this class says who reaches whom, and carries digests, deltas, pulls and their answers."""

    def __init__(self, names: str, seed: int = 1, loss: float = 0.0, in_parts: int = 0) -> None:
        self.chance = random.Random(seed)
        self.loss = loss
        self.in_parts = in_parts  # more than so many records are pulled in parts, and tombstones are soon forgotten
        self.ms = 0
        self.cut: set[frozenset[str]] = set()
        self.index_lag_ms: dict[str, int] = {}  # of nodes whose index is busy: how long its mailbox takes
        self.nodes: dict[str, dict[Role, Any]] = {}
        self.answers: list[Any] = []
        self._events: list[tuple[int, int, str, Role, Any]] = []
        self._numbers = count()
        self._beats = count(1)
        for name in names:
            self.add(name)
        self.say_peers()

    def add(self, name: str) -> None:
        identity = NodeIdentity(name, 1, "test", f"{name}:1", f"{name}:2", 256)
        small: dict[str, Any] = {"chunk_bytes_max": 400}
        distro: dict[str, Any] = {}
        if self.in_parts:
            small |= {"tombstone_age_ms": 300, "collect_interval_ms": 200, "scan_records_max": 7, "snapshot_ms": 500}
            distro = {"part_records_max": self.in_parts}
        chunks = settings_of("clients", ClientsSettings, **small)
        self.nodes[name] = {
            Role.CLIENTS: ClientManager(identity, chunks, self.chance),
            Role.INDEX: IndexManager(identity, settings_of("index", IndexSettings), self.chance),
            Role.DISTRO: DistroSyncActor(identity, settings_of("distro", DistroSettings, **distro), self.chance),
        }
        for effect in self.nodes[name][Role.CLIENTS].start(Now(self.ms, 0)):
            self._perform(name, Role.CLIENTS, effect)
        standing = Standing(ready=True)
        self.tell(name, Role.CLIENTS, OpenSessionOrdered(Route(b"c", 1), 1, f"client-{name}", 15_000, standing))

    def say_peers(self) -> None:
        for name in self.nodes:
            reached = [other for other in self.nodes if other != name and frozenset((name, other)) not in self.cut]
            peers = tuple(Peer(other, 1, other) for other in reached)
            self.tell(name, Role.DISTRO, PeersChanged(peers, tuple(self.nodes)))

    def split(self, one: str, other: str) -> None:
        self.cut.add(frozenset((one, other)))
        self.say_peers()

    def heal(self) -> None:
        self.cut.clear()
        self.loss = 0.0
        self.say_peers()

    def order(self, name: str, body: Any) -> None:
        self.tell(name, Role.CLIENTS, OrdersReceived((Order(Route(b"c", 1), 1, body),)))

    def tell(self, name: str, role: Role, message: Any, delay_ms: int = 0) -> None:
        heapq.heappush(self._events, (self.ms + delay_ms, next(self._numbers), name, role, message))

    def run(self, ms: int) -> None:
        """Everything that happens in this time, with a beat of every node each second."""
        until = self.ms + ms
        for at_ms in range(self.ms, until, 1_000):
            for name in self.nodes:
                self.tell(
                    name, Role.CLIENTS, BeatPassed(next(self._beats)), at_ms - self.ms + self.chance.randrange(900)
                )
        while self._events and self._events[0][0] <= until:
            self.ms, _, name, role, message = heapq.heappop(self._events)
            actor = self.nodes[name][role]
            for effect in actor.handle(message, Now(self.ms, 1_700_000_000_000 + self.ms)):
                self._perform(name, role, effect)
            actor.check_invariants()
        self.ms = until

    def contents(self, name: str) -> dict[Origin, Any]:
        tables = self.nodes[name][Role.CLIENTS].tables
        return {
            origin: (
                table.applied,
                table.digest,
                sorted(record.body for record in table.records.values() if record.instances),
            )
            for origin, table in tables.items()
            if table.applied
        }

    def check_equal(self) -> None:
        first, *others = [self.contents(name) for name in self.nodes]
        assert all(other == first for other in others), "nodes that reach each other agree"

    def counter(self, name: str, counter: str) -> int:
        return int(self.nodes[name][Role.DISTRO].counters[counter])

    def _perform(self, name: str, role: Role, effect: Any) -> None:
        match effect:
            case Remind():
                self.tell(name, role, effect.message, effect.delay_ms)
            case Tell(Role.IO, SendToPeers(frames)):
                for frame in frames:
                    self._carry(name, frame.link, decode_peer(frame.payload))
            case Tell(Role.IO, AnswerClients(frames)):
                self.answers += [answer_body(open_envelope(frame.payload)) for frame in frames]
            case Tell(Role.MEMBERS, DigestsTaken(number, entries)):
                mine = tuple(
                    msgspec.structs.replace(entry, heartbeat=number) if entry.owner == name else entry
                    for entry in entries
                )
                self.tell(name, Role.DISTRO, DigestRound(Digest(name, 1, True, False, (), mine)))
            case Tell(to, message) if to in self.nodes[name]:
                self.tell(name, to, message, self.index_lag_ms.get(name, 0) if to is Role.INDEX else 0)

    def _carry(self, sender: str, to: str, body: Any) -> None:
        if frozenset((sender, to)) in self.cut or self.chance.random() < self.loss:
            return
        match body:
            case Delta():
                message: Any = DeltaReceived(sender, body)
            case DeltaAck():
                message = DeltaAcknowledged(sender, body)
            case Pull():
                message = PullReceived(sender, body)
            case Digest():
                message = DigestAccepted(sender, body.node_id, body.ready, body.entries)
            case _:
                raise AssertionError(f"unexpected frame {body}")
        self.tell(to, Role.DISTRO, message, 1)


def service(number: int) -> Service:
    return Service("public", "DEFAULT_GROUP", f"s{number}")


def publish(number: int, port: int, wait: bool = False) -> Publish:
    instances = (Instance("10.0.0.1", port),)
    return Publish(service(number), instances, "replace", wait="cluster" if wait else "node")


def test_a_registration_reaches_every_node_within_milliseconds_and_the_waiting_caller_is_told() -> None:
    cluster = Cluster("abc")
    cluster.order("a", publish(1, 80, wait=True))
    cluster.run(10)
    cluster.check_equal()
    assert [type(answer) for answer in cluster.answers][-1] is Done
    assert cluster.contents("c")[Origin("a", 1)][0] == 1


def test_a_caller_that_waits_for_a_node_that_is_cut_off_learns_its_name() -> None:
    cluster = Cluster("abc")
    cluster.run(10)
    cluster.split("a", "c")
    cluster.split("b", "c")
    cluster.order("a", publish(1, 80, wait=True))
    cluster.run(6_000)
    [failed] = [answer for answer in cluster.answers if isinstance(answer, Failed)]
    assert failed.nodes == ("c",)


def test_a_caller_that_waits_for_the_cluster_is_told_when_the_slowest_index_has_it_and_no_digest_says_so_sooner() -> (
    None
):
    cluster = Cluster("abc")
    cluster.index_lag_ms["c"] = 200
    index = cluster.nodes["c"][Role.INDEX].index
    for number in range(10):
        cluster.order("a", publish(number, 80, wait=True))
        deadline_ms = cluster.ms + 1_000
        while sum(isinstance(answer, Done) for answer in cluster.answers) == number:
            assert cluster.ms < deadline_ms, "it is told"
            cluster.run(20)
        assert service(number) in index.entries
    assert cluster.counter("a", "cluster_waits_confirmed") == 10


def test_nodes_that_cannot_reach_each_other_converge_through_a_third() -> None:
    cluster = Cluster("abc")
    cluster.split("a", "c")
    for number in range(30):
        cluster.order("a", publish(number, 80))
        cluster.order("c", publish(number, 90))
    cluster.run(3_000)
    cluster.check_equal()
    assert len(cluster.contents("c")[Origin("a", 1)][2]) == 30


def test_a_new_node_gets_a_large_origin_in_parts_and_nothing_twice() -> None:
    cluster = Cluster("ab", in_parts=100)
    cluster.run(1_000)
    for number in range(300):
        cluster.order("a", publish(number, 80))
    cluster.run(2_000)
    cluster.add("c")
    cluster.say_peers()
    before = [cluster.counter(name, "delta_bytes_sent") for name in "ab"]
    cluster.run(3_000)
    cluster.check_equal()
    sent = [cluster.counter(name, "delta_bytes_sent") - size for name, size in zip("ab", before, strict=True)]
    records = cluster.nodes["a"][Role.CLIENTS].native.records.values()
    assert sum(sent) < 1.3 * sum(len(record.body) for record in records)
    assert cluster.counter("c", "parts_pulled") == 3


def test_a_new_node_gets_everything_in_windows_of_chunks() -> None:
    cluster = Cluster("ab")
    for number in range(200):
        cluster.order("a", publish(number, 80))
    cluster.run(1_000)
    cluster.add("c")
    cluster.say_peers()
    cluster.run(3_000)
    cluster.check_equal()
    chunks = cluster.counter("a", "delta_chunks_sent") + cluster.counter("b", "delta_chunks_sent")
    assert chunks > 8, "the table was longer than one window"
    assert sum(cluster.counter(name, "deltas_timed_out") for name in "abc") == 0


@pytest.mark.parametrize("in_parts", [0, 5])
@pytest.mark.parametrize("seed", range(8))
def test_nodes_agree_within_three_seconds_after_loss_and_cuts_end(seed: int, in_parts: int) -> None:
    cluster = Cluster("abc", seed, 0.2, in_parts)
    chance = random.Random(seed)
    for _ in range(60):
        name, number = chance.choice("abc"), chance.randrange(20)
        cluster.order(
            name, publish(number, chance.randrange(9)) if chance.random() < 0.7 else Withdraw(service(number))
        )
        if chance.random() < 0.1:
            one, other = chance.sample("abc", 2)
            cluster.split(one, other)
        elif chance.random() < 0.2:
            cluster.cut.clear()
            cluster.say_peers()
        cluster.run(chance.randrange(400))
    cluster.heal()
    cluster.run(3_000)
    cluster.check_equal()
    assert len(cluster.contents("a")) == 3, "every node has published"
    assert sum(cluster.counter(name, "digest_mismatches") for name in "abc") == 0
