"""Instances: registering, beats, changes, lists."""

from __future__ import annotations

from typing import TypedDict

from runtime.gateway.api.operations import ApiOperation, Ok, at
from runtime.gateway.api.parameters import CLUSTER, INSTANCE, SCOPE
from runtime.gateway.http_instances import BeatShape
from runtime.gateway.http_lists import DetailShape
from runtime.gateway.shapes import InstanceShape, ServiceShape

_AN_INSTANCE = "serviceName ip port"
_SOME = f"{SCOPE} consistencyType instances"
_WITH_CLIENT = "/v1/ns /v2/ns /v3/client/ns /v3/admin/ns"
_EACH = "/v1/ns /v2/ns /v3/admin/ns"
_NOT_FOUND = (404,)
_FORBIDDEN = (403,)  # by a switch


class UpdatedInstances(TypedDict):
    updated: list[str]


class InstanceStatuses(TypedDict):
    ips: list[str]


OPERATIONS = (
    ApiOperation(
        "POST",
        at(_EACH, "/instance"),
        "Register an instance, or say anew what it is.",
        _AN_INSTANCE,
        f"{SCOPE} {INSTANCE}",
        refusals=_FORBIDDEN,
    ),
    ApiOperation(
        "POST",
        "/v3/client/ns/instance",
        "Register an instance, or give a sign of life of it; code 21003 in the envelope: it is to register again.",
        _AN_INSTANCE,
        f"{SCOPE} {INSTANCE} heartBeat",
        Ok | None,
        _FORBIDDEN,
    ),
    ApiOperation(
        "DELETE",
        at(_WITH_CLIENT, "/instance"),
        "Deregister an instance; done too where there is none.",
        _AN_INSTANCE,
        f"{SCOPE} {CLUSTER} ephemeral",
    ),
    ApiOperation(
        "PUT",
        at("/v1/ns /v2/ns", "/instance/beat"),
        "A sign of life; code 20404: the client is to register again.",
        takes=f"{_AN_INSTANCE} {SCOPE} {CLUSTER} beat",
        answer=BeatShape,
    ),
    ApiOperation(
        "PUT",
        at(_EACH, "/instance"),
        "Change an instance as a whole: its weight, whether it is enabled, its metadata.",
        _AN_INSTANCE,
        f"{SCOPE} {INSTANCE}",
        refusals=_NOT_FOUND,
    ),
    ApiOperation(
        "PATCH",
        at("/v1/ns /v2/ns", "/instance"),
        "Change of an instance what is said, and nothing else.",
        _AN_INSTANCE,
        f"{SCOPE} {INSTANCE}",
        refusals=_NOT_FOUND,
    ),
    ApiOperation(
        "PUT",
        "/v3/admin/ns/instance/partial",
        "Change of an instance what is said, and nothing else.",
        _AN_INSTANCE,
        f"{SCOPE} {INSTANCE}",
        refusals=_NOT_FOUND,
    ),
    ApiOperation(
        "PUT",
        at(_EACH, "/instance/metadata/batch"),
        "Add to the metadata of many instances.",
        "serviceName metadata",
        _SOME,
        UpdatedInstances,
        _NOT_FOUND,
    ),
    ApiOperation(
        "DELETE",
        at(_EACH, "/instance/metadata/batch"),
        "Take away from the metadata of many instances what was added to it.",
        "serviceName metadata",
        _SOME,
        UpdatedInstances,
        _NOT_FOUND,
    ),
    ApiOperation(
        "GET",
        "/v1/ns/instance/list",
        "Instances of a service that are to be called.",
        "serviceName",
        f"{SCOPE} clusters healthyOnly clientIP udpPort",
        ServiceShape,
    ),
    ApiOperation(
        "GET",
        "/v2/ns/instance/list",
        "Instances of a service that are to be called.",
        "serviceName",
        f"{SCOPE} clusterName healthyOnly ip port",
        ServiceShape,
    ),
    ApiOperation(
        "GET",
        "/v3/client/ns/instance/list",
        "Instances of a service that are to be called, of cluster `DEFAULT` if none is said.",
        "serviceName",
        f"{SCOPE} clusterName healthyOnly",
        list[InstanceShape],
    ),
    ApiOperation(
        "GET",
        "/v3/admin/ns/instance/list",
        "All instances of a service, those that are disabled too.",
        "serviceName",
        f"{SCOPE} clusterName healthyOnly",
        list[InstanceShape],
        _NOT_FOUND,
    ),
    ApiOperation(
        "GET",
        at("/v1/ns /v2/ns", "/instance"),
        "One instance.",
        _AN_INSTANCE,
        f"{SCOPE} {CLUSTER}",
        DetailShape,
        _NOT_FOUND,
    ),
    ApiOperation(
        "GET", "/v3/admin/ns/instance", "One instance.", _AN_INSTANCE, f"{SCOPE} {CLUSTER}", InstanceShape, _NOT_FOUND
    ),
    ApiOperation(
        "GET POST PUT DELETE PATCH",
        "/v1/ns/instance/statuses /v2/ns/instance/statuses/{key}",
        "Who is healthy, as `ip:port_true`.",
        "key",
        answer=InstanceStatuses,
    ),
)
