"""What is asked of a server itself, and what SDKs ask for besides naming."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from runtime.gateway.api.operations import ApiOperation, Ok, at
from runtime.gateway.http_operator import Switches

_PLACES = "/v1/ns/operator /v1/ns/ops /v2/ns/operator /v2/ns/ops /v3/admin/ns/ops"
_OF_V1 = "/v1/ns/operator /v1/ns/ops"
_NOT_READY = (500,)


class ServerStatus(TypedDict):
    status: str


class ServerMetrics(ServerStatus, total=False):
    serviceCount: int
    instanceCount: int
    subscribeCount: int
    clientCount: int
    connectionBasedClientCount: int
    ephemeralIpPortClientCount: int
    persistentIpPortClientCount: int
    responsibleClientCount: int
    load: float


class PushStateCounts(TypedDict):
    succeed: int
    total: int
    ratio: float


class PushStateShape(PushStateCounts, total=False):
    detail: dict[str, int]


class ResponsibleServer(TypedDict):
    responsibleServer: str


class LoginShape(TypedDict):
    accessToken: str
    tokenTtl: int
    globalAdmin: bool
    username: str


OPERATIONS = (
    ApiOperation(
        "GET", at(_PLACES, "/metrics"), "Is it up, and how much does it keep.", "", "onlyStatus", ServerMetrics
    ),
    ApiOperation("GET", at(_PLACES, "/switches"), "How it is set.", answer=Switches, asks_node=False),
    ApiOperation(
        "PUT",
        at(_PLACES, "/switches"),
        "Refused if it would change what is a setting here; a switch that is not known is ignored.",
        "entry value",
        asks_node=False,
    ),
    ApiOperation(
        "PUT", at(_PLACES, "/log"), "Refused: levels of logs are a setting.", "logName logLevel", asks_node=False
    ),
    ApiOperation(
        "GET POST PUT DELETE PATCH",
        at(_OF_V1, "/push/state"),
        "Pushes over UDP of this gateway.",
        takes="reset detail",
        answer=PushStateShape,
        asks_node=False,
    ),
    ApiOperation(
        "GET",
        f"/v3/admin/ns/client/distro {at(_OF_V1, '/distro/client')}",
        "Which server takes orders about an address: any, so the one that is asked.",
        "ip port",
        answer=ResponsibleServer,
        asks_node=False,
    ),
    ApiOperation(
        "GET", "/v1/console/health/liveness", "Does this process answer.", answer=Literal["OK"], asks_node=False
    ),
    ApiOperation(
        "GET",
        "/v1/console/health/readiness",
        "Does its node answer too; 500 if not.",
        answer=Literal["OK"],
        refusals=_NOT_READY,
        asks_node=False,
    ),
    ApiOperation("GET", "/actuator/health", "Does its node answer.", answer=ServerStatus, asks_node=False),
    ApiOperation(
        "GET",
        at("/v2/console/health /v3/console/health /v3/admin/core/state", "/liveness"),
        "Does this process answer.",
        asks_node=False,
    ),
    ApiOperation(
        "GET",
        at("/v2/console/health /v3/console/health /v3/admin/core/state", "/readiness"),
        "Does its node answer too; code 30000 in the envelope if not.",
        answer=Ok | None,
        asks_node=False,
    ),
    ApiOperation(
        "POST",
        "/v1/auth/login /v1/auth/users/login /v3/auth/user/login",
        "Always granted: nobody is asked who he is.",
        takes="username",
        answer=LoginShape,
        asks_node=False,
    ),
    ApiOperation("GET", "/serverlist", "Where HTTP is at each member, a line each.", answer=str, asks_node=False),
    ApiOperation(
        "GET",
        "/v1/cs/configs",
        "There are no configurations: always 404.",
        answer=None,
        refusals=(404,),
        asks_node=False,
    ),
    ApiOperation(
        "POST",
        "/v1/cs/configs/listener",
        "Answered when the caller's patience is nearly over: no configuration has changed.",
        takes="long-pulling-timeout",
        answer=None,
        asks_node=False,
    ),
    ApiOperation("GET", "/openapi.json", "This description.", answer=dict[str, Any], asks_node=False),
)
