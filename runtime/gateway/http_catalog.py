"""Which services and instances there are, for consoles: page by page, by pattern, with counts or with everything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from rollbook.catalog import Catalog, CatalogEntry, ListCatalog
from rollbook.errors import Code, InvalidField
from rollbook.model import Service
from rollbook.wire import PAGE_SIZE_MAX
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import ANY_METHOD, AnswerStyle, HttpRoute
from runtime.gateway.http_services import V3_PLACES
from runtime.gateway.http_views import AsksNode
from runtime.gateway.kept_services import KeptServices, KnownService
from runtime.gateway.parameters import service_of
from runtime.gateway.service_names import places_of
from runtime.gateway.service_shapes import (
    clusters_of_service,
    detail_of_catalog,
    detail_shape,
    entry_shape,
    page_shape,
)
from runtime.gateway.shapes import instance_shape

SERVICES_MAX = 500  # of a page
DETAILED_MAX = 100  # of a page that has all their instances
INSTANCES_MAX = 10_000  # of such a page
INSTANCES_OF_PAGE_MAX = 1_000
QUESTIONS_AT_ONCE = 32


class HttpCatalog:
    def __init__(self, node: AsksNode) -> None:
        self._node = node
        self._kept = KeptServices(node)

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        table = [
            HttpRoute("GET", "/v1/ns/catalog/services", words, self._services_of_v1),
            HttpRoute("GET", "/v1/ns/catalog/service", words, self._service),
            HttpRoute(ANY_METHOD, "/v1/ns/catalog/instances", words, self._instances_of_v1),
            HttpRoute(ANY_METHOD, "/v2/ns/catalog/instances", result, self._instances_of_v2),
        ]
        return table + [HttpRoute("GET", f"{place}/service/list", result, self._services) for place in V3_PLACES]

    # -- services

    async def _services_of_v1(self, call: HttpCall) -> object:
        page, size = page_of(call, is_required=True)
        ignores_empty = call.flag("hasIpCount", default=False)
        if not call.flag("withInstances", default=False):
            found = await self._found(call, page, min(size, SERVICES_MAX), with_empty=not ignores_empty)
            return {"count": found.total, "serviceList": [entry_shape(entry) for entry in found.services]}
        found = await self._found(call, page, min(size, DETAILED_MAX), with_empty=not ignores_empty)
        shapes = [detail_shape(known, with_hosts=True) for known in await self._detailed(call, found.services)]
        return [
            {
                "serviceName": shape.service_name,
                "groupName": shape.group_name,
                "clusterMap": shape.cluster_map,
                "metadata": shape.metadata,
            }
            for shape in shapes
        ]

    async def _services(self, call: HttpCall) -> object:
        page, size = page_of(call)
        with_empty = not call.flag("ignoreEmptyService", default=False)
        items: list[object]
        if call.flag("withInstances", default=False):
            size = min(size, DETAILED_MAX)
            found = await self._found(call, page, size, with_empty=with_empty)
            items = [detail_shape(known, with_hosts=True) for known in await self._detailed(call, found.services)]
        else:
            size = min(size, SERVICES_MAX)
            found = await self._found(call, page, size, with_empty=with_empty)
            items = [entry_shape(entry) for entry in found.services]
        return page_shape(items, found.total, page, size)

    async def _found(self, call: HttpCall, page: int, size: int, *, with_empty: bool) -> Catalog:
        """The node may tell less at once."""
        namespace = _namespace(call)
        group, name = (_pattern(call.text(parameter)) for parameter in ("groupNameParam", "serviceNameParam"))
        first, last = places_of(page, size)
        entries: list[CatalogEntry] = []
        while True:
            order = ListCatalog(namespace, group, name, first, min(last - first, PAGE_SIZE_MAX), with_empty)
            found: Catalog = await self._node.ask(order)
            entries += found.services
            first += len(found.services)
            if first >= min(last, found.total) or not found.services:
                return Catalog(found.total, tuple(entries), found.warming)

    async def _detailed(self, call: HttpCall, entries: Sequence[CatalogEntry]) -> list[KnownService]:
        if sum(entry.instances for entry in entries) > INSTANCES_MAX:
            sentence = f"these services have more than {INSTANCES_MAX} instances: ask for smaller pages"
            raise InvalidField(sentence, field="pageSize")
        services = [Service(_namespace(call), entry.group, entry.name) for entry in entries]
        known: list[KnownService] = []
        for first in range(0, len(services), QUESTIONS_AT_ONCE):
            some = services[first : first + QUESTIONS_AT_ONCE]
            known += await asyncio.gather(*(self._kept.known(service) for service in some))
        return known

    async def _service(self, call: HttpCall) -> object:
        return detail_of_catalog(await self._existing(call))

    # -- instances of one service

    async def _instances_of_v1(self, call: HttpCall) -> object:
        cluster = call.required("clusterName", is_declared=True)
        page, size = page_of(call, is_required=True)
        known = await self._existing(call)
        if cluster not in clusters_of_service(known):
            raise _absent(f"cluster {cluster[:64]} is not found!")
        chosen = [one for one in known.view.instances if one.cluster == cluster]
        first, last = places_of(page, min(size, INSTANCES_OF_PAGE_MAX))
        shown = [instance_shape(known.service, one) for one in chosen[first:last]]
        return {"list": shown, "count": len(chosen)}

    async def _instances_of_v2(self, call: HttpCall) -> object:
        """An empty page has no list."""
        page, size = page_of(call, is_required=True)
        is_healthy, is_enabled = call.flag_or_none("healthyOnly"), call.flag_or_none("enabledOnly")
        known = await self._existing(call)
        chosen = [
            one for one in known.view.instances if (one.healthy or not is_healthy) and (one.enabled or not is_enabled)
        ]
        first, last = places_of(page, min(size, INSTANCES_OF_PAGE_MAX))
        shown = [instance_shape(known.service, one) for one in chosen[first:last]]
        return {**({"instances": shown} if shown else {}), "count": len(chosen)}

    async def _existing(self, call: HttpCall) -> KnownService:
        known = await self._kept.known(call.service())
        if not known.exists:
            raise _absent(f"service {known.service.grouped_name} is not found!", Code.SERVICE_NOT_FOUND)
        return known


def page_of(call: HttpCall, *, is_required: bool = False, size: int = 100) -> tuple[int, int]:
    """Its number and how long it is at most, ``size`` if nobody says. InvalidField for less than one of either."""
    page = call.whole_number("pageNo", default=None if is_required else 1)
    size = call.whole_number("pageSize", default=None if is_required else size)
    for name, value in (("pageNo", page), ("pageSize", size)):
        if value < 1:
            raise InvalidField(f"{name} must be at least 1, not {value}", field=name)
    return page, size


def _namespace(call: HttpCall) -> str:
    return service_of(call.text("namespaceId"), "", "any").namespace


def _pattern(said: str) -> str:
    """What is in a name; of stars around it nothing depends."""
    core = said.strip("*")
    return f"*{core}*" if core else "*"


def _absent(text: str, code: int = ResultCode.NOT_FOUND) -> HttpRefused:
    return HttpRefused(HTTPStatus.NOT_FOUND, text, code)
