"""Instances over HTTP: names, lists, beats, both kinds, all three versions of the API."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import pytest

from tests.support.http_gateway import HttpCaller, HttpNode
from tests.support.real_cluster import until

pytestmark = pytest.mark.cluster

SILENT_SECONDS = 30.0
V1, V2, V3, ADMIN = "/v1/ns/instance", "/v2/ns/instance", "/v3/client/ns/instance", "/v3/admin/ns/instance"
QUICK = {
    "preserved.heart.beat.interval": "500",
    "preserved.heart.beat.timeout": "1500",
    "preserved.ip.delete.timeout": "3000",
}


def register(caller: HttpCaller, service: str, port: int = 80, **more: object) -> None:
    answer = caller.say("POST", V1, serviceName=service, ip="10.0.0.1", port=port, **more)
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize("version", [V1, V2, V3, ADMIN])
def test_what_one_version_registers_every_version_lists_and_removes(caller: HttpCaller, version: str) -> None:
    service = f"versions{version.replace('/', '-')}"
    about = {"serviceName": service, "ip": "10.0.0.1", "port": 80}
    assert caller.form("POST", version, **about, metadata="a=b,c=d").status == 200
    assert caller.shown(service) == ["10.0.0.1:80"]
    for place in (V2, V3, ADMIN):
        data = caller.say("GET", f"{place}/list", serviceName=service).json["data"]
        (host,) = data if isinstance(data, list) else data["hosts"]
        assert (host["serviceName"], host["metadata"]) == (f"DEFAULT_GROUP@@{service}", {"a": "b", "c": "d"})
    assert caller.form("DELETE", version, **about).status == 200
    assert caller.shown(service) == []


def test_a_name_is_said_bare_or_with_its_group_and_the_group_in_the_name_wins(caller: HttpCaller) -> None:
    register(caller, "g1@@names", groupName="g2")
    assert caller.shown("names", groupName="g1") == ["10.0.0.1:80"]
    assert caller.listed("g1@@names")["name"] == "g1@@names"
    assert caller.shown("names", groupName="g2") == []


def test_namespaces_are_apart_and_none_is_public(caller: HttpCaller) -> None:
    register(caller, "spaces", namespaceId="other")
    assert caller.shown("spaces") == []
    assert caller.shown("spaces", namespaceId="other") == ["10.0.0.1:80"]


def test_a_list_echoes_the_clusters_that_were_asked_for_and_holds_only_these(caller: HttpCaller) -> None:
    register(caller, "clusters", 80, clusterName="a")
    register(caller, "clusters", 81, cluster="b")
    register(caller, "clusters", 82)
    assert caller.listed("clusters", clusters="b,a")["clusters"] == "b,a"
    assert caller.shown("clusters", clusters="b,a") == ["10.0.0.1:80", "10.0.0.1:81"]
    assert len(caller.shown("clusters", clusters="")) == 3


def test_disabled_ones_are_hidden_from_callers_and_shown_to_operators(caller: HttpCaller) -> None:
    register(caller, "disabled", 80, enable="False")
    register(caller, "disabled", 81, healthy="False")
    assert caller.shown("disabled") == ["10.0.0.1:81"]
    assert caller.shown("disabled", healthyOnly="True") == []
    data = caller.say("GET", f"{ADMIN}/list", serviceName="disabled").json["data"]
    assert [(host["port"], host["enabled"], host["healthy"]) for host in data] == [(80, False, True), (81, True, False)]


def test_an_unknown_service_has_an_empty_list_and_operators_are_told(caller: HttpCaller) -> None:
    assert caller.listed("nowhere")["hosts"] == []
    assert caller.say("GET", f"{V3}/list", serviceName="nowhere").json["data"] == []
    answer = caller.say("GET", f"{ADMIN}/list", serviceName="nowhere")
    assert (answer.status, answer.json["code"]) == (404, 20_004)


def test_to_remove_what_is_not_there_is_done(caller: HttpCaller) -> None:
    for ephemeral in ("true", "false"):
        about = {"serviceName": "nowhere", "ip": "10.0.0.1", "port": 80, "ephemeral": ephemeral}
        assert caller.say("DELETE", V1, **about).body == b"ok"
        assert caller.say("DELETE", V3, **about).json["data"] == "ok"


def test_one_instance_is_shown_in_the_shape_of_each_version(caller: HttpCaller) -> None:
    register(caller, "details", metadata='{"a":"b"}')
    about = {"serviceName": "details", "ip": "10.0.0.1", "port": 80}
    assert caller.say("GET", V1, **about).json == {
        "service": "DEFAULT_GROUP@@details",
        "ip": "10.0.0.1",
        "port": 80,
        "clusterName": "DEFAULT",
        "weight": 1.0,
        "healthy": True,
        "instanceId": "10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@details",
        "metadata": {"a": "b"},
    }
    assert caller.say("GET", V2, **about).json["data"]["serviceName"] == "DEFAULT_GROUP@@details"
    assert caller.say("GET", ADMIN, **about).json["data"]["enabled"] is True


def test_one_that_is_not_there_is_not_found(caller: HttpCaller) -> None:
    register(caller, "absent")
    wrong_port = caller.say("GET", V1, serviceName="absent", ip="10.0.0.1", port=81)
    assert (wrong_port.status, wrong_port.text) == (404, "no matched ip found!")
    wrong_cluster = caller.say("GET", V1, serviceName="absent", ip="10.0.0.1", port=80, cluster="c")
    text = "no ips found for cluster c in service DEFAULT_GROUP@@absent"
    assert (wrong_cluster.status, wrong_cluster.text) == (404, text)
    answer = caller.say("GET", V2, serviceName="absent", ip="10.0.0.1", port=81)
    assert (answer.status, answer.json["code"], answer.json["message"]) == (404, 21_003, "instance not found")


def test_the_statuses_of_a_service_are_found_by_its_key(caller: HttpCaller) -> None:
    register(caller, "statuses", 80)
    register(caller, "statuses", 81, healthy="false")
    expected = {"ips": ["10.0.0.1:80_true", "10.0.0.1:81_false"]}
    key = "public##DEFAULT_GROUP@@statuses"
    assert caller.say("GET", f"{V1}/statuses", key=key).json == expected
    assert caller.say("POST", f"{V1}/statuses", key="DEFAULT_GROUP@@statuses").json == expected
    assert caller.ask("GET", f"{V2}/statuses/{quote(key)}").json == expected


def test_metadata_of_any_letters_come_back_as_they_were(caller: HttpCaller) -> None:
    metadata = {"percent": "100%25", "plus": "a+b", "equals": "a=b,c=d", "unicode": "注册中心 ü", "quote": '"\\'}
    register(caller, "metadata", 80, metadata=msgspec.json.encode(metadata).decode())
    register(caller, "metadata", 81, metadata="k=v=w,x= y ")
    register(caller, "metadata", 82, metadata='{"number":1,"truth":true,"nothing":null,"parts":{"a":[1]}}')
    shown = [host["metadata"] for host in caller.listed("metadata")["hosts"]]
    assert shown[0] == metadata
    assert shown[1] == {"k": "v=w", "x": "y"}
    assert shown[2] == {"number": "1", "truth": "true", "parts": '{"a":[1]}'}


def test_a_beat_renews_registers_or_says_that_it_knows_nobody(caller: HttpCaller) -> None:
    about = {"serviceName": "beats", "ip": "10.0.0.1", "port": 80}
    assert caller.say("PUT", f"{V1}/beat", **about).json["code"] == 20_404
    beat = {"ip": "10.0.0.1", "port": 80, "cluster": "c", "weight": 3, "metadata": {**QUICK, "a": "b"}, "cpu": 0.5}
    full = {"serviceName": "beats", "beat": msgspec.json.encode(beat).decode()}
    registered = {"clientBeatInterval": 500, "code": 10_200, "lightBeatEnabled": True}
    assert caller.say("PUT", f"{V1}/beat", **full).json == registered
    (host,) = caller.listed("beats")["hosts"]
    assert (host["weight"], host["clusterName"], host["metadata"]["a"]) == (3.0, "c", "b")
    assert caller.say("PUT", f"{V1}/beat", **about).json == registered
    assert caller.say("PUT", f"{V2}/beat", **about).json == registered


def test_the_third_version_beats_by_registering(caller: HttpCaller) -> None:
    about = {"serviceName": "beats3", "ip": "10.0.0.1", "port": 80}
    unknown = caller.say("POST", V3, **about, heartBeat="true")
    assert (unknown.status, unknown.json["code"], unknown.json["data"]) == (200, 21_003, None)
    assert caller.say("POST", V3, **about).json["data"] == "ok"
    assert caller.say("POST", V3, **about, heartBeat="true").json == {"code": 0, "message": "success", "data": "ok"}


def test_who_is_silent_becomes_unhealthy_and_goes_and_a_beat_brings_health_back(caller: HttpCaller) -> None:
    register(caller, "silent", metadata=msgspec.json.encode(QUICK).decode())

    def healths() -> list[bool]:
        return [host["healthy"] for host in caller.listed("silent")["hosts"]]

    assert healths() == [True]
    until(lambda: healths() == [False], SILENT_SECONDS, "it is unhealthy")
    answer = caller.say("PUT", f"{V1}/beat", serviceName="silent", ip="10.0.0.1", port=80)
    assert answer.json == {"clientBeatInterval": 500, "code": 10_200, "lightBeatEnabled": True}
    until(lambda: healths() == [True], SILENT_SECONDS, "it is healthy again")
    until(lambda: healths() == [], SILENT_SECONDS, "it is gone")


def test_a_service_is_of_one_kind(caller: HttpCaller) -> None:
    register(caller, "kinds")
    about = {"serviceName": "kinds", "ip": "10.0.0.2", "port": 80, "ephemeral": "false"}
    assert caller.say("POST", V1, **about).status == 400
    assert caller.say("POST", V2, **about).json["code"] == 20_002


def test_last_ref_times_of_a_list_rise_and_stay_where_nothing_changes(caller: HttpCaller) -> None:
    register(caller, "times", 80)
    first = caller.listed("times")["lastRefTime"]
    assert caller.listed("times")["lastRefTime"] == first
    register(caller, "times", 81)
    assert caller.listed("times")["lastRefTime"] > first


def test_pushes_that_say_what_an_answer_has_said_are_acknowledged_too(http_node: HttpNode) -> None:
    def counted(name: str) -> int:
        status = http_node.node.status()
        return -1 if status is None else status.counters[name]

    retries = counted("push_retries")
    for number in range(20):
        register(http_node.caller, "acknowledged", 1_000 + number)
        assert len(http_node.caller.shown("acknowledged")) == number + 1
    until(lambda: counted("push_pending") == 0, SILENT_SECONDS, "nothing is on its way")
    assert counted("push_retries") == retries


def test_what_was_written_is_in_the_next_list(caller: HttpCaller) -> None:
    for number in range(50):
        register(caller, "own-writes", 1_000 + number)
        assert len(caller.shown("own-writes")) == number + 1
