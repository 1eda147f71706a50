"""What the original's own tests say of subscriptions: who is told what, and who is told nothing.

Silence is tried by a later change that must come first. The names of these tests stand in docs/compatibility.md, beside
those of the original.
"""

from __future__ import annotations

import pytest

from tests.support.both_ways import BothWays, in_both_ways
from tests.support.http_gateway import HttpNode
from tests.support.sdk_client import Body, SdkClient, instance_body, until

pytestmark = pytest.mark.cluster


async def ordered(
    sdk: SdkClient, kind: str, service: str, cluster: str = "DEFAULT", *, port: int = 80, **where: str
) -> None:
    body = instance_body(port, clusterName=cluster)
    answer = await sdk.naming("InstanceRequest", service, type=kind, instance=body, **where)
    assert answer["resultCode"] == 200, answer


async def register(sdk: SdkClient, service: str, cluster: str = "DEFAULT", *, port: int = 80, **where: str) -> None:
    await ordered(sdk, "registerInstance", service, cluster, port=port, **where)


async def watch(sdk: SdkClient, service: str, clusters: str = "", *, on: bool = True, **where: str) -> Body:
    answer = await sdk.naming("SubscribeServiceRequest", service, subscribe=on, clusters=clusters, **where)
    assert answer["resultCode"] == 200, answer
    return dict(answer["serviceInfo"])


def ports(shown: Body) -> list[int]:
    return [host["port"] for host in shown["hosts"]]


@pytest.mark.parametrize("clusters", ["", "c1", "c1,c2"])
def test_subscribers_are_told_of_an_instance_that_comes_and_of_the_empty_list_when_it_goes(
    http_node: HttpNode, clusters: str
) -> None:
    service = f"told-{len(clusters)}"

    async def script(world: BothWays) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        assert ports(await watch(watcher, service, clusters)) == []
        await register(sdk, service, "c1")
        await until(lambda: watcher.lists(service), "it is told of what has come")
        await ordered(sdk, "deregisterInstance", service, "c1")
        await until(lambda: len(watcher.lists(service)) == 2, "it is told that nothing is left")
        assert [(ports(each), each["clusters"]) for each in watcher.lists(service)] == [
            ([80], clusters),
            ([], clusters),
        ]
        answer = await watcher.naming("ServiceQueryRequest", service, cluster=clusters)
        assert ports(answer["serviceInfo"]) == []

    in_both_ways(http_node, script)


def test_who_subscribes_to_an_unhealthy_instance_of_its_cluster_is_told_that_it_is(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        await watch(watcher, "unhealthy", "c1")
        body = instance_body(80, clusterName="c1", healthy=False)
        await sdk.naming("InstanceRequest", "unhealthy", type="registerInstance", instance=body)
        await until(lambda: watcher.lists("unhealthy"), "it is told")
        assert [host["healthy"] for host in watcher.lists("unhealthy")[0]["hosts"]] == [False]

    in_both_ways(http_node, script)


def test_a_subscription_stays_when_the_instance_is_deregistered(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        sdk, other = await world.connected(), await world.connected()
        await register(sdk, "stays")
        assert ports(await watch(sdk, "stays")) == [80]
        await ordered(sdk, "deregisterInstance", "stays")
        await until(lambda: sdk.lists("stays"), "it is told of its own going")
        await register(other, "stays", port=81)
        await until(lambda: len(sdk.lists("stays")) == 2, "it is told of who comes after it")
        assert [ports(each) for each in sdk.lists("stays")] == [[], [81]]

    in_both_ways(http_node, script)


def test_subscribers_of_a_namespace_are_told_of_nothing_in_another(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        first, second, sdk = await world.connected(), await world.connected(), await world.connected()
        await watch(first, "spaces", namespace="watched-1")
        await watch(second, "spaces", namespace="watched-2")
        await register(sdk, "spaces", port=2, namespace="watched-2")
        await until(lambda: second.lists("spaces"), "the second namespace is told")
        await register(sdk, "spaces", port=1, namespace="watched-1")
        await until(lambda: first.lists("spaces"), "the first namespace is told")
        assert [ports(each) for each in first.lists("spaces")] == [[1]]
        assert [ports(each) for each in second.lists("spaces")] == [[2]]

    in_both_ways(http_node, script)


def test_each_group_is_subscribed_and_unsubscribed_by_itself(http_node: HttpNode) -> None:
    groups = ("group-1", "group-2", "group-3")

    async def script(world: BothWays) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        for group in groups:
            await watch(watcher, "apart", groupName=group)
        await watch(watcher, "apart", on=False)  # which it has not subscribed to
        for number, group in enumerate(groups):
            await register(sdk, "apart", port=number, groupName=group)
        await until(lambda: len(watcher.lists("apart")) == 3, "each group is told")
        assert sorted((each["groupName"], ports(each)) for each in watcher.lists("apart")) == [
            (group, [number]) for number, group in enumerate(groups)
        ]
        for group in groups[:2]:
            await watch(watcher, "apart", on=False, groupName=group)
        for group in groups:
            await ordered(sdk, "deregisterInstance", "apart", groupName=group)
        await until(lambda: len(watcher.lists("apart")) == 4, "the group that is left is told")
        assert watcher.lists("apart")[3]["groupName"] == "group-3"
        await watch(watcher, "apart", on=False, groupName="group-3")
        await watch(watcher, "apart-2")
        await register(sdk, "apart", groupName="group-3")
        await register(sdk, "apart-2")
        await until(lambda: watcher.lists("apart-2"), "what it subscribed to last is told")
        assert len(watcher.lists("apart")) == 4

    in_both_ways(http_node, script)


def test_whoever_subscribes_again_is_told_at_once_what_there_is(http_node: HttpNode) -> None:
    async def script(world: BothWays) -> None:
        watcher, sdk = await world.connected(), await world.connected()
        await register(sdk, "again")
        for _ in range(2):
            assert ports(await watch(watcher, "again")) == [80]
        second = await world.connected()
        assert ports(await watch(second, "again")) == [80]

    in_both_ways(http_node, script)


def test_lists_that_are_pushed_differ_by_what_has_changed(http_node: HttpNode) -> None:
    """SDKs tell their listeners what was added, changed and removed: the difference of two lists that follow."""

    async def script(world: BothWays) -> None:
        watcher, first, second = await world.connected(), await world.connected(), await world.connected()
        await watch(watcher, "differ")
        await register(first, "differ", port=1)
        await until(lambda: len(watcher.lists("differ")) == 1, "one has come")
        await register(second, "differ", port=2)
        await until(lambda: len(watcher.lists("differ")) == 2, "another has come")
        await ordered(first, "deregisterInstance", "differ", port=1)
        await until(lambda: len(watcher.lists("differ")) == 3, "one has gone")
        assert [ports(each) for each in watcher.lists("differ")] == [[1], [1, 2], [2]]
        times = [each["lastRefTime"] for each in watcher.lists("differ")]
        assert times == sorted(set(times))

    in_both_ways(http_node, script)
