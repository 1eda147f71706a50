"""Clients over HTTP: who there is in the cluster, what one publishes and watches, who does so for a service.

Each node knows its own (rollbook/known_clients.py), so the questions go to all of them, and a client is shown by
whoever has it. Publishers of a service are in every index, so the own node says those.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from loguru import logger

from rollbook.catalog import Subscriber
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
    PublishersListed,
    SubscriptionsListed,
)
from rollbook.model import HTTP_CLIENT_SUFFIX, InstanceKey, Service
from rollbook.wire import PAGE_SIZE_MAX
from runtime.gateway.client_shapes import V2, V3, ClientWords, client_port, is_persistent
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_cluster import http_address
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import AnswerStyle, HttpRoute
from runtime.gateway.http_subscribers import subscribers_at
from runtime.gateway.http_views import AsksNode
from runtime.gateway.member_links import Ask, MemberAnswer, MemberLinks

_LOG = logger.bind(actor="http")
PAGES_MAX = 300  # of one member: more than it has clients, or a service publishers


class HttpClients:
    def __init__(self, node: AsksNode, members: MemberLinks) -> None:
        self._node = node
        self._members = members

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        table = [
            HttpRoute("GET", "/v1/ns/operator/distro/client", words, self._responsible),
            HttpRoute("GET", "/v1/ns/ops/distro/client", words, self._responsible),
            HttpRoute("GET", "/v3/admin/ns/client/distro", result, self._responsible),
        ]
        for place, said in (("/v2/ns/client", V2), ("/v3/admin/ns/client", V3)):
            by_version = _ClientsOfVersion(self, said)
            table += [
                HttpRoute("GET", f"{place}/list", result, self._list),
                HttpRoute("GET", place, result, by_version.client),
                HttpRoute("GET", f"{place}/publish/list", result, by_version.publications),
                HttpRoute("GET", f"{place}/subscribe/list", result, by_version.subscriptions),
                HttpRoute("GET", f"{place}/service/publisher/list", result, by_version.publishers),
                HttpRoute("GET", f"{place}/service/subscriber/list", result, by_version.subscribers),
            ]
        return table

    async def _list(self, _: HttpCall) -> object:
        async def own(ask: Ask) -> list[str]:
            return [client for page in await _pages(ask, _clients_behind) for client in page.clients]

        answers = await self._members.each(own)
        return sorted({client for answer in answers for client in answer.body})

    async def _responsible(self, call: HttpCall) -> object:
        """Who keeps this HTTP client, or would take it in: every server takes every order."""
        ip, port = call.address()
        answers = await self._members.ask_all(GetClient(f"{ip}:{port}{HTTP_CLIENT_SUFFIX}"))
        keeper = next((answer.member for answer in answers if answer.body.kind), answers[0].member)
        host, http_port = http_address(keeper)
        return {"responsibleServer": f"{host}:{http_port}"}

    # -- what the nodes say

    async def known(self, client_id: str) -> ClientShown:
        """As whoever has its session says; HttpRefused if nobody has it."""
        shown: list[ClientShown] = [answer.body for answer in await self._of(client_id)]
        return max(shown, key=lambda one: (one.kind != "lost", one.updated_ms))

    async def publications(self, client_id: str) -> list[Publication]:
        """Of all who have something of it: what it left behind when it moved is still listed for a while."""

        async def own(ask: Ask) -> list[Publication]:
            pages = await _pages(ask, lambda page: ListPublications(client_id, page and page.next, PAGE_SIZE_MAX))
            return [one for page in pages for one in page.publications]

        await self._of(client_id)
        found = {one.service: one for answer in await self._members.each(own) for one in answer.body}
        return [found[service] for service in sorted(found)]

    async def subscriptions(self, client_id: str) -> list[Service]:
        async def own(ask: Ask) -> list[Service]:
            pages = await _pages(ask, lambda page: ListSubscriptions(client_id, page and page.next, PAGE_SIZE_MAX))
            return [service for page in pages for service in page.services]

        return sorted({service for answer in await self._members.each(own) for service in answer.body})

    async def publishers(self, service: Service) -> list[tuple[str, InstanceKey]]:
        pages: list[PublishersListed] = await _pages(
            self._node.ask, lambda page: ListPublishers(service, page.next if page else "", PAGE_SIZE_MAX)
        )
        return [(one.client_id, key) for page in pages for one in page.publishers for key in one.instances]

    async def subscribers(self, service: Service) -> list[Subscriber]:
        async def own(ask: Ask) -> list[Subscriber]:
            return await subscribers_at(ask, service)

        answers = await self._members.each(own)
        by_id = {one.client_id: one for answer in answers for one in answer.body}
        return [by_id[client_id] for client_id in sorted(by_id)]

    async def _of(self, client_id: str) -> list[MemberAnswer]:
        answers = [answer for answer in await self._members.ask_all(GetClient(client_id)) if answer.body.kind]
        if not answers:
            sentence = f"clientId [ {client_id[:128]} ] not exist"
            raise HttpRefused(HTTPStatus.NOT_FOUND, sentence, ResultCode.NOT_FOUND)
        return answers


class _ClientsOfVersion:
    """What differs only in the names of things."""

    def __init__(self, clients: HttpClients, said: ClientWords) -> None:
        self._clients = clients
        self._said = said

    async def client(self, call: HttpCall) -> object:
        return self._said.client(await self._clients.known(call.required("clientId")))

    async def publications(self, call: HttpCall) -> object:
        client_id = call.required("clientId")
        found = await self._clients.publications(client_id)
        return [self._said.publication(client_id, one.service, key) for one in found for key in one.instances]

    async def subscriptions(self, call: HttpCall) -> object:
        client_id = call.required("clientId")
        known = await self._clients.known(client_id)
        who = Subscriber(client_id, known.ip, known.app, known.agent)
        return [self._said.subscription(who, service) for service in await self._clients.subscriptions(client_id)]

    async def publishers(self, call: HttpCall) -> object:
        service, is_wanted, is_ephemeral = call.service(), _address_filter(call), call.is_ephemeral()
        return [
            self._said.publisher(client_id, key)
            for client_id, key in await self._clients.publishers(service)
            if is_persistent(client_id) is not is_ephemeral and is_wanted(key.ip, key.port)
        ]

    async def subscribers(self, call: HttpCall) -> object:
        service, is_wanted = call.service(), _address_filter(call)
        return [
            self._said.subscriber(one)
            for one in await self._clients.subscribers(service)
            if is_wanted(one.ip, client_port(one.client_id))
        ]


def _address_filter(call: HttpCall) -> Callable[[str, int], bool]:
    """``ip`` and ``port`` where they were said."""
    ip, port = call.text("ip"), call.whole_number("port", default=-1)
    return lambda each_ip, each_port: ip in ("", each_ip) and port in (-1, each_port)


def _clients_behind(page: ClientsListed | None) -> ListClients:
    return ListClients(page.next if page else "", PAGE_SIZE_MAX)


async def _pages(ask: Callable[[Any], Awaitable[Any]], question: Callable[[Any], Any]) -> list[Any]:
    """``question`` makes the next one of the page before, the first one of None."""
    pages: list[PublicationsListed | SubscriptionsListed | PublishersListed | ClientsListed] = []
    page: Any = None
    while page is None or page.next:
        if len(pages) == PAGES_MAX:
            _LOG.bind(pages=PAGES_MAX).warning("a list of clients is too long: its end is left out")
            break
        page = await ask(question(page))
        pages.append(page)
    return pages
