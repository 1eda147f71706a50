"""What the original's own tests say of namespaces and groups: nothing of one is seen, changed or removed in another.

The names of these tests stand in docs/compatibility.md, beside those of the original.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.both_ways import BothWays, eventually, in_both_ways
from tests.support.http_gateway import HttpCaller, HttpNode
from tests.support.sdk_client import Body, SdkClient, instance_body

pytestmark = pytest.mark.cluster

V1 = "/v1/ns/instance"
HERE, THERE, ELSEWHERE = "space-1", "space-2", "space-3"


def place(namespace: str = "public", group: str = "DEFAULT_GROUP") -> dict[str, str]:
    """As gRPC names it."""
    return {"namespace": namespace, "groupName": group}


def spoken(namespace: str = "public", group: str = "DEFAULT_GROUP") -> dict[str, str]:
    """As HTTP names it."""
    return {"namespaceId": namespace, "groupName": group}


async def register(sdk: SdkClient, service: str, where: dict[str, str], **fields: Any) -> None:
    body = instance_body(fields.pop("port", 80), **fields)
    answer = await sdk.naming("InstanceRequest", service, type="registerInstance", instance=body, **where)
    assert answer["resultCode"] == 200, answer


async def hosts(sdk: SdkClient, service: str, where: dict[str, str], **fields: Any) -> list[Body]:
    answer = await sdk.naming("ServiceQueryRequest", service, **{"cluster": "", **where, **fields})
    assert answer["resultCode"] == 200, answer
    return list(answer["serviceInfo"]["hosts"])


async def counts(sdk: SdkClient, service: str, places: Iterable[dict[str, str]]) -> list[int]:
    return [len(await hosts(sdk, service, where)) for where in places]


def test_three_namespaces_have_the_same_address_without_noticing(http_node: HttpNode) -> None:
    places = [place(), place(HERE), place(THERE)]

    async def script(world: BothWays) -> None:
        sdks = [await world.connected() for _ in places]
        for count, (sdk, where) in enumerate(zip(sdks, places, strict=True), start=1):
            await register(sdk, "spaced", where)
            assert await counts(sdk, "spaced", places) == [1] * count + [0] * (3 - count)
        body = instance_body(80)
        await sdks[1].naming("InstanceRequest", "spaced", type="deregisterInstance", instance=body, **places[1])
        assert await counts(sdks[0], "spaced", places) == [1, 0, 1]

    in_both_ways(http_node, script)


def test_groups_of_a_namespace_have_the_same_address_without_noticing(http_node: HttpNode) -> None:
    places = [place(HERE, "group-1"), place(HERE, "group-2"), place(HERE)]

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await register(sdk, "grouped", places[0])
        assert await counts(sdk, "grouped", places) == [1, 0, 0]
        await register(sdk, "grouped", places[1])
        assert await counts(sdk, "grouped", places) == [1, 1, 0]
        await sdk.naming(
            "InstanceRequest", "grouped", type="deregisterInstance", instance=instance_body(80), **places[0]
        )
        assert await counts(sdk, "grouped", places) == [0, 1, 0]

    in_both_ways(http_node, script)


def test_whoever_chooses_a_healthy_one_chooses_in_its_own_namespace_group_and_cluster(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdks = [await world.connected() for _ in range(4)]
        await register(sdks[0], "healthy", place(HERE, "group-1"), ip="10.0.0.1", clusterName="c1")
        await register(sdks[1], "healthy", place(HERE, "group-1"), ip="10.0.0.2", clusterName="c2")
        await register(sdks[2], "healthy", place(THERE, "group-1"), ip="10.0.0.3", clusterName="c1")
        await register(sdks[3], "healthy", place(HERE, "group-2"), ip="10.0.0.4", clusterName="c1", healthy=False)

        async def chosen(where: dict[str, str], cluster: str = "") -> list[str]:
            found = await hosts(sdks[0], "healthy", where, cluster=cluster, healthyOnly=True)
            return [host["ip"] for host in found]

        assert await chosen(place(HERE, "group-1")) == ["10.0.0.1", "10.0.0.2"]
        assert await chosen(place(HERE, "group-1"), "c1") == ["10.0.0.1"]
        assert await chosen(place(THERE, "group-1"), "c1,c2") == ["10.0.0.3"]
        assert await chosen(place(HERE, "group-2")) == []
        assert await chosen(place(HERE)) == [], "of another group there is nothing to choose"

    in_both_ways(http_node, script)


def test_a_registration_changes_the_service_list_of_its_namespace_and_group_only(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()

        async def names(where: dict[str, str]) -> list[str]:
            answer = await sdk.naming("ServiceListRequest", "", pageNo=1, pageSize=10, **where)
            assert answer["count"] == len(answer["serviceNames"])
            return list(answer["serviceNames"])

        listed, others = place(HERE, "listed"), [place(THERE, "listed"), place(HERE, "unlisted")]
        await register(sdk, "listed-1", listed)
        for number, where in enumerate(others):
            await register(sdk, f"other-{number}", where)
        assert await names(listed) == ["listed-1"]
        await register(sdk, "listed-2", listed)
        assert await names(listed) == ["listed-1", "listed-2"]
        assert [await names(where) for where in others] == [["other-0"], ["other-1"]]

    in_both_ways(http_node, script)


@pytest.mark.parametrize("namespace", ["public", HERE])
def test_the_server_is_up_whoever_asks(caller: HttpCaller, namespace: str) -> None:
    assert caller.say("GET", "/v1/ns/operator/metrics", namespaceId=namespace).json == {"status": "UP"}


# -- over HTTP, of what an SDK registers


def test_http_lists_show_what_an_sdk_registers_in_the_namespace_and_group_asked_for(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdks = [await world.connected() for _ in range(3)]
        places = [(HERE, "DEFAULT_GROUP"), (THERE, "DEFAULT_GROUP"), (THERE, "group-1")]
        for number, (sdk, where) in enumerate(zip(sdks, places, strict=True), start=1):
            await register(sdk, "listed", place(*where), ip=f"10.0.0.{number}", clusterName="c1")
        for number, where in enumerate(places, start=1):

            async def shown(where: tuple[str, str] = where, **more: object) -> list[str]:
                return await world.shown("listed", **spoken(*where), **more)

            await eventually(shown, [f"10.0.0.{number}:80"])
            assert await shown(where, clusters="c1", healthyOnly="true") == [f"10.0.0.{number}:80"]
            assert await shown(where, clusters="c2", healthyOnly="true") == []
        assert await world.shown("listed", **spoken(ELSEWHERE)) == []

    in_both_ways(http_node, script)


def test_one_that_another_namespace_or_group_has_is_not_found(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await register(sdk, "found", place(HERE, "group-1"), clusterName="c1")

        async def status(namespace: str, group: str, ip: str = "10.0.0.1") -> int:
            about = {"serviceName": "found", "ip": ip, "port": 80, "cluster": "c1"}
            return (await world.say("GET", V1, **about, **spoken(namespace, group))).status

        await eventually(lambda: status(HERE, "group-1"), 200)
        assert await status(THERE, "group-1") == 404
        assert await status(HERE, "group-2") == 404
        assert await status(HERE, "group-1", ip="10.0.0.2") == 404

    in_both_ways(http_node, script)


def test_a_put_changes_what_an_sdk_registered_here_and_nothing_there(http_node: HttpNode) -> None:
    places = [(HERE, "DEFAULT_GROUP"), (HERE, "group-1"), (THERE, "DEFAULT_GROUP")]

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        for where in places:
            await register(sdk, "put", place(*where), weight=2.0)

        async def weights() -> list[list[float]]:
            return [[host["weight"] for host in await hosts(sdk, "put", place(*where))] for where in places]

        assert await weights() == [[2.0], [2.0], [2.0]]
        about = {"serviceName": "put", "ip": "10.0.0.1", "port": 80, **spoken(*places[1])}
        answer = await world.say("PUT", V1, **about, weight=8.0)
        assert (answer.status, answer.body) == (200, b"ok")
        assert await weights() == [[2.0], [8.0], [2.0]]

    in_both_ways(http_node, script)


@pytest.mark.parametrize("version", [V1, "/v2/ns/instance"])
def test_a_patch_that_says_nothing_leaves_everything_as_it_is(http_node: HttpNode, version: str) -> None:
    service = f"patched{version.replace('/', '-')}"
    about: dict[str, object] = {"serviceName": service, "ip": "10.0.0.1", "port": 80, **spoken(HERE, "group-1")}
    beating = {**about, "port": 81}

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await register(sdk, service, place(HERE, "group-1"))
        assert (await world.say("POST", V1, **beating)).status == 200
        for one in (about, beating):
            assert (await world.say("PUT", version, **one, weight=8.0)).status == 200
            answer = await world.say("PATCH", version, **one)
            assert (answer.status, answer.body) == (200, b"ok")
        assert [host["weight"] for host in await hosts(sdk, service, place(HERE, "group-1"))] == [8.0, 8.0]
        nobody = await world.say("PATCH", version, **{**about, "port": 82})
        assert nobody.status == 404

    in_both_ways(http_node, script)


def test_what_http_registers_stands_beside_what_an_sdk_registers(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        for namespace in (HERE, THERE):
            await register(sdk, "beside", place(namespace), ip="10.0.0.1")
        about = {"serviceName": "beside", "ip": "10.0.0.2", "port": 80, **spoken(HERE)}
        assert (await world.say("POST", V1, **about)).body == b"ok"
        for namespace, expected in ((HERE, ["10.0.0.1", "10.0.0.2"]), (THERE, ["10.0.0.1"])):
            assert [host["ip"] for host in await hosts(sdk, "beside", place(namespace))] == expected
            assert await world.shown("beside", **spoken(namespace)) == [f"{ip}:80" for ip in expected]

    in_both_ways(http_node, script)


def test_what_http_registers_in_a_group_is_listed_right_away(caller: HttpCaller) -> None:
    for number, group in enumerate(("new-group-1", "new-group-2"), start=1):
        where = spoken(HERE, group)
        about = {"serviceName": "at-once", "ip": f"10.0.{number}.1", "port": 80}
        assert caller.say("POST", V1, **about, **where).body == b"ok"
        assert caller.shown("at-once", **where) == [f"10.0.{number}.1:80"]
