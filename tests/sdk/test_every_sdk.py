"""What every official SDK can do, each unmodified, at two nodes of three."""

from __future__ import annotations

import pytest

from tests.support.official_sdk import NPM, PYTHON_GRPC, PYTHON_HTTP, SdkKind
from tests.support.real_cluster import until
from tests.support.sdk_crowd import IP, SOON_SECONDS, SdkCrowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def address(port: int) -> str:
    return f"{IP}:{port}"


def test_what_is_registered_is_listed_as_it_was_said_and_goes_when_it_is_deregistered(
    crowd: SdkCrowd, kind: SdkKind
) -> None:
    one, other = crowd.client(kind, 1), crowd.client(kind, 2)
    service = f"said-by-{kind.name}"
    said = {"cluster": "blue", "weight": 2.5, "metadata": {"zone": "é ünï", "empty": ""}}
    one.ask("register", service=service, ip=IP, port=80, group="shop", **said)
    until(lambda: other.shown(service, group="shop"), SOON_SECONDS, "it is listed")
    [host] = other.ask("list", service=service, group="shop")
    assert host == {**said, "address": address(80), "healthy": True, "enabled": True, "ephemeral": True}
    crowd.until_listed(service, [address(80)], groupName="shop")
    one.ask("deregister", service=service, ip=IP, port=80, group="shop", cluster="blue")
    crowd.until_listed(service, [], groupName="shop")


def test_what_is_said_anew_takes_the_place_of_what_was_said_before(crowd: SdkCrowd, kind: SdkKind) -> None:
    one, other = crowd.client(kind, 1), crowd.client(kind, 2)
    service, about = f"changed-by-{kind.name}", {"ip": IP, "port": 80, "cluster": "DEFAULT"}
    one.ask("register", service=service, **about, metadata={"version": "1"})
    until(lambda: other.shown(service) == [address(80)], SOON_SECONDS, "it is listed")
    change = "register" if kind is NPM else "update"
    one.ask(change, service=service, **about, weight=7.0, metadata={"version": "2"})

    def is_changed() -> bool:
        shown = [(host["weight"], host["metadata"]) for host in crowd.callers[2].listed(service)["hosts"]]
        return shown == [(7.0, {"version": "2"})]

    until(is_changed, SOON_SECONDS, "the third node lists it as it is now")
    one.ask("deregister", service=service, **about)
    crowd.until_listed(service, [])


def test_lists_know_groups_and_clusters_apart(crowd: SdkCrowd, kind: SdkKind) -> None:
    service = f"sorted-by-{kind.name}"
    places = [("DEFAULT_GROUP", "blue"), ("DEFAULT_GROUP", "green"), ("other", "blue")]
    # One for each instance: over gRPC one connection has one instance of a service.
    clients = [crowd.client(kind, 1), crowd.client(kind, 2), crowd.client(kind, 1)]
    for port, (client, (group, cluster)) in enumerate(zip(clients, places, strict=True), 80):
        client.ask("register", service=service, ip=IP, port=port, group=group, cluster=cluster)
    crowd.until_listed(service, [address(80), address(81)])
    crowd.until_listed(service, [address(82)], groupName="other")
    reader = crowd.client(kind, 3)
    assert reader.shown(service) == [address(80), address(81)]
    assert reader.shown(service, clusters=["green"]) == [address(81)]
    assert reader.shown(service, clusters=["blue", "green"]) == [address(80), address(81)]
    assert reader.shown(service, clusters=["red"]) == []
    assert reader.shown(service, group="other") == [address(82)]
    for port, (client, (group, cluster)) in enumerate(zip(clients, places, strict=True), 80):
        client.ask("deregister", service=service, ip=IP, port=port, group=group, cluster=cluster)
    crowd.until_listed(service, [])


def test_lists_of_the_healthy_leave_out_who_is_not(crowd: SdkCrowd, kind: SdkKind) -> None:
    service = f"health-by-{kind.name}"
    well, ill = crowd.client(kind, 1), crowd.client(kind, 2)
    well.ask("register", service=service, ip=IP, port=80, cluster="DEFAULT")
    ill.ask("register", service=service, ip=IP, port=81, cluster="DEFAULT", healthy=False)
    reader = crowd.client(kind, 3)
    crowd.until_listed(service, [address(80), address(81)])
    crowd.until_listed(service, [address(80)], healthyOnly="true")
    assert reader.shown(service, healthy=True) == [address(80)]
    assert reader.shown(service) == [address(80), address(81)]


def test_namespaces_do_not_see_each_other(crowd: SdkCrowd, kind: SdkKind) -> None:
    service = f"housed-by-{kind.name}"
    inside, outside = crowd.client(kind, 1, "a-house"), crowd.client(kind, 1)
    inside.ask("register", service=service, ip=IP, port=80, cluster="DEFAULT")
    crowd.until_listed(service, [address(80)], namespaceId="a-house")
    assert inside.shown(service) == [address(80)]
    assert outside.shown(service) == []
    inside.ask("deregister", service=service, ip=IP, port=80, cluster="DEFAULT")
    crowd.until_listed(service, [], namespaceId="a-house")


@pytest.mark.parametrize("kind", [PYTHON_GRPC, NPM], ids=lambda kind: str(kind.name))  # the third one polls
def test_who_subscribes_is_told_of_what_another_client_does_until_it_unsubscribes(
    crowd: SdkCrowd, kind: SdkKind
) -> None:
    service, about = f"told-by-{kind.name}", {"ip": IP, "port": 80, "cluster": "DEFAULT"}
    one, watcher = crowd.client(kind, 1), crowd.client(kind, 2)
    anchor = crowd.native(3)  # npm does not take empty lists, so this one stays
    anchor.register_instance(service, IP, 79)
    until(lambda: watcher.shown(service) == [address(79)], SOON_SECONDS, "the first one is listed")
    watcher.ask("subscribe", service=service)
    one.ask("register", service=service, **about)
    watcher.until_told_of(service, [address(79), address(80)])
    one.ask("deregister", service=service, **about)
    watcher.until_told_of(service, [address(79)])
    watcher.ask("unsubscribe", service=service)
    watcher.told_so_far(service)
    one.ask("register", service=service, **about)
    crowd.until_listed(service, [address(79), address(80)])
    assert watcher.told_so_far(service, seconds=0.5) == []
    one.ask("deregister", service=service, **about)


def test_persistent_instances_outlive_their_sdk_and_any_other_removes_them(crowd: SdkCrowd, kind: SdkKind) -> None:
    service = f"kept-by-{kind.name}"
    about = {"service": service, "ip": IP, "port": 80, "cluster": "DEFAULT", "ephemeral": False}
    writer = crowd.open(kind, servers=crowd.address(1))
    writer.ask("register", **about, metadata={"who": kind.name})
    crowd.until_listed(service, [address(80)])
    for reader_kind in (PYTHON_GRPC, PYTHON_HTTP, NPM):
        [host] = crowd.client(reader_kind, 2).ask("list", service=service)
        assert (host["address"], host["ephemeral"], host["metadata"]) == (address(80), False, {"who": kind.name})
    writer.ask("close")
    others = {PYTHON_GRPC: NPM, NPM: PYTHON_HTTP, PYTHON_HTTP: PYTHON_GRPC}
    crowd.until_listed(service, [address(80)])
    crowd.client(others[kind], 3).ask("deregister", **about)
    crowd.until_listed(service, [])
