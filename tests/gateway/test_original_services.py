"""What the original's own tests say of services themselves: making, changing, finding and removing them over HTTP, and
what SDKs see of that.

The names of these tests stand in docs/compatibility.md, beside those of the original.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.support.both_ways import BothWays, eventually, in_both_ways
from tests.support.http_gateway import HttpAnswer, HttpCaller, HttpNode
from tests.support.sdk_client import PYTHON, SdkClient, instance_body

pytestmark = pytest.mark.cluster

V1, V2, ADMIN = "/v1/ns", "/v2/ns", "/v3/admin/ns"
NAMESPACE = "original-services"


def place(service: str, group: str = "DEFAULT_GROUP") -> dict[str, object]:
    return {"namespaceId": NAMESPACE, "groupName": group, "serviceName": service}


def done(answer: HttpAnswer) -> None:
    assert (answer.status, answer.body) == (200, b"ok"), answer


def ok(answer: HttpAnswer) -> Any:
    assert (answer.status, answer.json["code"]) == (200, 0), answer
    return answer.json["data"]


async def order(sdk: SdkClient, kind: str, service: str, *, stays: bool, group: str = "DEFAULT_GROUP") -> None:
    request = "PersistentInstanceRequest" if stays else "InstanceRequest"
    where = {"namespace": NAMESPACE, "groupName": group}
    answer = await sdk.naming(request, service, type=kind, instance=instance_body(80), **where)
    assert answer["resultCode"] == 200, answer


async def names(sdk: SdkClient, group: str) -> list[str]:
    where = {"namespace": NAMESPACE, "groupName": group}
    answer = await sdk.naming("ServiceListRequest", "", pageNo=1, pageSize=20, **where)
    assert answer["count"] == len(answer["serviceNames"])
    return list(answer["serviceNames"])


def test_a_service_is_made_read_changed_and_removed(caller: HttpCaller) -> None:
    service = place("life")
    done(caller.form("POST", f"{V1}/service", **service, protectThreshold=0.6, metadata='{"version":"1.0"}'))
    shown = caller.say("GET", f"{V1}/service", **service).json
    assert (shown["name"], shown["groupName"], shown["namespaceId"]) == ("life", "DEFAULT_GROUP", NAMESPACE)
    assert (shown["protectThreshold"], shown["metadata"]) == (0.6, {"version": "1.0"})
    assert shown["selector"] == {"type": "none"}
    done(caller.form("PUT", f"{V1}/service", **service, protectThreshold=0.3, metadata='{"version":"2.0"}'))
    shown = caller.say("GET", f"{V1}/service", **service).json
    assert (shown["protectThreshold"], shown["metadata"]) == (0.3, {"version": "2.0"})
    done(caller.say("DELETE", f"{V1}/service", **service))
    assert caller.say("GET", f"{V1}/service", **service).status == 400


@pytest.mark.parametrize("version", [V2, ADMIN])
def test_later_versions_make_and_remove_services_likewise(caller: HttpCaller, version: str) -> None:
    service = place(f"life{version.replace('/', '-')}")
    assert (
        ok(caller.form("POST", f"{version}/service", **service, protectThreshold=0.6, metadata="version=1.0")) == "ok"
    )
    assert ok(caller.say("GET", f"{version}/service", **service))["protectThreshold"] == 0.6
    again = caller.form("POST", f"{version}/service", **service)
    assert (again.status, again.json["code"]) == (400, 21_007)
    assert ok(caller.form("PUT", f"{version}/service", **service, protectThreshold=0.3)) == "ok"
    assert ok(caller.say("GET", f"{version}/service", **service))["protectThreshold"] == 0.3
    assert ok(caller.say("DELETE", f"{version}/service", **service)) == "ok"
    gone = caller.say("GET", f"{version}/service", **service)
    assert gone.json["code"] == 21_008


def test_a_service_that_has_instances_is_not_deleted_and_an_empty_one_is(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        for stays in (False, True):
            service = f"in-use-{stays}"
            done(await world.say("POST", f"{V1}/service", **place(service)))
            await order(sdk, "registerInstance", service, stays=stays)
            refused = await world.say("DELETE", f"{V1}/service", **place(service))
            assert 400 <= refused.status < 500
            assert "is not empty" in refused.text
            await order(sdk, "deregisterInstance", service, stays=stays)
            done(await world.say("DELETE", f"{V1}/service", **place(service)))

    in_both_ways(http_node, script)


def test_a_service_that_http_makes_is_in_the_lists_of_sdks_and_of_http(http_node: HttpNode) -> None:
    group = "made"

    async def script(world: BothWays) -> None:
        sdk = await world.connected()

        async def over_http() -> list[str]:
            page = {"pageNo": 1, "pageSize": 150}
            answer = await world.say("GET", f"{V1}/service/list", **place("any", group), **page)
            assert answer.json["count"] == len(answer.json["doms"])
            return list(answer.json["doms"])

        assert await names(sdk, group) == await over_http() == []
        done(await world.say("POST", f"{V1}/service", **place("made-1", group)))
        await eventually(lambda: names(sdk, group), ["made-1"])
        await eventually(over_http, ["made-1"])
        await order(sdk, "registerInstance", "made-2", stays=False, group=group)
        await eventually(over_http, ["made-1", "made-2"])
        await eventually(lambda: names(sdk, group), ["made-1", "made-2"])

    in_both_ways(http_node, script)


def test_what_http_registers_to_stay_is_seen_by_sdks_until_http_deregisters_it(http_node: HttpNode) -> None:
    about = {**place("http-stays"), "ip": "10.0.0.1", "port": 80, "ephemeral": "false"}

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        done(await world.say("POST", f"{V1}/instance", **about))
        assert await world.shown("http-stays", namespaceId=NAMESPACE) == ["10.0.0.1:80"]
        assert await sdk.ports("http-stays", namespace=NAMESPACE) == [80]
        done(await world.say("DELETE", f"{V1}/instance", **about))
        assert await sdk.ports("http-stays", namespace=NAMESPACE) == []
        assert await world.shown("http-stays", namespaceId=NAMESPACE) == []

    in_both_ways(http_node, script)


def test_one_that_is_changed_has_new_metadata_and_one_that_is_disabled_is_listed_no_more(http_node: HttpNode) -> None:
    about = {**place("maintained"), "ip": "10.0.0.1", "port": 80}

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        await order(sdk, "registerInstance", "maintained", stays=False)
        done(await world.say("PUT", f"{V1}/instance", **about, metadata='{"version":"2.0"}'))
        where = {"namespace": NAMESPACE, "cluster": ""}
        answer = await sdk.naming("ServiceQueryRequest", "maintained", **where)
        assert [host["metadata"] for host in answer["serviceInfo"]["hosts"]] == [{"version": "2.0"}]
        done(await world.say("PUT", f"{V1}/instance", **about, enabled="false"))
        answer = await sdk.naming("ServiceQueryRequest", "maintained", **where)
        assert answer["serviceInfo"]["hosts"] == []
        assert await world.shown("maintained", namespaceId=NAMESPACE) == []

    in_both_ways(http_node, script)


def test_subscribers_of_a_service_are_listed(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        async def subscribers(version: str = V1) -> list[tuple[str, str]]:
            answer = await world.say("GET", f"{version}/service/subscribers", **place("followed"))
            assert answer.status == 200, answer
            listed = answer.json["subscribers"] if version == V1 else answer.json["data"]["pageItems"]
            assert len({one["port"] for one in listed}) == len(listed), "each is shown with its own port"
            return [(one["ip"], one["agent"]) for one in listed]

        async def watch(sdk: SdkClient, *, on: bool) -> None:
            where = {"namespace": NAMESPACE, "clusters": "", "subscribe": on}
            await sdk.naming("SubscribeServiceRequest", "followed", **where)

        this = ("127.0.0.1", PYTHON)
        sdks = [await world.connected(), await world.connected()]
        assert await subscribers() == []
        for count, sdk in enumerate(sdks, start=1):
            await watch(sdk, on=True)
            for version in (V1, ADMIN):
                await eventually(functools.partial(subscribers, version), [this] * count)
        await watch(sdks[0], on=False)
        await eventually(subscribers, [this])

    in_both_ways(http_node, script)


def test_the_service_list_of_operators_has_pages_and_may_leave_out_what_is_empty(caller: HttpCaller) -> None:
    where = {"namespaceId": NAMESPACE, "groupNameParam": "paged", "serviceNameParam": "paged"}
    for number in range(3):
        done(caller.say("POST", f"{V1}/service", **place(f"paged-{number}", "paged")))
    about = {**place("paged-1", "paged"), "ip": "10.0.0.1", "port": 80, "ephemeral": "false"}
    done(caller.say("POST", f"{V1}/instance", **about))

    def listed(**more: object) -> Any:
        return caller.say("GET", f"{V1}/catalog/services", **where, **more).json

    def found(**more: object) -> list[str]:
        return [each["name"] for each in listed(**more)["serviceList"]]

    assert listed(pageNo=1, pageSize=10)["count"] == 3
    assert found(pageNo=1, pageSize=10) == ["paged-0", "paged-1", "paged-2"]
    assert found(pageNo=2, pageSize=1) == ["paged-1"]
    assert found(pageNo=1, pageSize=10, hasIpCount="true") == ["paged-1"]
    page = ok(caller.say("GET", f"{ADMIN}/service/list", **where, pageNo=2, pageSize=1))
    assert (page["totalCount"], page["pageNumber"], page["pagesAvailable"]) == (3, 2, 3)
    assert [each["name"] for each in page["pageItems"]] == ["paged-1"]
    page = ok(caller.say("GET", f"{ADMIN}/service/list", **where, pageNo=1, pageSize=2, ignoreEmptyService="true"))
    assert [each["name"] for each in page["pageItems"]] == ["paged-1"]


def test_what_is_not_there_is_an_error_in_the_lists_of_operators(caller: HttpCaller) -> None:
    page = {"pageNo": 1, "pageSize": 10}
    assert caller.say("GET", f"{V1}/catalog/service", **place("nowhere")).status == 404
    assert caller.say("GET", f"{V1}/catalog/instances", **place("nowhere"), clusterName="DEFAULT", **page).status == 404
    about = {**place("somewhere"), "ip": "10.0.0.1", "port": 80, "clusterName": "c1"}
    done(caller.say("POST", f"{V1}/instance", **about))
    known = caller.say("GET", f"{V1}/catalog/instances", **place("somewhere"), clusterName="c1", **page).json
    assert (known["count"], known["list"][0]["ip"]) == (1, "10.0.0.1")
    unknown = caller.say("GET", f"{V1}/catalog/instances", **place("somewhere"), clusterName="c2", **page)
    assert unknown.status == 404


def test_the_clusters_of_a_service_are_shown_with_it(caller: HttpCaller) -> None:
    for number, cluster in enumerate(("c1", "c2"), start=1):
        about = {**place("parted"), "ip": f"10.0.0.{number}", "port": 80, "clusterName": cluster}
        done(caller.say("POST", f"{V1}/instance", **about))
    shown = caller.say("GET", f"{V1}/service", **place("parted")).json
    assert sorted(each["name"] for each in shown["clusters"]) == ["c1", "c2"]
    assert sorted(ok(caller.say("GET", f"{ADMIN}/service", **place("parted")))["clusterMap"]) == ["c1", "c2"]


def test_health_is_set_by_hand_only_where_nobody_probes(caller: HttpCaller) -> None:
    about = {**place("by-hand"), "ip": "10.0.0.1", "port": 80, "clusterName": "DEFAULT"}
    done(caller.say("POST", f"{V1}/instance", **about, ephemeral="false"))

    def set_unhealthy() -> HttpAnswer:
        return caller.say("PUT", f"{V1}/health/instance", **about, healthy="false")

    refused = set_unhealthy()
    assert (refused.status, "health check is still working" in refused.text) == (400, True)
    cluster = {"clusterName": "DEFAULT", "checkPort": 80, "useInstancePort4Check": "true", "metadata": "{}"}
    done(caller.say("PUT", f"{V1}/cluster", **place("by-hand"), **cluster, healthChecker='{"type":"NONE"}'))
    done(set_unhealthy())
    (host,) = caller.listed("by-hand", namespaceId=NAMESPACE)["hosts"]
    assert host["healthy"] is False


def test_the_metrics_of_a_server_count_services_instances_and_clients(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk = await world.connected()

        async def counted() -> dict[str, int]:
            answer = await world.say("GET", f"{V1}/operator/metrics", onlyStatus="false")
            assert answer.status == 200
            names = (
                "serviceCount instanceCount responsibleInstanceCount clientCount connectionBasedClientCount "
                "ephemeralIpPortClientCount persistentIpPortClientCount responsibleClientCount"
            )
            return {name: answer.json[name] for name in names.split()}

        before = await counted()
        batch = [instance_body(port) for port in range(500)]
        where = {"namespace": NAMESPACE, "type": "batchRegisterInstance", "instances": batch}
        await sdk.naming("BatchInstanceRequest", "counted", **where)
        after = await counted()
        # What other tests have left falls silent meanwhile, but that is less than half as much.
        for name in ("instanceCount", "responsibleInstanceCount"):
            assert after[name] - before[name] > 250
        assert after["clientCount"] >= after["connectionBasedClientCount"] >= 1

    in_both_ways(http_node, script)
