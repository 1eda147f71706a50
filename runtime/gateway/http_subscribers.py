"""Who subscribes to a service, here or anywhere in the cluster.

Nodes tell of sessions; who polls with a port for datagrams is known by the gateway that it polls, and told of by that
one only.
"""

from __future__ import annotations

from typing import NamedTuple

from rollbook.catalog import ListSubscribers, Subscriber, Subscribers
from rollbook.model import Service
from rollbook.wire import PAGE_SIZE_MAX
from runtime.gateway.client_shapes import UNKNOWN_APP, client_port
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_catalog import page_of
from runtime.gateway.http_push import UdpPush
from runtime.gateway.http_routes import AnswerStyle, HttpRoute
from runtime.gateway.http_services import V3_PLACES
from runtime.gateway.http_views import AsksNode
from runtime.gateway.member_links import Ask, MemberLinks
from runtime.gateway.service_names import places_of
from runtime.gateway.service_shapes import page_shape

SUBSCRIBERS_OF_PAGE_MAX = 1_000


class ShownSubscriber(NamedTuple):
    """Sorted as they are shown."""

    ip: str
    port: int
    agent: str
    app: str


class HttpSubscribers:
    def __init__(self, node: AsksNode, members: MemberLinks, push: UdpPush) -> None:
        self._node = node
        self._members = members
        self._push = push

    def routes(self) -> list[HttpRoute]:
        table = [HttpRoute("GET", "/v1/ns/service/subscribers", AnswerStyle.WORDS, self._list_of_v1)]
        for place in V3_PLACES:
            table.append(HttpRoute("GET", f"{place}/service/subscribers", AnswerStyle.RESULT, self._list))
        return table

    async def _list_of_v1(self, call: HttpCall) -> object:
        page, size = page_of(call, size=SUBSCRIBERS_OF_PAGE_MAX)
        service, found = await self._found(call)
        first, last = places_of(page, min(size, SUBSCRIBERS_OF_PAGE_MAX))
        shown = [
            {
                "addrStr": f"{one.ip}:{one.port}",
                "agent": one.agent,
                "app": one.app,
                "ip": one.ip,
                "port": one.port,
                "namespaceId": service.namespace,
                "serviceName": service.grouped_name,
                "cluster": "",
            }
            for one in found[first:last]
        ]
        return {"subscribers": shown, "count": len(found)}

    async def _list(self, call: HttpCall) -> object:
        page, size = page_of(call)
        size = min(size, SUBSCRIBERS_OF_PAGE_MAX)
        service, found = await self._found(call)
        first, last = places_of(page, size)
        shown: list[object] = [
            {
                "namespaceId": service.namespace,
                "groupName": service.group,
                "serviceName": service.name,
                "ip": one.ip,
                "port": one.port,
                "agent": one.agent,
                "appName": one.app,
            }
            for one in found[first:last]
        ]
        return page_shape(shown, len(found), page, size)

    async def _found(self, call: HttpCall) -> tuple[Service, list[ShownSubscriber]]:
        """A client that is on its way from one node to another is there once."""
        service = call.service()

        async def talk(ask: Ask) -> list[Subscriber]:
            return await subscribers_at(ask, service)

        if call.flag("aggregation", default=True):
            answers = [answer.body for answer in await self._members.each(talk)]
        else:
            answers = [await talk(self._node.ask)]
        by_client = {each.client_id: each for answer in answers for each in answer}
        shown = [_shown(each) for each in by_client.values()]
        return service, sorted(
            shown + [ShownSubscriber(*each, UNKNOWN_APP) for each in self._push.subscribers(service)]
        )


async def subscribers_at(ask: Ask, service: Service) -> list[Subscriber]:
    """Of one node."""
    found: list[Subscriber] = []
    while True:
        page: Subscribers = await ask(ListSubscribers(service, len(found), PAGE_SIZE_MAX))
        found += page.subscribers
        if len(found) >= page.total or not page.subscribers:
            return found


def _shown(one: Subscriber) -> ShownSubscriber:
    return ShownSubscriber(one.ip, client_port(one.client_id), one.agent, one.app or UNKNOWN_APP)
