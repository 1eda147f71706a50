"""Services over HTTP: to create, change, delete and show them, and their names.

A service exists when somebody has put settings of it or when it has instances, of whatever kind: what a service is
created for says nothing of who may publish it.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from rollbook.catalog import Catalog, CountServices, ListCatalog, ServicesCounted
from rollbook.durable import ServiceSettings
from rollbook.durable_bodies import DeleteService, ListNamespaces, Namespaces, PutService
from rollbook.errors import Code, RollbookError
from rollbook.wire import PAGE_SIZE_MAX
from runtime.gateway.http_calls import HttpCall, metadata_of
from runtime.gateway.http_errors import HttpRefused
from runtime.gateway.http_instances import OK
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, rest_result
from runtime.gateway.http_views import AsksNode
from runtime.gateway.kept_services import KeptServices, KnownService
from runtime.gateway.parameters import listed_group, service_of, texts_of
from runtime.gateway.service_names import NAMES_MAX, NamesPage, names_of, places_of
from runtime.gateway.service_shapes import SELECTORS, check_selector, detail_of_v1, detail_of_v2, detail_shape

V3_PLACES = ("/v3/admin/ns", "/v3/console/ns")  # the same for operators and for the console
_NAMES_OF_V2_MAX = 500
_NOT_DELETED: dict[int, str] = {
    Code.SERVICE_NOT_FOUND: "service {} not found!",
    Code.SERVICE_IN_USE: "Service {} is not empty, can't be delete. Please unregister instance first",
}


class HttpServices:
    def __init__(self, node: AsksNode) -> None:
        self._node = node
        self._kept = KeptServices(node)

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        table = [
            HttpRoute("GET", "/v1/ns/service", words, self._show_of_v1),
            HttpRoute("GET", "/v1/ns/service/list", words, self._list_of_v1),
            HttpRoute("GET", "/v1/ns/service/names", words, self._names),
            HttpRoute("GET", "/v1/ns/service/selector/types", words, self._selectors_of_v1),
            HttpRoute("PUT", "/v1/ns/service", words, self._update_of_v1),
            HttpRoute("GET", "/v2/ns/service", result, self._show_of_v2),
            HttpRoute("GET", "/v2/ns/service/list", result, self._list_of_v2),
            HttpRoute("PUT", "/v2/ns/service", result, self._update),
        ]
        for place in V3_PLACES:
            table += [
                HttpRoute("GET", f"{place}/service", result, self._show),
                HttpRoute("GET", f"{place}/service/selector/types", result, self._selectors),
                HttpRoute("PUT", f"{place}/service", result, self._update),
            ]
        for place in ("/v1/ns", "/v2/ns", *V3_PLACES):
            style = words if place == "/v1/ns" else result
            table.append(HttpRoute("POST", f"{place}/service", style, self._create))
            table.append(HttpRoute("DELETE", f"{place}/service", style, self._delete))
        return table

    # -- one service

    async def _create(self, call: HttpCall) -> object:
        service, settings = call.service(), _settings(call, ServiceSettings())
        exists = (await self._kept.known(service)).exists
        try:
            if not exists:
                await self._node.ask(PutService(service, settings, "create"))
        except RollbookError as error:
            if error.code != Code.SERVICE_EXISTS:
                raise
            exists = True
        if exists:
            sentence = f"specified service {service.grouped_name} already exists!"
            raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, Code.SERVICE_EXISTS)
        return OK

    async def _update_of_v1(self, call: HttpCall) -> object:
        call.required("protectThreshold")
        return await self._update(call)

    async def _update(self, call: HttpCall) -> object:
        """What is not said gets its default; how clusters are probed is said elsewhere, and stays."""
        service = call.service()
        _settings(call, ServiceSettings())
        await self._kept.edit(service, lambda before: _settings(call, before))
        return OK

    async def _delete(self, call: HttpCall) -> object:
        service = call.service()
        try:
            await self._node.ask(DeleteService(service))
        except RollbookError as error:
            if error.code not in _NOT_DELETED:
                raise
            sentence = _NOT_DELETED[error.code].format(service.grouped_name)
            raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, error.code) from None
        return OK

    async def _show_of_v1(self, call: HttpCall) -> object:
        return detail_of_v1(await self._existing(call, HTTPStatus.BAD_REQUEST))

    async def _show_of_v2(self, call: HttpCall) -> object:
        return detail_of_v2(await self._existing(call))

    async def _show(self, call: HttpCall) -> object:
        return detail_shape(await self._existing(call))

    async def _existing(self, call: HttpCall, status: int = HTTPStatus.NOT_FOUND) -> KnownService:
        known = await self._kept.known(call.service())
        if not known.exists:
            service = known.service
            text = f"service not found, namespace: {service.namespace}, serviceName: {service.grouped_name}"
            raise HttpRefused(status, text, Code.SERVICE_NOT_FOUND)
        return known

    # -- names

    async def _list_of_v1(self, call: HttpCall) -> object:
        page, size = call.whole_number("pageNo"), call.whole_number("pageSize")
        found = await self._listed(call, page, min(size, NAMES_MAX))
        return {"count": found.total, "doms": found.names}

    async def _list_of_v2(self, call: HttpCall) -> object:
        page, size = call.whole_number("pageNo", default=1), call.whole_number("pageSize", default=20)
        found = await self._listed(call, page, min(size, _NAMES_OF_V2_MAX))
        return {"count": found.total, "services": found.names}

    async def _listed(self, call: HttpCall, page: int, size: int) -> NamesPage:
        """What is below the first page is the first one, and less than nothing is nothing."""
        namespace, group = listed_group(call.text("namespaceId"), call.text("groupName"))
        check_selector(call.text("selector"))
        return await names_of(self._node.ask, namespace, group, places_of(max(page, 1), max(size, 0)))

    async def _names(self, call: HttpCall) -> object:
        """Of one namespace, or of all; the first ten thousand."""
        said = call.text("namespaceId")
        namespaces = [service_of(said, "", "any").namespace] if said else await self._namespaces()
        names: dict[str, list[str]] = {}
        count = 0
        for namespace in namespaces:
            names[namespace], total = await self._names_in(namespace, NAMES_MAX - sum(map(len, names.values())))
            count += total
        return {"services": names, "count": count}

    async def _namespaces(self) -> list[str]:
        counted: ServicesCounted = await self._node.ask(CountServices())
        kept: Namespaces = await self._node.ask(ListNamespaces())
        return sorted({each.namespace for each in counted.namespaces} | {each.id for each in kept.namespaces})

    async def _names_in(self, namespace: str, names_max: int) -> tuple[list[str], int]:
        names: list[str] = []
        while True:
            order = ListCatalog(namespace, first=len(names), size=PAGE_SIZE_MAX)
            page: Catalog = await self._node.ask(order)
            names += [f"{entry.group}@@{entry.name}" for entry in page.services]
            if len(names) >= min(page.total, names_max) or not page.services:
                return names[:names_max], page.total

    async def _selectors_of_v1(self, call: HttpCall) -> object:
        return rest_result(await self._selectors(call))

    async def _selectors(self, _: HttpCall) -> object:
        return SELECTORS


def _settings(call: HttpCall, before: ServiceSettings) -> ServiceSettings:
    check_selector(call.text("selector"))
    return msgspec.structs.replace(
        before,
        protection_threshold=call.number("protectThreshold", default=0.0),
        metadata=texts_of(metadata_of(call.text("metadata"))),
    )
