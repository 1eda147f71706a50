"""What HTTP refuses, in the words of each version, and that no nonsense is ever the server's fault."""

from __future__ import annotations

import http.client
import itertools
import socket
import time
from urllib.parse import urlencode

import pytest

from tests.support.http_gateway import HttpCaller, HttpNode

pytestmark = pytest.mark.cluster

V1, V2, V3 = "/v1/ns/instance", "/v2/ns/instance", "/v3/admin/ns/instance"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"ip": "1.1.1.1", "port": 80}, "Param 'serviceName' is required."),
        ({"serviceName": "s", "port": 80}, "Param 'ip' is required."),
        ({"serviceName": "s", "ip": "1.1.1.1", "port": ""}, "Param 'port' is required."),
        ({"serviceName": "s", "ip": "1.1.1.1", "port": "x"}, 'For input string: "x"'),
        (
            {"serviceName": "a b", "ip": "1.1.1.1", "port": 80},
            "Param 'serviceName' is illegal, illegal characters should not appear in the param.",
        ),
        (
            {"serviceName": "s", "ip": "1.1.1.1", "port": 80, "weight": 10_001},
            "instance format invalid: The weights range from 0.0 to 10000.0",
        ),
        ({"serviceName": "s", "ip": "1.1.1.1", "port": 80, "metadata": "x"}, "metadata format incorrect:x"),
        (
            {"serviceName": "@@s", "ip": "1.1.1.1", "port": 80},
            "Service name filter error, a grouped name is group@@service",
        ),
    ],
)
def test_the_first_version_refuses_in_plain_words(caller: HttpCaller, parameters: dict[str, object], text: str) -> None:
    answer = caller.say("POST", V1, **parameters)
    assert (answer.status, answer.text) == (400, text)
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({"ip": "1.1.1.1", "port": 80}, 10_000, "parameter missing"),
        ({"serviceName": "s", "ip": "1.1.1.1", "port": "x"}, 20_002, "parameter validate error"),
        ({"serviceName": "a b", "ip": "1.1.1.1", "port": 80}, 21_000, "service name error"),
        ({"serviceName": "s", "ip": "1.1.1.1", "port": 80, "weight": -1}, 21_001, "weight error"),
        ({"serviceName": "s", "ip": "1.1.1.1", "port": 65_536}, 21_004, "instance error"),
    ],
)
@pytest.mark.parametrize("version", [V2, V3])
def test_later_versions_refuse_with_a_code(
    caller: HttpCaller, version: str, parameters: dict[str, object], code: int, message: str
) -> None:
    answer = caller.say("POST", version, **parameters)
    assert (answer.status, answer.json["code"], answer.json["message"]) == (400, code, message)
    assert answer.json["data"]


def test_what_is_missing_is_named(caller: HttpCaller) -> None:
    detail = "Required parameter 'serviceName' type String is not present"
    assert caller.say("POST", V2, ip="1.1.1.1", port=80).json["data"] == detail
    assert caller.say("PUT", "/v1/ns/operator/switches", value="1").text == "Parameter 'entry' is missing"


def test_unknown_paths_and_methods(caller: HttpCaller) -> None:
    unknown = caller.ask("GET", "/v1/ns/x")
    assert (unknown.status, unknown.text) == (501, "no such api:GET:/nacos/v1/ns/x")
    assert caller.ask("PATCH", "/v1/ns/instance/list").text == "no such api:PATCH:/nacos/v1/ns/instance/list"
    for target in ("/v2/ns/x", "/v3/client/ns/x", "/v9", "/nacos", "/v2/ns/instance/statuses"):
        assert (caller.ask("GET", target).status, caller.ask("GET", target).json["code"]) == (404, 20_004)
    where = "/nacos/openapi.json has all that there are"
    assert caller.ask("GET", "/v9").json["data"] == f"no such path: /nacos/v9; {where}"
    wrong = caller.ask("GET", "/v1/auth/login")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")


def test_metrics_count_clients_of_each_kind(caller: HttpCaller) -> None:
    assert caller.ask("GET", "/v1/ns/operator/metrics").json == {"status": "UP"}

    def counted() -> dict[str, int]:
        found = caller.say("GET", "/v2/ns/ops/metrics", onlyStatus="false").json["data"]
        assert found["status"] == "UP"
        assert found["connectionBasedClientCount"] == 0, "the gateway's own session is nobody's client"
        return {kind: found[f"{kind}ClientCount"] for kind in ("ephemeralIpPort", "persistentIpPort")}

    before = counted()
    caller.say("POST", V1, serviceName="metrics", ip="10.9.9.9", port=80)
    assert counted() == {**before, "ephemeralIpPort": before["ephemeralIpPort"] + 1}
    caller.say("POST", V1, serviceName="stored-metrics", ip="10.9.9.8", port=80, ephemeral="false")
    assert counted()["persistentIpPort"] == before["persistentIpPort"] + 1


# -- limits


def test_what_is_too_large_is_refused_before_it_is_read(caller: HttpCaller, http_node: HttpNode) -> None:
    assert caller.ask("GET", f"{V1}/list?serviceName={'s' * 40_000}").status == 400
    assert caller.ask("GET", f"{V1}/list?serviceName=s", X_Large="x" * 20_000).status == 431
    assert caller.ask("POST", V1, "a=" + "x" * 300_000, content_type=FORM).status == 413
    too_many = urlencode({f"p{number}": "x" for number in range(300)})
    assert caller.ask("GET", f"{V1}/list?{too_many}").status == 400
    with socket.create_connection(("127.0.0.1", http_node.base_port), timeout=10) as connection:
        connection.sendall(b"POST /nacos/v1/ns/instance HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        connection.sendall(chunk * 5)
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_head_without_end_is_cut_off(http_node: HttpNode) -> None:
    for start in (b"GET /nacos/", b"GET / HTTP/1.1\r\nx: "):
        with socket.create_connection(("127.0.0.1", http_node.base_port), timeout=10) as connection:
            connection.sendall(start + b"x" * 80_000)
            assert connection.recv(64).startswith(b"HTTP/1.1 431 ")


def test_a_kept_connection_answers_at_once(http_node: HttpNode) -> None:
    """An answer in two pieces would wait 40 ms for the acknowledgement of the first."""
    connection = http.client.HTTPConnection("127.0.0.1", http_node.base_port, timeout=10)
    took_s = []
    for _ in range(20):
        started = time.monotonic()
        connection.request("GET", f"/nacos{V1}/list?serviceName=kept-connection")
        assert connection.getresponse().read()
        took_s.append(time.monotonic() - started)
    connection.close()
    assert min(took_s) < 0.03


def test_names_at_their_limits_and_above(caller: HttpCaller) -> None:
    about = {"ip": "10.0.0.1", "port": 80}
    assert caller.form("POST", V1, serviceName="n" * 512, **about).status == 200
    assert caller.form("POST", V1, serviceName="n" * 513, **about).status == 400
    assert caller.form("POST", V1, serviceName="limits", metadata=f"k={'v' * 1_023}", **about).status == 200
    assert caller.form("POST", V1, serviceName="limits", metadata=f"k={'v' * 1_024}", **about).status == 400


NONSENSE = [
    *(
        "",
        " ",
        "\x00",
        "%",
        "a@@",
        "@@",
        "a@@b@@c",
        "../..",
        "'\"",
        "中文",
        "\ud83d\ude00".encode("utf-16", "surrogatepass"),
    ),
    *(
        "null",
        "None",
        "NaN",
        "Infinity",
        "-1",
        "1e400",
        "0x10",
        "1_0",
        "٣",
        "9" * 5_000,
        "{}",
        "[]",
        "{",
        "[[[[",
        '{"a":',
    ),
    *('{"ip":[]}', '{"port":"x"}', '{"ip":"1.1.1.1","port":1e99}', '{"a":"\\ud800"}', "[" * 3_000, '{"a":' * 2_000),
    *("true", "k=v=", "=", ",,", "a" * 2_000),
]
FIELDS = (
    *("serviceName", "groupName", "namespaceId", "ip", "port", "clusterName", "clusters", "weight", "metadata", "beat"),
    *("instances", "udpPort", "clientIP", "key", "consistencyType", "ephemeral", "healthyOnly", "heartBeat"),
)
CALLS = [
    *(("POST", V1), ("DELETE", V1), ("PUT", V1), ("PATCH", V1), ("GET", V1), ("GET", f"{V1}/list")),
    *(("PUT", f"{V1}/beat"), ("PUT", f"{V1}/metadata/batch"), ("DELETE", f"{V1}/metadata/batch")),
    *(("GET", f"{V1}/statuses"), ("PUT", "/v1/ns/operator/switches"), ("GET", "/v1/ns/operator/metrics")),
    *(("POST", V2), ("PATCH", V2), ("GET", f"{V2}/list"), ("PUT", f"{V2}/beat"), ("POST", "/v3/client/ns/instance")),
    *(("GET", "/v3/client/ns/instance/list"), ("PUT", V3), ("PUT", f"{V3}/partial"), ("GET", f"{V3}/list")),
]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_no_nonsense_in_any_parameter_is_the_servers_fault(http_node: HttpNode, call: tuple[str, str]) -> None:
    method, path = call
    sound = {"serviceName": "nonsense", "ip": "10.0.0.9", "port": "80", "key": "nonsense", "metadata": '{"a":"b"}'}
    caller = http_node.caller
    for field, value in itertools.product(FIELDS, NONSENSE):
        encoded = urlencode({**sound, field: value})
        answer = caller.ask(method, path, encoded, content_type=FORM)
        assert answer.status < 500, (field, value, answer)


def test_bytes_that_are_no_text_are_refused(caller: HttpCaller) -> None:
    for target in (f"{V1}/list?serviceName=%ff%fe", f"{V1}/list?%80=1", "/v2/ns/instance/statuses/%ff"):
        assert caller.ask("GET", target).status == 400
    assert caller.ask("POST", V1, b"serviceName=\xff\xfe", content_type=FORM).status == 400
    assert caller.ask("POST", V2, '{"serviceName":"s"}', content_type="application/json").status == 400
    assert caller.ask("GET", f"{V1}/list?serviceName=a&serviceName=b").json["name"] == "DEFAULT_GROUP@@a"
