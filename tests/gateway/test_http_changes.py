"""What PUT, PATCH and batches of metadata change, whose change it is, and what the next registration makes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rollbook import NamingClient
from tests.support.http_gateway import HttpCaller, HttpNode
from tests.support.real_cluster import until

pytestmark = pytest.mark.cluster

SOON_SECONDS = 10.0
V1, V2, ADMIN = "/v1/ns/instance", "/v2/ns/instance", "/v3/admin/ns/instance"


def register(caller: HttpCaller, service: str, port: int = 80, **more: object) -> None:
    answer = caller.say("POST", V1, serviceName=service, ip="10.0.0.1", port=port, **more)
    assert (answer.status, answer.body) == (200, b"ok")


def host_of(caller: HttpCaller, service: str, port: int = 80) -> Any:
    data = caller.say("GET", ADMIN, serviceName=service, ip="10.0.0.1", port=port).json["data"]
    return data["weight"], data["enabled"], data["metadata"]


def about(service: str, **more: object) -> dict[str, object]:
    return {"serviceName": service, "ip": "10.0.0.1", "port": 80, **more}


@pytest.mark.parametrize("version", [V1, V2])
def test_put_says_weight_and_enabled_as_a_whole_and_metadata_if_given(caller: HttpCaller, version: str) -> None:
    service = f"put{version.replace('/', '-')}"
    register(caller, service, weight=5, metadata="a=b")
    assert caller.form("PUT", version, **about(service, enabled="false")).status == 200
    assert host_of(caller, service) == (1.0, False, {"a": "b"})
    assert caller.form("PUT", version, **about(service, metadata="c=d")).status == 200
    assert host_of(caller, service) == (1.0, True, {"c": "d"})


@pytest.mark.parametrize("version", [V1, V2])
def test_patch_changes_what_is_said_and_nothing_else(caller: HttpCaller, version: str) -> None:
    service = f"patch{version.replace('/', '-')}"
    register(caller, service, weight=5, enabled="false", metadata="a=b")
    answer = caller.form("PATCH", version, **about(service, metadata='{"c":"d"}'))
    assert (answer.status, answer.body) == (200, b"ok")
    assert host_of(caller, service) == (5.0, False, {"c": "d"})
    assert caller.say("PATCH", version, **about(service, enabled="true", weight=2)).body == b"ok"
    assert host_of(caller, service) == (2.0, True, {"c": "d"})


def test_what_an_sdk_changes_of_its_own_the_next_registration_says_anew(caller: HttpCaller) -> None:
    register(caller, "own-change")
    assert caller.say("PUT", V1, **about("own-change", weight=7)).status == 200
    caller.say("PUT", f"{V1}/beat", **about("own-change"))
    assert host_of(caller, "own-change")[0] == 7.0
    register(caller, "own-change", weight=3)
    assert host_of(caller, "own-change")[0] == 3.0


def test_what_an_operator_changes_stands_above_the_next_registration(caller: HttpCaller) -> None:
    register(caller, "intent", metadata="a=b")
    assert caller.say("PUT", ADMIN, **about("intent", enabled="false", weight=7, metadata="c=d")).json["data"] == "ok"
    register(caller, "intent", weight=3, metadata="a=e")
    assert caller.say("PUT", V1, **about("intent", weight=9, enabled="true")).status == 200
    assert host_of(caller, "intent") == (7.0, False, {"a": "e", "c": "d"})
    assert caller.shown("intent") == []
    assert caller.say("PUT", f"{ADMIN}/partial", **about("intent", enabled="true")).json["data"] == "ok"
    assert host_of(caller, "intent") == (7.0, True, {"a": "e", "c": "d"})


def test_what_an_operator_has_decided_of_one_field_stands_whatever_becomes_of_another(caller: HttpCaller) -> None:
    register(caller, "fields", weight=3, metadata="a=b")
    batch = {"serviceName": "fields", "metadata": '{"c":"d"}'}
    caller.say("PUT", f"{ADMIN}/partial", **about("fields", weight=7))
    caller.form("PUT", f"{ADMIN}/metadata/batch", **batch)
    assert host_of(caller, "fields") == (7.0, True, {"a": "b", "c": "d"})
    register(caller, "fields", weight=3, enabled="false", metadata="a=b")
    assert host_of(caller, "fields") == (7.0, False, {"a": "b", "c": "d"}), "of that nobody has decided"
    caller.say("DELETE", f"{ADMIN}/metadata/batch", **batch)
    assert host_of(caller, "fields") == (7.0, False, {"a": "b"})
    caller.form("PUT", f"{ADMIN}/metadata/batch", **batch)
    assert caller.say("PUT", ADMIN, **about("fields", weight=2)).json["data"] == "ok"
    assert host_of(caller, "fields") == (2.0, True, {"a": "b"}), "what is said as a whole has no metadata"


def test_persistent_instances_are_changed_by_intents_in_every_version(caller: HttpCaller) -> None:
    register(caller, "kept", ephemeral="false", metadata="a=b")
    kept = about("kept", ephemeral="false")
    assert caller.say("PUT", V1, **kept, weight=2, metadata="c=d").body == b"ok"
    assert host_of(caller, "kept") == (2.0, True, {"a": "b", "c": "d"})
    assert caller.say("PATCH", V1, **kept, enabled="false").body == b"ok"
    assert host_of(caller, "kept") == (2.0, False, {"a": "b", "c": "d"})
    assert caller.say("DELETE", V1, **kept, clusterName="any").body == b"ok"
    register(caller, "kept", ephemeral="false")
    assert host_of(caller, "kept") == (1.0, True, {}), "another incarnation"


def test_what_a_connection_publishes_is_changed_by_an_intent(http_node: HttpNode) -> None:
    caller = http_node.caller
    with NamingClient([http_node.node.client_address]) as native:
        native.register_instance("connected", "10.0.0.1", 80, metadata={"a": "b"})
        assert caller.say("PUT", V1, **about("connected", weight=2, enabled="false")).body == b"ok"
        assert host_of(caller, "connected") == (2.0, False, {"a": "b"})
        native.register_instance("connected", "10.0.0.1", 80, weight=5)
        until(lambda: host_of(caller, "connected") == (2.0, False, {}), SOON_SECONDS, "it is pushed to the gateway")
        assert caller.say("DELETE", V1, **about("connected")).body == b"ok"
        assert host_of(caller, "connected") == (2.0, False, {}), "it is another client's"


def test_what_is_not_there_cannot_be_changed(caller: HttpCaller) -> None:
    unknown = caller.say("PUT", V1, **about("unchanged", weight=2))
    text = "service not found, namespace: public, service: DEFAULT_GROUP@@unchanged"
    assert (unknown.status, unknown.text) == (400, text)
    register(caller, "unchanged", 81)
    assert caller.say("PUT", V1, **about("unchanged", weight=2)).text == "instance not found"
    assert caller.say("PATCH", V1, **about("unchanged", weight=2)).status == 404
    for version in (V2, ADMIN):
        answer = caller.say("PUT", version, **about("unchanged", weight=2))
        assert (answer.status, answer.json["code"]) == (404, 21_003)
    for more in ({"weight": 2}, {}):
        answer = caller.say("PUT", f"{ADMIN}/partial", **about("unchanged", **more))
        assert (answer.status, answer.json["code"]) == (404, 21_003)


@pytest.mark.parametrize("version", [V1, V2, ADMIN])
def test_metadata_of_many_are_added_and_taken_away_again(caller: HttpCaller, version: str) -> None:
    service = f"batch{version.replace('/', '-')}"
    for port in (80, 81, 82):
        register(caller, service, port, metadata="a=b")
    batch = f"{version}/metadata/batch"

    def updated(answer: Any) -> Any:
        return (answer if version == V1 else answer["data"])["updated"]

    everything = caller.form("PUT", batch, serviceName=service, metadata='{"c":"d","a":"z"}').json
    assert updated(everything) == [f"10.0.0.1:{port}:unknown:DEFAULT:true" for port in (80, 81, 82)]
    assert host_of(caller, service, 82)[2] == {"a": "z", "c": "d"}
    one = msgspec.json.encode([{"ip": "10.0.0.1", "port": "81", "clusterName": "DEFAULT", "ephemeral": True}]).decode()
    removed = caller.say("DELETE", batch, serviceName=service, metadata='{"c":"","a":""}', instances=one).json
    assert updated(removed) == ["10.0.0.1:81:unknown:DEFAULT:true"]
    assert host_of(caller, service, 81)[2] == {"a": "b"}
    assert host_of(caller, service, 80)[2] == {"a": "z", "c": "d"}
    nobody = caller.say("PUT", batch, serviceName=service, metadata='{"c":"d"}', consistencyType="persist").json
    assert updated(nobody) == []
