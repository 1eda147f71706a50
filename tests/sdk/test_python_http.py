"""What only the last HTTP-only nacos-sdk-python can do, or does in a way of its own."""

from __future__ import annotations

import pytest

from tests.support.official_sdk import PYTHON_HTTP, SdkError, Told
from tests.support.real_cluster import until
from tests.support.sdk_crowd import IP, SOON_SECONDS, SdkCrowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ADDRESS = f"{IP}:80"


def test_a_detail_names_what_a_list_names_and_says_what_is_not_there(crowd: SdkCrowd) -> None:
    one, other = crowd.client(PYTHON_HTTP, 1), crowd.client(PYTHON_HTTP, 2)
    about = {"service": "detailed", "ip": IP, "port": 80, "cluster": "blue"}
    one.ask("register", **about, weight=3.0, metadata={"a": "b"})
    crowd.until_listed("detailed", [ADDRESS])
    detail = other.ask("detail", **about)
    assert (detail["ip"], detail["port"], detail["weight"], detail["clusterName"]) == (IP, 80, 3.0, "blue")
    assert (detail["healthy"], detail["metadata"]) == (True, {"a": "b"})
    with pytest.raises(SdkError, match="code is 404"):
        other.ask("detail", **{**about, "port": 81})


def test_a_beat_of_an_instance_that_nobody_knows_registers_it(crowd: SdkCrowd) -> None:
    one = crowd.client(PYTHON_HTTP, 1)
    answer = one.ask("beat", service="beaten", ip=IP, port=80, cluster="DEFAULT", metadata={"a": "b"})
    assert (answer["code"], answer["clientBeatInterval"]) == (10_200, 5_000)
    crowd.until_listed("beaten", [ADDRESS])
    one.ask("deregister", service="beaten", ip=IP, port=80, cluster="DEFAULT")
    crowd.until_listed("beaten", [])


def test_an_instance_without_a_cluster_is_in_the_one_that_the_sdk_calls_none_and_goes_without_naming_it(
    crowd: SdkCrowd,
) -> None:
    """It writes Python's ``None`` when it registers, and nothing at all when it withdraws."""
    one = crowd.client(PYTHON_HTTP, 1)
    one.ask("register", service="nowhere", ip=IP, port=80)
    crowd.until_listed("nowhere", [ADDRESS])
    assert [host["cluster"] for host in one.ask("list", service="nowhere")] == ["None"]
    one.ask("deregister", service="nowhere", ip=IP, port=80)
    crowd.until_listed("nowhere", [])


def test_one_that_logs_in_does_what_everybody_does(crowd: SdkCrowd) -> None:
    client = crowd.open(PYTHON_HTTP, servers=crowd.address(2), username="nacos", password="nacos")
    client.ask("register", service="logged-in", ip=IP, port=80, cluster="DEFAULT")
    crowd.until_listed("logged-in", [ADDRESS])


def test_what_it_asks_again_and_again_tells_it_what_came_changed_and_went(crowd: SdkCrowd) -> None:
    one, watcher = crowd.client(PYTHON_HTTP, 1), crowd.client(PYTHON_HTTP, 2)
    about = {"service": "polled", "ip": IP, "port": 80, "cluster": "DEFAULT"}
    watcher.ask("subscribe", service="polled", every_seconds=0.2)

    def until_said(event: str) -> Told:
        return watcher.until_told("polled", lambda told: told.hosts[0]["event"] == event)

    one.ask("register", **about)
    assert until_said("ADDED").addresses == [ADDRESS]
    one.ask("update", **about, weight=2.0)
    assert until_said("MODIFIED").hosts[0]["weight"] == 2.0
    one.ask("deregister", **about)
    assert until_said("DELETED").addresses == [ADDRESS]
    watcher.ask("unsubscribe", service="polled")
    one.ask("register", **about)
    assert watcher.told_so_far("polled", seconds=0.6) == []
    watcher.ask("close")


def test_it_goes_to_the_next_server_when_the_first_is_not_there(crowd: SdkCrowd) -> None:
    client = crowd.open(PYTHON_HTTP, servers=f"127.0.0.1:9,{crowd.addresses(2)}")
    client.ask("register", service="second-try", ip=IP, port=80, cluster="DEFAULT")
    assert client.ask("server") == crowd.cluster.nodes[1].base_port
    until(lambda: crowd.client(PYTHON_HTTP, 1).shown("second-try") == [ADDRESS], SOON_SECONDS, "it is listed")
