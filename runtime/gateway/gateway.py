"""One gateway: the link to its node, the gRPC server and the HTTP server, on one loop.

It comes up without its node, and says that it is not ready; it goes in the order in which clients notice least.
"""

from __future__ import annotations

import asyncio
import os
import random

from loguru import logger

from runtime.gateway.fuzzy_watch import FuzzyWatches
from runtime.gateway.grpc_server import GrpcServer
from runtime.gateway.http_app import HttpApp
from runtime.gateway.http_server import HttpServer
from runtime.gateway.naming_requests import NamingRequests
from runtime.gateway.node_link import NodeLink
from runtime.gateway.plan import GatewayPlan, node_endpoint
from runtime.gateway.sdk_connections import SdkConnections
from runtime.gateway.service_lists import ServiceLists
from runtime.gateway.tls import read_tls

_LOG = logger.bind(actor="gateway")


class Gateway:
    """Make it on the loop: it binds its ports at once, and AddressUnusable says which one it cannot have."""

    def __init__(self, plan: GatewayPlan) -> None:
        self._plan = plan
        settings, chance = plan.settings, random.Random(os.urandom(32))
        tls = read_tls(settings)
        if tls is not None and tls.is_key_open:
            _LOG.bind(file=settings.tls_key).warning("everybody on this machine can read the key")
        self._has_tls = tls is not None
        endpoint, self._local_socket = node_endpoint(plan)
        self.link = NodeLink(endpoint, settings, chance)
        lists = ServiceLists(settings.views_kept_max, settings.views_bytes_max, settings.services_max)
        self.watches = FuzzyWatches(self.link, settings)
        self.connections = SdkConnections(self.link, lists, self.watches, settings, chance)
        self._grpc = GrpcServer(
            *(plan, tls, self.link, self.connections),
            NamingRequests(lists, self.watches, self.link.resumption, settings),
        )
        self._http_app = HttpApp(self.link, lists, settings, self.connections)
        self._http = HttpServer(self._http_app.routes, plan, tls)

    async def run(self, told_to_end: asyncio.Event) -> None:
        """Until it is told to end, or a server ends by itself."""
        self.link.start()
        await self._grpc.start()
        await self._http_app.start(self._plan.host)
        self._http.start()
        plan = self._plan
        addresses = {"host": plan.host, "http": plan.http_port, "grpc": plan.grpc_port}
        _LOG.bind(**addresses, tls=self._has_tls).info("started")
        wanted = asyncio.create_task(told_to_end.wait())
        try:
            await asyncio.wait((wanted, self._http.task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            wanted.cancel()
            await self._leave()
        _LOG.info("ended")

    async def _leave(self) -> None:
        self._http_app.end_soon()
        await self._grpc.stop()
        await self._http.stop()
        await self._http_app.stop()
        await self.link.stop()
        if self._local_socket is not None:
            self._local_socket.close()
