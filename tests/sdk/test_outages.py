"""SDKs whose node is killed, and whose whole cluster is restarted: nobody who lives disappears, everybody comes back.

The newest Python SDK says again what it wants every 30 s after it was made, and at no other time; until then it may ask
for what it is subscribed to, every 10 s. So these tests mostly wait, and the client of the second one is made while the
first one does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.official_sdk import NPM, PYTHON_GRPC, PYTHON_HTTP, SdkClientOf
from tests.support.real_cluster import RealCluster, RealNode, until
from tests.support.sdk_crowd import IP, SOON_SECONDS, SdkCrowd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

REDO_SECONDS_MAX = 40.0
BACK_SECONDS_MAX = 75.0  # two of its rounds: the first may find the cluster still away
LATE_SECONDS = 13.0  # its round comes when the restarted cluster is ready
TRIES_MAX = 40
LIVE = [f"{IP}:{port}" for port in (80, 81, 82)]
BATCH = [{"ip": IP, "port": port} for port in (1, 2)]


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkCrowd]:
    with RealCluster(tmp_path_factory.mktemp("outage"), 3, gateways=1) as cluster:
        made = SdkCrowd(cluster, tmp_path_factory.mktemp("outage-sdks"))
        try:
            made.until_ready()
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def late(outage: SdkCrowd) -> SdkClientOf:
    """Comes while one of the servers that it knows is away, if the first test ran."""
    made = outage.open(PYTHON_GRPC, servers=outage.addresses())
    made.ask("register", service="late", ip=IP, port=90)
    made.ask("register_batch", service="late-batch", instances=BATCH)
    made.ask("subscribe", service="late-news")
    return made


def place_of(outage: SdkCrowd, client: SdkClientOf) -> int:
    """The number of the node that it is connected to."""
    port = client.ask("server")
    return 1 + [node.base_port for node in outage.cluster].index(port)


def missing(outage: SdkCrowd, nodes: list[int]) -> list[str]:
    """Who is not listed as healthy by HTTP or natively, and where."""
    found = []
    for node in nodes:
        over_http = outage.callers[node - 1].shown("lasting", healthyOnly="true")
        natively = [f"{found.ip}:{found.port}" for found in outage.native(node).select_instances("lasting")]
        found += [f"{address} at {node}" for address in LIVE if address not in over_http or address not in natively]
    return found


def test_when_a_node_is_killed_no_instance_of_any_sdk_disappears_and_subscriptions_go_on(
    outage: SdkCrowd, request: pytest.FixtureRequest
) -> None:
    grpc = outage.open(PYTHON_GRPC, servers=outage.addresses())
    began, victim = time.monotonic(), place_of(outage, grpc)
    survivors = [node for node in (1, 2, 3) if node != victim]
    http = outage.open(PYTHON_HTTP, servers=outage.addresses(victim))
    npm, asking = outage.open(NPM, servers=outage.addresses()), asking_at(outage, victim)
    outage.native(survivors[1]).register_instance("news", IP, 1)
    outage.until_listed("news", [f"{IP}:1"])
    for watcher in (grpc, npm, asking):
        watcher.ask("subscribe", service="news")
        watcher.until_told_of("news", [f"{IP}:1"])
    about = {"service": "lasting", "ip": IP, "cluster": "DEFAULT"}
    grpc.ask("register", **about, port=80)
    http.ask("register", **about, port=81, beat_seconds=5.0)
    npm.ask("register", **about, port=82)
    until(lambda: not missing(outage, [1, 2, 3]), SOON_SECONDS, "all are listed everywhere")
    outage.cluster.nodes[victim - 1].kill()
    outage.native(survivors[1]).register_instance("news", IP, 2)
    waiting, told = [grpc, npm, asking], []
    while waiting:
        assert time.monotonic() - began < REDO_SECONDS_MAX, f"not told: {waiting}"
        assert missing(outage, survivors) == []
        if time.monotonic() - began > LATE_SECONDS:
            request.getfixturevalue("late")
        told += [watcher for watcher in waiting if is_told_of_both(watcher)]
        waiting = [watcher for watcher in waiting if watcher not in told]
    assert told[-1] is grpc, "it waits for its next round; the others have asked by then"
    assert missing(outage, survivors) == []


def asking_at(outage: SdkCrowd, node: int) -> SdkClientOf:
    """One that also asks for what it is subscribed to, connected to this node: it chooses its first server by lot."""
    for _ in range(TRIES_MAX):
        made = outage.open(PYTHON_GRPC, servers=outage.addresses(), asks=True)
        if place_of(outage, made) == node:
            return made
        made.ask("close")
    raise AssertionError(f"it never chooses node {node}")


def is_told_of_both(watcher: SdkClientOf) -> bool:
    return any(news.addresses == [f"{IP}:1", f"{IP}:2"] for news in watcher.told_so_far("news", seconds=0.1))


def test_after_a_restart_of_the_whole_cluster_every_sdk_says_again_what_it_wants(
    outage: SdkCrowd, late: SdkClientOf
) -> None:
    http, npm = outage.open(PYTHON_HTTP, servers=outage.addresses()), outage.open(NPM, servers=outage.addresses())
    start_absent(outage)
    http.ask("register", service="kept", ip=IP, port=83, cluster="DEFAULT", ephemeral=False)
    http.ask("register", service="again", ip=IP, port=81, cluster="DEFAULT", beat_seconds=5.0)
    npm.ask("register", service="again", ip=IP, port=82)
    outage.until_listed("again", LIVE[1:])
    outage.until_listed("late", [f"{IP}:90"])
    outage.until_listed("kept", [f"{IP}:83"])
    restart(outage)
    outage.until_listed("kept", [f"{IP}:83"])

    def are_back() -> bool:
        services = {"late": 1, "late-batch": 2, "again": 2}
        return all(len(caller.shown(name)) == count for caller in outage.callers for name, count in services.items())

    until(are_back, BACK_SECONDS_MAX, "all are listed everywhere")
    outage.native(1).register_instance("late-news", IP, 3)
    late.until_told_of("late-news", [f"{IP}:3"])
    assert late.ask("status") is True


def start_absent(outage: SdkCrowd) -> None:
    for node in outage.cluster:
        if node.process() is None:
            node.start()
    outage.cluster.until_ready()
    outage.until_ready()


def restart(outage: SdkCrowd) -> None:
    """SIGTERM for all at once, as scripts/stop_cluster.sh does, and a start."""
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(RealNode.terminate, outage.cluster)) == [0, 0, 0]
    start_absent(outage)
