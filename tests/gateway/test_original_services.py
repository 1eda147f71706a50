"""What the original's own tests say of services themselves: making, changing, finding and removing them over HTTP, and
what SDKs see of that.

The names of these tests stand in docs/compatibility.md, beside those of the original.
"""

from __future__ import annotations

import pytest

from tests.support.both_ways import BothWays, in_both_ways
from tests.support.http_gateway import HttpAnswer, HttpNode
from tests.support.sdk_client import SdkClient, instance_body

pytestmark = pytest.mark.cluster

V1 = "/v1/ns"
NAMESPACE = "original-services"


def place(service: str, group: str = "DEFAULT_GROUP") -> dict[str, object]:
    return {"namespaceId": NAMESPACE, "groupName": group, "serviceName": service}


def done(answer: HttpAnswer) -> None:
    assert (answer.status, answer.body) == (200, b"ok"), answer


async def order(sdk: SdkClient, kind: str, service: str, *, stays: bool, group: str = "DEFAULT_GROUP") -> None:
    request = "PersistentInstanceRequest" if stays else "InstanceRequest"
    where = {"namespace": NAMESPACE, "groupName": group}
    answer = await sdk.naming(request, service, type=kind, instance=instance_body(80), **where)
    assert answer["resultCode"] == 200, answer


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
