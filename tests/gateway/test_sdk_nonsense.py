"""What no SDK would send over gRPC: it is answered in a type that SDKs know, it costs its sender alone, and the log has
neither a traceback of it nor a line that a stranger has written."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from loguru import logger

from runtime.gateway.wire.sdk_pb2 import Payload
from tests.support.bare_node import BareNode
from tests.support.sdk_client import payload_of, until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster

NAMING = (
    "InstanceRequest",
    "BatchInstanceRequest",
    "ServiceQueryRequest",
    "SubscribeServiceRequest",
    "ServiceListRequest",
    "NamingFuzzyWatchRequest",
)
DEEP = b'{"instance":' * 100_000
BODIES = (
    DEEP,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[]",
    b"\xff",
    b'{"namespace":"\xff"}',
    b'{"namespace":"\\ud800"}',
)
OF_ONE_KIND = (
    ("InstanceRequest", b'{"serviceName":"s","type":"registerInstance","instance":{"ip":"1.1.1.1","port":1e400}}'),
    ("InstanceRequest", b'{"serviceName":{},"instance":[]}'),
    ("BatchInstanceRequest", b'{"serviceName":"s","type":"batchRegisterInstance","instances":{}}'),
    ("ServiceListRequest", b'{"pageNo":99999999999999999999999999}'),
)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Whatever is logged, by whichever way."""
    said: list[str] = []
    sink = logger.add(said.append, level="DEBUG", format="{message} {extra} {exception}")
    with caplog.at_level(logging.WARNING):
        yield said
    logger.remove(sink)


@contextlib.asynccontextmanager
async def raw(world: SdkWorld) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.base_port + 1_000}") as channel:
        yield channel


def test_bodies_that_are_none_are_refused_in_the_type_of_every_fault(
    lasting_node: BareNode, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        for kind, body in (*itertools.product(NAMING, BODIES), *OF_ONE_KIND):
            answered, said = await sdk.asked_with(kind, body)
            assert (answered, said["errorCode"]) == ("ErrorResponse", 502), f"{kind} {body[:40]!r}: {said}"
        assert (await sdk.register("sane", 1))["resultCode"] == 200
        assert sdk.ends == []

    in_sdk_world(lasting_node, script)
    assert not [line for line in lines if "Traceback" in line]
    assert caplog.records == []


def test_bytes_that_are_no_envelope_are_a_request_of_no_known_type(
    lasting_node: BareNode, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def script(world: SdkWorld) -> None:
        async with raw(world) as channel:
            answer = Payload.FromString(await channel.unary_unary("/Request/request")(b"\xff\xff\xff", timeout=10))
            assert answer.metadata.type == "ErrorResponse"
            stream = channel.stream_stream("/BiRequestStream/requestBiStream")()
            await stream.write(b"\xff\xff\xff")
            await stream.done_writing()
            assert await stream.code() == grpc.StatusCode.OK, "it was the stranger who ended it"
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await channel.unary_unary("/Nobody/knows")(b"", timeout=10)
            assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED

    in_sdk_world(lasting_node, script)
    assert not [line for line in lines if "Traceback" in line]
    assert caplog.records == []


def test_a_stream_that_begins_with_nonsense_ends_with_an_error_when_its_time_is_over(
    lasting_node: BareNode, lines: list[str]
) -> None:
    async def script(world: SdkWorld) -> None:
        stranger = world.sdk()
        stranger.open_stream()
        for body in (DEEP, b"[]", b"\xff", b'{"labels":{"a":{}}}'):
            setup = payload_of("ConnectionSetupRequest", {})
            setup.body.value = body
            await stranger.say_payload(setup)
        await until(lambda: stranger.ends, "it has not said whose it is")
        assert stranger.ends == [grpc.StatusCode.DEADLINE_EXCEEDED]

    in_sdk_world(lasting_node, script, setup_ms=1_000)
    assert len([line for line in lines if "is not readable" in line]) == 4
    assert not [line for line in lines if "Traceback" in line]


def test_a_type_cannot_write_lines_of_its_own_into_the_log(lasting_node: BareNode, lines: list[str]) -> None:
    forged = "x\n2026-01-01 ERROR everything is lost" + "z" * 10_000

    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        await sdk.say_payload(payload_of(forged, {}))
        await until(lambda: any("means nothing" in line for line in lines), "it is noted")

    in_sdk_world(lasting_node, script)
    (line,) = [line for line in lines if "means nothing" in line]
    assert "\n2026-01-01" not in line
    assert len(line) < 1_000


def test_sdks_that_go_in_the_middle_of_anything_leave_no_traceback(
    lasting_node: BareNode, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def script(world: SdkWorld) -> None:
        for number in range(20):
            sdk = await world.connected()
            await sdk.subscribe("left")
            asking = asyncio.create_task(sdk.register("left", number))
            await asyncio.sleep(0)
            await sdk.close()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: world.connections == 0, "all have gone")

    in_sdk_world(lasting_node, script)
    assert not [line for line in lines if "Traceback" in line]
    assert caplog.records == []
