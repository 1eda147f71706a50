"""What SDKs of each language send over HTTP, letter by letter, and what they need back."""

from __future__ import annotations

import pytest

from tests.support.http_gateway import HttpCaller, HttpNode

pytestmark = pytest.mark.cluster

OK = (200, b"ok")
NODE = {"user-agent": "Nacos-Java-Client:v1.0.0", "client-version": "Nacos-Java-Client:v1.0.0"}
PYTHON = {"User-Agent": "Nacos-Python-Client:v1.0.0", "Content-Length": "0"}
JAVA = {
    "User-Agent": "Nacos-Java-Client:v1.4.7",
    "Client-Version": "1.4.7",
    "Accept-Encoding": "gzip,deflate,sdch",
    "Content-Type": "application/x-www-form-urlencoded",
}


def at(node: HttpNode, headers: dict[str, str]) -> HttpCaller:
    return HttpCaller(node.base_port, headers)


def test_java_registers_lists_and_deregisters(http_node: HttpNode) -> None:
    java = at(http_node, JAVA)
    registered = java.ask(
        "POST",
        "/v1/ns/instance?app=unknown&metadata=%7B%22a%22%3A%22b%22%7D&ip=1.1.1.1&weight=1.0&ephemeral=true"
        "&serviceName=DEFAULT_GROUP%40%40java&accessToken=T&groupName=DEFAULT_GROUP&namespaceId=public&port=80"
        "&enable=true&healthy=true&",
    )
    assert (registered.status, registered.body) == OK
    listed = java.ask(
        "GET",
        "/v1/ns/instance/list?app=unknown&healthyOnly=false&namespaceId=public&clientIP=127.0.0.1"
        "&serviceName=DEFAULT_GROUP%40%40java&udpPort=53475&accessToken=T&clusters=",
    )
    assert "content-encoding" not in listed.headers
    assert (listed.json["name"], listed.json["clusters"]) == ("DEFAULT_GROUP@@java", "")
    (host,) = listed.json["hosts"]
    assert host == {
        "instanceId": "1.1.1.1#80#DEFAULT#DEFAULT_GROUP@@java",
        "ip": "1.1.1.1",
        "port": 80,
        "weight": 1.0,
        "healthy": True,
        "enabled": True,
        "ephemeral": True,
        "clusterName": "DEFAULT",
        "serviceName": "DEFAULT_GROUP@@java",
        "metadata": {"a": "b"},
        "instanceHeartBeatInterval": 5_000,
        "instanceHeartBeatTimeOut": 15_000,
        "ipDeleteTimeout": 30_000,
        "instanceIdGenerator": "simple",
    }
    beat = "/v1/ns/instance/beat?app=unknown&serviceName=DEFAULT_GROUP%40%40java&namespaceId=public&port=80&ip=1.1.1.1"
    full = java.ask("PUT", f"{beat}&clusterName=DEFAULT", "beat=%7B%22ip%22%3A%221.1.1.1%22%2C%22port%22%3A80%7D")
    assert full.json == {"clientBeatInterval": 5_000, "code": 10_200, "lightBeatEnabled": True}
    assert java.ask("PUT", beat).json["code"] == 10_200
    removed = java.ask(
        "DELETE",
        "/v1/ns/instance?app=unknown&namespaceId=public&port=80&clusterName=DEFAULT&ip=1.1.1.1&ephemeral=true"
        "&serviceName=DEFAULT_GROUP%40%40java",
    )
    assert (removed.status, removed.body) == OK
    assert java.shown("java") == []


def test_java_of_version_2_registers_persistent_instances_over_http(http_node: HttpNode) -> None:
    java = at(http_node, {**JAVA, "User-Agent": "Nacos-Java-Client:v2.2.4"})
    target = (
        "/v1/ns/instance?app=unknown&metadata=%7B%7D&ip=1.1.1.1&weight=1.0&ephemeral=false"
        "&serviceName=DEFAULT_GROUP%40%40java2&groupName=DEFAULT_GROUP&namespaceId=public&port=80&enable=true&healthy=true&"
    )
    answer = java.ask("POST", target)
    assert (answer.status, answer.body) == OK
    assert [host["ephemeral"] for host in java.listed("java2")["hosts"]] == [False]
    answer = java.ask("DELETE", target)
    assert (answer.status, answer.body) == OK
    assert java.shown("java2") == []


def test_node_registers_beats_lists_and_deregisters(http_node: HttpNode) -> None:
    node = at(http_node, NODE)
    assert node.ask("GET", "/v1/ns/operator/metrics?namespaceId=public").json == {"status": "UP"}
    registered = node.ask(
        "POST",
        "/v1/ns/instance?namespaceId=public&serviceName=DEFAULT_GROUP%40%40npm&groupName=DEFAULT_GROUP"
        "&clusterName=DEFAULT&ip=1.1.1.1&port=80&weight=1&enable=true&healthy=true&ephemeral=true"
        "&metadata=%7B%22a%22%3A%22b%22%7D&username=u&password=p",
    )
    assert (registered.status, registered.body) == OK
    listed = node.ask(
        "GET",
        "/v1/ns/instance/list?namespaceId=public&serviceName=DEFAULT_GROUP%40%40npm&clusters=DEFAULT&udpPort=57375"
        "&clientIP=127.0.0.1&healthyOnly=false&username=u&password=p",
    ).json
    assert (listed["clusters"], len(listed["hosts"]), listed["cacheMillis"]) == ("DEFAULT", 1, 10_000)
    beat = node.ask(
        "PUT",
        "/v1/ns/instance/beat?beat=%7B%22serviceName%22%3A%22DEFAULT_GROUP%40%40npm%22%2C%22ip%22%3A%221.1.1.1%22%2C"
        "%22port%22%3A80%2C%22cluster%22%3A%22DEFAULT%22%2C%22weight%22%3A1%2C%22metadata%22%3A%7B%22a%22%3A%22b%22%7D"
        "%2C%22scheduled%22%3Atrue%7D&namespaceId=public&serviceName=DEFAULT_GROUP%40%40npm",
    )
    assert beat.json["code"] == 10_200
    removed = node.ask(
        "DELETE",
        "/v1/ns/instance?namespaceId=public&serviceName=DEFAULT_GROUP%40%40npm&clusterName=DEFAULT&ip=1.1.1.1&port=80"
        "&ephemeral=true",
    )
    assert (removed.status, removed.body) == OK


def test_python_registers_without_a_cluster_beats_modifies_and_removes(http_node: HttpNode) -> None:
    python = at(http_node, PYTHON)
    registered = python.ask(
        "POST",
        "/v1/ns/instance?ip=1.1.1.1&port=80&serviceName=py&weight=1.0&enable=True&healthy=True&clusterName=None"
        "&ephemeral=True&groupName=DEFAULT_GROUP&metadata=%7B%22a%22%3A+%22b%22%7D&accessToken=T",
    )
    assert (registered.status, registered.body) == OK
    beat = python.ask(
        "PUT",
        "/v1/ns/instance/beat?serviceName=DEFAULT_GROUP%40%40py&beat=%7B%22serviceName%22%3A+%22DEFAULT_GROUP%40%40py"
        "%22%2C+%22ip%22%3A+%221.1.1.1%22%2C+%22port%22%3A+80%2C+%22weight%22%3A+1.0%2C+%22ephemeral%22%3A+true%7D"
        "&groupName=DEFAULT_GROUP",
    )
    assert beat.json["code"] == 10_200
    listed = python.ask("GET", "/v1/ns/instance/list?serviceName=py&healthyOnly=True&groupName=DEFAULT_GROUP").json
    (host,) = listed["hosts"]
    assert (host["clusterName"], host["metadata"]) == ("None", {"a": "b"}), "a short beat takes nothing away"
    modified = python.ask(
        "PUT",
        "/v1/ns/instance?ip=1.1.1.1&port=80&serviceName=py&ephemeral=True&groupName=DEFAULT_GROUP&weight=2.0",
    )
    assert (modified.status, modified.body) == OK
    (host,) = python.listed("py")["hosts"]
    assert (host["weight"], host["clusterName"], host["metadata"]) == (2.0, "None", {"a": "b"})
    for cluster in ("", "&cluster=None&clusterName=None"):
        got = python.ask("GET", f"/v1/ns/instance?serviceName=py&ip=1.1.1.1&port=80{cluster}")
        assert (got.json["service"], got.json["weight"]) == ("DEFAULT_GROUP@@py", 2.0)
    removed = python.ask(
        "DELETE",
        "/v1/ns/instance?ip=1.1.1.1&port=80&serviceName=py&ephemeral=True&groupName=DEFAULT_GROUP&clusterName=DEFAULT",
    )
    assert (removed.status, removed.body) == OK
    assert python.shown("py") == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/auth/login?username=u&password=p",
        "/v1/auth/users/login?username=u&password=p",
        "/v3/auth/user/login?username=u&password=p",
    ],
)
def test_whoever_logs_in_gets_a_token(caller: HttpCaller, target: str) -> None:
    answer = caller.ask("POST", target)
    assert answer.status == 200
    assert answer.json["accessToken"]
    assert answer.json["tokenTtl"] == 18_000
    assert answer.headers["authorization"] == f"Bearer {answer.json['accessToken']}"


def test_java_logs_in_with_its_password_in_the_body(caller: HttpCaller) -> None:
    headers = {"content_type": "application/x-www-form-urlencoded"}
    answer = caller.ask("POST", "/v1/auth/users/login?username=nacos", "password=P&", **headers)
    assert answer.json["username"] == "nacos"


def test_a_token_may_be_anywhere(caller: HttpCaller) -> None:
    target = "/v1/ns/instance/list?serviceName=tokens"
    assert caller.ask("GET", target, Authorization="Bearer T").status == 200
    assert caller.ask("GET", target, accessToken="T").status == 200
    assert caller.form("GET", target, accessToken="T").status == 200


def test_a_server_says_that_it_lives_and_is_ready_in_the_words_of_each_api(caller: HttpCaller) -> None:
    for word in ("liveness", "readiness"):
        assert caller.ask("GET", f"/v1/console/health/{word}").body == b"OK"
        for place in ("/v2/console/health", "/v3/console/health", "/v3/admin/core/state"):
            assert caller.ask("GET", f"{place}/{word}").json == {"code": 0, "message": "success", "data": "ok"}


def test_the_servers_are_listed_by_their_http_addresses(http_node: HttpNode) -> None:
    assert http_node.caller.ask("GET", "/serverlist").text == f"127.0.0.1:{http_node.base_port}"


def test_configurations_do_not_exist_and_who_listens_for_them_waits(caller: HttpCaller) -> None:
    assert caller.ask("GET", "/v1/cs/configs?dataId=d&group=g").status == 404
    answer = caller.ask("POST", "/v1/cs/configs/listener", "Listening-Configs=x", Long_Pulling_Timeout="600")
    assert (answer.status, answer.body) == (200, b"")
