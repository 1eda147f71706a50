"""Clients over HTTP, asked at any of three gateways: SDKs on streams, native ones, and those that beats keep."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rollbook import NamingClient
from tests.support.http_gateway import READY_SECONDS, HttpCaller
from tests.support.real_cluster import RealCluster, until
from tests.support.sdk_client import JAVA, SdkClient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SOON_SECONDS = 20.0
V1, V2, V3 = "/v1/ns", "/v2/ns/client", "/v3/admin/ns/client"
NAMED = {"namespaceId": "public", "groupName": "DEFAULT_GROUP"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("clients"), 3, gateways=1) as started:
        for caller in callers(started):
            until(caller.finds_it_ready, READY_SECONDS, f"the gateway at {caller.port} is ready")
        yield started


def callers(cluster: RealCluster) -> list[HttpCaller]:
    return [HttpCaller(node.base_port) for node in cluster]


def data(caller: HttpCaller, path: str, **parameters: object) -> Any:
    answer = caller.say("GET", path, **parameters)
    assert answer.status == 200, answer
    return answer.json["data"]


def register(caller: HttpCaller, service: str, port: int, **fields: object) -> str:
    about = {"serviceName": service, "ip": "10.0.0.1", "port": port, **fields}
    assert caller.say("POST", f"{V1}/instance", **about).text == "ok"
    return f"10.0.0.1:{port}#true"


def test_every_gateway_lists_the_clients_of_all_nodes(cluster: RealCluster) -> None:
    three = callers(cluster)
    beating = [register(caller, "listed", 100 + number) for number, caller in enumerate(three)]

    async def script() -> None:
        async with SdkClient(f"127.0.0.1:{three[0].port + 1_000}") as sdk:
            await sdk.connected(JAVA)  # which publishes nothing and watches nothing
            for caller in three:
                listed = await asyncio.to_thread(data, caller, f"{V2}/list")
                assert set(beating) <= set(listed)
                assert listed == sorted(set(listed))
                (stream,) = [client for client in listed if "_127.0.0.1_" in client]
                assert await asyncio.to_thread(data, caller, f"{V3}/list") == listed
                shown = await asyncio.to_thread(data, caller, V2, clientId=stream)
                assert (shown["clientType"], shown["connectType"]) == ("connection", "GRPC")
                assert (shown["version"], shown["appName"], shown["clientIp"]) == (JAVA, "unknown", "127.0.0.1")
                assert shown["clientPort"] == stream.rpartition("_")[2]
                newer = await asyncio.to_thread(data, caller, V3, clientId=stream)
                assert newer == {**shown, "clientPort": int(shown["clientPort"])}

    asyncio.run(script())


def test_one_that_beats_keep_is_shown_by_its_address(cluster: RealCluster) -> None:
    one, two, _ = callers(cluster)
    client_id = register(one, "shown", 200)
    shown = data(two, V2, clientId=client_id)
    assert shown.pop("lastUpdatedTime") > 1_700_000_000_000
    assert shown == {"clientId": client_id, "ephemeral": True, "clientType": "ipPort"}
    addresses = {f"127.0.0.1:{caller.port}" for caller in callers(cluster)}
    keepers = [caller.say("GET", f"{V1}/operator/distro/client", ip="10.0.0.1", port=200) for caller in (one, two)]
    (keeper,) = {answer.json["responsibleServer"] for answer in keepers}
    assert keeper in addresses
    assert data(two, f"{V3}/distro", ip="10.0.0.1", port=200) == {"responsibleServer": keeper}


def test_what_a_client_publishes_and_watches_is_shown_wherever_it_is_asked(cluster: RealCluster) -> None:
    three = callers(cluster)

    async def script() -> None:
        async with SdkClient(f"127.0.0.1:{three[2].port + 1_000}") as sdk:
            await sdk.connected(JAVA)
            await sdk.register("published", 300)
            await sdk.subscribe("watched")
            for caller in three:
                listed = await asyncio.to_thread(data, caller, f"{V2}/list")
                (client_id,) = [client for client in listed if "_127.0.0.1_" in client]
                await asyncio.to_thread(look, caller, client_id)

    def look(caller: HttpCaller, client_id: str) -> None:
        (published,) = data(caller, f"{V2}/publish/list", clientId=client_id)
        place = {"namespace": "public", "group": "DEFAULT_GROUP"}
        instance = {"ip": "10.0.0.1", "port": 300, "cluster": "DEFAULT"}
        assert published == {**place, "serviceName": "published", "registeredInstance": instance}
        (watched,) = data(caller, f"{V2}/subscribe/list", clientId=client_id)
        subscriber = {"app": "unknown", "agent": JAVA, "addr": "127.0.0.1"}
        assert watched == {**place, "serviceName": "watched", "subscriberInfo": subscriber}
        (published,) = data(caller, f"{V3}/publish/list", clientId=client_id)
        publisher = {"clientId": client_id, "ip": "10.0.0.1", "port": 300, "clusterName": "DEFAULT"}
        assert published == {**NAMED, "serviceName": "published", "publisherInfo": publisher}
        port = client_id.rpartition("_")[2]
        subscriber = {"clientId": client_id, "appName": "unknown", "agent": JAVA, "address": f"127.0.0.1:{port}"}
        (watched,) = data(caller, f"{V3}/subscribe/list", clientId=client_id)
        assert watched == {**NAMED, "serviceName": "watched", "subscriberInfo": subscriber}
        about = {"serviceName": "watched"}
        shown = {"clientId": client_id, "ip": "127.0.0.1", "port": int(port)}
        assert data(caller, f"{V2}/service/subscriber/list", **about) == [shown]
        assert data(caller, f"{V3}/service/subscriber/list", **about, ip="127.0.0.1", port=port) == [subscriber]
        assert data(caller, f"{V3}/service/subscriber/list", **about, ip="127.0.0.2") == []
        assert data(caller, f"{V2}/service/publisher/list", serviceName="published") == [
            {"clientId": client_id, "ip": "10.0.0.1", "port": 300, "cluster": "DEFAULT"}
        ]

    asyncio.run(script())


def test_publishers_of_a_service_are_those_of_all_nodes_and_of_one_kind(cluster: RealCluster) -> None:
    one, two, three = callers(cluster)
    clients = [register(caller, "many", 400 + number) for number, caller in enumerate((one, two, three))]
    path, about = f"{V3}/service/publisher/list", {"serviceName": "many"}
    until(lambda: len(data(one, path, **about)) == 3, SOON_SECONDS, "the first has heard of all")
    assert [each["clientId"] for each in data(one, path, **about)] == clients
    assert [each["port"] for each in data(one, path, **about, ip="10.0.0.1", port=401)] == [401]
    assert data(one, path, **about, ephemeral="false") == []
    register(two, "many-kept", 500, ephemeral="false")
    kept = {"serviceName": "many-kept", "ephemeral": "false"}
    until(lambda: data(one, path, **kept), SOON_SECONDS, "the first has heard of it")
    assert data(one, path, **kept)[0]["clientId"] == "10.0.0.1:500#false"
    assert data(one, path, serviceName="many-kept") == []


def test_a_native_client_is_one_like_the_others(cluster: RealCluster) -> None:
    one, two, _ = callers(cluster)
    with NamingClient([cluster.nodes[0].client_address], client_id="native-1", app="shop") as client:
        client.register_instance("native", "10.0.0.1", 600)
        shown = data(two, V3, clientId="native-1")
        assert (shown["clientType"], shown["connectType"], shown["appName"]) == ("connection", "ROLLBOOK", "shop")
        assert shown["clientPort"] == 0
        assert [each["serviceName"] for each in data(two, f"{V2}/publish/list", clientId="native-1")] == ["native"]
    until(lambda: "native-1" not in data(one, f"{V2}/list"), SOON_SECONDS, "it is gone")


@pytest.mark.parametrize("path", ["", "/publish/list", "/subscribe/list"])
def test_nobody_knows_a_stranger(cluster: RealCluster, path: str) -> None:
    caller, *_ = callers(cluster)
    for place in (V2, V3):
        answer = caller.say("GET", f"{place}{path}", clientId="stranger")
        assert (answer.status, answer.json["code"]) == (404, 20_004)
        assert answer.json["data"] == "clientId [ stranger ] not exist"
        assert caller.say("GET", f"{place}{path}").json["code"] == 10_000


def test_a_crowd_is_read_in_pages(cluster: RealCluster) -> None:
    _, two, _ = callers(cluster)
    count = 1_300  # a page of the node has a thousand
    with NamingClient([cluster.nodes[0].client_address], client_id="crowd") as client:
        for number in range(count):
            client.register_instance(f"crowded-{number:04}", "10.0.0.1", 700)
        names = [each["serviceName"] for each in data(two, f"{V2}/publish/list", clientId="crowd")]
        assert names == [f"crowded-{number:04}" for number in range(count)]


def test_a_node_that_is_down_takes_only_its_own_clients_out_of_the_list(cluster: RealCluster) -> None:
    one, two, _ = callers(cluster)
    with NamingClient([cluster.nodes[2].client_address], client_id="elsewhere") as far:
        assert far.get_server_status() == "UP"
        until(lambda: "elsewhere" in data(one, f"{V2}/list"), SOON_SECONDS, "it is listed")
        with NamingClient([cluster.nodes[1].client_address], client_id="here") as near:
            assert near.get_server_status() == "UP"
            cluster.nodes[2].kill()
            until(lambda: "elsewhere" not in data(one, f"{V2}/list"), SOON_SECONDS, "its node is gone")
            assert "here" in data(two, f"{V2}/list")
