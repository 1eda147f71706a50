"""What no SDK says over gRPC: whoever says it has an answer, and it costs nobody else anything."""

from __future__ import annotations

import asyncio

import pytest

from rollbook.errors import Refused
from rollbook.model import Service
from rollbook.wire import FRAME_BYTES_MAX, ListServices, Query
from tests.support.bare_node import BareNode
from tests.support.sdk_client import SdkClient
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster

KINDS = (
    *("InstanceRequest", "BatchInstanceRequest", "PersistentInstanceRequest", "ServiceQueryRequest"),
    *("SubscribeServiceRequest", "ServiceListRequest", "NamingFuzzyWatchRequest"),
)
NOT_READ = {
    "deep": b'{"a":' * 100_000,
    "deep-and-closed": b'{"serviceName":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "no-utf-8": b'{"serviceName":"\xff"}',
    "half-a-letter": b'{"serviceName":"\\ud800"}',
    "no-object": b"[]",
    "no-json": b"\x00\x01",
    "long-number": b'{"serviceName":' + b"9" * 5_000 + b"}",
}
READ = {
    "far-page": b'{"namespace":"public","groupName":"g","pageNo":9223372036854775807,"pageSize":9223372036854775807}',
    "page-before": b'{"namespace":"public","groupName":"g","pageNo":-5,"pageSize":-5}',
    "nul": b'{"serviceName":"\\u0000","groupName":"g"}',
    "long-name": b'{"serviceName":"' + b"x" * 1_000_000 + b'"}',
    "port": b'{"serviceName":"s","type":"registerInstance","instance":{"ip":"1.1.1.1","port":9223372036854775807}}',
    "weight": b'{"serviceName":"s","type":"registerInstance","instance":{"ip":"1.1.1.1","port":1,"weight":1e308}}',
}


async def check_all_is_well(world: SdkWorld, bystander: SdkClient) -> None:
    """The link has not been lost, and whoever was there is served on the same stream."""
    assert world.gateway.link.is_up
    assert await bystander.ports("bystander") == [1]
    assert not bystander.ends


async def bystander_at(world: SdkWorld) -> SdkClient:
    sdk = await world.connected()
    await sdk.register("bystander", 1)
    return sdk


def test_what_can_be_read_and_means_nothing_is_refused_or_empty(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        bystander, sdk = await bystander_at(world), await world.connected()
        for kind in KINDS:
            for name, text in READ.items():
                _, body = await sdk.asked_with(kind, text)
                assert body["success"] or body["errorCode"] in (400, 502), (kind, name, body)
        found = await sdk.asked_with("ServiceListRequest", READ["far-page"])
        assert (found[0], found[1]["errorCode"]) == ("ErrorResponse", 502), found
        await check_all_is_well(world, bystander)

    in_sdk_world(lasting_node, script)


@pytest.mark.parametrize("kind", ["ConnectionSetupRequest", "NotifySubscriberResponse", "Unheard"])
def test_nonsense_on_a_stream_is_passed_over(lasting_node: BareNode, kind: str) -> None:
    async def script(world: SdkWorld) -> None:
        bystander, sdk = await bystander_at(world), await world.connected()
        for text in NOT_READ.values():
            await sdk.say_text(kind, text)
        assert (await sdk.asked("HealthCheckRequest", {}))[1]["success"]
        assert not sdk.ends
        await check_all_is_well(world, bystander)

    in_sdk_world(lasting_node, script)


@pytest.mark.parametrize(
    "order",
    [
        ListServices("public", "g", 1 << 70),
        Query(Service("public", "g", "\ud800")),
        Query(Service("public", "g", "x" * FRAME_BYTES_MAX)),
    ],
    ids=["no-number", "no-text", "too-long"],
)
def test_what_cannot_be_said_to_the_node_is_refused_and_costs_no_link(
    lasting_node: BareNode, order: ListServices | Query
) -> None:
    async def script(world: SdkWorld) -> None:
        bystander = await bystander_at(world)
        own = world.gateway.link.own
        with pytest.raises(Refused):
            await own.ask(order, 20_000)
        assert own.link is not None
        assert not own.link.in_flight
        await check_all_is_well(world, bystander)

    in_sdk_world(lasting_node, script)


def test_a_transport_that_does_not_speak_costs_nobody_anything_and_there_is_a_limit(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        port = world.base_port + 1_000
        bystander = await bystander_at(world)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        for _, each in [*silent, (reader, writer)]:
            each.close()
        await check_all_is_well(world, bystander)

    in_sdk_world(lasting_node, script, grpc_connections_max=3)


def test_words_of_another_protocol_on_the_port_of_grpc_end_their_connection(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        bystander = await bystander_at(world)
        for words in (b"GET /nacos/v1/ns/instance/list HTTP/1.1\r\nHost: h\r\n\r\n", b"\x16\x03\x01" + b"x" * 300):
            reader, writer = await asyncio.open_connection("127.0.0.1", world.base_port + 1_000)
            writer.write(words)
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()
        await check_all_is_well(world, bystander)

    in_sdk_world(lasting_node, script)
