"""What IndexManager answers of many services at once: catalogs, counts, subscribers."""

from __future__ import annotations

import pytest

from actors.durable_rows import STORE_ORIGIN
from actors.messages.index import OverlaysChanged, OwnersVisible, RecordsChanged, SubscribersReleased
from actors.messages.values import Order
from rollbook.catalog import (
    Catalog,
    CatalogEntry,
    CountServices,
    ListCatalog,
    ListSubscribers,
    NamespaceCount,
    ServicesCounted,
    Subscriber,
    Subscribers,
)
from rollbook.model import Service
from rollbook.wire import ListServices, Services, Subscribe
from tests.support.index_bench import IndexUnderTest
from tests.support.registry import HERE, ORDERS, STOCK, THERE, instance, record, route

ONE, TWO, EAST = instance(1), instance(2), instance(3, "east")
SICK = instance(4, healthy=False)
EMPTY = Service("public", "FRONT", "empty")
GROUP = ORDERS.group


@pytest.fixture
def index() -> IndexUnderTest:
    return IndexUnderTest()


def catalog(index: IndexUnderTest, order: ListCatalog | None = None) -> Catalog:
    (answer,), _ = index.ask(order or ListCatalog("public"))
    assert isinstance(answer, Catalog)
    return answer


def counted(index: IndexUnderTest) -> ServicesCounted:
    (answer,), _ = index.ask(CountServices())
    assert isinstance(answer, ServicesCounted)
    return answer


def test_a_catalog_counts_what_is_listed_of_each_service(index: IndexUnderTest) -> None:
    index.put(record("a", ONE, EAST, SICK), record("b", ONE), record("c", TWO, service=STOCK))
    index.handle(OverlaysChanged(((STOCK, 0.25), (EMPTY, 0.0))))
    assert catalog(index) == Catalog(
        3,
        (
            CatalogEntry(GROUP, "orders", 2, 3, 2),
            CatalogEntry(GROUP, "stock", 1, 1, 1, 0.25),
            CatalogEntry("FRONT", "empty"),
        ),
    )


def test_services_without_instances_are_in_it_as_long_as_they_have_settings_and_are_wanted(
    index: IndexUnderTest,
) -> None:
    index.put(record("a", ONE))
    index.handle(OverlaysChanged(((EMPTY, 0.5),)))
    index.ask(Subscribe(STOCK))
    names = [entry.name for entry in catalog(index).services]
    assert names == ["orders", "empty"], "nobody has put the one that is only subscribed to"
    assert catalog(index, ListCatalog("public", with_empty=False)).total == 1
    index.handle(OverlaysChanged(((EMPTY, None),)))
    assert catalog(index).total == 1


def test_a_protected_service_is_counted_as_it_is_and_not_as_it_is_shown(index: IndexUnderTest) -> None:
    index.put(record("a", ONE, SICK))
    index.handle(OverlaysChanged(((ORDERS, 0.5),)))
    assert all(one.healthy for one in index.view().instances)
    assert catalog(index).services == (CatalogEntry(GROUP, "orders", 1, 2, 1, 0.5),)


def test_a_catalog_is_read_in_pages_by_pattern(index: IndexUnderTest) -> None:
    names = ["alpha", "beta", "gamma", "gamma2"]
    for seq, name in enumerate(names, 1):
        index.put(record("a", ONE, service=Service("public", "SHOP", name), seq=seq))
    page = catalog(index, ListCatalog("public", "S*", "*a*", 1, 2))
    assert (page.total, [entry.name for entry in page.services]) == (4, ["beta", "gamma"])
    assert catalog(index, ListCatalog("public", "S*", "gamma*", 2, 2)) == Catalog(2)
    assert catalog(index, ListCatalog("other")) == Catalog(0)


def test_a_page_ends_behind_a_service_with_very_many_instances(index: IndexUnderTest) -> None:
    crowd = [tuple(instance(port, f"c{client}") for port in range(1_000)) for client in range(10)]
    index.put(*(record(f"c{client}", *crowd[client]) for client in range(10)))
    index.put(record("z", ONE, service=STOCK))
    first = catalog(index)
    assert (first.total, [entry.instances for entry in first.services]) == (2, [10_000])
    second = catalog(index, ListCatalog("public", first=1))
    assert (second.total, [entry.name for entry in second.services]) == (2, ["stock"])


def test_names_are_listed_with_those_of_services_that_have_only_settings_if_asked(index: IndexUnderTest) -> None:
    index.put(record("a", ONE))
    index.handle(OverlaysChanged(((STOCK, 0.0), (ORDERS, 0.0))))
    (plain, whole), _ = index.ask(
        ListServices("public", GROUP), ListServices("public", GROUP, page=1, size=10, with_empty=True)
    )
    assert (plain, whole) == (Services(1, ("orders",)), Services(2, ("orders", "stock")))


def test_instances_are_counted_once_however_many_clients_publish_them(index: IndexUnderTest) -> None:
    other = Service("prod", "SHOP", "orders")
    index.put(record("a", ONE, TWO), record("b", ONE), record("c", ONE, service=other, origin=THERE))
    index.put(record("kept 1", TWO, service=STOCK, origin=STORE_ORIGIN))
    assert counted(index) == ServicesCounted(3, 4, (NamespaceCount("prod", 1, 1), NamespaceCount("public", 2, 3)))
    index.put(record("a", seq=2), record("b", ONE, EAST, SICK, seq=3))
    assert counted(index).instances == 5
    index.handle(OwnersVisible(((HERE, 15_000),)))
    assert counted(index) == ServicesCounted(2, 2, (NamespaceCount("prod", 1, 1), NamespaceCount("public", 1, 1)))


def test_who_subscribes_is_told_page_by_page_but_for_gateways(index: IndexUnderTest) -> None:
    who = [Subscriber(f"c{number}", "10.0.0.1", "shop", "python") for number in range(3)]

    def subscribe(number: int, subscriber: Subscriber | None) -> None:
        client = subscriber.client_id if subscriber is not None else "gateway"
        order = Order(route(number), 1, Subscribe(ORDERS), client, subscriber)
        index.handle(RecordsChanged(requests=(order,)))

    for number in (2, 0, 1):
        subscribe(number, who[number])
    subscribe(3, None)
    (whole, page, nobody), _ = index.ask(ListSubscribers(ORDERS), ListSubscribers(ORDERS, 1, 1), ListSubscribers(STOCK))
    assert whole == Subscribers(3, tuple(who))
    assert page == Subscribers(3, (who[1],))
    assert nobody == Subscribers(0)
    index.handle(SubscribersReleased((route(1),)))
    (rest,), _ = index.ask(ListSubscribers(ORDERS))
    assert rest == Subscribers(2, (who[0], who[2]))
