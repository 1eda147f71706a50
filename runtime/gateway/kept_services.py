"""What is known of one service beside its list: its settings, and how a part of them is changed.

Settings are kept whole. So a part is changed by reading all and putting them in the place of just those that were read;
if somebody else was faster, they are read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from rollbook.durable import ServiceSettings
from rollbook.durable_bodies import GetService, PutService, ServiceShown
from rollbook.errors import Code, RollbookError
from rollbook.model import Service, View
from rollbook.wire import Query
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_views import AsksNode

ATTEMPTS_MAX = 5


class KnownService(msgspec.Struct, frozen=True):
    shown: ServiceShown
    view: View

    @property
    def service(self) -> Service:
        return self.view.service

    @property
    def exists(self) -> bool:
        """Somebody has put settings of it, or it has instances. Who only subscribes makes no service."""
        return bool(self.shown.index or self.view.instances)


class KeptServices:
    def __init__(self, node: AsksNode) -> None:
        self._node = node

    async def known(self, service: Service) -> KnownService:
        shown, view = await asyncio.gather(self._node.ask(GetService(service)), self._node.ask(Query(service)))
        return KnownService(shown, view)

    async def edit(self, service: Service, edited: Callable[[ServiceSettings], ServiceSettings]) -> None:
        """HttpRefused if there is no such service."""
        for _ in range(ATTEMPTS_MAX):
            known = await self.known(service)
            if not known.exists:
                sentence = f"service {service.grouped_name} not found!"
                raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, Code.SERVICE_NOT_FOUND)
            order = PutService(service, edited(known.shown.settings), "create", known.shown.index)
            try:
                await self._node.ask(order)
            except RollbookError as error:
                if error.code not in (Code.CHANGED_MEANWHILE, Code.SERVICE_EXISTS):
                    raise
            else:
                return
        sentence = f"others change {service.grouped_name} at the same time"
        raise HttpRefused(HTTPStatus.CONFLICT, sentence, ResultCode.CONFLICT)
