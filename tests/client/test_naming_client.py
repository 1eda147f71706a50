"""NamingClient over real sockets."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rollbook import (
    ClientClosed,
    ClientIdInUse,
    ClusterUnreachable,
    Difference,
    Instance,
    InstanceList,
    InvalidField,
    NamingClient,
    NoHealthyInstance,
    Service,
)
from rollbook.errors import Code
from rollbook.status_question import fetch_status
from rollbook.wire import CloseSession, Failed, OpenSession, Publish, Query
from tests.support.real_cluster import until
from tests.support.small_registry import SmallRegistry, registries

ORDERS = Service("public", "DEFAULT_GROUP", "orders")


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    with SmallRegistry() as started:
        yield started


@pytest.fixture
def client(registry: SmallRegistry) -> Iterator[NamingClient]:
    with NamingClient([registry.address]) as made:
        yield made


class Calls:
    """A callback that keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[InstanceList, Difference]] = []

    def __call__(self, instances: InstanceList, changes: Difference) -> None:
        self.seen.append((instances, changes))

    def ports(self) -> list[list[int]]:
        return [[instance.port for instance in instances] for instances, _ in self.seen]


def ports(registry: SmallRegistry) -> list[int]:
    return sorted(key.port for key in registry.instances(ORDERS))


def test_registrations_of_one_service_add_up_and_are_found(registry: SmallRegistry, client: NamingClient) -> None:
    client.register_instance("orders", "10.0.0.1", 80, weight=2, metadata={"zone": "a"})
    client.register_instances("orders", [Instance("10.0.0.1", 81), Instance("10.0.0.1", 82, enabled=False)])
    found = client.get_all_instances("orders")
    assert [instance.port for instance in found] == [80, 81], "a disabled instance is not for callers"
    assert found[0].weight == 2.0
    assert found[0].metadata == {"zone": "a"}
    assert not found.stale
    client.deregister_instance("orders", "10.0.0.1", 80)
    assert ports(registry) == [81, 82]


def test_the_second_question_is_answered_from_the_cache(registry: SmallRegistry, client: NamingClient) -> None:
    first = client.get_all_instances("orders")
    assert client.get_all_instances("orders") is first
    assert client.get_subscribed_services() == [ORDERS]
    client.get_all_instances("orders", subscribe=False)
    assert sum(isinstance(body, Query) for body in registry.requests) == 1


def test_selection_filters_by_cluster_health_and_weight(client: NamingClient) -> None:
    client.register_instances(
        "orders",
        [
            Instance("10.0.0.1", 80, "east"),
            Instance("10.0.0.1", 81, "west"),
            Instance("10.0.0.1", 82, "east", healthy=False),
            Instance("10.0.0.1", 83, "east", weight=0.0),
        ],
    )
    assert [found.port for found in client.select_instances("orders", clusters=["east"])] == [80]
    assert [found.port for found in client.select_instances("orders", healthy=False)] == [82]
    assert client.select_one_healthy_instance("orders", clusters="west").port == 81
    with pytest.raises(NoHealthyInstance):
        client.select_one_healthy_instance("nobody")


def test_subscribers_are_told_what_changed(registry: SmallRegistry, client: NamingClient) -> None:
    calls = Calls()
    client.subscribe("orders", calls)
    with NamingClient([registry.address]) as publisher:
        publisher.register_instance("orders", "10.0.0.1", 80)
        until(lambda: len(calls.seen) == 1, 5, "the addition is told")
        publisher.register_instance("orders", "10.0.0.1", 80, weight=5)
        until(lambda: len(calls.seen) == 2, 5, "the change is told")
    until(lambda: len(calls.seen) == 3, 5, "the removal is told")
    kinds = [[len(kind) for kind in changes] for _, changes in calls.seen]
    assert kinds == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert calls.seen[2][0] == ()


def test_a_late_subscriber_is_first_told_all_there_is(client: NamingClient) -> None:
    client.register_instances("orders", [Instance("10.0.0.1", 80, "east"), Instance("10.0.0.1", 81, "west")])
    client.get_all_instances("orders")
    calls = Calls()
    client.subscribe("orders", calls, clusters="west")
    client.subscribe("orders", calls, clusters="west")
    until(lambda: calls.seen, 5, "the state is told")
    assert calls.ports() == [[81]], "and once only"


def test_a_callback_that_fails_is_logged_and_costs_nobody_else(
    client: NamingClient, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()

    def broken(instances: InstanceList, changes: Difference) -> None:
        raise RuntimeError("a broken callback")

    with caplog.at_level(logging.ERROR, logger="rollbook"):
        client.subscribe("orders", broken)
        client.subscribe("orders", calls)
        client.register_instance("orders", "10.0.0.1", 80)
        until(lambda: calls.ports() == [[80]], 5, "the other one is told")
    assert "a broken callback" in caplog.text


def test_while_a_callback_runs_changes_become_one(client: NamingClient) -> None:
    entered, go = threading.Event(), threading.Event()
    seen: list[tuple[list[int], int]] = []

    def slow(instances: InstanceList, changes: Difference) -> None:
        seen.append(([instance.port for instance in instances], len(changes.added)))
        entered.set()
        go.wait(5)

    client.subscribe("orders", slow)
    client.register_instance("orders", "10.0.0.1", 80)
    assert entered.wait(5)
    for port in range(81, 90):
        client.register_instance("orders", "10.0.0.1", port)
    until(lambda: len(client.get_all_instances("orders")) == 10, 5, "the cache has all")
    go.set()
    until(lambda: len(seen) == 2, 5, "the rest is told")
    assert seen[1] == (list(range(80, 90)), 9)


def test_a_callback_may_call_the_client(client: NamingClient) -> None:
    found: list[Any] = []
    client.subscribe("orders", lambda *_: found.append(client.get_services()))
    client.register_instance("orders", "10.0.0.1", 80)
    until(lambda: found, 5, "the callback has its answer")
    assert found[0] == (1, ("orders",))


def test_after_unsubscribe_nobody_is_called_and_the_cache_is_empty(client: NamingClient) -> None:
    calls = Calls()
    client.subscribe("orders", calls)
    client.unsubscribe("orders", calls)
    assert client.get_subscribed_services() == []
    client.register_instance("orders", "10.0.0.1", 80)
    assert [found.port for found in client.get_all_instances("orders")] == [80]
    assert calls.seen == []


def test_a_service_read_through_the_cache_stays_there_when_a_callback_goes(client: NamingClient) -> None:
    calls = Calls()
    client.get_all_instances("orders")
    client.subscribe("orders", calls)
    client.unsubscribe("orders", calls)
    assert client.get_subscribed_services() == [ORDERS]
    client.unsubscribe("orders")
    assert client.get_subscribed_services() == []


def test_services_are_listed_by_page(client: NamingClient) -> None:
    for name in ("orders", "billing", "audit"):
        client.register_instance(name, "10.0.0.1", 80)
    assert client.get_services(1, 2) == (3, ("audit", "billing"))
    assert client.get_services(2, 2).names == ("orders",)


def test_many_threads_may_use_one_client(registry: SmallRegistry, client: NamingClient) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda port: client.register_instance("orders", "10.0.0.1", port), range(1, 301)))
    assert ports(registry) == list(range(1, 301))


def test_a_client_fails_over_and_redoes_everything() -> None:
    with registries(2) as (one, two), NamingClient([one.address, two.address]) as client:
        calls = Calls()
        client.register_instance("orders", "10.0.0.1", 80)
        client.subscribe("billing", calls)
        first, second = (one, two) if client.server == one.address else (two, one)
        first.kill()
        until(lambda: ports(second) == [80], 5, "the registration is at the other node")
        with NamingClient([second.address]) as other:
            other.register_instance("billing", "10.0.0.2", 90)
            until(lambda: calls.seen, 5, "the subscription is at the other node")
        assert calls.ports()[0] == [90]


def test_calls_during_a_failover_succeed() -> None:
    with registries(2) as (one, two), NamingClient([one.address, two.address]) as client:
        client.register_instance("orders", "10.0.0.1", 80)
        (one if client.server == one.address else two).kill()
        client.register_instance("orders", "10.0.0.1", 81)
        assert [found.port for found in client.get_all_instances("orders")] == [80, 81]


def test_with_every_node_down_the_cache_answers_flagged_stale_and_recovers(
    registry: SmallRegistry, client: NamingClient
) -> None:
    client.register_instance("orders", "10.0.0.1", 80)
    assert not client.get_all_instances("orders").stale
    registry.kill()
    until(lambda: client.get_all_instances("orders").stale, 5, "the loss is noticed")
    assert [found.port for found in client.get_all_instances("orders")] == [80]
    assert client.select_one_healthy_instance("orders").port == 80
    registry.start()
    until(lambda: not client.get_all_instances("orders").stale, 5, "the cache is fresh again")
    assert ports(registry) == [80]


def test_a_dead_cluster_gives_a_typed_error_in_bounded_time() -> None:
    with NamingClient("127.0.0.1:1,127.0.0.1:2", timeout=0.3) as client:
        started = time.monotonic()
        with pytest.raises(ClusterUnreachable, match=r"127\.0\.0\.1:1: connection refused"):
            client.register_instance("orders", "10.0.0.1", 80)
        assert client.get_server_status() == "DOWN"
        assert time.monotonic() - started < 1.5


def test_a_silent_node_gives_a_typed_error_in_bounded_time(registry: SmallRegistry) -> None:
    with NamingClient([registry.address], timeout=0.3) as client:
        assert client.get_server_status() == "UP"
        registry.silent.set()
        started = time.monotonic()
        with pytest.raises(ClusterUnreachable):
            client.get_all_instances("orders")
        assert time.monotonic() - started < 1.0
        registry.silent.clear()


def test_what_a_registration_asked_for_is_done_when_a_node_can_be_reached() -> None:
    registry = SmallRegistry()
    with registry, NamingClient([registry.address], timeout=0.3) as client:
        registry.kill()
        with pytest.raises(ClusterUnreachable):
            client.register_instance("orders", "10.0.0.1", 80)
        registry.start()
        until(lambda: ports(registry) == [80], 5, "it is registered after all")


def test_close_withdraws_and_is_harmless_when_repeated(registry: SmallRegistry) -> None:
    client = NamingClient([registry.address])
    client.register_instance("orders", "10.0.0.1", 80)
    client.close()
    assert ports(registry) == []
    assert registry.requests[-1] == CloseSession("leave")
    client.close()
    with pytest.raises(ClientClosed):
        client.register_instance("orders", "10.0.0.1", 80)
    with pytest.raises(ClientClosed):
        client.get_all_instances("orders")


def test_close_is_bounded_with_every_node_down(registry: SmallRegistry) -> None:
    client = NamingClient([registry.address], timeout=0.5)
    client.register_instance("orders", "10.0.0.1", 80)
    registry.kill()
    started = time.monotonic()
    client.close()
    assert time.monotonic() - started < 1.5


def test_close_ends_calls_that_wait(registry: SmallRegistry) -> None:
    client = NamingClient([registry.address], timeout=30.0)
    assert client.get_server_status() == "UP"
    registry.silent.set()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get_all_instances, "orders", subscribe=False)
        until(lambda: any(isinstance(body, Query) for body in registry.requests), 5, "the question is asked")
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(5)


def test_close_from_a_callback_ends_the_client(registry: SmallRegistry) -> None:
    client = NamingClient([registry.address])
    closed = threading.Event()

    def last(instances: InstanceList, changes: Difference) -> None:
        client.close()
        closed.set()

    client.subscribe("orders", last)
    with contextlib.suppress(ClientClosed):  # the list may come before the answer
        client.register_instance("orders", "10.0.0.1", 80)
    assert closed.wait(5)


def test_a_refused_session_is_named_in_the_error(registry: SmallRegistry) -> None:
    registry.refusal = Failed(Code.OVER_LIMIT, "20000 sessions are enough", retryable=True)
    client = NamingClient([registry.address], timeout=0.3)
    with client, pytest.raises(ClusterUnreachable, match="20000 sessions are enough"):
        client.get_services()


def test_a_stranger_with_the_same_id_is_told_once_and_for_ever(registry: SmallRegistry, client: NamingClient) -> None:
    client.register_instance("orders", "10.0.0.1", 80)
    registry.refusal = Failed(Code.CLIENT_ID_IN_USE, "in use")
    registry.kill()
    registry.start()
    until(lambda: client._ended is not None, 5, "the client is told")
    with pytest.raises(ClientIdInUse):
        client.get_all_instances("orders")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"servers": []}, "servers"),
        ({"servers": ["nowhere"]}, "servers"),
        ({"servers": ["a:70000"]}, "servers"),
        ({"servers": "a:1", "timeout": 0}, "timeout"),
        ({"servers": "a:1", "timeout": float("nan")}, "timeout"),
        ({"servers": "a:1", "namespace": "no space"}, "namespace"),
        ({"servers": "a:1", "client_id": "no space"}, "client_id"),
        ({"servers": "a:1", "app": "x" * 129}, "app"),
        ({"servers": "a:1", "app": "\ud800"}, "app"),
        ({"servers": "a:1", "timeout": 1e12}, "timeout"),
        ({"servers": "a:1", "timeout": "3"}, "timeout"),
        ({"servers": "*:1"}, "servers"),
        ({"servers": [8850]}, "servers"),
    ],
)
def test_a_wrong_setting_is_named(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        NamingClient(**arguments)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"port": 70_000}, "port"),
        ({"port": "80"}, "port"),
        ({"ip": ""}, "ip"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"cluster": "a,b"}, "cluster"),
        ({"group": "no space"}, "group"),
        ({"service": "a@@b"}, "service"),
        ({"service": 5}, "service"),
        ({"wait": "for ever"}, "wait"),
        ({"metadata": {"k": "v" * 1_024}}, "metadata"),
        ({"metadata": "k=v"}, "metadata"),
        ({"metadata": {"k": "\ud800"}}, "instance"),
        ({"service": "\ud800"}, "service"),
        ({"ip": "\ud800"}, "instance"),
        ({"weight": 2**2_000}, "weight"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(arguments: dict[str, Any], field: str) -> None:
    client = NamingClient(["127.0.0.1:1"])
    with pytest.raises(InvalidField) as caught:
        client.register_instance(**{"service": "orders", "ip": "10.0.0.1", "port": 80, **arguments})
    assert caught.value.field == field
    client.close()


def test_a_client_opens_one_session_for_all_its_calls(registry: SmallRegistry, client: NamingClient) -> None:
    for port in (80, 81):
        client.register_instance("orders", "10.0.0.1", port)
    kinds = [type(body) for body in registry.requests]
    assert kinds.count(OpenSession) == 1
    assert kinds.count(Publish) == 2


def test_the_status_of_a_node_needs_no_session(registry: SmallRegistry, client: NamingClient) -> None:
    assert fetch_status(registry.address, 2.0).node_id == "small"
    assert registry.clients() == set()
    assert client.get_node_status().sessions == 1
    registry.kill()
    with pytest.raises(ClusterUnreachable):
        fetch_status(registry.address, 0.2)
