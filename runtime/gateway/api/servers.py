"""What is asked of a server itself, and what SDKs ask for besides naming."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from runtime.gateway.api.operations import ApiOperation, Ok, RestShape, at
from runtime.gateway.switches import Switches

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
        "Turn a switch at this server, with `debug`; refused if it would change what is a setting here. One that is "
        "not known is ignored.",
        "entry value",
        "debug",
        asks_node=False,
    ),
    ApiOperation(
        "PUT",
        at(f"{_PLACES} /v2/core/ops /v3/admin/core/ops", "/log"),
        "The level of the logs of this gateway, until it ends.",
        "logName logLevel",
        asks_node=False,
    ),
    ApiOperation(
        "PUT",
        "/v1/core/ops/log",
        "The level of the logs of this gateway, until it ends.",
        "logName logLevel",
        answer=RestShape[None],
        asks_node=False,
    ),
    ApiOperation(
        "GET", "/v1/core/ops/idInfo", "Nothing here generates ids.", answer=RestShape[dict[str, str]], asks_node=False
    ),
    ApiOperation(
        "GET",
        "/v2/core/ops/ids /v3/admin/core/ops/ids",
        "Nothing here generates ids.",
        answer=dict[str, str],
        asks_node=False,
    ),
    ApiOperation(
        "POST",
        "/v1/core/ops/raft /v2/core/ops/raft /v3/admin/core/ops/raft",
        "Refused: the nodes have no Raft of their own.",
        asks_node=False,
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
