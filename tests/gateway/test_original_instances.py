"""What the original's own tests say of registering, listing and choosing instances with an SDK.

The names of these tests stand in docs/compatibility.md, beside those of the original.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.both_ways import BothWays, eventually, in_both_ways
from tests.support.http_gateway import HttpNode
from tests.support.sdk_client import Body, SdkClient, instance_body

pytestmark = pytest.mark.cluster

DONE = {"resultCode": 200, "errorCode": 0, "success": True}
CLUSTER_REFUSED = "Param 'cluster' is illegal, illegal characters should not appear in the param."


async def ordered(sdk: SdkClient, kind: str, service: str, port: int = 80, **fields: Any) -> Body:
    """An ephemeral instance, registered or deregistered."""
    body = instance_body(port, **fields)
    return await sdk.naming("InstanceRequest", service, type=kind, instance=body)


async def ordered_to_stay(sdk: SdkClient, kind: str, service: str, port: int = 80, **fields: Any) -> Body:
    """Likewise, a persistent one."""
    body = instance_body(port, ephemeral=False, **fields)
    return await sdk.naming("PersistentInstanceRequest", service, type=kind, instance=body)


async def hosts(sdk: SdkClient, service: str, clusters: str = "", **fields: Any) -> list[Body]:
    answer = await sdk.naming("ServiceQueryRequest", service, cluster=clusters, **fields)
    assert answer["resultCode"] == 200, answer
    return list(answer["serviceInfo"]["hosts"])


@pytest.mark.parametrize("cluster", ["", "c1"])
def test_what_is_registered_is_listed_until_it_is_deregistered_also_the_last_one(
    http_node: HttpNode, cluster: str
) -> None:
    service = f"original-registered{cluster}"

    async def script(world: BothWays) -> None:
        sdk, other = await world.connected(), await world.connected()
        for _ in range(2):
            await ordered(sdk, "registerInstance", service, 8_080, ip="127.0.0.1", clusterName=cluster)
            (host,) = await hosts(other, service)
            assert (host["ip"], host["port"]) == ("127.0.0.1", 8_080)
            await ordered(sdk, "deregisterInstance", service, 8_080, ip="127.0.0.1", clusterName=cluster)
            assert await hosts(other, service) == []

    in_both_ways(http_node, script)


def test_a_list_of_no_cluster_and_one_of_the_right_cluster_show_the_same(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await ordered(sdk, "registerInstance", "original-clusters", clusterName="c1")
        shown = await hosts(sdk, "original-clusters")
        assert [host["clusterName"] for host in shown] == ["c1"]
        assert await hosts(sdk, "original-clusters", "c1") == shown
        assert await hosts(sdk, "original-clusters", "c2") == []

    in_both_ways(http_node, script)


def test_every_field_of_an_instance_comes_back(http_node: HttpNode) -> None:
    said: dict[str, Any] = {
        "ip": "10.0.0.9",
        "port": 65_535,
        "clusterName": "c1",
        "weight": 2.5,
        "healthy": False,
        "enabled": True,
        "metadata": {"version": "2.0", "env": "prod", "empty": ""},
    }

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await ordered(sdk, "registerInstance", "original-fields", **said)
        (host,) = await hosts(sdk, "original-fields")
        assert {name: host[name] for name in said} == said
        assert host["ephemeral"] is True
        assert host["serviceName"] == "DEFAULT_GROUP@@original-fields"

    in_both_ways(http_node, script)


def test_an_instance_may_say_how_often_it_would_beat(http_node: HttpNode) -> None:
    said = {
        "preserved.heart.beat.interval": "3",
        "preserved.heart.beat.timeout": "6",
        "preserved.ip.delete.timeout": "9",
    }

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await ordered(sdk, "registerInstance", "original-beating", metadata=said)
        (host,) = await hosts(sdk, "original-beating")
        assert host["metadata"] == said
        told = (host["instanceHeartBeatInterval"], host["instanceHeartBeatTimeOut"], host["ipDeleteTimeout"])
        assert told == (3, 6, 9)
        await ordered(sdk, "deregisterInstance", "original-beating")
        assert await hosts(sdk, "original-beating") == []

    in_both_ways(http_node, script)


def test_an_instance_is_in_one_cluster(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        for register in (ordered, ordered_to_stay):
            refused = await register(sdk, "registerInstance", "original-two", clusterName="cluster1,cluster2")
            assert (refused["resultCode"], refused["errorCode"]) == (500, 400)
            assert refused["message"].endswith(CLUSTER_REFUSED)
        assert await hosts(sdk, "original-two") == []

    in_both_ways(http_node, script)


def test_a_namespace_has_letters_digits_and_lines_only(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        refused = await sdk.register("original-space", 80, namespace="test@@@")
        assert (refused["resultCode"], refused["errorCode"]) == (500, 400)
        assert refused["message"].startswith("Param check invalid:Param 'namespaceId' is illegal")
        for namespace in ("..x", "/x"):
            about = {"namespaceId": namespace, "serviceName": "original-space", "ip": "10.0.0.1", "port": 80}
            assert (await world.say("POST", "/v1/ns/instance", **about)).status == 400
            assert (await world.say("GET", "/v1/ns/instance/list", **about)).status == 400

    in_both_ways(http_node, script)


def test_two_clients_and_two_clusters_are_two_hosts_that_are_healthy(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        first, second = await world.connected(), await world.connected()
        await ordered(first, "registerInstance", "original-two-clients", ip="10.0.0.1", clusterName="c1")
        await ordered(second, "registerInstance", "original-two-clients", ip="10.0.0.2", clusterName="c2")
        for sdk in (first, second):
            for clusters in ("", "c1,c2"):
                shown = await hosts(sdk, "original-two-clients", clusters, healthyOnly=True)
                assert [(host["ip"], host["clusterName"]) for host in shown] == [("10.0.0.1", "c1"), ("10.0.0.2", "c2")]

    in_both_ways(http_node, script)


def test_who_has_no_weight_is_listed_for_the_sdk_to_leave_out_and_who_is_disabled_is_not(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        first, second = await world.connected(), await world.connected()
        await ordered(first, "registerInstance", "original-chosen", 1)
        await ordered(second, "registerInstance", "original-chosen", 2)
        assert [host["weight"] for host in await hosts(first, "original-chosen")] == [1.0, 1.0]
        await ordered(second, "registerInstance", "original-chosen", 2, weight=0)
        assert [host["weight"] for host in await hosts(first, "original-chosen")] == [1.0, 0.0]
        await ordered(second, "registerInstance", "original-chosen", 2, enabled=False)
        for clusters in ("", "DEFAULT"):
            assert [host["port"] for host in await hosts(first, "original-chosen", clusters)] == [1]

    in_both_ways(http_node, script)


def test_a_persistent_instance_comes_and_goes_at_once(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        for _ in range(3):
            answer = await ordered_to_stay(sdk, "registerInstance", "original-stays")
            assert answer == {**DONE, "type": "registerInstance"}
            assert [host["ephemeral"] for host in await hosts(sdk, "original-stays")] == [False]
            await ordered_to_stay(sdk, "deregisterInstance", "original-stays")
            assert await hosts(sdk, "original-stays") == []

    in_both_ways(http_node, script)


@pytest.mark.parametrize("kind", ["InstanceRequest", "PersistentInstanceRequest", "BatchInstanceRequest"])
def test_what_is_neither_to_register_nor_to_deregister_is_refused(http_node: HttpNode, kind: str) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        body = {"type": "google", "instance": instance_body(80), "instances": [instance_body(80)]}
        refused = await sdk.naming(kind, "original-typed", **body)
        assert (refused["resultCode"], refused["errorCode"]) == (500, 400)
        assert refused["message"] == "Unsupported request type google"
        assert await hosts(sdk, "original-typed") == []

    in_both_ways(http_node, script)


def test_a_service_whose_last_instance_has_gone_is_listed_no_more(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()

        async def names() -> list[str]:
            page = {"groupName": "original-emptied", "pageNo": 1, "pageSize": 10}
            return list((await sdk.naming("ServiceListRequest", "", **page))["serviceNames"])

        for number in (1, 2):
            await sdk.register(f"emptied-{number}", 80, groupName="original-emptied")
        assert await names() == ["emptied-1", "emptied-2"]
        await sdk.naming(
            "InstanceRequest",
            "emptied-1",
            groupName="original-emptied",
            type="deregisterInstance",
            instance=instance_body(80),
        )
        await eventually(names, ["emptied-2"])

    in_both_ways(http_node, script)
