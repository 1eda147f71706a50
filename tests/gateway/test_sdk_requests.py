"""What SDKs ask over gRPC and are answered, at a real gateway before a real node."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.support.bare_node import BareNode
from tests.support.sdk_client import JAVA, PYTHON, Body, instance_body, until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster

UNREGISTERED = {"resultCode": 500, "errorCode": 301, "message": "Connection is unregistered.", "success": False}


def ports_of(shown: Body) -> list[int]:
    return [host["port"] for host in shown["hosts"]]


def test_whoever_checks_the_server_without_a_stream_is_told_that_it_negotiates(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        kind, body = await world.sdk().asked("ServerCheckRequest", {"headers": {}, "module": "internal"})
        assert kind == "ServerCheckResponse"
        millis, ip, port = body.pop("connectionId").split("_")
        assert (int(millis) > 0, ip, int(port) > 0) == (True, "127.0.0.1", True)
        assert body == {"resultCode": 200, "errorCode": 0, "success": True, "supportAbilityNegotiation": True}

    in_sdk_world(lasting_node, script)


def test_without_a_stream_an_unknown_type_is_unknown_and_a_known_one_unregistered(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = world.sdk()
        assert await sdk.asked("InstanceRequest", {}) == ("ErrorResponse", UNREGISTERED)
        assert await sdk.asked("ConfigBatchListenRequest", {}) == ("ErrorResponse", UNREGISTERED)
        kind, body = await sdk.asked("NobodyRequest", {})
        assert (kind, body["errorCode"], body["message"]) == ("ErrorResponse", 302, "RequestHandler Not Found")
        kind, body = await sdk.asked("HealthCheckRequest", {})
        assert (kind, body["errorCode"], body["message"]) == ("ErrorResponse", 500, "Connection is unregistered.")

    in_sdk_world(lasting_node, script)


@pytest.mark.parametrize(
    ("setup", "acks"),
    [({"abilityTable": {}}, 1), ({"abilityTable": {"fuzzyWatch": True}}, 1), ({}, 0), ({"abilityTable": None}, 0)],
)
def test_whoever_names_abilities_is_told_ours_once_and_first(
    lasting_node: BareNode, setup: dict[str, Any], acks: int
) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, service = world.sdk(), f"acks-{world.base_port}"  # what ended with another gateway may linger
        await sdk.set_up(**setup)
        await until(lambda: world.connections == 1, "it is connected")
        await sdk.subscribe(service)
        await sdk.register(service, 1)
        await until(lambda: sdk.lists(service), "it is told of itself")
        assert len(sdk.told("SetupAckRequest")) == acks
        if acks:
            kind, body = sdk.heard[0]
            assert kind == "SetupAckRequest"
            assert body["abilityTable"]["supportPersistentInstanceByGrpc"] is True
            assert "requestId" not in body
        assert (await sdk.asked("HealthCheckRequest", {}))[0] == "HealthCheckResponse"

    in_sdk_world(lasting_node, script)


def test_a_list_has_every_field_and_no_null(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        beats = {"preserved.heart.beat.interval": "1000", "number": 7, "nothing": None}
        body = instance_body(80, clusterName=None, metadata=beats, weight=2)
        answer = await sdk.naming("InstanceRequest", "whole", type="registerInstance", instance=body)
        assert answer == {"resultCode": 200, "errorCode": 0, "success": True, "type": "registerInstance"}
        answer = await sdk.subscribe("whole", "DEFAULT,other")
        shown = answer.pop("serviceInfo")
        assert answer == {"resultCode": 200, "errorCode": 0, "success": True, "message": "success"}
        assert shown.pop("lastRefTime") > 1_700_000_000_000
        assert shown == {
            "name": "whole",
            "groupName": "DEFAULT_GROUP",
            "clusters": "DEFAULT,other",
            "cacheMillis": 10_000,
            "reachProtectionThreshold": False,
            "checksum": "",
            "allIps": False,
            "allIPs": False,
            "valid": True,
            "hosts": [
                {
                    "instanceId": "10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@whole",
                    "ip": "10.0.0.1",
                    "port": 80,
                    "weight": 2.0,
                    "healthy": True,
                    "enabled": True,
                    "ephemeral": True,
                    "clusterName": "DEFAULT",
                    "serviceName": "DEFAULT_GROUP@@whole",
                    "metadata": {"preserved.heart.beat.interval": "1000", "number": "7"},
                    "instanceHeartBeatInterval": 1_000,
                    "instanceHeartBeatTimeOut": 15_000,
                    "ipDeleteTimeout": 30_000,
                    "instanceIdGenerator": "simple",
                }
            ],
        }

    in_sdk_world(lasting_node, script)


@pytest.mark.parametrize(("version", "pushes"), [(JAVA, 1), ("Nacos-Rust-Client:0.5", 1), (PYTHON, 0)])
def test_what_an_answer_lists_is_pushed_too_to_those_that_may_leave_it_unread(
    lasting_node: BareNode, version: str, pushes: int
) -> None:
    """Java does when it subscribes again at another server: it would not see what changed on its way."""

    async def script(world: SdkWorld) -> None:
        publisher, watcher = await world.connected(), await world.connected(version)
        service = f"unread-{version.split('-')[1]}"
        await publisher.register(service, 1)
        answer = await watcher.subscribe(service)
        assert ports_of(answer["serviceInfo"]) == [1]
        await until(lambda: len(watcher.lists(service)) >= pushes, "it is pushed")
        await publisher.register(service, 2)
        await until(lambda: watcher.lists(service) and ports_of(watcher.lists(service)[-1]) == [2], "it is told")
        assert [ports_of(shown) for shown in watcher.lists(service)] == [[1]] * pushes + [[2]]

    in_sdk_world(lasting_node, script)


def test_one_connection_has_one_entry_for_each_service(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, other = await world.connected(), await world.connected()
        await sdk.register("single", 1)
        await sdk.register("single", 2)
        await other.register("single", 3)
        assert await other.ports("single") == [2, 3]
        batch = [instance_body(4, clusterName=""), instance_body(5), instance_body(5, weight=3)]
        answer = await sdk.naming("BatchInstanceRequest", "single", type="batchRegisterInstance", instances=batch)
        assert answer == {"resultCode": 200, "errorCode": 0, "success": True, "type": "batchRegisterInstance"}
        assert await other.ports("single") == [3, 4, 5]
        gone = instance_body(77, ip="9.9.9.9", clusterName="")
        for _ in range(2):  # what is not there is gone already
            answer = await sdk.naming("InstanceRequest", "single", type="deregisterInstance", instance=gone)
            assert answer == {"resultCode": 200, "errorCode": 0, "success": True, "type": "deregisterInstance"}
            assert await other.ports("single") == [3]
        await sdk.naming("BatchInstanceRequest", "single", type="batchRegisterInstance", instances=batch)
        await sdk.naming("BatchInstanceRequest", "single", type="batchRegisterInstance", instances=[])
        assert await other.ports("single") == [3]

    in_sdk_world(lasting_node, script)


def test_persistent_instances_survive_their_connection(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, other = await world.connected(), await world.connected()
        body = instance_body(1, ephemeral=False)
        answer = await sdk.naming("PersistentInstanceRequest", "kept", type="registerInstance", instance=body)
        assert answer == {"resultCode": 200, "errorCode": 0, "success": True, "type": "registerInstance"}
        await sdk.close()
        await until(lambda: world.connections == 1, "it has gone")
        assert await other.ports("kept") == [1]
        refused = await other.register("kept", 2)
        sentence = "Current service DEFAULT_GROUP@@kept is persistent service, can't register ephemeral instance."
        assert refused == {"resultCode": 500, "errorCode": 400, "success": False, "message": sentence}
        await other.naming("PersistentInstanceRequest", "kept", type="deregisterInstance", instance=body)
        assert await other.ports("kept") == []
        await other.register("mine", 1)
        refused = await other.naming("PersistentInstanceRequest", "mine", type="registerInstance", instance=body)
        sentence = "Current service DEFAULT_GROUP@@mine is ephemeral service, can't register persistent instance."
        assert (refused["errorCode"], refused["message"]) == (400, sentence)

    in_sdk_world(lasting_node, script)


def test_an_empty_namespace_is_the_public_one(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        await sdk.register("everywhere", 1, namespace="", groupName="nameless")
        assert await sdk.ports("everywhere", groupName="nameless") == [1]
        assert await sdk.ports("everywhere", namespace=None, groupName="nameless") == [1]
        assert await sdk.ports("everywhere", namespace="another", groupName="nameless") == []
        listed = await sdk.naming("ServiceListRequest", "", namespace="", groupName="nameless", pageNo=1, pageSize=10)
        assert (listed["count"], listed["serviceNames"]) == (1, ["everywhere"])

    in_sdk_world(lasting_node, script)


def test_services_are_listed_in_pages_of_any_size(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        for number in range(7):
            await sdk.register(f"paged-{number}", 1, groupName="pages")
        pages: dict[tuple[int, int], list[int]] = {
            (1, 3): [0, 1, 2],
            (3, 3): [6],
            (4, 3): [],
            (1, 100_000): [0, 1, 2, 3, 4, 5, 6],
            (0, 2): [0, 1],
            (1, 0): [],
            (1, -5): [],
        }
        for (page, size), expected in pages.items():
            answer = await sdk.naming("ServiceListRequest", "", groupName="pages", pageNo=page, pageSize=size)
            assert answer["count"] == 7
            assert answer["serviceNames"] == [f"paged-{number}" for number in expected]
        refused = await sdk.naming("ServiceListRequest", "", groupName="no group", pageNo=1, pageSize=10)
        assert (refused["errorCode"], refused["count"], refused["serviceNames"]) == (400, 0, [])

    in_sdk_world(lasting_node, script)


def test_only_healthy_ones_of_some_clusters_may_be_asked_for(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, other = await world.connected(), await world.connected()
        batch = [
            instance_body(1, clusterName="a"),
            instance_body(2, clusterName="a", healthy=False),
            instance_body(3, clusterName="b"),
            instance_body(4, clusterName="b", enabled=False),
        ]
        await sdk.naming("BatchInstanceRequest", "some", type="batchRegisterInstance", instances=batch)
        assert await other.ports("some") == [1, 2, 3]
        assert await other.ports("some", healthyOnly=True) == [1, 3]
        assert await other.ports("some", healthOnly=True) == [1, 3]
        answer = await other.naming("ServiceQueryRequest", "some", cluster="a,c", healthyOnly=True)
        assert [host["port"] for host in answer["serviceInfo"]["hosts"]] == [1]
        assert answer["serviceInfo"]["clusters"] == "a,c"
        assert await other.ports("nobody-has-registered-this") == []

    in_sdk_world(lasting_node, script)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"serviceName": ""}, "Param check invalid:Param 'serviceName' is illegal, serviceName is blank"),
        ({"serviceName": None}, "Param check invalid:Param 'serviceName' is illegal, serviceName is blank"),
        (
            {"serviceName": "服务"},
            "Param check invalid:Param 'serviceName' is illegal, illegal characters should not appear in the param.",
        ),
        (
            {"serviceName": "s" * 513},
            "Param check invalid:Param 'serviceName' is illegal, the param length should not exceed 512.",
        ),
        (
            {"instance": instance_body(65_536)},
            "Param check invalid:Param 'port' is illegal, the value should be between 0 and 65535.",
        ),
        (
            {"instance": instance_body(1, clusterName="a b")},
            "Param check invalid:Param 'cluster' is illegal, illegal characters should not appear in the param.",
        ),
        (
            {"instance": instance_body(1, metadata={"long": "x" * 1_024})},
            "Param check invalid:Param 'Metadata' is illegal, the param length should not exceed 1024.",
        ),
        (
            {"instance": instance_body(1, metadata={"preserved.heart.beat.interval": "60000"})},
            "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.",
        ),
        ({"type": "other"}, "Unsupported request type other"),
    ],
)
def test_what_is_wrong_is_said_in_the_type_of_the_answer(
    lasting_node: BareNode, fields: dict[str, Any], sentence: str
) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        body = {"serviceName": "wrong", "type": "registerInstance", "instance": instance_body(1), **fields}
        kind, refused = await sdk.asked("InstanceRequest", body)
        assert kind == "InstanceResponse"
        assert refused == {"resultCode": 500, "errorCode": 400, "success": False, "message": sentence}
        assert await sdk.ports("wrong") == []

    in_sdk_world(lasting_node, script)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"instance":5}', b"\xff", b'{"type":{"a":1}}'])
def test_what_cannot_be_read_is_a_bad_gateways_error_and_costs_nothing_else(
    lasting_node: BareNode, text: bytes
) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        kind, body = await sdk.asked_with("InstanceRequest", text)
        assert (kind, body["resultCode"], body["errorCode"], body["success"]) == ("ErrorResponse", 500, 502, False)
        assert (await sdk.asked("HealthCheckRequest", {}))[1]["resultCode"] == 200

    in_sdk_world(lasting_node, script)


def test_a_request_beyond_ten_mebibytes_is_refused_and_costs_nothing_else(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sdk.asked("InstanceRequest", {"metadata": "x" * (10 * 1024 * 1024)})
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        kind, body = await sdk.asked("InstanceRequest", {"serviceName": "s" * (9 * 1024 * 1024)})
        assert (kind, body["errorCode"]) == ("InstanceResponse", 400)
        assert sdk.ends == []

    in_sdk_world(lasting_node, script)


def test_other_modules_are_answered_so_that_nobody_asks_again_and_again(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        expected = {
            "ConfigBatchListenRequest": ("ConfigChangeBatchListenResponse", 200, 0),
            "ConfigQueryRequest": ("ConfigQueryResponse", 500, 300),
            "ConfigPublishRequest": ("ConfigPublishResponse", 500, 501),
            "ConfigRemoveRequest": ("ConfigRemoveResponse", 500, 501),
            "LockOperationRequest": ("LockOperationResponse", 500, 501),
            "QueryMcpServerRequest": ("ErrorResponse", 500, 302),
            "PushAckRequest": ("ErrorResponse", 500, 302),
            "ServerReloadRequest": ("ServerReloadResponse", 500, 502),
        }
        for asked, answered in expected.items():
            kind, body = await sdk.asked(asked, {"listen": True})
            assert (kind, body["resultCode"], body["errorCode"]) == answered
            assert "changedConfigs" not in body or body["changedConfigs"] == []

    in_sdk_world(lasting_node, script)


def test_while_the_node_is_not_there_everything_is_starting(lasting_node: BareNode) -> None:
    async def run() -> None:
        nowhere = lasting_node.data.parent / "nowhere"
        nowhere.mkdir(exist_ok=True)
        world = SdkWorld(lasting_node, nowhere)
        try:
            sdk = world.sdk()
            for asked in ("ServerCheckRequest", "NobodyRequest", "InstanceRequest"):
                kind, body = await sdk.asked(asked, {})
                assert (kind, body["errorCode"]) == ("ErrorResponse", 300)
                assert body["message"] == "Server is starting,please try later."
        finally:
            await world.close()

    asyncio.run(run())
