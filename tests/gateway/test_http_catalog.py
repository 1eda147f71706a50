"""The catalog of services and instances, and who subscribes, at one node."""

from __future__ import annotations

from typing import Any

import pytest

from rollbook import NamingClient
from tests.support.http_gateway import HttpCaller, HttpNode
from tests.support.real_cluster import until

pytestmark = pytest.mark.cluster

V1, V2, V3, CONSOLE = "/v1/ns", "/v2/ns", "/v3/admin/ns", "/v3/console/ns"
SOON_SECONDS = 10.0
SPACE = {"namespaceId": "catalog"}


@pytest.fixture(scope="module")
def catalog(http_node: HttpNode) -> HttpCaller:
    """Services a (SHOP), b, c with two, one and no instance; b has a threshold and is sick."""
    caller = http_node.caller
    about = {**SPACE, "ip": "10.0.0.1"}
    caller.say("POST", f"{V1}/instance", **about, serviceName="SHOP@@orders-a", port=80)
    caller.say("POST", f"{V1}/instance", **about, serviceName="SHOP@@orders-a", port=81, clusterName="EAST")
    caller.say("POST", f"{V1}/instance", **about, serviceName="orders-b", port=80, healthy="false", metadata="a=b")
    caller.say("PUT", f"{V1}/service", **SPACE, serviceName="orders-b", protectThreshold=0.5)
    caller.form("POST", f"{V1}/service", **SPACE, serviceName="stock-c", metadata="team=c")
    return caller


def line(name: str, group: str, clusters: int, instances: int, healthy: int, flag: str) -> dict[str, object]:
    return {
        "name": name,
        "groupName": group,
        "clusterCount": clusters,
        "ipCount": instances,
        "healthyInstanceCount": healthy,
        "triggerFlag": flag,
    }


A = line("orders-a", "SHOP", 2, 2, 2, "false")
B = line("orders-b", "DEFAULT_GROUP", 1, 1, 0, "true")
C = line("stock-c", "DEFAULT_GROUP", 0, 0, 0, "false")


def page(caller: HttpCaller, **parameters: object) -> Any:
    return caller.say("GET", f"{V3}/service/list", **SPACE, **parameters).json["data"]


def test_services_are_listed_with_counts_and_the_flag_of_protection(catalog: HttpCaller) -> None:
    found = catalog.say("GET", f"{V1}/catalog/services", **SPACE, pageNo=1, pageSize=10).json
    assert found == {"count": 3, "serviceList": [B, C, A]}
    whole = {"totalCount": 3, "pageNumber": 1, "pagesAvailable": 1, "pageItems": [B, C, A]}
    assert page(catalog) == whole
    assert catalog.say("GET", f"{CONSOLE}/service/list", **SPACE).json["data"] == whole


def test_pages_patterns_and_empty_services(catalog: HttpCaller) -> None:
    second = page(catalog, pageNo=2, pageSize=2)
    assert second == {"totalCount": 3, "pageNumber": 2, "pagesAvailable": 2, "pageItems": [A]}
    assert page(catalog, serviceNameParam="rders")["pageItems"] == [B, A]
    assert page(catalog, serviceNameParam="*orders*", groupNameParam="HO")["pageItems"] == [A]
    assert page(catalog, serviceNameParam="or*s")["pageItems"] == []
    assert page(catalog, ignoreEmptyService="true")["pageItems"] == [B, A]
    skipping = catalog.say("GET", f"{V1}/catalog/services", **SPACE, pageNo=1, pageSize=10, hasIpCount="true").json
    assert skipping == {"count": 2, "serviceList": [B, A]}
    assert page(catalog, pageNo=10**18 - 1, pageSize=500)["pageItems"] == []


def test_services_are_listed_with_their_instances_if_asked(catalog: HttpCaller) -> None:
    found = catalog.say(
        "GET", f"{V1}/catalog/services", **SPACE, pageNo=1, pageSize=10, withInstances="true", groupNameParam="SHOP"
    ).json
    (service,) = found
    assert (service["serviceName"], service["groupName"], service["metadata"]) == ("orders-a", "SHOP", {})
    hosts = {name: [host["port"] for host in each["hosts"]] for name, each in service["clusterMap"].items()}
    assert hosts == {"DEFAULT": [80], "EAST": [81]}
    items = page(catalog, withInstances="true")["pageItems"]
    assert [item["serviceName"] for item in items] == ["orders-b", "stock-c", "orders-a"]
    assert items[1]["metadata"] == {"team": "c"}
    assert items[0]["clusterMap"]["DEFAULT"]["hosts"][0]["metadata"] == {"a": "b"}


@pytest.mark.parametrize("wrong", [{"pageNo": 0}, {"pageSize": 0}, {"pageNo": "x"}, {"namespaceId": "no space"}])
def test_nonsense_lists_nothing(catalog: HttpCaller, wrong: dict[str, object]) -> None:
    for place in (f"{V3}/service/list", f"{V1}/catalog/services"):
        assert catalog.say("GET", place, **{"pageNo": 1, "pageSize": 1, **wrong}).status == 400
    assert catalog.say("GET", f"{V1}/catalog/services", pageNo=1).text == "Param 'pageSize' is required."


def test_the_first_version_shows_one_service_with_its_clusters(catalog: HttpCaller) -> None:
    shown = catalog.say("GET", f"{V1}/catalog/service", **SPACE, serviceName="SHOP@@orders-a").json
    assert shown["service"] == {
        "name": "orders-a",
        "groupName": "SHOP",
        "protectThreshold": 0.0,
        "selector": {"type": "none"},
        "metadata": {},
    }
    assert shown["clusters"][1] == {
        "serviceName": "orders-a",
        "name": "EAST",
        "healthChecker": {"type": "TCP"},
        "defaultPort": 80,
        "defaultCheckPort": 80,
        "useIpPort4Check": True,
        "metadata": {},
    }
    unknown = catalog.say("GET", f"{V1}/catalog/service", **SPACE, serviceName="nothing")
    assert (unknown.status, unknown.text) == (404, "service DEFAULT_GROUP@@nothing is not found!")


def test_instances_are_listed_page_by_page(catalog: HttpCaller) -> None:
    about = {**SPACE, "serviceName": "SHOP@@orders-a", "pageNo": 1, "pageSize": 1}
    first = catalog.say("GET", f"{V1}/catalog/instances", **about, clusterName="EAST").json
    assert (first["count"], [one["port"] for one in first["list"]]) == (1, [81])
    second = catalog.say("GET", f"{V2}/catalog/instances", **{**about, "pageNo": 2}).json["data"]
    assert (second["count"], [one["port"] for one in second["instances"]]) == (2, [81])
    assert catalog.say("GET", f"{V2}/catalog/instances", **{**about, "pageNo": 3}).json["data"] == {"count": 2}
    catalog.say("POST", f"{V1}/instance", ip="10.0.0.1", port=80, serviceName="faint", healthy="false")
    faint = {"serviceName": "faint", "pageNo": 1, "pageSize": 10}
    assert catalog.say("GET", f"{V2}/catalog/instances", **faint).json["data"]["count"] == 1
    assert catalog.say("GET", f"{V2}/catalog/instances", **faint, healthyOnly="true").json["data"] == {"count": 0}
    assert catalog.say("GET", f"{V2}/catalog/instances", **faint, enabledOnly="true").json["data"]["count"] == 1
    unknown = catalog.say("GET", f"{V1}/catalog/instances", **about, clusterName="WEST")
    assert (unknown.status, unknown.text) == (404, "cluster WEST is not found!")
    nowhere = catalog.say("GET", f"{V2}/catalog/instances", **{**about, "serviceName": "nothing"})
    assert (nowhere.status, nowhere.json["code"]) == (404, 21_008)


# -- subscribers


def subscribers(caller: HttpCaller, service: str, **more: object) -> Any:
    answer = caller.say("GET", f"{V1}/service/subscribers", serviceName=service, **more)
    assert answer.status == 200, answer
    return answer.json


def test_whoever_watches_is_shown_and_the_gateway_that_asks_is_not(http_node: HttpNode) -> None:
    caller = http_node.caller
    caller.listed("watched")
    assert subscribers(caller, "watched") == {"subscribers": [], "count": 0}
    with NamingClient([http_node.node.client_address], app="shop") as native:
        native.subscribe("watched", lambda *_: None)
        (shown,) = subscribers(caller, "watched", aggregation="false")["subscribers"]
        assert (shown["ip"], shown["app"], shown["serviceName"]) == ("127.0.0.1", "shop", "DEFAULT_GROUP@@watched")
        data = caller.say("GET", f"{V3}/service/subscribers", serviceName="watched").json["data"]
        assert (data["totalCount"], data["pagesAvailable"]) == (1, 1)
        (item,) = data["pageItems"]
        assert item == {
            "namespaceId": "public",
            "groupName": "DEFAULT_GROUP",
            "serviceName": "watched",
            "ip": "127.0.0.1",
            "port": 0,
            "agent": item["agent"],
            "appName": "shop",
        }
        assert data == caller.say("GET", f"{CONSOLE}/service/subscribers", serviceName="watched").json["data"]
        assert subscribers(caller, "watched", pageNo=2)["subscribers"] == []
    until(lambda: subscribers(caller, "watched")["count"] == 0, SOON_SECONDS, "nobody watches any more")
    assert caller.say("GET", f"{V3}/service/subscribers", serviceName="watched", pageSize=0).status == 400


def test_who_polls_with_a_port_for_datagrams_subscribes_too(http_node: HttpNode) -> None:
    java = HttpCaller(http_node.caller.port, {"User-Agent": "Nacos-Java-Client:v1.4.7"})
    java.listed("polled", udpPort=55_555, clientIP="127.0.0.1")
    (shown,) = subscribers(java, "polled")["subscribers"]
    assert (shown["addrStr"], shown["agent"]) == ("127.0.0.1:55555", "Nacos-Java-Client:v1.4.7")
