"""Services, their catalog, how clusters of them are probed, who subscribes to them."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypedDict, TypeVar

import msgspec

from runtime.gateway.api.operations import ApiOperation, RestShape, at
from runtime.gateway.api.parameters import CLUSTER, SCOPE
from runtime.gateway.service_shapes import CheckerShape, ClusterShape, EntryShape, SelectorShape, ServiceDetailShape
from runtime.gateway.shapes import InstanceShape

_ANY = "GET POST PUT DELETE PATCH"
_OF_V3 = "/v3/admin/ns /v3/console/ns"
_EACH = f"/v1/ns /v2/ns {_OF_V3}"
_NOT_FOUND = (404,)
_SETTINGS = f"{SCOPE} protectThreshold metadata selector"
_PAGE = "pageNo pageSize"
_PATTERNS = f"namespaceId {_PAGE} groupNameParam serviceNameParam withInstances"
Item = TypeVar("Item")


class PageOf(msgspec.Struct, Generic[Item], frozen=True, rename="camel"):
    total_count: int
    page_number: int
    pages_available: int
    page_items: list[Item]


class ClusterOfV1(TypedDict):
    name: str
    healthChecker: CheckerShape
    metadata: dict[str, str]


class ServiceOfV1(TypedDict):
    namespaceId: str
    groupName: str
    name: str
    protectThreshold: float
    metadata: dict[str, str]
    selector: SelectorShape
    clusters: list[ClusterOfV1]


class ServiceOfV2(TypedDict):
    namespace: str
    serviceName: str
    groupName: str
    clusterMap: dict[str, ClusterShape]
    metadata: dict[str, str]
    protectThreshold: float
    ephemeral: bool
    selector: SelectorShape


class NamesOfV1(TypedDict):
    count: int
    doms: list[str]


class NamesOfV2(TypedDict):
    count: int
    services: list[str]


class NamesOfNamespaces(TypedDict):
    count: int
    services: dict[str, list[str]]


class CatalogOfV1(TypedDict):
    count: int
    serviceList: list[EntryShape]


class CatalogServiceShape(TypedDict):
    name: str
    groupName: str
    protectThreshold: float
    selector: SelectorShape
    metadata: dict[str, str]


class CatalogClusterShape(TypedDict):
    serviceName: str
    name: str
    healthChecker: CheckerShape
    defaultPort: int
    defaultCheckPort: int
    useIpPort4Check: bool
    metadata: dict[str, str]


class CatalogDetail(TypedDict):
    service: CatalogServiceShape
    clusters: list[CatalogClusterShape]


class InstancesCount(TypedDict):
    count: int


class InstancesOfV1(InstancesCount):
    list: list[InstanceShape]


class InstancesOfV2(InstancesCount, total=False):
    instances: list[InstanceShape]


class SubscriberOfV1(TypedDict):
    addrStr: str
    agent: str
    app: str
    ip: str
    port: int
    namespaceId: str
    serviceName: str
    cluster: str


class SubscribersOfV1(TypedDict):
    subscribers: list[SubscriberOfV1]
    count: int


class ShownSubscriberOfV3(TypedDict):
    namespaceId: str
    groupName: str
    serviceName: str
    ip: str
    port: int
    agent: str
    appName: str


class HealthyShape(TypedDict):
    msg: str


OPERATIONS = (
    ApiOperation("POST", at(_EACH, "/service"), "Create a service.", "serviceName", _SETTINGS),
    ApiOperation(
        "PUT",
        "/v1/ns/service",
        "Change a service; what is not said gets its default.",
        "serviceName protectThreshold",
        f"{SCOPE} metadata selector",
    ),
    ApiOperation(
        "PUT",
        at(f"/v2/ns {_OF_V3}", "/service"),
        "Change a service; what is not said gets its default.",
        "serviceName",
        _SETTINGS,
        refusals=_NOT_FOUND,
    ),
    ApiOperation("DELETE", at(_EACH, "/service"), "Delete a service that nobody publishes.", "serviceName", SCOPE),
    ApiOperation("GET", "/v1/ns/service", "One service.", "serviceName", SCOPE, ServiceOfV1),
    ApiOperation("GET", "/v2/ns/service", "One service.", "serviceName", SCOPE, ServiceOfV2, _NOT_FOUND),
    ApiOperation("GET", at(_OF_V3, "/service"), "One service.", "serviceName", SCOPE, ServiceDetailShape, _NOT_FOUND),
    ApiOperation("GET", "/v1/ns/service/list", "Names of services.", _PAGE, f"{SCOPE} selector", NamesOfV1),
    ApiOperation("GET", "/v2/ns/service/list", "Names of services.", "", f"{_PAGE} {SCOPE} selector", NamesOfV2),
    ApiOperation(
        "GET",
        "/v1/ns/service/names",
        "Names of services of a namespace, or of all.",
        "",
        "namespaceId",
        NamesOfNamespaces,
    ),
    ApiOperation(
        "GET",
        "/v1/ns/service/selector/types",
        "Which selectors there are.",
        answer=RestShape[list[str]],
        asks_node=False,
    ),
    ApiOperation(
        "GET", at(_OF_V3, "/service/selector/types"), "Which selectors there are.", answer=list[str], asks_node=False
    ),
    ApiOperation(
        "GET",
        "/v1/ns/catalog/services",
        "Services with counts, or with all their instances.",
        _PAGE,
        "namespaceId groupNameParam serviceNameParam withInstances hasIpCount",
        CatalogOfV1 | list[dict[str, Any]],
    ),
    ApiOperation(
        "GET",
        at(_OF_V3, "/service/list"),
        "Services with counts, or with all their instances.",
        "",
        f"{_PATTERNS} ignoreEmptyService",
        PageOf[dict[str, Any]],
    ),
    ApiOperation(
        "GET",
        "/v1/ns/catalog/service",
        "One service and how its clusters are probed.",
        "serviceName",
        SCOPE,
        CatalogDetail,
        _NOT_FOUND,
    ),
    ApiOperation(
        _ANY,
        "/v1/ns/catalog/instances",
        "Instances of one cluster of a service.",
        f"serviceName clusterName {_PAGE}",
        SCOPE,
        InstancesOfV1,
        _NOT_FOUND,
    ),
    ApiOperation(
        _ANY,
        "/v2/ns/catalog/instances",
        "Instances of a service.",
        f"serviceName {_PAGE}",
        f"{SCOPE} healthyOnly enabledOnly",
        InstancesOfV2,
        _NOT_FOUND,
    ),
    ApiOperation(
        "PUT",
        at(f"/v1/ns {_OF_V3}", "/cluster"),
        "Say how a cluster of a service is probed.",
        "serviceName clusterName checkPort useInstancePort4Check healthChecker",
        f"{SCOPE} metadata",
        refusals=_NOT_FOUND,
    ),
    ApiOperation(
        "PUT",
        f"{at('/v1/ns /v2/ns', '/health', '/health/instance')} /v3/admin/ns/health/instance",
        "Say how a persistent instance is that nobody probes.",
        "serviceName ip port",
        f"{SCOPE} {CLUSTER} healthy valid",
        refusals=_NOT_FOUND,
    ),
    ApiOperation(
        "GET",
        at("/v1/ns /v3/admin/ns", "/health/checkers"),
        "How clusters can be probed.",
        answer=dict[Literal["TCP", "HTTP", "NONE"], CheckerShape],
        asks_node=False,
    ),
    ApiOperation(_ANY, "/v1/ns/health/server", "A sentence for people who look.", answer=HealthyShape),
    ApiOperation(
        "GET",
        "/v1/ns/service/subscribers",
        "Who subscribes to a service.",
        "serviceName",
        f"{SCOPE} {_PAGE} aggregation",
        SubscribersOfV1,
    ),
    ApiOperation(
        "GET",
        at(_OF_V3, "/service/subscribers"),
        "Who subscribes to a service.",
        "serviceName",
        f"{SCOPE} {_PAGE} aggregation",
        PageOf[ShownSubscriberOfV3],
    ),
)
