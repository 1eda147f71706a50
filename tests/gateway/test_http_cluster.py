"""Three nodes, a gateway at each: every order at any of them, and what clients notice when a node goes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from rollbook import NamingClient
from tests.support.http_gateway import READY_SECONDS, HttpCaller
from tests.support.real_cluster import RealCluster, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SOON_SECONDS = 20.0
V1, V2, V3 = "/v1/ns/instance", "/v2/ns/instance", "/v3/client/ns/instance"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("cluster"), 3, gateways=1) as started:
        for caller in callers(started):
            until(caller.finds_it_ready, READY_SECONDS, f"the gateway at {caller.port} is ready")
        yield started


def callers(cluster: RealCluster) -> list[HttpCaller]:
    return [HttpCaller(node.base_port) for node in cluster]


def everywhere(cluster: RealCluster, service: str, addresses: list[str]) -> None:
    def is_so() -> bool:
        return all(caller.shown(service) == addresses for caller in callers(cluster))

    until(is_so, SOON_SECONDS, f"{service} is listed everywhere")


@pytest.mark.parametrize("version", [V1, V2, V3])
def test_registered_at_one_node_beaten_at_the_next_and_removed_at_the_third(cluster: RealCluster, version: str) -> None:
    service = f"anywhere{version.replace('/', '-')}"
    about = {"serviceName": service, "ip": "10.0.0.1", "port": 80}
    one, two, three = callers(cluster)
    assert one.say("POST", version, **about).status == 200
    everywhere(cluster, service, ["10.0.0.1:80"])
    for caller in (one, two, three):
        assert caller.say("PUT", f"{V1}/beat", **about).json["code"] == 10_200
    assert two.say("PUT", V1, **about, weight=4).status == 200
    assert two.listed(service)["hosts"][0]["weight"] == 4.0
    assert three.say("DELETE", version, **about).status == 200
    everywhere(cluster, service, [])
    assert one.say("PUT", f"{V1}/beat", **about).json["code"] == 20_404


def test_persistent_instances_and_intents_are_written_at_any_node(cluster: RealCluster) -> None:
    about = {"serviceName": "kept", "ip": "10.0.0.1", "port": 80, "ephemeral": "false"}
    one, two, three = callers(cluster)
    assert one.say("POST", V1, **about).body == b"ok"
    everywhere(cluster, "kept", ["10.0.0.1:80"])
    assert two.say("PUT", "/v3/admin/ns/instance", **about, enabled="false").status == 200
    everywhere(cluster, "kept", [])
    assert three.say("DELETE", V2, **about).status == 200
    assert three.say("GET", "/v2/ns/instance", **about).status == 404


def test_who_subscribes_anywhere_is_shown_everywhere_and_only_there_without_aggregation(cluster: RealCluster) -> None:
    counts = [0, 1, 0]

    def counted(caller: HttpCaller, **more: object) -> int:
        found = caller.say("GET", "/v1/ns/service/subscribers", serviceName="watched", **more).json
        assert found["count"] == len(found["subscribers"])
        return int(found["count"])

    with NamingClient([cluster.nodes[1].client_address]) as native:
        native.subscribe("watched", lambda *_: None)
        assert [counted(caller) for caller in callers(cluster)] == [1, 1, 1]
        assert [counted(caller, aggregation="false") for caller in callers(cluster)] == counts


def test_settings_and_health_are_written_at_any_node_and_shown_at_every_one(cluster: RealCluster) -> None:
    about = {"serviceName": "settled", "ip": "10.0.0.1", "port": 80, "ephemeral": "false"}
    one, two, three = callers(cluster)
    assert one.say("POST", "/v3/admin/ns/service", serviceName="settled", protectThreshold=0.2).status == 200
    checker = {"clusterName": "DEFAULT", "checkPort": 80, "useInstancePort4Check": "true"}
    none = two.say("PUT", "/v1/ns/cluster", serviceName="settled", **checker, healthChecker='{"type":"NONE"}')
    assert none.body == b"ok"
    assert three.say("POST", V1, **about).body == b"ok"
    assert one.say("PUT", "/v2/ns/health", **about, healthy="false").status == 200

    def is_shown(caller: HttpCaller) -> bool:
        (entry,) = caller.say("GET", "/v3/admin/ns/service/list", serviceNameParam="settled").json["data"]["pageItems"]
        return bool((entry["ipCount"], entry["healthyInstanceCount"], entry["triggerFlag"]) == (1, 0, "true"))

    until(lambda: all(map(is_shown, callers(cluster))), SOON_SECONDS, "every node knows it")
    assert two.say("DELETE", V2, **about).status == 200
    until(
        lambda: three.say("DELETE", "/v1/ns/service", serviceName="settled").status == 200, SOON_SECONDS, "it is gone"
    )


def test_while_its_node_is_away_a_gateway_answers_503_and_after_that_as_before(cluster: RealCluster) -> None:
    node = cluster.nodes[1]
    other, caller, _ = callers(cluster)
    about = {"serviceName": "away", "ip": "10.0.0.1", "port": 80}
    assert caller.say("POST", V1, **about).status == 200
    assert caller.shown("away") == ["10.0.0.1:80"]
    os.kill(node.pid, signal.SIGSTOP)
    try:
        until(lambda: status_of(caller) == 503, SOON_SECONDS, "it says that the node is away")
        refused = caller.say("PUT", f"{V1}/beat", **about)
        assert (refused.status, refused.text) == (503, "server is DOWNnow, please try again later!")
        assert caller.say("POST", V2, **about).json["code"] == 30_000
        assert caller.ask("GET", "/v1/ns/operator/metrics").json == {"status": "DOWN"}
        beaten = other.say("PUT", f"{V1}/beat", **about)
        assert beaten.json["code"] == 10_200, "another server takes it over"
    finally:
        os.kill(node.pid, signal.SIGCONT)
    until(caller.finds_it_ready, READY_SECONDS, "it is ready again")
    until(lambda: status_of(caller) == 200, SOON_SECONDS, "it answers again")
    assert other.shown("away") == ["10.0.0.1:80"]


def status_of(caller: HttpCaller) -> int:
    return caller.say("GET", f"{V1}/list", serviceName="away").status
