"""What a cluster of three says of itself over HTTP: members, their load, and that SDKs are moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import sdk_client
from tests.support.http_gateway import READY_SECONDS, HttpCaller
from tests.support.real_cluster import RealCluster, until
from tests.support.sdk_client import JAVA, PYTHON, SdkClient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SOON_SECONDS = 20.0
V1, V2, V3 = "/v1/core/cluster", "/v2/core/cluster", "/v3/admin/core/cluster"
LOADER = "/v2/core/loader"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("members"), 3, gateways=1) as started:
        for caller in callers(started):
            until(caller.finds_it_ready, READY_SECONDS, f"the gateway at {caller.port} is ready")
        yield started


def callers(cluster: RealCluster) -> list[HttpCaller]:
    return [HttpCaller(node.base_port) for node in cluster]


def addresses(cluster: RealCluster) -> list[str]:
    return sorted(f"127.0.0.1:{node.base_port}" for node in cluster)


def test_every_node_lists_all_members_at_their_http_addresses(cluster: RealCluster) -> None:
    for caller in callers(cluster):
        listed = caller.ask("GET", f"{V2}/node/list").json["data"]
        assert sorted(one["address"] for one in listed) == addresses(cluster)
        assert {one["state"] for one in listed} == {"UP"}
        assert caller.ask("GET", f"{V3}/node/list").json["data"] != []
        assert sorted(caller.ask("GET", f"{V1}/simple/nodes").json["data"]) == addresses(cluster)
        one = caller.say("GET", f"{V1}/nodes", keyword=f":{caller.port}").json
        assert (one["code"], [each["port"] for each in one["data"]]) == (200, [caller.port])
        own = caller.ask("GET", f"{V1}/self").json["data"]
        assert (own["ip"], own["port"], own["state"]) == ("127.0.0.1", caller.port, "UP")
        assert own["extendInfo"]["version"]
        assert caller.ask("GET", f"{V2}/node/self").json["data"]["address"] == own["address"]
        assert len(caller.say("GET", "/v1/ns/operator/servers", healthy="true").json["servers"]) == 3


def test_members_are_chosen_by_address_and_state(cluster: RealCluster) -> None:
    caller, *_ = callers(cluster)
    one = addresses(cluster)[0]
    listed = caller.say("GET", f"{V3}/node/list", address=one, state="up").json["data"]
    assert [each["address"] for each in listed] == [one]
    assert caller.say("GET", f"{V3}/node/list", state="DOWN").json["data"] == []
    refused = caller.say("GET", f"{V3}/node/list", state="fine")
    assert (refused.status, refused.json["code"]) == (400, 20_002)


def test_how_well_a_server_is_and_what_it_is(cluster: RealCluster) -> None:
    caller, *_ = callers(cluster)
    assert caller.ask("GET", f"{V1}/health").json["data"] == "UP"
    assert caller.ask("GET", f"{V2}/node/self/health").json["data"] == "UP"
    state = caller.ask("GET", "/v1/console/server/state").json
    assert (state["startup_mode"], state["server_port"]) == ("cluster", str(caller.port))
    assert state["version"]
    assert caller.ask("GET", "/v3/admin/core/state").json["data"] == state
    assert caller.ask("GET", "/v3/console/server/state").json["data"] == state


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{V1}/report", 400),
        ("POST", f"{V1}/switch/lookup", 400),
        ("POST", f"{V1}/server/leave", 405),
        ("PUT", f"{V2}/node/list", 400),
        ("PUT", f"{V3}/lookup", 400),
        ("DELETE", f"{V2}/nodes", 405),
    ],
)
def test_nobody_changes_the_list_of_members_here(cluster: RealCluster, method: str, path: str, status: int) -> None:
    caller, *_ = callers(cluster)
    answer = caller.ask(method, path)
    assert (answer.status, "code" in answer.text or not path.startswith("/v1")) == (status, not path.startswith("/v1"))


def test_the_load_of_all_members_is_asked_of_each(cluster: RealCluster) -> None:
    caller, *_ = callers(cluster)
    load = caller.ask("GET", f"{LOADER}/cluster").json["data"]
    assert sorted(each["address"] for each in load["detail"]) == addresses(cluster)
    assert (load["memberCount"], load["metricsCount"], load["completed"]) == (3, 3, True)
    assert load["total"] == sum(int(each["metric"]["sdkConCount"]) for each in load["detail"])
    assert load["min"] <= load["avg"] <= load["max"] <= load["total"]


class Connected:
    """Two SDKs at one node, of which one knows how to move; HTTP is asked from another thread."""

    def __init__(self, caller: HttpCaller) -> None:
        self.caller = caller
        self.address = f"127.0.0.1:{caller.port + 1_000}"

    async def __call__(self, method: str, path: str, **parameters: object) -> Any:
        return await asyncio.to_thread(self.caller.say, method, path, **parameters)

    async def shown(self) -> dict[str, Any]:
        return dict((await self("GET", f"{LOADER}/current")).json["data"])


def test_sdks_that_know_how_are_told_to_move_where_they_are_wanted(cluster: RealCluster) -> None:
    caller, other, _ = callers(cluster)
    redirect = f"127.0.0.1:{other.port}"

    async def script() -> None:
        http = Connected(caller)
        async with SdkClient(http.address) as java, SdkClient(http.address) as python:
            await java.connected(JAVA)
            await python.connected(PYTHON)
            shown = await http.shown()
            by_agent = {one["metaInfo"]["version"]: name for name, one in shown.items()}
            assert set(by_agent) == {JAVA, PYTHON}
            facts = shown[by_agent[JAVA]]["metaInfo"]
            assert (facts["connectType"], facts["clientIp"]) == ("GRPC", "127.0.0.1")
            assert facts["connectionId"].endswith(f"_127.0.0.1_{facts['remotePort']}")

            moved = await http("GET", f"{LOADER}/reloadClient", connectionId=by_agent[JAVA], redirectAddress=redirect)
            assert moved.json["data"] == "success"
            await sdk_client.until(lambda: java.told("ConnectResetRequest"), "the one that knows how is told")
            (told,) = java.told("ConnectResetRequest")
            assert f"{told['serverIp']}:{told['serverPort']}" == redirect
            stays = await http("GET", f"{LOADER}/reloadClient", connectionId=by_agent[PYTHON])
            assert (stays.status, stays.json["code"]) == (400, 40_001)
            unknown = await http("POST", "/v3/admin/core/loader/reloadClient", connectionId="nobody")
            assert (unknown.status, unknown.json["code"]) == (404, 20_004)

            assert (await http("GET", f"{LOADER}/reloadCurrent", count=2)).status == 200
            assert (await http("POST", "/v3/admin/core/loader/reloadCurrent", count=0)).status == 200
            await sdk_client.until(lambda: len(java.told("ConnectResetRequest")) == 2, "once more, as two may stay")
            assert python.told("ConnectResetRequest") == []
            for wrong in (
                {"count": -1},
                {"count": "x"},
                {"count": 1, "redirectAddress": "nowhere"},
                {"count": 1, "redirectAddress": "10.0.0.1:0088488"},
                {},
            ):
                assert (await http("GET", f"{LOADER}/reloadCurrent", **wrong)).status == 400
            assert (await http("GET", f"{LOADER}/smartReloadCluster", loaderFactor=0.1)).json["data"] == "success"

    asyncio.run(script())


def test_of_a_member_that_is_down_the_others_say_so_and_answer_without_it(cluster: RealCluster) -> None:
    caller, _, last = callers(cluster)
    cluster.nodes[2].kill()
    gone = f"127.0.0.1:{last.port}"

    def state() -> str:
        listed = caller.ask("GET", f"{V2}/node/list").json["data"]
        return next(str(one["state"]) for one in listed if one["address"] == gone)

    until(lambda: state() == "DOWN", SOON_SECONDS, "it is down")
    load = caller.ask("GET", f"{LOADER}/cluster").json["data"]
    assert gone not in [each["address"] for each in load["detail"]]
    assert (load["memberCount"], load["metricsCount"], load["completed"]) == (3, 2, False)
