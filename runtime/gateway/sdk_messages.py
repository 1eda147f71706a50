"""What SDKs ask over gRPC, and what they are asked: JSON bodies, and the envelopes that carry them.

SDKs leave out what they have not set, or say null, or say an empty text; all three mean the same. What no SDK may find
in an answer is null.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from google.protobuf.message import DecodeError

from rollbook.model import Instance, Service
from runtime.gateway.parameters import instance_of, service_of
from runtime.gateway.wire.sdk_pb2 import Payload

OK = 200
FAILURE = 500

# Codes of answers to SDKs. In an ErrorResponse they let SDKs doubt the connection, and most of them ask again.
STARTING = 300
UNREGISTERED = 301
NO_HANDLER = 302
PARAMETER_ILLEGAL = 400
NOT_IMPLEMENTED = 501
NOT_READABLE = 502
OVER_THRESHOLD = 503

Scalar = str | int | float | bool | None
JavaInt = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]  # what SDKs have it in
Body = TypeVar("Body")


class SetupRequest(msgspec.Struct, rename="camel"):
    """The first message of a stream. ``ability_table``: whoever names one waits for the server's."""

    client_version: str | None = None
    labels: dict[str, Scalar] | None = None
    ability_table: dict[str, Scalar] | None = None

    def label(self, name: str) -> str:
        value = (self.labels or {}).get(name)
        return "" if value is None else str(value)


class StreamResponse(msgspec.Struct, rename="camel"):
    """What every SDK says on the stream to what it was asked there. Some never say success but by its code."""

    request_id: str | int | None = None
    result_code: int = 0


class InstanceBody(msgspec.Struct, rename="camel"):
    ip: str | None = None
    port: int = 0
    cluster_name: str | None = None
    weight: float | None = None
    healthy: bool | None = None
    enabled: bool | None = None
    metadata: dict[str, Scalar] | None = None

    def instance(self, *, ephemeral: bool) -> Instance:
        """InvalidField. The kind of the request says whether it is ephemeral."""
        return instance_of(
            self.ip or "",
            self.port,
            cluster=self.cluster_name,
            weight=1.0 if self.weight is None else self.weight,
            healthy=self.healthy is not False,
            enabled=self.enabled is not False,
            ephemeral=ephemeral,
            metadata=self.metadata or {},
        )


class NamingRequest(msgspec.Struct, rename="camel"):
    namespace: str | None = None
    service_name: str | None = None
    group_name: str | None = None

    @property
    def service(self) -> Service:
        """InvalidField."""
        return service_of(self.namespace, self.group_name, self.service_name)


class InstanceRequest(NamingRequest, rename="camel"):
    type: str | None = None
    instance: InstanceBody | None = None


class BatchInstanceRequest(NamingRequest, rename="camel"):
    type: str | None = None
    instances: tuple[InstanceBody, ...] | None = None


class SubscribeServiceRequest(NamingRequest, rename="camel"):
    subscribe: bool | None = None
    clusters: str | None = None


class ServiceQueryRequest(NamingRequest, rename="camel"):
    """One SDK writes ``healthOnly``."""

    cluster: str | None = None
    healthy_only: bool | None = None
    health_only: bool | None = None


class ServiceListRequest(NamingRequest, rename="camel"):
    page_no: JavaInt | None = None
    page_size: JavaInt | None = None


class FuzzyWatchRequest(msgspec.Struct, rename="camel"):
    namespace: str | None = None
    group_key_pattern: str | None = None
    received_group_keys: tuple[str, ...] | None = None
    watch_type: str | None = None
    initializing: bool | None = None


class SdkAnswer(NamedTuple):
    """``kind`` names the type of the response."""

    kind: str
    body: bytes


def succeeded(kind: str, **fields: Any) -> SdkAnswer:
    return _answer(kind, OK, 0, fields)


def failed(kind: str, code: int, message: str, **fields: Any) -> SdkAnswer:
    return _answer(kind, FAILURE, code, {"message": message, **fields})


def doubtful(code: int, message: str) -> SdkAnswer:
    """For what concerns the connection, and no single request."""
    return failed("ErrorResponse", code, message)


def _answer(kind: str, result: int, code: int, fields: dict[str, Any]) -> SdkAnswer:
    body = {"resultCode": result, "errorCode": code, "success": result == OK, **fields}
    return SdkAnswer(kind, msgspec.json.encode(body))


def payload(kind: str, body: bytes) -> Payload:
    made = Payload()
    made.metadata.type = kind
    made.body.value = body
    return made


def read_body(text: bytes, kind: type[Body]) -> Body:
    """msgspec.ValidationError or msgspec.DecodeError if it is not such a body."""
    try:
        return msgspec.json.decode(text or b"{}", type=kind, strict=False)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"JSON cannot be read: {error}") from None


def read_payload(message: bytes) -> Payload:
    """gRPC itself would log a traceback for bytes that are no envelope. An empty one is of a type that nobody knows."""
    try:
        return Payload.FromString(message)
    except DecodeError:
        return Payload()
