"""SDKs that watch services by patterns, at a real gateway before a real node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.bare_node import BareNode
from tests.support.sdk_client import JAVA, Body, SdkClient, success, until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster

SYNC, CHANGED = "NamingFuzzyWatchSyncRequest", "NamingFuzzyWatchChangeNotifyRequest"
FINISH = "FINISH_FUZZY_WATCH_INIT_NOTIFY"


def pattern_of(group: str, name: str = "*") -> str:
    return f"public>>{group}>>{name}"


def key_of(group: str, name: str) -> str:
    return f"public@@{group}@@{name}"


def like_java(kind: str, body: Body) -> tuple[str, Body] | None:
    """It calls every answer by the same name."""
    answer = success(kind, body)
    return None if answer is None else ("NamingFuzzyWatchChangeNotifyResponse", answer[1])


def deaf(kind: str, body: Body) -> None:
    """Takes everything and acknowledges nothing."""


async def watch(sdk: SdkClient, pattern: str, *received: str, initializing: bool = True, **fields: Any) -> Body:
    body = {
        "namespace": "public",
        "groupKeyPattern": pattern,
        "receivedGroupKeys": list(received),
        "watchType": "WATCH",
        "initializing": initializing,
        **fields,
    }
    kind, answer = await sdk.asked("NamingFuzzyWatchRequest", body)
    assert kind == "NamingFuzzyWatchResponse"
    return answer


async def connected(world: SdkWorld) -> SdkClient:
    sdk = await world.connected(JAVA)
    sdk.answers = like_java
    return sdk


def changes(sdk: SdkClient) -> list[tuple[str, str]]:
    return [(body["changedType"], body["serviceKey"]) for body in sdk.told(CHANGED)]


def syncs(sdk: SdkClient, kind: str) -> list[str]:
    return [each["serviceKey"] for body in sdk.told(SYNC) if body["syncType"] == kind for each in body["contexts"]]


def test_the_abilities_say_that_patterns_can_be_watched(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await connected(world)
        assert sdk.told("SetupAckRequest")[0]["abilityTable"]["fuzzyWatch"] is True

    in_sdk_world(lasting_node, script)


def test_a_watcher_is_told_all_in_batches_then_that_this_was_all_and_then_every_change(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, watcher = await connected(world), await connected(world)
        names = [f"s{number:02}" for number in range(23)]
        for name in names:
            await sdk.register(name, 1, groupName="batches")
        await sdk.register("t", 1, groupName="batches")
        answer = await watch(watcher, pattern_of("batches", "s*"))
        assert answer == {"resultCode": 200, "errorCode": 0, "success": True}
        await until(lambda: [body for body in watcher.told(SYNC) if body["syncType"] == FINISH], "that was all")
        told = watcher.told(SYNC)
        assert [(body["totalBatch"], body["currentBatch"]) for body in told[:-1]] == [(3, 1), (3, 2), (3, 3)]
        assert [len(body["contexts"]) for body in told] == [10, 10, 3, 0]
        assert syncs(watcher, "FUZZY_WATCH_INIT_NOTIFY") == [key_of("batches", name) for name in names]
        assert {each["changedType"] for body in told for each in body["contexts"]} == {"ADD_SERVICE"}
        assert {body["groupKeyPattern"] for body in told} == {pattern_of("batches", "s*")}
        await sdk.register("s99", 1, groupName="batches")
        await sdk.register("t99", 1, groupName="batches")
        await sdk.naming("InstanceRequest", "s05", groupName="batches", type="deregisterInstance", instance={})
        expected = [("ADD_SERVICE", key_of("batches", "s99")), ("DELETE_SERVICE", key_of("batches", "s05"))]
        await until(lambda: sorted(changes(watcher)) == expected, "both changes")
        assert {body["syncType"] for body in watcher.told(CHANGED)} == {"FUZZY_WATCH_RESOURCE_CHANGED"}

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=100)


def test_whoever_comes_again_is_told_what_it_missed_and_what_has_gone(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, watcher = await connected(world), await connected(world)
        for name in ("a", "b"):
            await sdk.register(name, 1, groupName="again")
        await watch(watcher, pattern_of("again"), key_of("again", "a"), key_of("again", "gone"), initializing=False)
        await until(lambda: changes(watcher), "the deletion")
        assert changes(watcher) == [("DELETE_SERVICE", key_of("again", "gone"))]
        assert syncs(watcher, "FUZZY_WATCH_DIFF_SYNC_NOTIFY") == [key_of("again", "b")]
        assert len(watcher.told(SYNC)) == 1

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=100)


def test_what_is_not_acknowledged_is_told_again(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, watcher = await connected(world), await connected(world)
        await sdk.register("a", 1, groupName="deaf")
        watcher.answers = deaf
        await watch(watcher, pattern_of("deaf"))
        await until(lambda: len(watcher.told(SYNC)) == 1, "it is told")
        await sdk.register("b", 1, groupName="deaf")
        await until(lambda: len(watcher.told(SYNC)) == 2, "it is told again, what there is then")
        assert [each["serviceKey"] for each in watcher.told(SYNC)[1]["contexts"]] == [
            key_of("deaf", name) for name in "ab"
        ]
        watcher.answers = like_java
        await until(lambda: watcher.told(SYNC)[-1]["syncType"] == FINISH, "that was all")
        assert watcher.ends == []

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=50, push_ack_ms=500, push_retry_ms=200)


def test_a_dot_before_the_star_is_any_name(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, watcher = await connected(world), await connected(world)
        await sdk.register("whatever", 1, groupName="dots")
        await watch(watcher, pattern_of("dots", ".*"))
        await until(lambda: len(watcher.told(SYNC)) == 2, "all is told")
        assert syncs(watcher, "FUZZY_WATCH_INIT_NOTIFY") == [key_of("dots", "whatever")]

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=50)


def test_there_are_limits_to_patterns_and_to_what_one_tells(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, watcher = await connected(world), await connected(world)
        for name in "abc":
            await sdk.register(name, 1, groupName="limits")
        answer = await watch(watcher, pattern_of("limits"))
        assert (answer["errorCode"], answer["message"]) == (50_311, "fuzzy watch pattern matched count over limit")
        await until(lambda: len(watcher.told(SYNC)) == 2, "the first ones are told")
        assert syncs(watcher, "FUZZY_WATCH_INIT_NOTIFY") == [key_of("limits", "a"), key_of("limits", "b")]
        await sdk.naming("InstanceRequest", "a", groupName="limits", type="deregisterInstance", instance={})
        await until(lambda: len(changes(watcher)) == 2, "the next one takes the place")
        assert changes(watcher) == [("DELETE_SERVICE", key_of("limits", "a")), ("ADD_SERVICE", key_of("limits", "c"))]
        assert (await watch(watcher, pattern_of("limits", "a")))["resultCode"] == 200
        answer = await watch(watcher, pattern_of("limits", "b"))
        assert (answer["errorCode"], answer["message"]) == (50_310, "fuzzy watch pattern over limit")
        assert (await watch(watcher, pattern_of("limits", "a"), watchType="CANCEL_WATCH"))["resultCode"] == 200
        assert (await watch(watcher, pattern_of("limits", "b")))["resultCode"] == 200
        assert (await watch(watcher, pattern_of("limits"), watchType="other"))["errorCode"] == 400
        assert (await watch(watcher, "public>>limits"))["errorCode"] == 400
        assert (await watch(watcher, "no space>>limits>>*", watchType="WATCH"))["success"] is False

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=50, fuzzy_patterns_max=2, fuzzy_matches_max=2)


def test_a_pattern_is_followed_as_long_as_somebody_watches_it(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        first, second, sdk = await connected(world), await connected(world), await connected(world)
        for watcher in (first, second):
            await watch(watcher, pattern_of("shared"))
        await first.close()
        await until(lambda: world.connections == 2, "one has gone")
        await sdk.register("a", 1, groupName="shared")
        await until(lambda: changes(second) or syncs(second, "FUZZY_WATCH_INIT_NOTIFY"), "the other is told")
        await watch(second, pattern_of("shared"), watchType="CANCEL_WATCH")
        assert len(world.gateway.watches) == 0
        heard = len(second.heard)
        await sdk.register("b", 1, groupName="shared")
        assert (await watch(sdk, pattern_of("shared"), key_of("shared", "a"), initializing=False))["success"]
        await until(lambda: sdk.told(SYNC), "somebody else is told")
        assert len(second.heard) == heard

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=50)


def test_nobody_watches_whose_stream_has_ended_before_it_could(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await connected(world)
        stream = world.gateway.connections.all()[0].stream
        await sdk.close()
        await until(lambda: world.connections == 0, "it is gone")
        request = msgspec.json.encode({"groupKeyPattern": pattern_of("late"), "watchType": "WATCH"})
        await world.gateway.watches.answer(stream, request)
        assert len(world.gateway.watches) == 0

    in_sdk_world(lasting_node, script)


def test_keys_that_no_service_can_have_are_not_kept(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher = await connected(world)
        keys = [f"public@@nonsense@@{'x' * 2_000}{number}" for number in range(100)]
        await watch(watcher, pattern_of("nonsense"), *keys, key_of("nonsense", "gone"), initializing=False)
        await until(lambda: changes(watcher), "a deletion")
        assert changes(watcher) == [("DELETE_SERVICE", key_of("nonsense", "gone"))]

    in_sdk_world(lasting_node, script, fuzzy_interval_ms=50)
