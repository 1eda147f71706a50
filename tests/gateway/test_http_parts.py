"""Beats in batches, and lists that are followed, against a node that a script plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.datastructures import Headers

from rollbook.durable_bodies import WithdrawPersistent
from rollbook.errors import ClusterUnreachable, Code, Refused, RollbookError
from rollbook.http_clients import BEATS_PER_ORDER_MAX, Beaten, BeatOutcome, Beats, HttpBeat
from rollbook.model import Instance, InstanceKey, Service, View
from rollbook.orders import CallBody
from rollbook.wire import Done, Query, Subscribe, Unsubscribe
from runtime.gateway.http_beats import BATCH_BYTES_MAX, BeatGatherer
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import HttpRefused
from runtime.gateway.http_instances import HttpInstances
from runtime.gateway.http_views import ServiceViews
from runtime.gateway.switches import Switchboard

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
CLOCK = 1_756_800_000_000 << 16
DEREGISTER = ("DELETE", "/v1/ns/instance")


class ScriptedNode:
    """Answers each order as the script says, and keeps what it was asked."""

    def __init__(self, script: Callable[[CallBody], Any]) -> None:
        self.has_given_up = False
        self.asked: list[CallBody] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._script = script

    async def ask(self, body: CallBody, timeout_ms: int = 0) -> Any:
        del timeout_ms
        self.asked.append(body)
        await self.gate.wait()
        answer = self._script(body)
        if isinstance(answer, RollbookError):
            raise answer
        return answer


def beat(port: int, metadata: dict[str, str] | None = None) -> HttpBeat:
    instance = Instance("10.0.0.1", port, metadata=metadata) if metadata else None
    return HttpBeat(ORDERS, "10.0.0.1", port, instance)


def beaten(body: CallBody) -> Any:
    assert isinstance(body, Beats)
    return Beaten(tuple(BeatOutcome("renewed", each.port) for each in body.beats))


def test_beats_of_a_moment_make_one_order_and_each_gets_its_own_answer() -> None:
    async def run() -> None:
        node = ScriptedNode(beaten)
        gatherer = BeatGatherer(node, 5, 1_000)
        answers = await asyncio.gather(*(gatherer.beat(beat(port)) for port in range(100)))
        assert [answer.outcome.interval_ms for answer in answers] == list(range(100))
        assert len(node.asked) == 1

    asyncio.run(run())


def test_an_order_holds_so_many_beats_and_so_many_bytes() -> None:
    async def run() -> None:
        node = ScriptedNode(beaten)
        gatherer = BeatGatherer(node, 5, 10_000)
        await asyncio.gather(*(gatherer.beat(beat(port)) for port in range(BEATS_PER_ORDER_MAX + 1)))
        assert [len(body.beats) for body in node.asked if isinstance(body, Beats)] == [BEATS_PER_ORDER_MAX, 1]
        node.asked.clear()
        long = {"k": "v" * 1_000}
        await asyncio.gather(*(gatherer.beat(beat(port, long)) for port in range(300)))
        assert len(node.asked) == 1 + 300 * 1_050 // BATCH_BYTES_MAX

    asyncio.run(run())


def test_what_the_node_refuses_everybody_in_the_order_is_told() -> None:
    async def run() -> None:
        node = ScriptedNode(lambda _: Refused("not now", code=Code.NOT_READY))
        gatherer = BeatGatherer(node, 5, 1_000)
        answers = await asyncio.gather(*(gatherer.beat(beat(port)) for port in range(3)), return_exceptions=True)
        assert [(type(one), getattr(one, "code", 0)) for one in answers] == [(Refused, Code.NOT_READY)] * 3

    asyncio.run(run())


def test_above_the_limit_and_while_the_node_is_away_beats_are_refused_at_once() -> None:
    async def run() -> None:
        node = ScriptedNode(beaten)
        gatherer = BeatGatherer(node, 5, 1)
        waiting = asyncio.create_task(gatherer.beat(beat(1)))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="too many") as refused:
            await gatherer.beat(beat(2))
        assert refused.value.retryable
        await waiting
        node.has_given_up = True
        with pytest.raises(ClusterUnreachable):
            await gatherer.beat(beat(3))

    asyncio.run(run())


def test_a_beat_that_an_isolated_node_took_sends_the_client_to_another_server_too() -> None:
    async def run() -> None:
        node = ScriptedNode(lambda _: Beaten((BeatOutcome("renewed", 5_000),), isolated=True))
        views = ServiceViews(node, 10, 1_000, lambda: 0)
        beat_route = HttpInstances(node, views, BeatGatherer(node, 1, 10), Switchboard()).routes()[0]
        call = HttpCall("PUT", beat_route.path, {"serviceName": "s", "ip": "10.0.0.1", "port": "80"}, Headers())
        with pytest.raises(HttpRefused) as refused:
            await beat_route.answer(call)
        assert refused.value.status == 503

    asyncio.run(run())


class Registry:
    """What the scripted node lists."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.version = CLOCK

    def answer(self, body: CallBody) -> Any:
        return Done() if isinstance(body, Unsubscribe) else View(ORDERS, self.version)


def viewing(registry: Registry, kept_max: int = 10) -> tuple[ScriptedNode, ServiceViews]:
    node = ScriptedNode(registry.answer)
    return node, ServiceViews(node, kept_max, 1_000, lambda: registry.now_ms)


def test_a_list_is_asked_for_once_and_followed() -> None:
    async def run() -> None:
        node, views = viewing(Registry())
        both = await asyncio.gather(views.view(ORDERS), views.view(ORDERS))
        assert both[0] is both[1]
        news = View(ORDERS, CLOCK + 1)
        views.changed(news)
        assert await views.view(ORDERS) is news
        assert node.asked == [Subscribe(ORDERS)]

    asyncio.run(run())


def test_after_a_write_the_node_is_asked_and_not_before_the_write() -> None:
    async def run() -> None:
        registry = Registry()
        node, views = viewing(registry)
        await views.view(ORDERS)
        views.written(ORDERS)
        node.gate.clear()
        early = asyncio.create_task(views.view(ORDERS))
        await asyncio.sleep(0)
        views.written(ORDERS)
        late = asyncio.create_task(views.view(ORDERS))
        await asyncio.sleep(0)
        registry.version += 1
        node.gate.set()
        assert (await late).version == registry.version
        await early
        await views.view(ORDERS)
        assert node.asked == [Subscribe(ORDERS), Query(ORDERS), Query(ORDERS)]

    asyncio.run(run())


def test_what_nobody_asks_for_any_more_is_forgotten_and_so_is_what_is_above_the_limit() -> None:
    async def run() -> None:
        registry = Registry()
        node, views = viewing(registry, kept_max=2)
        others = [Service("public", "DEFAULT_GROUP", f"s{number}") for number in range(3)]
        for service in others:
            await views.view(service)
        await asyncio.sleep(0)
        assert len(views) == 2
        assert Unsubscribe(others[0]) in node.asked
        registry.now_ms = 1_001
        views.look()
        assert len(views) == 0
        await views.stop()

    asyncio.run(run())


def test_a_list_that_the_node_refuses_is_not_kept_and_everybody_is_told() -> None:
    async def run() -> None:
        node = ScriptedNode(
            lambda body: Done() if isinstance(body, Unsubscribe) else Refused("no", code=Code.NOT_READY)
        )
        views = ServiceViews(node, 10, 1_000, lambda: 0)
        both = await asyncio.gather(views.view(ORDERS), views.view(ORDERS), return_exceptions=True)
        assert [type(one) for one in both] == [Refused, Refused]
        assert len(views) == 0
        node.has_given_up = True
        with pytest.raises(ClusterUnreachable):
            await views.view(ORDERS)
        await views.stop()

    asyncio.run(run())


def test_a_persistent_instance_that_is_not_listed_here_yet_is_withdrawn_all_the_same() -> None:
    async def run() -> None:
        node = ScriptedNode(lambda body: Done() if isinstance(body, WithdrawPersistent) else View(ORDERS, CLOCK))
        views = ServiceViews(node, 10, 1_000, lambda: 0)
        instances = HttpInstances(node, views, BeatGatherer(node, 1, 10), Switchboard())
        route = next(route for route in instances.routes() if (route.methods, route.path) == DEREGISTER)
        said = {"serviceName": "orders", "ip": "10.0.0.1", "port": "80", "ephemeral": "false"}
        for more, cluster in (({}, "DEFAULT"), ({"clusterName": "east"}, "east")):
            await route.answer(HttpCall("DELETE", "", {**said, **more}, Headers()))
            assert node.asked[-1] == WithdrawPersistent(ORDERS, (InstanceKey("10.0.0.1", 80, cluster),))

    asyncio.run(run())
