"""Clients, members, their load, namespaces."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from runtime.gateway.api.operations import ApiOperation, RestShape, at
from runtime.gateway.api.parameters import SCOPE
from runtime.gateway.client_shapes import (
    PublicationOfV2,
    PublicationOfV3,
    PublisherOfV2,
    PublisherOfV3,
    SubscriberOfServiceOfV2,
    SubscriberOfV3,
    SubscriptionOfV2,
    SubscriptionOfV3,
)
from runtime.gateway.http_cluster import MemberShape
from runtime.gateway.http_loader import ClusterLoadShape, ConnectionShape
from runtime.gateway.http_namespaces import NamespaceShape

_OF_V2, _OF_V3 = "/v2/ns/client", "/v3/admin/ns/client"
_MEMBERS = "/v2/core/cluster /v3/admin/core/cluster"
_LOADERS = "/v2/core/loader /v3/admin/core/loader"
_OLD_SPACES, _SPACES = "/v1/console/namespaces", "/v2/console/namespace /v3/admin/core/namespace"
_CONSOLE = "/v3/console/core/namespace"
_NOT_FOUND = (404,)
_FILTER = f"{SCOPE} ip port"
Success = Literal["success"]


class ShownClient(TypedDict):
    clientId: str
    ephemeral: bool
    lastUpdatedTime: int
    clientType: Literal["connection", "ipPort"]


class ConnectedClient(ShownClient, total=False):
    """The rest is of connections only."""

    connectType: str
    appName: str
    version: str
    clientIp: str
    clientPort: str | int


class ResponsibleServer(TypedDict):
    responsibleServer: str


class MembersOfV1(TypedDict):
    servers: list[MemberShape]


_CLIENTS = (
    ApiOperation("GET", at(f"{_OF_V2} {_OF_V3}", "/list"), "Ids of all clients of the cluster.", answer=list[str]),
    ApiOperation("GET", f"{_OF_V2} {_OF_V3}", "One client.", "clientId", "", ConnectedClient, _NOT_FOUND),
    *(
        ApiOperation("GET", f"{place}/publish/list", "What a client publishes.", "clientId", "", shape, _NOT_FOUND)
        for place, shape in ((_OF_V2, list[PublicationOfV2]), (_OF_V3, list[PublicationOfV3]))
    ),
    *(
        ApiOperation("GET", f"{place}/subscribe/list", "What a client watches.", "clientId", "", shape, _NOT_FOUND)
        for place, shape in ((_OF_V2, list[SubscriptionOfV2]), (_OF_V3, list[SubscriptionOfV3]))
    ),
    *(
        ApiOperation(
            "GET",
            f"{place}/service/publisher/list",
            "Who publishes a service.",
            "serviceName",
            f"{_FILTER} ephemeral",
            shape,
        )
        for place, shape in ((_OF_V2, list[PublisherOfV2]), (_OF_V3, list[PublisherOfV3]))
    ),
    *(
        ApiOperation("GET", f"{place}/service/subscriber/list", "Who watches a service.", "serviceName", _FILTER, shape)
        for place, shape in ((_OF_V2, list[SubscriberOfServiceOfV2]), (_OF_V3, list[SubscriberOfV3]))
    ),
    ApiOperation(
        "GET",
        f"{_OF_V3}/distro {at('/v1/ns/operator /v1/ns/ops', '/distro/client')}",
        "Which server keeps the client at an address.",
        "ip port",
        answer=ResponsibleServer,
    ),
)
_CLUSTER = (
    ApiOperation("GET", "/v1/ns/operator/servers", "Members of the cluster.", "", "healthy", MembersOfV1),
    ApiOperation(
        "GET",
        "/v1/console/server/state /v3/console/server/state /v3/admin/core/state",
        "What a server says of itself; every value is a text.",
        answer=dict[str, str],
    ),
    ApiOperation("GET", "/v1/core/cluster/self", "The server that is asked.", answer=RestShape[MemberShape]),
    ApiOperation("GET", at(_MEMBERS, "/node/self"), "The server that is asked.", answer=MemberShape),
    ApiOperation(
        "GET", "/v1/core/cluster/nodes", "Members of the cluster.", "", "keyword ip", RestShape[list[MemberShape]]
    ),
    ApiOperation("GET", "/v1/core/cluster/simple/nodes", "Addresses of the members.", answer=RestShape[list[str]]),
    ApiOperation("GET", at(_MEMBERS, "/node/list"), "Members of the cluster.", "", "address state", list[MemberShape]),
    ApiOperation("GET", "/v1/core/cluster/health", "How the server is that is asked.", answer=RestShape[str]),
    ApiOperation("GET", at(_MEMBERS, "/node/self/health"), "How the server is that is asked.", answer=str),
    ApiOperation("POST", "/v1/core/cluster/report", "Refused: members have a protocol of their own.", asks_node=False),
    ApiOperation(
        "POST", "/v1/core/cluster/switch/lookup", "Refused: the list of members is a setting.", asks_node=False
    ),
    ApiOperation(
        "PUT", at(_MEMBERS, "/node/list", "/lookup"), "Refused: the list of members is a setting.", asks_node=False
    ),
    *(
        ApiOperation(method, path, "Refused: a node leaves when it is told to end.", refusals=(405,), asks_node=False)
        for method, path in (("POST", "/v1/core/cluster/server/leave"), ("DELETE", at(_MEMBERS, "/nodes")))
    ),
)
_LOAD = (
    ApiOperation(
        "GET",
        at(_LOADERS, "/current"),
        "SDKs that are connected to this gateway.",
        answer=dict[str, ConnectionShape],
        asks_node=False,
    ),
    ApiOperation("GET", at(_LOADERS, "/cluster"), "How many are connected to which member.", answer=ClusterLoadShape),
    *(
        ApiOperation(method, f"{place}/{word}", about, needs, takes, Success, refusals, asks_node=False)
        for method, place in zip(("GET", "POST"), _LOADERS.split(), strict=True)
        for word, about, needs, takes, refusals in (
            ("reloadCurrent", "Tell SDKs to move, all but so many.", "count", "redirectAddress", ()),
            ("reloadClient", "Tell one SDK to move.", "connectionId", "redirectAddress", _NOT_FOUND),
            ("smartReloadCluster", "Changes nothing: nodes balance themselves.", "", "loaderFactor", ()),
        )
    ),
)
_NAMESPACES = (
    ApiOperation(
        "GET",
        _OLD_SPACES,
        "All namespaces, or one, or whether there is one.",
        "",
        "checkNamespaceIdExist customNamespaceId show namespaceId",
        dict[str, Any] | bool,
        _NOT_FOUND,
    ),
    ApiOperation(
        "POST",
        _OLD_SPACES,
        "Create a namespace; `false` for what is none, and for one that there is.",
        "namespaceName",
        "customNamespaceId namespaceDesc",
        bool,
    ),
    ApiOperation(
        "PUT",
        _OLD_SPACES,
        "Change a namespace; `false` if there is none.",
        "namespace namespaceShowName",
        "namespaceDesc",
        bool,
    ),
    ApiOperation(
        "DELETE",
        f"{_OLD_SPACES} {_SPACES} {_CONSOLE}",
        "Delete a namespace in which there is nothing; done too where there is none.",
        "namespaceId",
        answer=bool,
        refusals=(409,),
    ),
    ApiOperation("GET", at(f"{_SPACES} {_CONSOLE}", "/list"), "All namespaces.", answer=list[NamespaceShape]),
    ApiOperation("GET", f"{_SPACES} {_CONSOLE}", "One namespace.", "", "namespaceId", NamespaceShape, _NOT_FOUND),
    ApiOperation("POST", _SPACES, "Create a namespace.", "namespaceName", "namespaceId namespaceDesc", bool),
    ApiOperation("POST", _CONSOLE, "Create a namespace.", "namespaceName", "customNamespaceId namespaceDesc", bool),
    ApiOperation(
        "PUT",
        f"{_SPACES} {_CONSOLE}",
        "Change a namespace.",
        "namespaceId namespaceName",
        "namespaceDesc",
        bool,
        _NOT_FOUND,
    ),
    ApiOperation(
        "GET",
        "/v3/admin/core/namespace/check",
        "How many there are of this id.",
        "namespaceId",
        answer=int,
    ),
    ApiOperation("GET", f"{_CONSOLE}/exist", "Whether there is one of this id.", "customNamespaceId", answer=bool),
)
OPERATIONS = (*_CLIENTS, *_CLUSTER, *_LOAD, *_NAMESPACES)
