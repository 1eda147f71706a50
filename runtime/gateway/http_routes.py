"""Which path is answered by what, in tables: each part of the API brings its own, and they stand beside each other.

A handler gets an HttpCall and returns what it has to say; its route knows the shape of that and of refusals. Nothing is
compressed: there are SDKs that ask for it and do not unpack it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from loguru import logger
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rollbook.errors import Code, RollbookError
from runtime.gateway.http_calls import LIMITS, HttpCall, HttpLimits, path_text, read_call
from runtime.gateway.http_errors import HttpRefused, ResultCode, refusal_as_result, refusal_in_words

CONTEXT_PATH = "/nacos"
ANY_METHOD = "GET POST PUT DELETE PATCH"
_OLDEST = f"{CONTEXT_PATH}/v1/ns/"
_LOG = logger.bind(actor="http")

Handler = Callable[[HttpCall], Awaitable[object]]


class AnswerStyle(Enum):
    WORDS = "a text, or bare JSON; refusals are text"
    BARE = "a text, or bare JSON; refusals are an envelope"
    RESULT = "an envelope with a code"


class HttpRoute(NamedTuple):
    """``path`` stands below the context path; if it ends in ``/{...}``, that word is the call's ``tail``."""

    methods: str
    path: str
    style: AnswerStyle
    answer: Handler


class RefusedResult(NamedTuple):
    """What a handler returns for a refusal that has the status 200."""

    code: int
    message: str


class HttpRoutes:
    """The ASGI application. Two routes for the same thing are a mistake, and found at once."""

    def __init__(
        self, tables: Iterable[Iterable[HttpRoute]], check: Callable[[str, str], None], limits: HttpLimits = LIMITS
    ) -> None:
        """``check`` is asked for each request that has a route, by its method and path: what it raises is answered."""
        self._check = check
        self._limits = limits
        self._exact: dict[str, dict[str, HttpRoute]] = {}
        self._open: dict[str, dict[str, HttpRoute]] = {}  # by what stands before the last word
        self.routes = [route for table in tables for route in table]
        for route in self.routes:
            stem, brace, _ = route.path.partition("{")
            by_method = (self._open if brace else self._exact).setdefault(CONTEXT_PATH + stem, {})
            for method in route.methods.split():
                assert method not in by_method, f"two routes for {method} {route.path}"
                by_method[method] = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the server offers nothing else"
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        path = scope["raw_path"].decode("latin-1")  # a word may hold an encoded slash
        by_method = self._exact.get(path)
        stem, _, last = path.rpartition("/")
        if by_method is None and last:
            by_method = self._open.get(f"{stem}/")
        else:
            last = ""
        route = by_method.get(scope["method"]) if by_method else None
        if route is None:
            return _unknown(scope["method"], path, by_method)
        try:
            self._check(scope["method"], path)
            call = await read_call(scope, receive, path_text(last), self._limits)
            return _said(route.style, await route.answer(call))
        except RollbookError as error:
            return refused(route.style, error)
        except asyncio.CancelledError:  # the server's grace is over; it would log each of these with a traceback
            return refused(route.style, RollbookError("the gateway ends", code=Code.NODE_LEAVING))
        except Exception:
            _LOG.bind(method=scope["method"], path=route.path).exception("a request failed")
            return refused(route.style, RollbookError("the gateway failed at this request", code=Code.INTERNAL))


def json_response(encoded: bytes, status: int = 200) -> Response:
    return Response(encoded, status, media_type="application/json")


def text_response(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/plain")


def result(code: int, message: str, data: object, status: int = 200) -> Response:
    return json_response(msgspec.json.encode({"code": code, "message": message, "data": data}), status)


def rest_result(data: object) -> object:
    """The envelope of the first version of what is not naming; to be answered in words."""
    return {"code": int(HTTPStatus.OK), "message": None, "data": data}


def refused(style: AnswerStyle, error: RollbookError) -> Response:
    if style is AnswerStyle.WORDS:
        status, text = refusal_in_words(error)
        return text_response(text, status)
    status, code, message, detail = refusal_as_result(error)
    return result(code, message, detail, status)


def _said(style: AnswerStyle, said: object) -> Response:
    if isinstance(said, Response):
        return said
    if isinstance(said, RefusedResult):
        return result(said.code, said.message, None)
    if style is AnswerStyle.RESULT:
        return result(ResultCode.SUCCESS, "success", said)
    if isinstance(said, str):
        return text_response(said)
    return json_response(msgspec.json.encode(said))


def _unknown(method: str, path: str, by_method: Mapping[str, HttpRoute] | None) -> Response:
    if path.startswith(_OLDEST):
        return text_response(f"no such api:{method}:{path}", HTTPStatus.NOT_IMPLEMENTED)
    if by_method:
        error = HttpRefused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not answered here")
        response = refused(AnswerStyle.RESULT, error)
        response.headers["allow"] = ", ".join(sorted(by_method))
        return response
    sentence = f"no such path: {path}; {CONTEXT_PATH}/openapi.json has all that there are"
    return refused(AnswerStyle.RESULT, HttpRefused(HTTPStatus.NOT_FOUND, sentence, ResultCode.NOT_FOUND))
