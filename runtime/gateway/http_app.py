"""HTTP as a whole: what its parts share, and the tables of routes that stand beside each other."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

from rollbook.model import View
from runtime.endpoints import endpoint_of
from runtime.gateway.http_beats import BeatGatherer
from runtime.gateway.http_catalog import HttpCatalog
from runtime.gateway.http_changes import HttpChanges
from runtime.gateway.http_clients import HttpClients
from runtime.gateway.http_cluster import HttpCluster
from runtime.gateway.http_clusters import HttpClusters
from runtime.gateway.http_description import HttpDescription
from runtime.gateway.http_health import HttpHealth
from runtime.gateway.http_instances import HttpInstances
from runtime.gateway.http_lists import HttpLists
from runtime.gateway.http_loader import HttpLoader
from runtime.gateway.http_namespaces import HttpNamespaces
from runtime.gateway.http_operator import HttpOperator
from runtime.gateway.http_others import HttpOthers
from runtime.gateway.http_push import UdpPush
from runtime.gateway.http_routes import HttpRoutes
from runtime.gateway.http_services import HttpServices
from runtime.gateway.http_subscribers import HttpSubscribers
from runtime.gateway.http_views import ServiceViews
from runtime.gateway.member_links import MemberLinks
from runtime.gateway.node_link import NodeLink
from runtime.gateway.sdk_connections import SdkConnections
from runtime.gateway.service_lists import ServiceLists
from runtime.gateway.settings import GatewaySettings
from runtime.gateway.switches import Switchboard
from runtime.logs import change_level

LOOK_SECONDS = 1.0  # at what nobody wants any more


class HttpApp:
    """``routes`` is what a server serves. ``start`` and ``stop`` on the loop. It takes the pushes of the gateway's own
    session."""

    def __init__(
        self, link: NodeLink, lists: ServiceLists, settings: GatewaySettings, connections: SdkConnections
    ) -> None:
        self._link = link
        self._is_ending = asyncio.Event()
        self.members = MemberLinks(link, _dialled_with(settings), link.now_ms)
        self.views = ServiceViews(link, settings.http_lists_kept_max, settings.http_list_idle_ms, link.now_ms)
        self.beats = BeatGatherer(link, settings.http_beats_gather_ms, settings.http_beats_waiting_max)
        self.push = UdpPush(lists, settings.http_udp_subscribers_max, link.now_ms)
        self.switchboard = Switchboard()
        self.views.on_change = self._changed
        link.own.on_push = self._pushed
        link.own.on_repeated = self._acknowledge
        self.description = HttpDescription(lambda: self.routes.routes)
        self.routes = HttpRoutes(
            [
                HttpInstances(link, self.views, self.beats, self.switchboard).routes(),
                HttpLists(self.views, lists, self.push).routes(),
                HttpChanges(link, self.views).routes(),
                HttpServices(link).routes(),
                HttpCatalog(link).routes(),
                HttpClusters(link, self.views, self.members).routes(),
                HttpSubscribers(link, self.members, self.push).routes(),
                HttpOperator(link, self.push, self.switchboard, change_level).routes(),
                HttpHealth(link).routes(),
                HttpNamespaces(link).routes(),
                HttpCluster(link, self.members).routes(),
                HttpClients(link, self.members).routes(),
                HttpLoader(connections, self.members).routes(),
                HttpOthers(link, self._is_ending).routes(),
                self.description.routes(),
            ],
            self.switchboard.check,
        )
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, host: str) -> None:
        await self.push.start(host)
        self._look()

    def end_soon(self) -> None:
        """Whoever waits for what will not come is answered, and asks another server."""
        self._is_ending.set()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.push.stop()
        await self.beats.stop()
        await self.views.stop()
        await self.members.stop()

    def _pushed(self, view: View) -> None:
        self._acknowledge(view)
        self.views.changed(view)

    def _changed(self, view: View) -> None:
        if self.switchboard.stands.push_enabled:
            self.push.changed(view)

    def _acknowledge(self, view: View) -> None:
        self._link.own.acknowledge(view.service, view.version)

    def _look(self) -> None:
        self.views.look()
        self.push.look()
        self.members.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)


def _dialled_with(settings: GatewaySettings) -> Callable[[str], NodeLink]:
    """Links to other members are like that to the own node, with no session on them but the gateway's."""

    def dial(address: str) -> NodeLink:
        return NodeLink(endpoint_of(address), settings, random.Random(os.urandom(32)), is_to_own=False)

    return dial
