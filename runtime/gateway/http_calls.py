"""One HTTP request as handlers see it: its parameters, from query and form alike, and readers that refuse what is none.

Everything has a limit, and what is above it is refused before it is read: headers with 431, a query with 400, a body
with 413. Text is UTF-8, and what is not is refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from rollbook.errors import InvalidField
from rollbook.model import Instance, Service
from runtime.gateway.http_errors import HttpRefused, ParameterMissing, ResultCode
from runtime.gateway.parameters import instance_of, service_of

PARAMETERS_MAX = 256
HEADERS_BYTES_MAX = 16 * 1024
QUERY_BYTES_MAX = 32 * 1024  # of which metadata, percent-encoded, take 9 KiB at most
BODY_BYTES_MAX = 256 * 1024  # the longest is a list of instances
BODY_SECONDS_MAX = 10.0
FORM = "application/x-www-form-urlencoded"
GROUP_SEPARATOR = "@@"

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,3})?")
_NO_ENCODING = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TRUE = frozenset({"true", "on", "y", "t", "yes"})


class HttpLimits(NamedTuple):
    headers_bytes_max: int = HEADERS_BYTES_MAX
    query_bytes_max: int = QUERY_BYTES_MAX
    body_bytes_max: int = BODY_BYTES_MAX
    body_seconds_max: float = BODY_SECONDS_MAX


LIMITS = HttpLimits()


class HttpCall:
    """What was said. A parameter that is blank was not said."""

    def __init__(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        headers: Headers,
        *,
        peer_ip: str = "",
        body: bytes = b"",
        tail: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.parameters = parameters
        self.headers = headers
        self.peer_ip = peer_ip
        self.body = body
        self.tail = tail  # what stands in the path in the place of its last word

    @property
    def agent(self) -> str:
        return self.headers.get("user-agent") or self.headers.get("client-version") or ""

    def text(self, *names: str, default: str = "") -> str:
        """The first of these that was said."""
        for name in names:
            value = self.parameters.get(name, "").strip()
            if value:
                return value
        return default

    def required(self, *names: str, is_declared: bool = False) -> str:
        value = self.text(*names)
        if not value:
            raise ParameterMissing(names[0], is_declared=is_declared)
        return value

    def flag(self, *names: str, default: bool) -> bool:
        value = self.text(*names)
        return value.lower() in _TRUE if value else default

    def flag_or_none(self, *names: str) -> bool | None:
        return self.flag(*names, default=False) if self.text(*names) else None

    def whole_number(self, name: str, *, default: int | None = None) -> int:
        """ParameterMissing without a default."""
        value = self.text(name)
        if not value:
            if default is None:
                raise ParameterMissing(name)
            return default
        if not _WHOLE_NUMBER.fullmatch(value):
            raise InvalidField(f'For input string: "{value[:64]}"', field=name)
        return int(value)

    def number(self, name: str, *, default: float) -> float:
        value = self.number_or_none(name)
        return default if value is None else value

    def number_or_none(self, name: str) -> float | None:
        value = self.text(name)
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            raise InvalidField(f'For input string: "{value[:64]}"', field=name)
        return float(value)

    # -- what several parameters say together

    def service(self) -> Service:
        """A group within the name wins over ``groupName``."""
        return grouped_service(self.text("namespaceId"), self.text("groupName"), self.required("serviceName"))

    def address(self) -> tuple[str, int]:
        ip, port = self.required("ip"), self.whole_number("port")
        return instance_of(ip, port, cluster="", weight=1, healthy=True, enabled=True, ephemeral=True, metadata={}).key[
            :2
        ]

    def cluster(self) -> str:
        return self.text("clusterName", "cluster")

    def is_ephemeral(self) -> bool:
        return self.flag("ephemeral", default=True)

    def instance(self) -> Instance:
        return instance_of(
            self.required("ip"),
            self.whole_number("port"),
            cluster=self.cluster(),
            weight=self.number("weight", default=1.0),
            healthy=self.flag("healthy", default=True),
            enabled=self.flag("enabled", "enable", default=True),
            ephemeral=self.is_ephemeral(),
            metadata=metadata_of(self.text("metadata")),
        )


def grouped_service(namespace: str, group: str, name: str) -> Service:
    """InvalidField for what is no name, and for half of a grouped one."""
    if GROUP_SEPARATOR in name:
        group, name = name.split(GROUP_SEPARATOR, 1)
        if not group or not name:
            raise InvalidField("Service name filter error, a grouped name is group@@service", field="service")
    return service_of(namespace, group, name)


def metadata_of(text: str) -> dict[str, object]:
    """A JSON object, or ``key=value`` with commas between."""
    if not text:
        return {}
    if text.startswith("{"):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise _no_metadata(text) from None
        return {key: plain_value(each) for key, each in value.items()}
    pairs: dict[str, object] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise _no_metadata(text)
        pairs[key.strip()] = value.strip()
    return pairs


def plain_value(value: object) -> object:
    """Values of metadata are texts; what has parts is the JSON of these."""
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else value


def _no_metadata(text: str) -> InvalidField:
    return InvalidField(f"metadata format incorrect:{text[:128]}", field="metadata_text")


# -- from the wire


async def read_call(scope: Scope, receive: Receive, tail: str, limits: HttpLimits) -> HttpCall:
    """HttpRefused for what is too large, too slow or not UTF-8."""
    headers = Headers(scope=scope)
    if sum(len(name) + len(value) for name, value in headers.raw) > limits.headers_bytes_max:
        raise HttpRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large")
    query: bytes = scope["query_string"]
    if len(query) > limits.query_bytes_max:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "the query is too long", ResultCode.PARAMETER_INVALID)
    body = await _read_body(headers, receive, limits)
    parameters = _parameters(query)
    if body and headers.get("content-type", FORM).partition(";")[0].strip().lower() == FORM:
        parameters = {**_parameters(body), **parameters}
    peer = scope.get("client")
    return HttpCall(
        scope["method"], scope["path"], parameters, headers, peer_ip=peer[0] if peer else "", body=body, tail=tail
    )


def path_text(part: str) -> str:
    """A word of a path, as it was before it was encoded."""
    _check_encoding(part.encode("latin-1"))
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "the path is not UTF-8", ResultCode.PARAMETER_INVALID) from None


def _check_encoding(encoded: bytes) -> None:
    if b"%" in encoded and _NO_ENCODING.search(encoded):
        raise HttpRefused(HTTPStatus.BAD_REQUEST, "a percent sign without its two digits", ResultCode.PARAMETER_INVALID)


def _parameters(encoded: bytes) -> dict[str, str]:
    _check_encoding(encoded)
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except ValueError as error:  # not UTF-8, or too many of them
        sentence = "parameters are not UTF-8" if isinstance(error, UnicodeError) else "too many parameters"
        raise HttpRefused(HTTPStatus.BAD_REQUEST, sentence, ResultCode.PARAMETER_INVALID) from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        parameters.setdefault(name, value)
    return parameters


async def _read_body(headers: Headers, receive: Receive, limits: HttpLimits) -> bytes:
    announced = headers.get("content-length", "0")
    if not announced.isdigit() or int(announced[:18]) > limits.body_bytes_max:
        raise _too_large()
    if announced == "0" and "transfer-encoding" not in headers:
        return b""
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(limits.body_seconds_max):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise HttpRefused(HTTPStatus.BAD_REQUEST, "the connection has ended")
                parts.append(event.get("body", b""))
                if sum(map(len, parts)) > limits.body_bytes_max:
                    raise _too_large()
                if not event.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise HttpRefused(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from None


def _too_large() -> HttpRefused:
    return HttpRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
