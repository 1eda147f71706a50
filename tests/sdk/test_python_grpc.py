"""What only the newest nacos-sdk-python (gRPC) can do, or does in a way of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.official_sdk import PYTHON_GRPC, SdkError, SdkProcess
from tests.support.real_cluster import until
from tests.support.sdk_crowd import IP, SOON_SECONDS, SdkCrowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

GONE_SECONDS_MAX = 3.0  # a closed stream removes its client at once; machines are busy


def address(port: int) -> str:
    return f"{IP}:{port}"


def instances(*ports: int) -> list[dict[str, Any]]:
    return [{"ip": IP, "port": port, "metadata": {"port": str(port)}} for port in ports]


def test_a_batch_is_listed_as_a_whole_and_shrinks_by_what_is_taken_out_of_it(crowd: SdkCrowd) -> None:
    one, reader = crowd.client(PYTHON_GRPC, 1), crowd.client(PYTHON_GRPC, 2)
    one.ask("register_batch", service="batch", instances=instances(1, 2, 3))
    crowd.until_listed("batch", [address(1), address(2), address(3)])
    assert all(host["metadata"]["port"] in host["address"] for host in reader.ask("list", service="batch"))
    one.ask("deregister_batch", service="batch", instances=instances(2))
    crowd.until_listed("batch", [address(1), address(3)])
    one.ask("register_batch", service="batch", instances=instances(4))
    crowd.until_listed("batch", [address(4)])
    one.ask("deregister", service="batch", ip=IP, port=4)
    crowd.until_listed("batch", [])


def test_a_connection_has_one_instance_of_a_service_and_withdraws_it_whatever_address_it_names(crowd: SdkCrowd) -> None:
    one = crowd.client(PYTHON_GRPC, 1)
    one.ask("register", service="one-each", ip=IP, port=1)
    one.ask("register", service="one-each", ip=IP, port=2)
    crowd.until_listed("one-each", [address(2)])
    one.ask("deregister", service="one-each", ip=IP, port=9)
    crowd.until_listed("one-each", [])


def test_services_are_named_by_pages_of_their_group(crowd: SdkCrowd) -> None:
    one, reader = crowd.client(PYTHON_GRPC, 1), crowd.client(PYTHON_GRPC, 3)
    for name in ("c", "a", "b"):
        one.ask("register", service=f"paged-{name}", ip=IP, port=80, group="paged")

    def named(page: int, size: int, group: str = "paged") -> Any:
        return reader.ask("services", page=page, size=size, group=group)

    until(lambda: named(1, 10)["count"] == 3, SOON_SECONDS, "all are named")
    assert named(1, 2) == {"count": 3, "names": ["paged-a", "paged-b"]}
    assert named(2, 2) == {"count": 3, "names": ["paged-c"]}
    assert named(1, 10, "nobody-s") == {"count": 0, "names": []}


def test_a_service_shows_its_instances_of_the_clusters_that_are_asked_for(crowd: SdkCrowd) -> None:
    for node, cluster in ((1, "blue"), (2, "green")):
        crowd.client(PYTHON_GRPC, node).ask("register", service="shown", ip=IP, port=node, cluster=cluster)
    crowd.until_listed("shown", [address(1), address(2)])
    detail = crowd.client(PYTHON_GRPC, 3).ask("detail", service="shown", clusters=["green"])
    assert (detail["name"], detail["group"]) == ("shown", "DEFAULT_GROUP")
    assert [(host["address"], host["cluster"]) for host in detail["hosts"]] == [(address(2), "green")]


def test_of_two_clients_the_one_that_closes_goes_at_once_and_the_other_stays(crowd: SdkCrowd) -> None:
    watcher = crowd.client(PYTHON_GRPC, 3)
    watcher.ask("subscribe", service="two")
    stays, closes = (crowd.open(PYTHON_GRPC, servers=crowd.addresses(first)) for first in (1, 2))
    for port, client in enumerate((stays, closes), 80):
        assert client.ask("status") is True
        client.ask("register", service="two", ip=IP, port=port)
    watcher.until_told_of("two", [address(80), address(81)])
    closes.ask("close")
    watcher.until_told_of("two", [address(80)], GONE_SECONDS_MAX)
    crowd.until_listed("two", [address(80)])
    stays.ask("deregister", service="two", ip=IP, port=80)
    assert watcher.until_told_of("two", [], GONE_SECONDS_MAX).hosts == [], "it takes empty lists where it is told to"


def test_a_process_that_is_killed_goes_at_once(crowd: SdkCrowd, tmp_path: Path) -> None:
    watcher = crowd.client(PYTHON_GRPC, 3)
    watcher.ask("subscribe", service="killed")
    process = SdkProcess(PYTHON_GRPC, tmp_path / "other")
    try:
        process.open("lives", servers=crowd.address(1)).ask("register", service="killed", ip=IP, port=80)
        watcher.until_told_of("killed", [address(80)])
        process.kill()
        watcher.until_told_of("killed", [], GONE_SECONDS_MAX)
        crowd.until_listed("killed", [])
    finally:
        process.close()


def test_a_subscription_to_clusters_is_told_of_those(crowd: SdkCrowd) -> None:
    watcher = crowd.client(PYTHON_GRPC, 3)
    watcher.ask("subscribe", service="coloured", clusters=["green"])
    for node, cluster in ((1, "blue"), (2, "green")):
        crowd.client(PYTHON_GRPC, node).ask("register", service="coloured", ip=IP, port=node, cluster=cluster)
    crowd.until_listed("coloured", [address(1), address(2)])
    watcher.until_told_of("coloured", [address(2)])


def test_the_list_of_servers_that_an_endpoint_gives_has_all_three(crowd: SdkCrowd) -> None:
    client = crowd.open(PYTHON_GRPC, endpoint=f"http://{crowd.address(2)}")
    assert sorted(client.ask("servers")) == sorted(crowd.addresses().split(","))
    client.ask("register", service="by-endpoint", ip=IP, port=80)
    crowd.until_listed("by-endpoint", [address(80)])
    client.ask("close")


def test_one_that_logs_in_does_what_everybody_does(crowd: SdkCrowd) -> None:
    client = crowd.open(PYTHON_GRPC, servers=crowd.addresses(), username="nacos", password="nacos")
    client.ask("register", service="grpc-logged-in", ip=IP, port=80)
    crowd.until_listed("grpc-logged-in", [address(80)])
    assert client.ask("token"), "it has been given one"
    client.ask("close")


def test_what_is_wrong_is_refused_with_the_reason_and_the_connection_goes_on(crowd: SdkCrowd) -> None:
    one = crowd.client(PYTHON_GRPC, 1)
    one.ask("register", service="kind-of-one", ip=IP, port=80)
    with pytest.raises(SdkError, match=r"kind-of-one.*ephemeral"):
        one.ask("register", service="kind-of-one", ip=IP, port=81, ephemeral=False)
    with pytest.raises(SdkError, match="port"):
        one.ask("register", service="far-off", ip=IP, port=70_000)
    assert one.ask("status") is True
    crowd.until_listed("kind-of-one", [address(80)])
