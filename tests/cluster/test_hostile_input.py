"""Three real nodes and people who mean them no good: whatever arrives at either port costs at most its connection.

After each trial: the nodes are the same processes, all list the sessions that were there before, a new client registers
at once, memory has not grown, and the counters say what was refused.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from actors.messages.peers import Delta, DeltaAck, Digest, Goodbye, Hello, LinkPong, PeerRefused, PeerTag, Pull
from actors.messages.values import DigestEntry
from actors.peer_frames import decode_peer, encode_peer
from benchmarks.processes import line_of, module
from rollbook import NamingClient
from rollbook.errors import Code
from rollbook.wire import NUMBER_MAX
from tests.support import hostile
from tests.support.real_cluster import RealCluster, RealNode, pause_s, until
from tests.support.watching import Observer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(60)]

SERVICE = "held"
SESSIONS = 100
GROWTH_MIB_MAX = 150
CONNECTIONS = 3_000
# A node whose system gives it 256 descriptors.
LIMITED = (
    sys.executable,
    "-c",
    "import os, resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (256, 256)); os.execv(sys.argv[1], sys.argv[1:])",
)
CLIENTS, PEERS = 2, 3  # offsets of the ports
TAG_FAILED = 70


class Victims:
    """A cluster with sessions that nobody may lose."""

    def __init__(self, cluster: RealCluster) -> None:
        self.nodes = cluster.nodes
        self.target = cluster.nodes[0]
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._observers = [Observer(node, SERVICE) for node in cluster.nodes]
        self._pids = [node.pid for node in cluster.nodes]
        self._memory_mib = [memory_mib(node) for node in cluster.nodes]
        self._ports = 1_000

    def until_listed(self) -> None:
        until(lambda: [o.count() for o in self._observers] == [SESSIONS] * 3, 5, "all are listed everywhere")

    def assert_unharmed(self) -> None:
        assert [node.pid for node in self.nodes] == self._pids
        assert [observer.count() for observer in self._observers] == [SESSIONS] * 3
        for node in self.nodes:
            self._ports += 1
            started = time.monotonic()
            with NamingClient(servers=[node.client_address], timeout=3.0) as client:
                client.register_instance("fresh", "10.9.9.9", self._ports)
            assert time.monotonic() - started < 1.0
        grown = [memory_mib(node) - before for node, before in zip(self.nodes, self._memory_mib, strict=True)]
        assert max(grown) < GROWTH_MIB_MAX

    def dealer(self, offset: int) -> zmq.Socket[bytes]:
        dealer = self.context.socket(zmq.DEALER)
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.RCVTIMEO, 3_000)
        dealer.connect(f"tcp://127.0.0.1:{self.port(offset)}")
        return dealer

    def port(self, offset: int) -> int:
        return self.target.base_port + offset

    def counter(self, name: str) -> int:
        status = self.target.status()
        return status.counters.get(name, 0) if status is not None else 0

    def until_counted(self, name: str, above: int) -> None:
        until(lambda: self.counter(name) > above, 5, f"{name} rises above {above}")

    def close(self) -> None:
        for observer in self._observers:
            observer.close()
        self.context.destroy(linger=0)


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    with RealCluster(tmp_path_factory.mktemp("hostile"), 3) as cluster, contextlib.ExitStack() as stack:
        process = stack.enter_context(module("holder", SERVICE, str(SESSIONS), ",".join(cluster.addresses)))
        assert line_of(process) == "ready"
        made = Victims(cluster)
        stack.callback(made.close)
        made.until_listed()
        yield made


def memory_mib(node: RealNode) -> int:
    return int(Path(f"/proc/{node.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.parametrize("offset", [CLIENTS, PEERS])
def test_bytes_that_are_no_zmtp(victims: Victims, offset: int) -> None:
    chance = random.Random(offset)
    port = victims.port(offset)
    opened = [hostile.connected(port) for _ in range(50)]
    for raw in opened:
        raw.sendall(chance.randbytes(chance.randint(1, 4_000)))
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hostile.GREETING, hostile.GREETING + hostile.ready()[:9]):
        opened.append(hostile.connected(port))
        opened[-1].sendall(words)
    for rest in (
        b"\x02" + b"\xff" * 8,
        b"\x02\0\0\0\1\0\0\0\0abc",
        b"\xff" * 100,
        b"\x04\xc8" + bytes(200),
        b"\0\x09abc",
    ):
        opened.append(hostile.shaken(port, rest))
    victims.assert_unharmed()
    hostile.close_all(opened)


@pytest.mark.parametrize(("offset", "name"), [(CLIENTS, "client"), (PEERS, "peer")])
def test_a_peer_of_the_first_zmtp(victims: Victims, offset: int, name: str) -> None:
    before = victims.counter(f"{name}_frames_of_old_protocols")
    raw = hostile.connected(victims.port(offset))
    raw.sendall(hostile.OLD_GREETING + b"\x04\x00abc")
    victims.until_counted(f"{name}_frames_of_old_protocols", before)
    victims.assert_unharmed()
    raw.close()


@pytest.mark.parametrize(("offset", "name"), [(CLIENTS, "client"), (PEERS, "peer")])
def test_messages_of_many_parts_and_without_end(victims: Victims, offset: int, name: str) -> None:
    before = victims.counter(f"{name}_frames_frame_invalid")
    parts = [hostile.zmtp_frame(b"part", more=number < 99) for number in range(100)]
    raw = hostile.shaken(victims.port(offset), *parts)
    victims.until_counted(f"{name}_frames_frame_invalid", before)
    raw.close()
    endless = hostile.shaken(victims.port(offset))
    hostile.send_until_cut(endless, hostile.zmtp_frame(bytes(60_000), more=True) * 8, 10.0)
    endless.close()
    victims.assert_unharmed()
    assert victims.counter(f"{name}_connections_cut_endless_message") > 0


@pytest.mark.parametrize("offset", [CLIENTS, PEERS])
def test_a_frame_over_the_limit(victims: Victims, offset: int) -> None:
    dealer = victims.dealer(offset)
    dealer.send(bytes(3 << 20))
    victims.assert_unharmed()
    dealer.close()


def test_every_wrong_field_is_named(victims: Victims) -> None:
    dealer = victims.dealer(CLIENTS)

    def ask(tag: int, body: Any, session: int, version: int = 1) -> Any:
        dealer.send(msgpack.packb([version, tag, 7, session, body]))
        return msgpack.unpackb(dealer.recv())

    own = int(time.time() * 1000)
    service, instance = ["public", "DEFAULT_GROUP", "x"], ["10.0.0.1", 80]
    assert ask(3, [service, [instance]], own)[4][0] == Code.SESSION_REQUIRED
    assert ask(1, [f"hostile-{own}", own], own)[1] != TAG_FAILED
    wrong: list[tuple[str, Any]] = [
        ("version", ask(11, [], own, version=2)),
        ("tag", ask(200, [], own)),
        ("tag", ask(-3, [], own)),
        ("body", ask(11, {}, own)),
        ("service", ask(5, [None], own)),
        ("service", ask(5, [["public", "DEFAULT_GROUP", "a\0b"]], own)),
        ("ip", ask(3, [service, [["10.0\0.1", 1]]], own)),
        ("port", ask(3, [service, [["10.0.0.1", -1]]], own)),
        ("port", ask(3, [service, [["10.0.0.1", 2**64 - 1]]], own)),
        ("instances[0].port", ask(3, [service, [["10.0.0.1", "80"]]], own)),
        ("weight", ask(3, [service, [["10.0.0.1", 1, "DEFAULT", float("nan")]]], own)),
        ("wait_ms", ask(3, [service, [instance], "add", "cluster", -5], own)),
        ("mode", ask(3, [service, [instance], "sideways"], own)),
        ("page", ask(8, ["public", "DEFAULT_GROUP", -1, 10], own)),
        ("session", ask(1, ["zero", 0], 0)),
        ("session", ask(1, ["last", 2**64 - 1], 2**64 - 1)),
        ("session", ask(1, ["last", NUMBER_MAX + 1], NUMBER_MAX + 1)),
        ("session", ask(1, [f"hostile-{own}", own], own)),
        ("client_id", ask(1, ["a\0b", own + 1], own + 1)),
        ("reason", ask(2, ["slam"], own)),
    ]
    assert [(field, answer[1], answer[4][2]) for field, answer in wrong] == [
        (field, TAG_FAILED, field) for field, _ in wrong
    ]
    for payload in (
        b"",
        b"\x91" * 5_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x95\x01\x05\x09\x01\xa2\xff\xfe",
    ):
        dealer.send(payload)
        assert msgpack.unpackb(dealer.recv())[4][0] == Code.FRAME_INVALID
    assert [ask(2, ["leave"], own)[1] for _ in range(2)] == [66, 66]
    victims.assert_unharmed()
    dealer.close()


def test_who_asks_without_reading_the_answers(victims: Victims) -> None:
    own = int(time.time() * 1000)
    opening = hostile.zmtp_frame(msgpack.packb([1, 1, 1, own, [f"deaf-{own}", own]]))
    raw = hostile.shaken(victims.port(CLIENTS), opening)
    query = hostile.zmtp_frame(msgpack.packb([1, 5, 2, own, [["public", "DEFAULT_GROUP", SERVICE]]]))
    hostile.send_unread(raw, query * 500, 2.0)
    assert victims.counter("client_frames_dropped_unread_by_receiver") > 0
    victims.assert_unharmed()
    raw.close()


def test_frames_of_a_stranger_among_the_nodes(victims: Victims) -> None:
    one, other, _ = (node.status() for node in victims.nodes)
    assert one is not None
    assert other is not None
    dealer = victims.dealer(PEERS)
    entry = DigestEntry(one.node_id, one.epoch + 5, 1, 1, 0, 0, 0)
    top = 2**64 - 1
    forged: list[tuple[PeerTag, Any]] = [
        (PeerTag.DIGEST, Digest(other.node_id, other.epoch, True, False, (), (entry,))),
        (PeerTag.DELTA, Delta(other.node_id, other.epoch, 0, 9, True, 0, 0, 0, True, 99, (b"junk",))),
        (PeerTag.DELTA, Delta(one.node_id, one.epoch, 0, top, True, 0, 0, -1, True, 99, ())),
        (PeerTag.DELTA_ACK, DeltaAck(one.node_id, one.epoch, top)),
        (PeerTag.PULL, Pull(one.node_id, one.epoch, -1)),
        (PeerTag.GOODBYE, Goodbye(other.node_id, other.epoch)),
    ]
    for tag, body in forged:
        dealer.send(encode_peer(tag, body))
    address = f"127.0.0.1:{victims.nodes[1].base_port + PEERS}"
    refused = [
        (Hello("other", "f" * 16, 5, address, "", ""), Code.CLUSTER_MISMATCH),
        (Hello("rollbook", "f" * 16, 5, "127.0.0.1:1", "", ""), Code.ADDRESS_MISMATCH),
        (Hello("rollbook", "f" * 16, 5, address, "", ""), Code.ADDRESS_MISMATCH),
        (Hello("rollbook", one.node_id, 5, address, "", ""), Code.NODE_ID_IN_USE),
        (Hello("rollbook", other.node_id, other.epoch + 1, address, "", ""), Code.NODE_ID_IN_USE),
    ]
    for hello, code in refused:
        dealer.send(encode_peer(PeerTag.HELLO, hello))
        answer = decode_peer(dealer.recv())
        while isinstance(answer, LinkPong):  # a probe: does this connection still stand?
            answer = decode_peer(dealer.recv())
        assert isinstance(answer, PeerRefused)
        assert answer.code == code
    victims.assert_unharmed()
    assert victims.counter("peer_frames_parameter_invalid") >= 2
    assert victims.counter("peer_frames_refused") >= 2
    dealer.close()


def test_a_subscriber_that_never_reads(victims: Victims) -> None:
    own = int(time.time() * 1000)
    subscription = [["public", "DEFAULT_GROUP", "busy"]]
    raw = hostile.shaken(victims.port(CLIENTS), hostile.zmtp_frame(msgpack.packb([1, 1, 1, own, ["deaf", own]])))
    pause_s(0.2)
    raw.sendall(hostile.zmtp_frame(msgpack.packb([1, 6, 2, own, subscription])))
    sent = victims.counter("push_sent")
    with NamingClient(servers=[victims.target.client_address]) as busy:
        for number in range(1_000):
            busy.register_instance("busy", "10.7.0.1", 1 + number % 2)
            busy.deregister_instance("busy", "10.7.0.1", 1 + number % 2)
    assert 0 < victims.counter("push_sent") - sent < 50, "what was not acknowledged is not followed by more"
    victims.assert_unharmed()
    raw.close()


@pytest.mark.parametrize(("offset", "name"), [(CLIENTS, "client"), (PEERS, "peer")])
def test_more_connections_than_the_system_has_descriptors(tmp_path: Path, offset: int, name: str) -> None:
    cluster = RealCluster(tmp_path, 1)
    (node,) = cluster.nodes
    node.launch_with(*LIMITED)
    with cluster, NamingClient(servers=[node.client_address]) as early, descriptors_for(CONNECTIONS):
        early.register_instance(SERVICE, "10.0.0.1", 80)
        pid, before_mib = node.pid, memory_mib(node)
        opened = hostile.silent_connections(node.base_port + offset, CONNECTIONS)
        observer = Observer(node, SERVICE)
        until(lambda: node.status() is not None, 3, "the node answers")
        with NamingClient(servers=[node.client_address]) as late:
            late.register_instance("late", "10.0.0.2", 80)
        assert (observer.count(), node.pid) == (1, pid)
        assert early.get_all_instances(SERVICE)
        assert memory_mib(node) - before_mib < GROWTH_MIB_MAX
        status = node.status()
        assert status is not None
        assert status.counters[f"{name}_connections_cut_too_many"] > 0
        hostile.close_all(opened)
        observer.close()


@contextlib.contextmanager
def descriptors_for(count: int) -> Iterator[None]:
    """Let this process open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 1_000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
