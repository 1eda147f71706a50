"""How clusters of a service are probed, and the health of persistent instances where nobody probes them; how the
naming of a server is."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from rollbook.catalog import CountServices, ServicesCounted
from rollbook.durable import CLUSTERS_MAX, ServiceSettings
from rollbook.durable_bodies import SetHealth
from rollbook.errors import Code, InvalidField, RollbookError
from rollbook.model import DEFAULT_CLUSTER, InstanceKey, Service
from rollbook.wire import Query
from runtime.gateway.http_calls import HttpCall, metadata_of
from runtime.gateway.http_cluster import http_address
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_instances import OK
from runtime.gateway.http_routes import ANY_METHOD, AnswerStyle, HttpRoute
from runtime.gateway.http_services import V3_PLACES
from runtime.gateway.http_views import AsksNode, ServiceViews
from runtime.gateway.kept_services import KeptServices
from runtime.gateway.member_links import MemberLinks
from runtime.gateway.parameters import instance_of
from runtime.gateway.service_shapes import CHECKERS, checker_of


class HttpClusters:
    def __init__(self, node: AsksNode, views: ServiceViews, members: MemberLinks) -> None:
        self._node = node
        self._views = views
        self._members = members
        self._kept = KeptServices(node)

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        table = [
            HttpRoute("PUT", "/v1/ns/cluster", words, self._put_cluster),
            HttpRoute(ANY_METHOD, "/v1/ns/health/server", words, self._server),
            HttpRoute("GET", "/v1/ns/health/checkers", words, self._checkers),
            HttpRoute("GET", "/v3/admin/ns/health/checkers", result, self._checkers),
            HttpRoute("PUT", "/v3/admin/ns/health/instance", result, self._put_health),
        ]
        table += [HttpRoute("PUT", f"{place}/cluster", result, self._put_cluster) for place in V3_PLACES]
        for place, style in (("/v1/ns", words), ("/v2/ns", result)):
            table += [
                HttpRoute("PUT", f"{place}/health", style, self._put_health),
                HttpRoute("PUT", f"{place}/health/instance", style, self._put_health),
            ]
        return table

    async def _put_cluster(self, call: HttpCall) -> object:
        service, name = call.service(), _cluster(call.required("clusterName"))
        call.required("useInstancePort4Check")
        checker = checker_of(
            call.required("healthChecker"),
            use_instance_port=call.flag("useInstancePort4Check", default=True),
            port=call.whole_number("checkPort"),
        )
        if metadata_of(call.text("metadata")):
            sentence = "a cluster has no metadata here: services and instances have"
            raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, ResultCode.DISABLED)

        def edited(before: ServiceSettings) -> ServiceSettings:
            checkers = {**before.checkers, name: checker}
            if len(checkers) > CLUSTERS_MAX:
                raise InvalidField(f"a service has at most {CLUSTERS_MAX} such clusters", field="clusterName")
            return msgspec.structs.replace(before, checkers=checkers)

        await self._kept.edit(service, edited)
        return OK

    async def _put_health(self, call: HttpCall) -> object:
        service, cluster = call.service(), _cluster(call.cluster() or DEFAULT_CLUSTER)
        key = InstanceKey(*call.address(), cluster)
        healthy = call.flag_or_none("healthy", "valid")
        if healthy is None:
            raise HttpRefused(HTTPStatus.BAD_REQUEST, "Param 'healthy' is required.", ResultCode.HEALTHY_MISSING)
        try:
            await self._node.ask(SetHealth(service, key, healthy))
        except RollbookError as error:
            raise await self._refusal(error, service, key) from None
        self._views.written(service)
        return OK

    async def _refusal(self, error: RollbookError, service: Service, key: InstanceKey) -> RollbookError:
        """In the words of the original. What beats or a connection keep has no health that anybody may say."""
        if error.code == Code.INSTANCE_NOT_FOUND:
            view = await self._node.ask(Query(service))
            if all(one.key != key for one in view.instances):
                return error
            sentence = f"{key.ip}:{key.port} of {service.grouped_name} is ephemeral: its client says how it is"
            return HttpRefused(HTTPStatus.BAD_REQUEST, sentence, Code.INSTANCE_INVALID)
        if error.code == Code.HEALTH_PROBED:
            sentence = f"health check is still working, service: {service.grouped_name}, cluster: {key.cluster}"
            return HttpRefused(HTTPStatus.BAD_REQUEST, sentence, Code.HEALTH_PROBED)
        return error

    async def _checkers(self, _: HttpCall) -> object:
        return CHECKERS

    async def _server(self, _: HttpCall) -> object:
        counted: ServicesCounted = await self._node.ask(CountServices())
        status = await self._members.own_status()
        own = next(http_address(member) for member in status.members if member.state == "self")
        sentence = f"total services: {counted.services}, local port:{own[1]}"
        return {"msg": f"Hello! I am Nacos-Naming and healthy! {sentence}"}


def _cluster(name: str) -> str:
    """InvalidField for what is no name of a cluster, in the words of the original."""
    anywhere = instance_of(
        "127.0.0.1", 0, cluster=name, weight=1, healthy=True, enabled=True, ephemeral=True, metadata={}
    )
    return anywhere.cluster
