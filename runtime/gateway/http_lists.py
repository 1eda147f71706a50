"""Reading instances over HTTP: lists, details, statuses. Writes nothing.

Lists in the original's shape are encoded once for all who ask for the same one (service_lists.py).
"""

from __future__ import annotations

import ipaddress

import msgspec

from rollbook.errors import Code, InvalidField
from rollbook.model import DEFAULT_CLUSTER, Instance, Service, View, clusters_of, filter_clusters
from runtime.gateway.http_calls import HttpCall, grouped_service
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_push import UdpPush, takes_pushes
from runtime.gateway.http_routes import ANY_METHOD, AnswerStyle, HttpRoute, json_response
from runtime.gateway.http_views import ServiceViews
from runtime.gateway.parameters import cluster_filter
from runtime.gateway.service_lists import ServiceLists
from runtime.gateway.shapes import InstanceShape, instance_shape

KEY_SEPARATOR = "##"
NOT_FOUND = 404


class DetailShape(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One instance as the first two APIs show it: ``service`` is the first's name for ``service_name``."""

    ip: str
    port: int
    cluster_name: str
    weight: float
    healthy: bool
    instance_id: str
    metadata: dict[str, str]
    service: str = ""
    service_name: str = ""


class HttpLists:
    def __init__(self, views: ServiceViews, lists: ServiceLists, push: UdpPush) -> None:
        self._views = views
        self._lists = lists
        self._push = push

    def routes(self) -> list[HttpRoute]:
        words, bare, result = AnswerStyle.WORDS, AnswerStyle.BARE, AnswerStyle.RESULT
        return [
            HttpRoute("GET", "/v1/ns/instance/list", words, self._list),
            HttpRoute("GET", "/v1/ns/instance", words, self._detail_of_v1),
            HttpRoute(ANY_METHOD, "/v1/ns/instance/statuses", words, self._statuses),
            HttpRoute("GET", "/v2/ns/instance/list", result, self._list_of_v2),
            HttpRoute("GET", "/v2/ns/instance", result, self._detail_of_v2),
            HttpRoute(ANY_METHOD, "/v2/ns/instance/statuses/{key}", bare, self._statuses),
            HttpRoute("GET", "/v3/client/ns/instance/list", result, self._callable),
            HttpRoute("GET", "/v3/admin/ns/instance/list", result, self._all),
            HttpRoute("GET", "/v3/admin/ns/instance", result, self._detail_of_v3),
        ]

    # -- lists

    async def _list(self, call: HttpCall) -> object:
        encoded = await self._encoded(call, call.text("clusters"), call.text("clientIP"), "udpPort")
        return json_response(encoded)

    async def _list_of_v2(self, call: HttpCall) -> object:
        return msgspec.Raw(await self._encoded(call, call.text("clusterName"), call.text("ip"), "port"))

    async def _encoded(self, call: HttpCall, clusters: str, client_ip: str, port_name: str) -> bytes:
        service, clusters = call.service(), cluster_filter(clusters)
        healthy_only = call.flag("healthyOnly", default=False)
        self._subscribe(call, service, clusters, (client_ip, call.whole_number(port_name, default=0)))
        view = await self._views.view(service)
        return self._lists.encode(view, clusters, healthy_only=healthy_only, is_grouped=True).json

    def _subscribe(self, call: HttpCall, service: Service, clusters: str, address: tuple[str, int]) -> None:
        """Whoever polls like this is told of changes until its next poll."""
        ip, port = address[0] or call.peer_ip, address[1]
        if not 0 <= port <= 65_535:
            raise InvalidField("udpPort must lie between 0 and 65535", field="udpPort")
        if port and _is_address(ip) and takes_pushes(call.agent):
            self._push.subscribe(service, clusters, (ip, port), call.agent)

    async def _callable(self, call: HttpCall) -> object:
        service = call.service()
        shown = await self._chosen(call, service, call.text("clusterName", default=DEFAULT_CLUSTER))
        return [one for one in shown if one.enabled]

    async def _all(self, call: HttpCall) -> object:
        service, cluster = call.service(), call.text("clusterName")
        shown = await self._chosen(call, service, cluster)
        if not shown and not (await self._views.view(service)).instances:
            raise _absent(f"service {service.grouped_name} is not found!", ResultCode.NOT_FOUND)
        if not shown and cluster and not call.flag("healthyOnly", default=False):
            raise _absent(f"cluster {cluster} is not found!", ResultCode.NOT_FOUND)
        return shown

    async def _chosen(self, call: HttpCall, service: Service, clusters: str) -> list[InstanceShape]:
        healthy_only = call.flag("healthyOnly", default=False)
        named = clusters_of(cluster_filter(clusters))
        view = await self._views.view(service)
        return [
            instance_shape(service, one)
            for one in filter_clusters(view.instances, named)
            if one.healthy or not healthy_only
        ]

    # -- one instance

    async def _detail_of_v1(self, call: HttpCall) -> object:
        service, instance = await self._found(call)
        return msgspec.structs.replace(_detail(service, instance), service=service.grouped_name)

    async def _detail_of_v2(self, call: HttpCall) -> object:
        service, instance = await self._found(call)
        return msgspec.structs.replace(_detail(service, instance), service_name=service.grouped_name)

    async def _detail_of_v3(self, call: HttpCall) -> object:
        return instance_shape(*await self._found(call))

    async def _found(self, call: HttpCall) -> tuple[Service, Instance]:
        """Where no cluster is said, the one at this address is found in any: SDKs register in one that they never
        name again."""
        service, (ip, port) = call.service(), call.address()
        said = cluster_filter(call.text("cluster", "clusterName"))
        view = await self._views.view(service)
        there = [one for one in view.instances if not said or one.cluster == said]
        if not there:
            text = f"no ips found for cluster {said or DEFAULT_CLUSTER} in service {service.grouped_name}"
            raise _absent(text, ResultCode.NOT_FOUND)
        matching = [one for one in there if (one.ip, one.port) == (ip, port)]
        if not matching:
            raise _absent("no matched ip found!", Code.INSTANCE_NOT_FOUND)
        return service, next((one for one in matching if one.cluster == DEFAULT_CLUSTER), matching[0])

    async def _statuses(self, call: HttpCall) -> object:
        namespace, _, name = (call.tail or call.required("key")).rpartition(KEY_SEPARATOR)
        view: View = await self._views.view(grouped_service(namespace, "", name))
        return {"ips": [f"{one.ip}:{one.port}_{str(one.healthy).lower()}" for one in view.instances]}


def _detail(service: Service, instance: Instance) -> DetailShape:
    shape = instance_shape(service, instance)
    return DetailShape(
        shape.ip,
        shape.port,
        shape.cluster_name,
        shape.weight,
        shape.healthy,
        shape.instance_id,
        shape.metadata,
    )


def _absent(text: str, code: int) -> HttpRefused:
    return HttpRefused(NOT_FOUND, text, code)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
