"""What a node says of the clients that it has in hand."""

from __future__ import annotations

from typing import Any

import pytest

from actors.base import Role
from actors.client_manager import ClientManager
from actors.durable_rows import STORE_ORIGIN
from actors.messages.clients import HttpPublication, HttpPublicationsOrdered, OpenSessionOrdered, ReleaseSession
from actors.messages.index import OwnersVisible, SubscriptionsWanted
from actors.messages.io import LogLevelOrdered
from actors.messages.values import NOBODY, RecordKey, Route, Standing, Trail
from actors.records import make_record
from rollbook.errors import Code
from rollbook.known_clients import (
    ClientShown,
    ClientsListed,
    GetClient,
    ListClients,
    ListPublications,
    ListPublishers,
    ListSubscriptions,
    Publication,
    PublicationsListed,
    Publisher,
    PublishersListed,
    SubscriptionsListed,
)
from rollbook.model import Instance, Service
from rollbook.wire import Done, Failed, Publish, SessionKind, SetLogLevel, Subscribe
from tests.support.client_manager_bench import ONE, SERVICE, TWO, copied, manager, now, opened, ordered, publish, told
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import HERE, ORDERS, STOCK, record, route

BEATEN = "10.0.0.9:80#true"


def services(count: int) -> list[Service]:
    return [Service("public", "SHOP", f"s{number:02}") for number in range(count)]


def opened_as(clients: ClientManager, client: str, kind: SessionKind, ip: str, app: str, agent: str) -> Route:
    at = Route(client.encode(), 9)
    clients.handle(OpenSessionOrdered(at, 1, client, 45_000, Standing(ready=True), kind, ip, app, agent), now())
    clients.check_invariants()
    return at


def beaten(clients: ClientManager, client: str, *instances: Instance) -> None:
    """As BeatKeeper says."""
    wanted = HttpPublication(RecordKey(client, SERVICE), 5, 0, instances[0] if instances else None)
    clients.handle(HttpPublicationsOrdered((wanted,), 45_000), now())
    clients.check_invariants()


class AskedNode:
    """A node, and a gateway that asks it."""

    def __init__(self) -> None:
        self.clients = manager()
        self.gateway = opened(self.clients, "gateway-1", 8, b"gateway", kind="gateway")

    def ask(self, body: Any) -> Any:
        (changes, _) = ordered(self.clients, self.gateway, body)
        (reply,) = changes.replies
        return reply.body

    def listed(self) -> tuple[str, ...]:
        found: ClientsListed = self.ask(ListClients())
        return found.clients


def test_clients_are_those_with_a_session_and_those_of_whom_something_is_published_here() -> None:
    node = AskedNode()
    sdk = opened_as(node.clients, "sdk-1", "sdk", "10.0.0.7", "shop", "Nacos-Java-Client:v3.1.0")
    opened(node.clients, "native-1", 7, b"n")
    beaten(node.clients, BEATEN, ONE)
    assert node.listed() == (BEATEN, "native-1", "sdk-1"), "a gateway is nobody's client"
    ordered(node.clients, sdk, publish(ONE))
    assert node.listed() == (BEATEN, "native-1", "sdk-1")
    node.clients.handle(ReleaseSession(sdk, "lost"), now())
    assert node.listed() == (BEATEN, "native-1", "sdk-1"), "what it published stays for its grace"
    beaten(node.clients, BEATEN)
    assert node.listed() == ("native-1", "sdk-1")


def test_what_other_nodes_publish_is_theirs_to_tell() -> None:
    node, other = AskedNode(), manager("n2")
    ordered(other, opened(other, "far", 7), publish(ONE))
    copied(other, node.clients)
    assert node.listed() == ()
    assert node.ask(GetClient("far")) == ClientShown("far")
    assert node.ask(ListPublications("far")) == PublicationsListed(())


def test_clients_are_listed_in_pages_each_client_once() -> None:
    node = AskedNode()
    for number in range(5):
        at = opened(node.clients, f"c{number}", 7, b"l%d" % number)
        ordered(node.clients, at, *(Publish(service, (ONE,)) for service in services(3)))
    found: list[str] = []
    after = ""
    for _ in range(20):
        page: ClientsListed = node.ask(ListClients(after, 3))
        assert len(page.clients) <= 3
        found += page.clients
        after = page.next
        if not after:
            break
    assert (found, after) == ([f"c{number}" for number in range(5)], "")


def test_who_a_client_is_is_what_its_session_was_opened_with() -> None:
    node = AskedNode()
    sdk = opened_as(node.clients, "sdk-1", "sdk", "10.0.0.7", "shop", "Nacos-Java-Client:v3.1.0")
    who = ("10.0.0.7", "shop", "Nacos-Java-Client:v3.1.0")
    assert node.ask(GetClient("sdk-1")) == ClientShown("sdk-1", "sdk", *who, 0, 9)
    ordered(node.clients, sdk, publish(ONE, TWO))
    shown = node.ask(GetClient("sdk-1"))
    assert shown == ClientShown("sdk-1", "sdk", *who, 1, now().wall_ms)
    node.clients.handle(ReleaseSession(sdk, "lost"), now())
    assert node.ask(GetClient("sdk-1")) == ClientShown("sdk-1", "lost", publications=1, updated_ms=now().wall_ms)
    opened(node.clients, "native-1", 7, b"n")
    assert node.ask(GetClient("native-1")).kind == "native"
    beaten(node.clients, BEATEN, ONE)
    assert node.ask(GetClient(BEATEN)) == ClientShown(BEATEN, "http", publications=1, updated_ms=now().wall_ms)
    assert node.ask(GetClient("gateway-1")) == ClientShown("gateway-1")


def test_publications_are_told_in_pages_in_order_of_service() -> None:
    node = AskedNode()
    at = opened(node.clients, "c", 7, b"n")
    ordered(node.clients, at, *(Publish(service, (TWO, ONE)) for service in reversed(services(5))))
    told = [Publication(service, (ONE.key, TWO.key)) for service in services(5)]
    assert node.ask(ListPublications("c")) == PublicationsListed(tuple(told))
    first = node.ask(ListPublications("c", None, 3))
    assert first == PublicationsListed(tuple(told[:3]), told[2].service)
    assert node.ask(ListPublications("c", first.next, 3)) == PublicationsListed(tuple(told[3:]))
    beaten(node.clients, BEATEN, ONE)
    assert node.ask(ListPublications(BEATEN)) == PublicationsListed((Publication(SERVICE, (ONE.key,)),))


def test_a_page_of_publications_ends_before_it_has_too_many_instances() -> None:
    node = AskedNode()
    at = opened(node.clients, "c", 7, b"n")
    crowd = tuple(Instance("10.0.0.1", port) for port in range(1, 1_001))
    ordered(node.clients, at, *(Publish(service, crowd) for service in services(11)))
    page = node.ask(ListPublications("c"))
    assert (len(page.publications), page.next) == (10, services(11)[9])
    assert len(node.ask(ListPublications("c", page.next)).publications) == 1


@pytest.mark.parametrize("body", [ListClients(size=0), ListClients(size=1_001), ListPublications("c", None, 1_001)])
def test_a_page_has_a_size(body: Any) -> None:
    failed = AskedNode().ask(body)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.field) == (Code.PARAMETER_INVALID, "size")


# -- what the index knows


def test_the_index_is_asked_for_the_session_of_the_client_that_is_meant() -> None:
    node = AskedNode()
    at = opened(node.clients, "c", 7, b"n")
    changes, _ = ordered(node.clients, node.gateway, ListSubscriptions("c", SERVICE, 5), ListSubscriptions("nobody"))
    wanted = [order.body for order in changes.requests]
    assert wanted == [SubscriptionsWanted(at, SERVICE, 5), SubscriptionsWanted(NOBODY, None, 100)]
    assert {order.route for order in changes.requests} == {node.gateway}


def test_subscriptions_are_told_in_pages_in_order_of_service() -> None:
    index = IndexUnderTest()
    for service in reversed(services(5)):
        index.ask(Subscribe(service), to=route(7))
    index.ask(Subscribe(ORDERS), to=route(8))
    (first, rest, nobody, wrong), _ = index.ask(
        SubscriptionsWanted(route(7), None, 3),
        SubscriptionsWanted(route(7), services(5)[2], 3),
        SubscriptionsWanted(NOBODY, None, 3),
        SubscriptionsWanted(route(7), None, 0),
    )
    assert first == SubscriptionsListed(tuple(services(3)), services(3)[2])
    assert rest == SubscriptionsListed(tuple(services(5)[3:]))
    assert nobody == SubscriptionsListed(())
    assert wrong.field == "size"


def test_publishers_are_those_whose_instances_are_listed_wherever_they_are_connected() -> None:
    index = IndexUnderTest()
    far = record("far", ONE, TWO, origin=STORE_ORIGIN._replace(owner="n2", epoch=7))
    index.put(record("a", ONE), record("b", TWO, seq=2), far, record("gone", seq=3), record("x", ONE, service=STOCK))
    shown = [Publisher("a", (ONE.key,)), Publisher("b", (TWO.key,)), Publisher("far", (ONE.key, TWO.key))]
    (whole, first, rest, unknown), _ = index.ask(
        ListPublishers(ORDERS),
        ListPublishers(ORDERS, "", 2),
        ListPublishers(ORDERS, "b", 1),
        ListPublishers(Service("public", "SHOP", "nothing")),
    )
    assert whole == PublishersListed(tuple(shown))
    assert first == PublishersListed(tuple(shown[:2]), "b")
    assert rest == PublishersListed((shown[2],), "far")
    assert unknown == PublishersListed(())
    index.handle(OwnersVisible(((HERE, 15_000),)))
    (left,), _ = index.ask(ListPublishers(ORDERS))
    assert left == PublishersListed((shown[2],))


def test_an_sdk_that_has_come_back_as_another_client_is_one_publisher() -> None:
    index = IndexUnderTest()
    known = record("old", ONE), record("new", ONE, seq=2)
    old, new = (
        make_record(HERE, each.key, 1, each.seq, 1, 45_000, each.instances, trail)
        for each, trail in zip(known, (Trail(7, 10_000, 90_000), Trail(7, 91_000)), strict=True)
    )
    index.put(old)
    (before,), _ = index.ask(ListPublishers(ORDERS))
    index.put(new)
    (after,), _ = index.ask(ListPublishers(ORDERS))
    assert [publisher.client_id for publisher in (*before.publishers, *after.publishers)] == ["old", "new"]


# -- the log


def test_the_level_of_the_log_is_passed_on_once_whatever_was_said_before_in_the_same_moment() -> None:
    node = AskedNode()
    levels = (SetLogLevel("DEBUG"), SetLogLevel("WARNING"))
    changes, effects = ordered(node.clients, node.gateway, *levels)
    assert [reply.body for reply in changes.replies] == [Done(), Done()]
    assert told(effects, LogLevelOrdered, Role.IO) == [LogLevelOrdered("WARNING")]
    _, effects = ordered(node.clients, node.gateway, GetClient("c"))
    assert told(effects, LogLevelOrdered) == []
