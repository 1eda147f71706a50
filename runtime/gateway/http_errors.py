"""What HTTP says of a refusal: plain text in the oldest API, an envelope with a code in the two after it.

The numbers and short texts are the original's, for tools look for them. Not a word of this depends on a route.
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus
from typing import NamedTuple

from rollbook.errors import Code, InvalidField, RollbookError

DOWN_TEXT = "server is DOWNnow, please try again later!"


class ResultCode(IntEnum):
    """``code`` of the envelope."""

    SUCCESS = 0
    PARAMETER_MISSING = 10000
    ACCESS_DENIED = 10001
    PARAMETER_INVALID = 20002
    MEDIA_TYPE = 20003
    NOT_FOUND = 20004
    CONFLICT = 20005
    SELECTOR = 21006
    HEALTHY_MISSING = 21010
    NAMESPACE_ILLEGAL = 22000
    NAMESPACE_NOT_FOUND = 22001
    NAMESPACE_EXISTS = 22002
    SERVER_ERROR = 30000
    DISABLED = 40001


_TEXTS: dict[int, str] = {
    ResultCode.SUCCESS: "success",
    ResultCode.PARAMETER_MISSING: "parameter missing",
    ResultCode.ACCESS_DENIED: "access denied",
    ResultCode.PARAMETER_INVALID: "parameter validate error",
    ResultCode.MEDIA_TYPE: "MediaType Error",
    ResultCode.NOT_FOUND: "resource not found",
    ResultCode.CONFLICT: "resource conflict",
    ResultCode.SELECTOR: "selector error",
    ResultCode.HEALTHY_MISSING: "healthy param miss",
    ResultCode.NAMESPACE_ILLEGAL: "illegal namespace",
    ResultCode.NAMESPACE_NOT_FOUND: "namespace not exist",
    ResultCode.NAMESPACE_EXISTS: "namespace already exist",
    ResultCode.SERVER_ERROR: "server error",
    ResultCode.DISABLED: "API function disabled",
    Code.SERVICE_NAME_INVALID: "service name error",
    Code.INSTANCE_WEIGHT_INVALID: "weight error",
    Code.INSTANCE_METADATA_INVALID: "instance metadata error",
    Code.INSTANCE_NOT_FOUND: "instance not found",
    Code.INSTANCE_INVALID: "instance error",
    Code.SERVICE_METADATA_INVALID: "service metadata error",
    Code.SERVICE_EXISTS: "service already exist",
    Code.SERVICE_NOT_FOUND: "service not exist",
    Code.SERVICE_IN_USE: "service delete failure",
    Code.HEALTH_PROBED: "health check still running",
}
_NOT_FOUND = (Code.INSTANCE_NOT_FOUND, Code.SERVICE_NOT_FOUND)


class ParameterMissing(InvalidField):
    """``field`` must be said. ``is_declared``: the oldest API has two sentences for it."""

    def __init__(self, name: str, *, is_declared: bool = False) -> None:
        sentence = f"Parameter '{name}' is missing" if is_declared else f"Param '{name}' is required."
        super().__init__(sentence, code=ResultCode.PARAMETER_MISSING, field=name)


class HttpRefused(RollbookError):
    """A refusal whose status is not what its code would have."""

    def __init__(self, status: int, message: str, code: int = ResultCode.SERVER_ERROR) -> None:
        super().__init__(message, code=code)
        self.status = status


class TextRefusal(NamedTuple):
    status: int
    text: str


class ResultRefusal(NamedTuple):
    status: int
    code: int
    message: str
    data: str


def refusal_in_words(error: RollbookError) -> TextRefusal:
    """Of the first API."""
    status = _status(error)
    if isinstance(error, InvalidField) and error.field == "weight":
        return TextRefusal(status, "instance format invalid: The weights range from 0.0 to 10000.0")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return TextRefusal(status, DOWN_TEXT if error.code in _DOWN else error.message)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return TextRefusal(status, f"caused: {error.message};")
    return TextRefusal(status, error.message)


def refusal_as_result(error: RollbookError) -> ResultRefusal:
    """Of the second and the third."""
    if isinstance(error, ParameterMissing):
        detail = f"Required parameter '{error.field}' type String is not present"
        return ResultRefusal(_status(error), error.code, _TEXTS[error.code], detail)
    code = error.code if error.code in _TEXTS else ResultCode.SERVER_ERROR
    if code == ResultCode.SERVER_ERROR and _status(error) == HTTPStatus.BAD_REQUEST:
        code = ResultCode.PARAMETER_INVALID
    return ResultRefusal(_status(error), code, _TEXTS[code], error.message)


def _status(error: RollbookError) -> int:
    if isinstance(error, HttpRefused):
        return error.status
    if isinstance(error, InvalidField):
        return HTTPStatus.BAD_REQUEST
    if error.retryable or error.code in _DOWN:
        return HTTPStatus.SERVICE_UNAVAILABLE
    if error.code in _NOT_FOUND:
        return HTTPStatus.NOT_FOUND
    if error.code == Code.INTERNAL:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.BAD_REQUEST


_DOWN = frozenset({Code.NOT_READY, Code.UNREACHABLE, Code.NODE_LEAVING, Code.SESSION_REQUIRED, Code.CLIENT_CLOSED})
