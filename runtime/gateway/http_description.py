"""The API says what it is: the OpenAPI document of all routes, at a path of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from runtime.gateway.api.document import OPERATIONS, described, document, written
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, json_response


class HttpDescription:
    """``all_routes``: this one too. It is asked when somebody asks for the document."""

    def __init__(self, all_routes: Callable[[], Iterable[HttpRoute]]) -> None:
        self._all_routes = all_routes

    def routes(self) -> list[HttpRoute]:
        return [HttpRoute("GET", "/openapi.json", AnswerStyle.WORDS, self._document)]

    async def _document(self, _: HttpCall) -> object:
        return json_response(self.encoded)

    @cached_property
    def encoded(self) -> bytes:
        return written(document(described([self._all_routes()], OPERATIONS)))
