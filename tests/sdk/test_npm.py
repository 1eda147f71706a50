"""What only npm nacos can do, or does in a way of its own; and what both HTTP SDKs keep by beats."""

from __future__ import annotations

import pytest

from tests.support.official_sdk import NPM, PYTHON_HTTP
from tests.support.real_cluster import until
from tests.support.sdk_crowd import IP, SOON_SECONDS, SdkCrowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

# npm beats for the first time up to 10 s after it was made, and then as often as it is told.
BEATEN = {
    "preserved.heart.beat.interval": "1000",
    "preserved.heart.beat.timeout": "3000",
    "preserved.ip.delete.timeout": "12000",
}
FIRST_BEAT_SECONDS_MAX = 15.0
GONE_SECONDS_MAX = 25.0


def test_the_status_of_the_servers_is_up(crowd: SdkCrowd) -> None:
    assert crowd.client(NPM, 1).ask("status") == "UP"


def test_the_list_of_servers_that_an_endpoint_gives_has_all_three(crowd: SdkCrowd) -> None:
    client = crowd.open(NPM, endpoint=crowd.address(3))
    client.ask("register", service="npm-by-endpoint", ip=IP, port=80)
    assert sorted(client.ask("servers")) == sorted(crowd.addresses().split(","))
    crowd.until_listed("npm-by-endpoint", [f"{IP}:80"])
    client.ask("close")


def test_a_watcher_of_three_servers_is_told_by_one_of_them(crowd: SdkCrowd) -> None:
    watcher = crowd.open(NPM, servers=crowd.addresses())
    crowd.native(1).register_instance("npm-watched", IP, 79)
    watcher.ask("subscribe", service="npm-watched")
    watcher.until_told_of("npm-watched", [f"{IP}:79"])
    crowd.native(2).register_instance("npm-watched", IP, 80)
    watcher.until_told_of("npm-watched", [f"{IP}:79", f"{IP}:80"])
    watcher.ask("close")


def test_who_beats_stays_and_who_closes_becomes_unhealthy_and_then_goes(crowd: SdkCrowd) -> None:
    clients = {80: crowd.open(PYTHON_HTTP, servers=crowd.addresses()), 81: crowd.open(NPM, servers=crowd.addresses())}
    everyone = [f"{IP}:{port}" for port in clients]
    clients[80].ask("register", service="kept", ip=IP, port=80, cluster="DEFAULT", metadata=BEATEN, beat_seconds=1.0)
    clients[81].ask("register", service="kept", ip=IP, port=81, metadata=BEATEN)
    pauses = BEATEN["preserved.heart.beat.timeout"]
    until(lambda: crowd.callers[2].shown("kept", healthyOnly="true") == everyone[:1], SOON_SECONDS, f"{pauses} ms pass")
    until(
        lambda: sorted(crowd.callers[2].shown("kept", healthyOnly="true")) == everyone,
        FIRST_BEAT_SECONDS_MAX,
        "npm beats",
    )
    for client in clients.values():
        client.ask("close")
    until(lambda: not crowd.callers[2].shown("kept", healthyOnly="true"), SOON_SECONDS, "nobody is healthy")
    assert sorted(crowd.callers[2].shown("kept")) == everyone
    until(lambda: not crowd.callers[2].shown("kept"), GONE_SECONDS_MAX, "nobody is listed")
    crowd.until_listed("kept", [])
