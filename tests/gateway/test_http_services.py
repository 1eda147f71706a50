"""Services, their clusters and the health of persistent instances over HTTP, as the three versions show them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from tests.support.http_gateway import HttpAnswer, HttpCaller
from tests.support.real_cluster import until

pytestmark = pytest.mark.cluster

V1, V2, V3, CONSOLE = "/v1/ns", "/v2/ns", "/v3/admin/ns", "/v3/console/ns"
ALL = [V1, V2, V3, CONSOLE]
HTTP_CHECKER = {"type": "HTTP", "path": "/health", "headers": "a:1", "expectedResponseCode": 204}
SOON_SECONDS = 10.0


def name_of(version: str, base: str) -> str:
    return f"{base}{version.replace('/', '-')}"


def is_ok(version: str, answer: HttpAnswer) -> bool:
    said = answer.text if version == V1 else answer.json["data"]
    return (answer.status, said) == (200, "ok")


def detail(caller: HttpCaller, service: str, version: str = V3) -> Any:
    answer = caller.say("GET", f"{version}/service", serviceName=service)
    assert answer.status == 200, answer
    return answer.json if version == V1 else answer.json["data"]


def register(caller: HttpCaller, service: str, port: int = 80, **more: object) -> None:
    answer = caller.say("POST", f"{V1}/instance", serviceName=service, ip="10.0.0.1", port=port, **more)
    assert answer.body == b"ok"


def put_checker(caller: HttpCaller, service: str, checker: object, version: str = V1, **more: object) -> HttpAnswer:
    said = {"clusterName": "DEFAULT", "checkPort": 9_000, "useInstancePort4Check": "false", **more}
    text = msgspec.json.encode(checker).decode()
    return caller.say("PUT", f"{version}/cluster", serviceName=service, healthChecker=text, **said)


@pytest.mark.parametrize("version", ALL)
def test_a_service_is_created_changed_shown_and_deleted(caller: HttpCaller, version: str) -> None:
    service = name_of(version, "whole")
    about = {"serviceName": service, "groupName": "SHOP"}
    place = f"{version}/service"
    assert is_ok(version, caller.form("POST", place, **about, protectThreshold="0.3", metadata="a=b"))
    again = caller.form("POST", place, **about)
    sentence = f"specified service SHOP@@{service} already exists!"
    if version == V1:
        assert (again.status, again.text) == (400, sentence)
    else:
        assert (again.status, again.json["code"], again.json["data"]) == (400, 21_007, sentence)
    selector = '{"type":"none"}'
    changed = caller.form("PUT", place, **about, protectThreshold="0.6", metadata='{"c":1}', selector=selector)
    assert is_ok(version, changed)
    answer = caller.say("GET", place, **about).json
    shown = answer if version == V1 else answer["data"]
    assert (shown["protectThreshold"], shown["metadata"], shown["selector"]) == (0.6, {"c": "1"}, {"type": "none"})
    assert is_ok(version, caller.say("DELETE", place, **about))
    assert caller.say("GET", place, **about).status == (400 if version == V1 else 404)


def test_each_version_shows_a_service_in_its_own_shape(caller: HttpCaller) -> None:
    register(caller, "shapes", clusterName="EAST")
    assert is_ok(V2, caller.form("PUT", f"{V2}/service", serviceName="shapes", metadata="a=b", protectThreshold="0.5"))
    assert put_checker(caller, "shapes", HTTP_CHECKER, clusterName="EAST").body == b"ok"
    assert detail(caller, "shapes", V1) == {
        "namespaceId": "public",
        "groupName": "DEFAULT_GROUP",
        "name": "shapes",
        "protectThreshold": 0.5,
        "metadata": {"a": "b"},
        "selector": {"type": "none"},
        "clusters": [{"name": "EAST", "healthChecker": HTTP_CHECKER, "metadata": {}}],
    }
    third = {
        "namespaceId": "public",
        "serviceName": "shapes",
        "groupName": "DEFAULT_GROUP",
        "clusterMap": {
            "EAST": {
                "clusterName": "EAST",
                "healthChecker": HTTP_CHECKER,
                "healthyCheckPort": 9_000,
                "useInstancePortForCheck": False,
                "metadata": {},
                "hosts": [],
            }
        },
        "metadata": {"a": "b"},
        "protectThreshold": 0.5,
        "selector": {"type": "none"},
        "ephemeral": True,
    }
    assert detail(caller, "shapes") == detail(caller, "shapes", CONSOLE) == third
    second = {("namespace" if key == "namespaceId" else key): value for key, value in third.items()}
    assert detail(caller, "shapes", V2) == second


def test_a_service_that_only_has_instances_exists_and_is_created_by_nobody(caller: HttpCaller) -> None:
    register(caller, "used")
    assert caller.say("POST", f"{V1}/service", serviceName="used").status == 400
    about = {"serviceName": "used"}
    assert caller.say("PUT", f"{V1}/service", **about, protectThreshold=0.1).body == b"ok"
    assert detail(caller, "used")["protectThreshold"] == 0.1
    refused = caller.say("DELETE", f"{V1}/service", **about)
    sentence = "Service DEFAULT_GROUP@@used is not empty, can't be delete. Please unregister instance first"
    assert (refused.status, refused.text) == (400, sentence)
    for version in (V2, V3):
        refused = caller.say("DELETE", f"{version}/service", **about)
        assert (refused.status, refused.json["code"]) == (400, 21_009)
    assert caller.say("DELETE", f"{V1}/instance", **about, ip="10.0.0.1", port=80).body == b"ok"
    assert caller.say("DELETE", f"{V1}/service", **about).body == b"ok"


def test_a_service_that_is_not_there_is_refused_in_the_words_of_each_version(caller: HttpCaller) -> None:
    about = {"serviceName": "nowhere"}
    shown = caller.say("GET", f"{V1}/service", **about)
    text = "service not found, namespace: public, serviceName: DEFAULT_GROUP@@nowhere"
    assert (shown.status, shown.text) == (400, text)
    assert caller.say("DELETE", f"{V1}/service", **about).text == "service DEFAULT_GROUP@@nowhere not found!"
    changed = caller.say("PUT", f"{V1}/service", **about, protectThreshold=0.1)
    assert (changed.status, changed.text) == (400, "service DEFAULT_GROUP@@nowhere not found!")
    assert put_checker(caller, "nowhere", {"type": "TCP"}).text == "service DEFAULT_GROUP@@nowhere not found!"
    for version in (V2, V3):
        shown = caller.say("GET", f"{version}/service", **about)
        assert (shown.status, shown.json["code"]) == (404, 21_008)
        for method in ("PUT", "DELETE"):
            refused = caller.say(method, f"{version}/service", **about)
            assert (refused.status, refused.json["code"], refused.json["message"]) == (400, 21_008, "service not exist")


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, 10_000),
        ({"serviceName": "a b"}, 21_000),
        ({"serviceName": "bad", "protectThreshold": "2"}, 21_005),
        ({"serviceName": "bad", "protectThreshold": "much"}, 20_002),
        ({"serviceName": "bad", "metadata": "{"}, 20_002),
        ({"serviceName": "bad", "metadata": f"a={'b' * 1_024}"}, 21_005),
        ({"serviceName": "bad", "selector": '{"type":"label"}'}, 21_006),
        ({"serviceName": "bad", "selector": "[]"}, 21_006),
    ],
)
def test_nonsense_creates_nothing(caller: HttpCaller, parameters: dict[str, object], code: int) -> None:
    answer = caller.say("POST", f"{V3}/service", **parameters)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert caller.say("POST", f"{V1}/service", **parameters).status == 400
    assert caller.say("GET", f"{V3}/service", serviceName="bad").status == 404


def test_names_are_listed_page_by_page_with_those_of_services_that_nobody_publishes(caller: HttpCaller) -> None:
    group = {"groupName": "NAMES"}
    for name in ("d", "b", "a"):
        caller.say("POST", f"{V1}/service", serviceName=name, **group)
    register(caller, "NAMES@@c")
    first = caller.say("GET", f"{V1}/service/list", pageNo=1, pageSize=3, **group).json
    second = caller.say("GET", f"{V1}/service/list", pageNo=2, pageSize=3, **group).json
    assert (first, second) == ({"count": 4, "doms": ["a", "b", "c"]}, {"count": 4, "doms": ["d"]})
    listed = caller.say("GET", f"{V2}/service/list", **group).json["data"]
    assert listed == {"count": 4, "services": ["a", "b", "c", "d"]}
    beyond = caller.say("GET", f"{V2}/service/list", pageNo=10**18 - 1, pageSize=500, **group).json["data"]
    assert beyond == {"count": 4, "services": []}
    assert caller.say("GET", f"{V1}/service/list", pageSize=3).text == "Param 'pageNo' is required."
    named = caller.say("GET", f"{V1}/service/names", namespaceId="public").json
    assert "NAMES@@a" in named["services"]["public"]
    assert named["count"] == len(named["services"]["public"])


def test_names_of_all_namespaces_are_told_together(caller: HttpCaller) -> None:
    register(caller, "elsewhere", namespaceId="named-space")
    named = caller.ask("GET", f"{V1}/service/names").json
    assert named["services"]["named-space"] == ["DEFAULT_GROUP@@elsewhere"]
    assert named["count"] == sum(map(len, named["services"].values()))
    assert caller.ask("GET", f"{V1}/service/selector/types").json["data"] == ["none"]
    assert caller.ask("GET", f"{V3}/service/selector/types").json["data"] == ["none"]


# -- clusters and health


@pytest.mark.parametrize("version", [V1, V3, CONSOLE])
def test_how_a_cluster_is_probed_is_changed_and_nothing_else_of_its_service(caller: HttpCaller, version: str) -> None:
    service = name_of(version, "checked")
    caller.form("POST", f"{V1}/service", serviceName=service, protectThreshold="0.4", metadata="a=b")
    assert is_ok(version, put_checker(caller, service, HTTP_CHECKER, version))
    assert is_ok(version, put_checker(caller, service, {"type": "NONE"}, version, clusterName="EAST"))
    shown = detail(caller, service)
    assert (shown["protectThreshold"], shown["metadata"]) == (0.4, {"a": "b"})
    found = {name: cluster["healthChecker"] for name, cluster in shown["clusterMap"].items()}
    assert found == {"DEFAULT": HTTP_CHECKER, "EAST": {"type": "NONE"}}
    caller.form("PUT", f"{V1}/service", serviceName=service, protectThreshold="0.1")
    assert detail(caller, service)["clusterMap"] == shown["clusterMap"]


def test_changes_of_several_at_the_same_time_undo_nothing_of_each_other(caller: HttpCaller) -> None:
    caller.say("POST", f"{V1}/service", serviceName="contended")
    clusters = [f"c{number}" for number in range(4)]
    with ThreadPoolExecutor(len(clusters)) as callers:
        answers = list(
            callers.map(lambda name: put_checker(caller, "contended", {"type": "NONE"}, clusterName=name), clusters)
        )
    assert [answer.body for answer in answers] == [b"ok"] * len(clusters)
    assert sorted(detail(caller, "contended")["clusterMap"]) == clusters


@pytest.mark.parametrize(
    "wrong",
    [
        {"healthChecker": "x"},
        {"healthChecker": '{"type":"MYSQL"}'},
        {"healthChecker": '{"type":"HTTP","expectedResponseCode":"many"}'},
        {"healthChecker": '{"type":"HTTP","path":"a b"}'},
        {"healthChecker": '{"type":"HTTP","headers":"nonsense"}'},
        {"checkPort": 0},
        {"checkPort": ""},
        {"clusterName": "no,name"},
        {"metadata": "a=b"},
    ],
)
def test_nonsense_changes_no_cluster(caller: HttpCaller, wrong: dict[str, object]) -> None:
    caller.say("POST", f"{V1}/service", serviceName="unchanged-cluster")
    said = {
        "clusterName": "DEFAULT",
        "checkPort": 80,
        "useInstancePort4Check": "true",
        "healthChecker": '{"type":"TCP"}',
    }
    answer = caller.say("PUT", f"{V3}/cluster", serviceName="unchanged-cluster", **{**said, **wrong})
    assert (answer.status, answer.json["code"] != 0) == (400, True)
    assert detail(caller, "unchanged-cluster")["clusterMap"] == {}


@pytest.mark.parametrize("place", [f"{V1}/health", f"{V1}/health/instance", f"{V2}/health", f"{V3}/health/instance"])
def test_health_is_said_where_nobody_probes(caller: HttpCaller, place: str) -> None:
    service = name_of(place, "sick")
    about = {"serviceName": service, "ip": "10.0.0.1", "port": 80}
    register(caller, service, ephemeral="false", weight=3, metadata="a=b")
    refused = caller.say("PUT", place, **about, healthy="false")
    sentence = f"health check is still working, service: DEFAULT_GROUP@@{service}, cluster: DEFAULT"
    assert refused.status == 400
    said = refused.text if place.startswith(V1) else (refused.json["code"], refused.json["data"])
    assert said == (sentence if place.startswith(V1) else (21_011, sentence))
    assert put_checker(caller, service, {"type": "NONE"}).body == b"ok"
    assert caller.say("PUT", place, **about, healthy="false").status == 200

    def shown() -> Any:
        return caller.say("GET", f"{V3}/instance", **about).json["data"]

    until(lambda: shown()["healthy"] is False, SOON_SECONDS, "what a probe has found meanwhile is over")
    assert (shown()["weight"], shown()["metadata"]) == (3.0, {"a": "b"})
    assert caller.say("PUT", place, **about, valid="true").status == 200
    assert shown()["healthy"] is True


def test_health_that_cannot_be_said_is_refused(caller: HttpCaller) -> None:
    register(caller, "alive")
    about = {"serviceName": "alive", "ip": "10.0.0.1"}
    ephemeral = caller.say("PUT", f"{V2}/health", **about, port=80, healthy="false")
    assert (ephemeral.status, ephemeral.json["code"]) == (400, 21_004)
    missing = caller.say("PUT", f"{V2}/health", **about, port=80)
    assert (missing.status, missing.json["code"]) == (400, 21_010)
    assert caller.say("PUT", f"{V1}/health", **about, port=80).text == "Param 'healthy' is required."
    unknown = caller.say("PUT", f"{V3}/health/instance", **about, port=81, healthy="true")
    assert (unknown.status, unknown.json["code"]) == (404, 21_003)


def test_the_checkers_and_the_server_say_what_they_are(caller: HttpCaller) -> None:
    checkers = caller.ask("GET", f"{V1}/health/checkers").json
    assert checkers["HTTP"] == {"type": "HTTP", "path": "", "headers": "", "expectedResponseCode": 200}
    assert sorted(checkers) == ["HTTP", "NONE", "TCP"]
    assert caller.ask("GET", f"{V3}/health/checkers").json["data"] == checkers
    register(caller, "counted")
    sentence = caller.ask("GET", f"{V1}/health/server").json["msg"]
    assert sentence.startswith("Hello! I am Nacos-Naming and healthy! total services: ")
    assert sentence.endswith(f", local port:{caller.port}")


def test_metrics_count_instances_and_not_what_publishes_them(caller: HttpCaller) -> None:
    def counts() -> tuple[int, int]:
        metrics = caller.say("GET", f"{V1}/operator/metrics", onlyStatus="false").json
        return metrics["serviceCount"], metrics["instanceCount"]

    services, instances = counts()
    for port in range(3):
        register(caller, "metrics-here", 100 + port)
    caller.say("POST", f"{V1}/service", serviceName="metrics-empty")
    assert counts() == (services + 1, instances + 3)
    caller.say("DELETE", f"{V1}/instance", serviceName="metrics-here", ip="10.0.0.1", port=100)
    assert counts() == (services + 1, instances + 2), "a tombstone is no instance"
