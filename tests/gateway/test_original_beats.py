"""What the original's own tests say of health and beats: who must beat goes when it is silent, and nobody else.

One instance that falls silent is the clock for the others. The names of these tests stand in docs/compatibility.md,
beside those of the original.
"""

from __future__ import annotations

import msgspec
import pytest

from tests.support.both_ways import BothWays, eventually, in_both_ways
from tests.support.http_gateway import HttpCaller, HttpNode
from tests.support.sdk_client import instance_body

pytestmark = pytest.mark.cluster

V1 = "/v1/ns/instance"
METADATA = {
    "version": "2.0",
    "preserved.heart.beat.interval": "300",
    "preserved.heart.beat.timeout": "1000",
    "preserved.ip.delete.timeout": "2000",
}


def named(service: str) -> dict[str, object]:
    return {"serviceName": service, "ip": "10.0.0.1", "port": 80}


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def test_who_beats_lightly_or_fully_or_is_connected_outlives_who_is_silent(http_node: HttpNode) -> None:
    said = encoded({"ip": "10.0.0.1", "port": 80, "cluster": "DEFAULT", "weight": 1.0, "metadata": METADATA})

    async def script(world: BothWays) -> None:
        sdk = await world.connected()
        body = instance_body(80, metadata=METADATA)
        await sdk.naming("InstanceRequest", "connected-beats", type="registerInstance", instance=body)

        async def register(service: str) -> None:
            assert (await world.say("POST", V1, **named(service), metadata=encoded(METADATA))).body == b"ok"

        async def beat_and_look() -> list[str]:
            for beats in (named("light-beats"), {**named("full-beats"), "beat": said}):
                assert (await world.say("PUT", f"{V1}/beat", **beats)).json["code"] == 10_200
            return await world.shown("no-beats")

        await register("light-beats")
        await register("full-beats")
        for _ in range(2):  # twice as long as any of them may be silent
            await register("no-beats")
            await eventually(beat_and_look, [])
        for service in ("light-beats", "full-beats", "connected-beats"):
            answer = await sdk.naming("ServiceQueryRequest", service, cluster="", healthyOnly=True)
            assert [host["metadata"] for host in answer["serviceInfo"]["hosts"]] == [METADATA]

    in_both_ways(http_node, script)


def test_what_a_registration_does_not_say_has_a_default(caller: HttpCaller) -> None:
    assert caller.say("POST", V1, **named("defaults")).body == b"ok"
    (host,) = caller.listed("defaults")["hosts"]
    assert host == {
        "instanceId": "10.0.0.1#80#DEFAULT#DEFAULT_GROUP@@defaults",
        "ip": "10.0.0.1",
        "port": 80,
        "weight": 1.0,
        "healthy": True,
        "enabled": True,
        "ephemeral": True,
        "clusterName": "DEFAULT",
        "serviceName": "DEFAULT_GROUP@@defaults",
        "metadata": {},
        "instanceHeartBeatInterval": 5_000,
        "instanceHeartBeatTimeOut": 15_000,
        "ipDeleteTimeout": 30_000,
        "instanceIdGenerator": "simple",
    }


@pytest.mark.parametrize("weight", [-0.1, 10_000.1, "1e5"])
def test_a_weight_lies_between_nought_and_ten_thousand(caller: HttpCaller, weight: object) -> None:
    answer = caller.say("POST", V1, **named("weighed"), weight=weight)
    assert (answer.status, answer.text) == (400, "instance format invalid: The weights range from 0.0 to 10000.0")
    for allowed in (0, 10_000):
        assert caller.say("POST", V1, **named("weighed-well"), weight=allowed).body == b"ok"
    assert caller.shown("weighed") == []
