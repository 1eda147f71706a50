"""News by UDP: to whom, in which shape, and what answers and silence mean."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from rollbook.model import Instance, Service, View
from runtime.gateway.http_push import POLLS_EVERY_MS, PUSHES_PER_TURN_MAX, UdpPush, takes_pushes
from runtime.gateway.service_lists import ServiceLists
from tests.support.http_gateway import HttpCaller, HttpNode
from tests.support.sdk_client import until

NEWS_SECONDS = 20.0
JAVA = "Nacos-Java-Client:v1.4.7"
ORDERS = Service("public", "DEFAULT_GROUP", "orders")


class Listener:
    """An SDK's UDP port."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(NEWS_SECONDS)
        self.port: int = self._socket.getsockname()[1]
        self._sender: Any = None

    def receive(self) -> Any:
        payload, self._sender = self._socket.recvfrom(65_536)
        was_packed = payload[:2] == b"\x1f\x8b"
        push = msgspec.json.decode(gzip.decompress(payload) if was_packed else payload)
        assert push["type"] == "dom"
        return {**push, "data": msgspec.json.decode(push["data"]), "was_packed": was_packed}

    def answer(self, number: object) -> None:
        text = msgspec.json.encode({"type": "push-ack", "lastRefTime": number, "data": ""})
        self._socket.sendto(text, self._sender)

    def hears_nothing(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recvfrom(65_536)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(NEWS_SECONDS)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("agent", "is_told"),
    [
        (JAVA, True),
        ("Nacos-Java-Client:v1.0.0", True),
        ("Nacos-Go-Client:v2.3.5", True),
        ("Nacos-C-Client:v1.0.11", False),
        ("Nacos-C-Client:v1.0.12", True),
        ("Nacos-CSharp-Client:0.9.0", True),
        ("Nacos-CSharp-Client:0.8.9", False),
        ("Nacos-DNS:v0.4.3", True),
        ("Nacos-Python-Client:v1.0.0", False),
        ("curl/8.0", False),
        ("", False),
    ],
)
def test_only_agents_that_listen_are_told(agent: str, is_told: bool) -> None:
    assert takes_pushes(agent) is is_told


@pytest.mark.cluster
def test_who_polls_with_a_port_is_told_what_changes(http_node: HttpNode, listener: Listener) -> None:
    sdk = HttpCaller(http_node.base_port, {"User-Agent": JAVA})
    poll = {"serviceName": "udp", "udpPort": listener.port, "clientIP": "127.0.0.1", "clusters": "DEFAULT"}
    assert sdk.say("GET", "/v1/ns/instance/list", **poll).json["hosts"] == []
    sdk.say("POST", "/v1/ns/instance", serviceName="udp", ip="10.0.0.1", port=80)
    first = listener.receive()
    while not first["data"]["hosts"]:
        first = listener.receive()
    assert not first["was_packed"]
    assert (first["data"]["name"], first["data"]["clusters"]) == ("DEFAULT_GROUP@@udp", "DEFAULT")
    listener.answer(str(first["lastRefTime"]))
    for number in range(81, 91):
        sdk.say("POST", "/v1/ns/instance", serviceName="udp", ip="10.0.0.1", port=number)
    pushes = [listener.receive()]
    while len(pushes[-1]["data"]["hosts"]) < 11:
        pushes.append(listener.receive())
        listener.answer(pushes[-1]["lastRefTime"])
    assert pushes[-1]["was_packed"]
    times = [push["data"]["lastRefTime"] for push in pushes]
    assert times == sorted(set(times))
    state = sdk.say("GET", "/v1/ns/operator/push/state", detail="true").json
    assert 0 < state["succeed"] <= state["total"]


@pytest.mark.cluster
def test_who_does_not_listen_is_not_told(http_node: HttpNode, listener: Listener) -> None:
    poll = {"serviceName": "deaf", "udpPort": listener.port, "clientIP": "127.0.0.1"}
    HttpCaller(http_node.base_port, {"User-Agent": "curl/8.0"}).say("GET", "/v1/ns/instance/list", **poll)
    HttpCaller(http_node.base_port, {"User-Agent": JAVA}).say(
        "GET", "/v1/ns/instance/list", **{**poll, "clientIP": "elsewhere.example"}
    )
    http_node.caller.say("POST", "/v1/ns/instance", serviceName="deaf", ip="10.0.0.1", port=80)
    assert http_node.caller.shown("deaf") == ["10.0.0.1:80"]
    assert listener.hears_nothing(0.3)


# -- without a node


class Clock:
    """It moves when it is told to."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def view(*ports: int) -> View:
    return View(ORDERS, (1_756_800_000_000 + len(ports)) << 16, tuple(Instance("10.0.0.1", port) for port in ports))


def pushing(clock: Clock, subscribers_max: int = 10) -> UdpPush:
    return UdpPush(ServiceLists(100, 1_000_000, 100), subscribers_max, clock)


def test_a_subscription_lasts_until_the_next_poll_should_have_come(listener: Listener) -> None:
    async def run() -> None:
        clock = Clock()
        push = pushing(clock)
        await push.start("127.0.0.1")
        push.subscribe(ORDERS, "", ("127.0.0.1", listener.port))
        push.changed(view(80))
        clock.now_ms += POLLS_EVERY_MS
        push.changed(view(80, 81))
        assert push.pushes == 1
        push.look()
        assert len(push) == 0
        push.stop()

    asyncio.run(run())


def test_above_the_limit_nobody_is_added() -> None:
    push = pushing(Clock(), subscribers_max=2)
    for port in range(1, 6):
        push.subscribe(ORDERS, "", ("127.0.0.1", port))
    push.subscribe(Service("public", "DEFAULT_GROUP", "other"), "", ("127.0.0.1", 1))
    assert len(push) == 2


def test_answers_that_are_none_are_nobodys() -> None:
    push = pushing(Clock())
    for payload in (
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"type":"push-ack"}',
        b'{"type":"push-ack","lastRefTime":7}',
        b"[" * 9_999,
    ):
        push.answered(payload)
    assert push.answers == 0


def test_what_is_not_answered_is_sent_once_more_and_then_its_client_is_left_alone(
    listener: Listener,
) -> None:
    async def run() -> None:
        push = UdpPush(ServiceLists(100, 1_000_000, 100), 10, Clock(), ack_ms=50)
        await push.start("127.0.0.1")
        push.subscribe(ORDERS, "", ("127.0.0.1", listener.port))
        push.changed(view(80))
        first = await asyncio.to_thread(listener.receive)
        assert await asyncio.to_thread(listener.receive) == first
        assert await asyncio.to_thread(listener.hears_nothing, 0.2)
        push.changed(view(80, 81))
        assert push.pushes == 1, "it is left alone"
        push.subscribe(ORDERS, "", ("127.0.0.1", listener.port))
        push.changed(view(80, 81))
        second = await asyncio.to_thread(listener.receive)
        listener.answer(second["lastRefTime"])
        assert await asyncio.to_thread(listener.hears_nothing, 0.2)
        assert (push.pushes, push.answers) == (2, 1)
        push.stop()

    asyncio.run(run())


def test_a_crowd_is_told_in_turns_of_the_loop_and_whoever_waits_is_told_what_is_newest() -> None:
    async def run() -> None:
        crowd = 3 * PUSHES_PER_TURN_MAX
        push = pushing(Clock(), crowd)
        for number in range(crowd):
            push.subscribe(ORDERS, "", ("127.0.0.1", 10_000 + number))
        push.changed(view(80))
        assert push.pushes == PUSHES_PER_TURN_MAX
        push.changed(view(80, 81))
        await until(lambda: not push._unsent, "all are told")
        assert push.pushes == crowd + PUSHES_PER_TURN_MAX, "those who were told before are told again, others once"
        push.changed(view(80))
        push.stop()
        await asyncio.sleep(0)
        assert push.pushes == crowd + 2 * PUSHES_PER_TURN_MAX, "nobody is told after the end"

    asyncio.run(run())
