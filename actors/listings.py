"""What the index answers of many services at once: names, patterns, a catalog with counts, who subscribes.

Pure questions; IndexManager owns the index that they look at. Every answer is a page, and bounded in work as well as in
size: whoever wants more asks on.
"""

from __future__ import annotations

from actors.service_index import ServiceIndex
from rollbook.catalog import (
    Catalog,
    CatalogEntry,
    FindServices,
    ListCatalog,
    ListSubscribers,
    NamespaceCount,
    ServicesCounted,
    ServicesFound,
    Subscribers,
)
from rollbook.errors import InvalidField
from rollbook.model import Service
from rollbook.wire import PAGE_SIZE_MAX, ListServices, Services

COUNTED_PER_PAGE_MAX = 10_000  # instances, whose lists may have to be made anew: some 20 ms of the index
NAMESPACES_PER_ANSWER_MAX = 1_000


def listed(index: ServiceIndex, order: ListServices) -> Services:
    if order.page < 1:
        raise InvalidField(f"pages are counted from 1, not {order.page}", field="page")
    _check_page_size(order.size)
    if order.with_empty:
        names = index.known_names(order.namespace, order.group)
    else:
        names = index.live_names(order.namespace, order.group)
    first = (order.page - 1) * order.size
    return Services(len(names), tuple(names[first : first + order.size]))


def found(index: ServiceIndex, order: FindServices) -> ServicesFound:
    _check_page_size(order.size)
    patterns = (order.group_pattern, order.name_pattern)
    is_warming = _is_warming(index)
    number, news = index.news_of(order.namespace, *patterns, order.since)
    if news is not None and len(news) <= order.size:
        came = tuple((each.group, each.name) for each, is_live in sorted(news.items()) if is_live)
        went = tuple((each.group, each.name) for each, is_live in sorted(news.items()) if not is_live)
        return ServicesFound(number, False, len(news), came, went, is_warming)
    matching = index.matching_services(order.namespace, *patterns)
    return ServicesFound(number, True, len(matching), tuple(matching[: order.size]), (), is_warming)


def catalogued(index: ServiceIndex, order: ListCatalog, wall_ms: int) -> Catalog:
    _check_first(order.first)
    _check_page_size(order.size)
    patterns = (order.group_pattern, order.name_pattern)
    matching = index.matching_services(order.namespace, *patterns, with_empty=order.with_empty)
    entries: list[CatalogEntry] = []
    counted = 0
    for group, name in matching[order.first : order.first + order.size]:
        entries.append(_entry_of(index, Service(order.namespace, group, name), wall_ms))
        counted += entries[-1].instances
        if counted >= COUNTED_PER_PAGE_MAX:
            break
    return Catalog(len(matching), tuple(entries), _is_warming(index))


def counted(index: ServiceIndex) -> ServicesCounted:
    counts: dict[str, NamespaceCount] = {}
    for namespace, services, instances in index.settled_counts():
        before = counts.get(namespace, NamespaceCount(namespace, 0, 0))
        counts[namespace] = NamespaceCount(namespace, before.services + services, before.instances + instances)
    used = [counts[namespace] for namespace in sorted(counts) if counts[namespace].services]
    services = sum(count.services for count in used)
    return ServicesCounted(services, sum(count.instances for count in used), tuple(used[:NAMESPACES_PER_ANSWER_MAX]))


def subscribers(index: ServiceIndex, order: ListSubscribers) -> Subscribers:
    _check_first(order.first)
    _check_page_size(order.size)
    entry = index.entries.get(order.service)
    who = [each for each in entry.subscribers.values() if each is not None] if entry is not None else []
    who.sort(key=lambda each: each.client_id)
    return Subscribers(len(who), tuple(who[order.first : order.first + order.size]))


def _entry_of(index: ServiceIndex, service: Service, wall_ms: int) -> CatalogEntry:
    threshold = index.views.overlays.threshold_of(service)
    entry = index.entries.get(service)
    if entry is None:
        return CatalogEntry(service.group, service.name, protection_threshold=threshold)
    instances = index.views.of(entry, wall_ms).instances
    clusters = len({instance.cluster for instance in instances})
    healthy = index.views.healthy_count(entry, wall_ms)
    return CatalogEntry(service.group, service.name, clusters, len(instances), healthy, threshold)


def _is_warming(index: ServiceIndex) -> bool:
    return index.views.warming or index.views.is_store_unread


def _check_page_size(size: int) -> None:
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise InvalidField(f"size must lie between 1 and {PAGE_SIZE_MAX}, not {size}", field="size")


def _check_first(first: int) -> None:
    if first < 0:
        raise InvalidField(f"services and subscribers are counted from 0, not {first}", field="first")
