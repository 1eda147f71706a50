"""What SDKs are told and asked on their streams, and what becomes of those that fall silent or go."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest

from rollbook.model import Instance, Service
from rollbook.wire import MoveAdvised, Publish
from runtime.gateway.session_desk import SessionSpec
from tests.support.bare_node import BareNode
from tests.support.sdk_client import JAVA, Body, SdkClient, instance_body, success, until
from tests.support.sdk_gateway import SdkWorld, in_sdk_world

pytestmark = pytest.mark.cluster

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def ports(shown: Body) -> list[int]:
    return [host["port"] for host in shown["hosts"]]


def like_go(kind: str, body: Body) -> tuple[str, Body] | None:
    """Go says that nothing ever succeeds, but by its code."""
    answer = success(kind, body)
    return None if answer is None else (answer[0], {**answer[1], "success": False})


def deaf(kind: str, body: Body) -> None:
    """Takes everything and acknowledges nothing."""


def test_a_change_is_pushed_with_the_echo_of_the_filter(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        assert ports((await watcher.subscribe("echoed"))["serviceInfo"]) == []
        assert ports((await watcher.subscribe("echoed", "a"))["serviceInfo"]) == []
        assert ports((await watcher.subscribe("echoed", "b,a"))["serviceInfo"]) == []
        batch = [instance_body(1, clusterName="a"), instance_body(2, clusterName="b"), instance_body(3)]
        await sdk.naming("BatchInstanceRequest", "echoed", type="batchRegisterInstance", instances=batch)
        await until(lambda: len(watcher.lists("echoed")) == 3, "each list is pushed")
        shown = {each["clusters"]: ports(each) for each in watcher.lists("echoed")}
        assert shown == {"": [1, 2, 3], "a": [1], "b,a": [1, 2]}
        pushed = watcher.told("NotifySubscriberRequest")
        assert {type(each["requestId"]) for each in pushed} == {str}
        assert len({each["requestId"] for each in pushed}) == 3
        assert all(each["module"] == "naming" and each["headers"] == {} for each in pushed)

    in_sdk_world(lasting_node, script)


def test_an_answer_on_another_stream_is_none(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        first, second, sdk = await world.connected(), await world.connected(), await world.connected()
        for watcher in (first, second):
            watcher.answers = deaf
            await watcher.subscribe("strayed")
        await sdk.register("strayed", 1)
        await until(lambda: first.lists("strayed") and second.lists("strayed"), "both are told")
        (asked,) = first.told("NotifySubscriberRequest")
        answer = success("NotifySubscriberRequest", asked)
        assert answer is not None
        await second.say(*answer)
        await until(lambda: len(second.lists("strayed")) == 2, "it has not acknowledged its own")

    in_sdk_world(lasting_node, script, push_ack_ms=500, push_retry_ms=200)


def test_a_change_in_another_cluster_wakes_nobody(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk, other = await world.connected(), await world.connected(), await world.connected()
        await watcher.subscribe("apart", "a")
        await sdk.naming(
            "InstanceRequest", "apart", type="registerInstance", instance=instance_body(1, clusterName="b")
        )
        await other.naming(
            "InstanceRequest", "apart", type="registerInstance", instance=instance_body(2, clusterName="a")
        )
        await until(lambda: watcher.lists("apart"), "its own cluster is pushed")
        assert [ports(each) for each in watcher.lists("apart")] == [[2]]

    in_sdk_world(lasting_node, script)


def test_nothing_is_pushed_after_the_last_list_is_unsubscribed(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, other, sdk = await world.connected(), await world.connected(), await world.connected()
        for clusters in ("", "a"):
            await watcher.subscribe("left", clusters)
        await other.subscribe("left")
        answer = await watcher.subscribe("left", "", on=False)
        assert answer["resultCode"] == 200
        batch = [instance_body(1, clusterName="a")]
        await sdk.naming("BatchInstanceRequest", "left", type="batchRegisterInstance", instances=batch)
        await until(lambda: watcher.lists("left"), "the list that it still has")
        await watcher.subscribe("left", "a", on=False)
        await watcher.subscribe("left", "never subscribed", on=False)
        await sdk.register("left", 2)
        await until(lambda: ports(other.lists("left")[-1]) == [2], "others are told")
        assert [each["clusters"] for each in watcher.lists("left")] == ["a"]

    in_sdk_world(lasting_node, script)


def test_pushes_rise_strictly_in_time(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        times = [(await watcher.subscribe("rising"))["serviceInfo"]["lastRefTime"]]
        for number in range(20):
            await sdk.register("rising", number)
            times.append((await sdk.naming("ServiceQueryRequest", "rising"))["serviceInfo"]["lastRefTime"])
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        await until(lambda: ports(watcher.lists("rising")[-1]) == [19], "the last one is pushed")
        pushed = [each["lastRefTime"] for each in watcher.lists("rising")]
        assert pushed == sorted(set(pushed))
        assert pushed[-1] == times[-1]

    in_sdk_world(lasting_node, script)


def test_a_push_without_acknowledgement_is_repeated_with_what_is_newest(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        await watcher.subscribe("deaf")
        watcher.answers = deaf
        await sdk.register("deaf", 1)
        await until(lambda: len(watcher.lists("deaf")) == 1, "it is told")
        await sdk.register("deaf", 2)
        await until(lambda: len(watcher.lists("deaf")) == 2, "it is told again")
        assert [ports(each) for each in watcher.lists("deaf")] == [[1], [2]]
        watcher.answers = success
        await until(lambda: len(watcher.lists("deaf")) == 3, "and again, for it acknowledged neither")
        await sdk.register("deaf", 3)
        await until(lambda: ports(watcher.lists("deaf")[-1]) == [3], "then it is told as any other")
        assert watcher.ends == []
        assert await watcher.ports("deaf") == [3]

    # The node itself repeats after 3 s, and tells nothing newer before.
    in_sdk_world(lasting_node, script, push_ack_ms=3_300, push_retry_ms=200)


@pytest.mark.parametrize("answers", [success, like_go])
def test_whoever_waits_for_subscribers_waits_for_the_sdk_itself(lasting_node: BareNode, answers: object) -> None:
    async def script(world: SdkWorld) -> None:
        watcher = await world.connected()
        name = f"awaited-{getattr(answers, '__name__', '')}"
        await watcher.subscribe(name)
        await watcher.subscribe(name, "DEFAULT")
        watcher.answers = deaf
        session = await world.gateway.link.open(SessionSpec("native", kind="sdk"))
        service = Service("public", "DEFAULT_GROUP", name)
        publish = Publish(service, (Instance("10.0.0.1", 1),), "replace", "subscribers")
        waiting = asyncio.create_task(session.ask(publish, 20_000))
        await until(lambda: len(watcher.lists(name)) == 2, "both lists are pushed")
        assert not waiting.done()
        asked = watcher.told("NotifySubscriberRequest")
        for body in asked:
            answer = answers("NotifySubscriberRequest", body)  # type: ignore[operator]
            assert not waiting.done(), "a list has not been acknowledged yet"
            await watcher.say(*answer)
        await waiting

    in_sdk_world(lasting_node, script, push_ack_ms=20_000)


def test_whoever_asks_before_it_is_pushed_to_holds_nobody_up(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher = await world.connected()
        session = await world.gateway.link.open(SessionSpec("quick", kind="sdk"))
        service = Service("public", "DEFAULT_GROUP", "asked")
        await watcher.subscribe("asked")
        for number in range(20):  # pushes of one service are 50 ms apart, so that most answers come before them
            publish = Publish(service, (Instance("10.0.0.1", number),), "replace", "subscribers")
            waiting = asyncio.create_task(session.ask(publish, 20_000))
            while number not in await watcher.ports("asked"):
                assert not waiting.done() or waiting.exception() is None
            await waiting

    in_sdk_world(lasting_node, script)


def test_a_closed_channel_takes_its_instances_with_it_at_once(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, sdk, halved = await world.connected(), await world.connected(), await world.connected()
        await sdk.register("closed", 1)
        await halved.register("closed", 2)
        await watcher.subscribe("closed")
        await sdk.close()
        await until(lambda: watcher.lists("closed") and ports(watcher.lists("closed")[-1]) == [2], "it has gone")
        await halved.end_stream()
        await until(lambda: ports(watcher.lists("closed")[-1]) == [], "so has who ended its stream only")
        assert (await halved.asked("InstanceRequest", {}))[1]["errorCode"] == 301
        assert world.connections == 1

    in_sdk_world(lasting_node, script)


def test_another_setup_takes_the_place_of_the_first(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk, other = await world.connected(), await world.connected()
        await sdk.register("twice", 1)
        await sdk.say("ConnectionSetupRequest", {"clientVersion": JAVA, "abilityTable": {}})
        await until(lambda: len(sdk.told("SetupAckRequest")) == 2, "it is connected anew")
        await until_ports(other, "twice", [])
        await sdk.register("twice", 2)
        await sdk.set_up(JAVA, abilityTable=None)
        await until(lambda: sdk.ends == [grpc.StatusCode.ABORTED], "the first stream has ended")
        await until_ports(other, "twice", [])
        await sdk.register("twice", 3)
        assert await other.ports("twice") == [3]
        assert world.connections == 2
        assert world.gateway.link.sessions == 2

    in_sdk_world(lasting_node, script)


def test_whoever_asks_while_its_stream_is_set_up_is_known(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        for _ in range(20):
            sdk = world.sdk()
            await sdk.asked("ServerCheckRequest", {})
            await sdk.set_up()
            await until(lambda: world.gateway.connections.streams, "its stream has come")
            await asyncio.sleep(0.002)
            assert (await sdk.register("eager", 1))["resultCode"] == 200
            await sdk.close()
            await until(lambda: world.connections == 0, "it has gone")

    in_sdk_world(lasting_node, script)


def test_a_stream_that_does_not_say_whose_it_is_ends(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = world.sdk()
        sdk.open_stream()
        await sdk.say("NotifySubscriberResponse", {"requestId": "1"})
        await until(lambda: sdk.ends == [grpc.StatusCode.DEADLINE_EXCEEDED], "it is ended")

    in_sdk_world(lasting_node, script, setup_ms=300)


def test_nonsense_on_a_stream_is_ignored(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        for number in ("1", 1, "no number", None, {"a": 1}):
            await sdk.say("NotifySubscriberResponse", {"requestId": number, "resultCode": "x"})
        await sdk.say("InstanceRequest", {})
        await sdk.say("", {})
        assert (await sdk.register("unmoved", 1))["resultCode"] == 200
        assert sdk.ends == []

    in_sdk_world(lasting_node, script)


def test_silent_sdks_are_asked_for_a_sign_of_life_and_go_without_one(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher, silent, alive = await world.connected(), await world.connected(), await world.connected()
        await silent.register("silent", 1)
        await alive.register("silent", 2)
        await watcher.subscribe("silent")
        silent.answers = deaf
        await until(lambda: silent.ends == [UNAVAILABLE], "its stream has ended")
        assert len(silent.told("ClientDetectionRequest")) == 1
        await until(lambda: watcher.lists("silent") and ports(watcher.lists("silent")[-1]) == [2], "it has gone")
        await until(lambda: len(alive.told("ClientDetectionRequest")) >= 2, "the other is asked again")
        assert alive.ends == []
        assert await watcher.ports("silent") == [2]

    in_sdk_world(lasting_node, script, detect_interval_ms=200, silent_ms=400, detect_answer_ms=1_500)


def test_an_idle_sdk_that_pings_every_moment_is_not_cut_off(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        pings = (
            ("grpc.keepalive_time_ms", 1_000),  # the least that the library does
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        )
        sdk = await world.sdk(options=pings).connected()
        await asyncio.sleep(6)
        assert sdk.ends == []
        assert (await sdk.asked("HealthCheckRequest", {}))[0] == "HealthCheckResponse"

    in_sdk_world(lasting_node, script)


def test_streams_have_a_limit_in_all_and_for_each_address(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        await world.connected()
        first = await world.connected()
        refused = await world.connected()
        assert refused.ends == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        await first.close()
        await until(lambda: world.connections == 1, "one has gone")
        assert (await world.connected()).ends == []

    in_sdk_world(lasting_node, script, streams_max=2)
    in_sdk_world(lasting_node, script, streams_per_address_max=2)


def test_java_is_told_where_to_go_and_others_are_sent_away(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        watcher = await world.connected()
        java, python = await world.connected(JAVA), await world.connected()
        await java.register("moving", 1)
        await python.register("moving", 2)
        for connection in world.gateway.connections.all():
            if connection.id != world.gateway.connections.all()[0].id:
                connection.session.on_advice(MoveAdvised("leaving", ("10.0.0.7:8850",)))
        await until(lambda: python.ends == [UNAVAILABLE], "its stream has ended")
        await until(lambda: java.told("ConnectResetRequest"), "it is told")
        (told,) = java.told("ConnectResetRequest")
        assert (told["serverIp"], told["serverPort"]) == ("10.0.0.7", "8848")
        assert told["connectionId"].split("_")[1] == "127.0.0.1"
        assert java.ends == []
        assert python.told("ConnectResetRequest") == []
        await java.close()
        await until(lambda: world.connections == 1, "both have gone")
        await asyncio.sleep(0.5)
        assert await watcher.ports("moving") == [1, 2], "they are on their way elsewhere"

    in_sdk_world(lasting_node, script, move_spread_ms=50)


def test_for_the_sake_of_balance_only_those_move_that_can_be_asked_to(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        java, python = await world.connected(JAVA), await world.connected()
        for connection in world.gateway.connections.all():
            connection.session.on_advice(MoveAdvised("rebalance", ("10.0.0.7:8850",)))
        await until(lambda: java.told("ConnectResetRequest"), "it is told")
        await asyncio.sleep(0.3)
        assert java.ends == python.ends == []

    in_sdk_world(lasting_node, script, move_spread_ms=50)


def test_whoever_came_back_to_an_isolated_node_stays(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        first = await world.connected()
        isolated = MoveAdvised("isolated")
        (connection,) = world.gateway.connections.all()
        connection.session.on_advice(isolated)
        await until(lambda: first.ends == [UNAVAILABLE], "it is sent away")
        again = await world.connected()
        (connection,) = world.gateway.connections.all()
        connection.session.on_advice(isolated)
        await asyncio.sleep(0.5)
        assert again.ends == []

    in_sdk_world(lasting_node, script, move_spread_ms=50)


def test_a_gateway_that_ends_aborts_its_streams_and_leaves_what_was_published(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdks = [await world.connected() for _ in range(5)]
        for number, sdk in enumerate(sdks):
            await sdk.register("ended", number)
        await world.end()
        await until(lambda: all(sdk.ends == [UNAVAILABLE] for sdk in sdks), "all have ended")

    in_sdk_world(lasting_node, script)

    async def look(world: SdkWorld) -> None:
        assert await (await world.connected()).ports("ended") == [0, 1, 2, 3, 4]

    in_sdk_world(lasting_node, look)


async def until_ports(sdk: SdkClient, service: str, expected: list[int]) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    while (shown := await sdk.ports(service)) != expected:
        assert asyncio.get_running_loop().time() < deadline, f"{shown} and not {expected}"


def test_a_second_stream_of_a_transport_that_does_not_say_whose_it_is_ends_too(lasting_node: BareNode) -> None:
    async def script(world: SdkWorld) -> None:
        sdk = await world.connected()
        sdk.open_stream()
        await sdk.say("ClientDetectionResponse", {"resultCode": 200, "requestId": "1"})
        await until(lambda: sdk.ends == [grpc.StatusCode.DEADLINE_EXCEEDED], "the second stream ends")
        assert world.connections == 1, "the first is as it was"

    in_sdk_world(lasting_node, script, setup_ms=300)
